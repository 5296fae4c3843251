//! What no single key can say: bounds, and keys that must fit together.

use std::time::Duration;

use super::{Algorithm, Config, ConfigError};

/// Characters of an HS256 key, at least: the strength of the hash (RFC 7518 section 3.2).
const MIN_KEY: usize = 32;

/// The first thing that does not fit, in one sentence.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    for (key, duration) in durations(config) {
        need(!duration.is_zero(), || format!("{key} must be longer than nothing."))?;
    }
    for (key, number) in numbers(config) {
        need(number > 0, || format!("{key} must be above zero."))?;
    }
    together(config)?;
    texts(config)
}

fn durations(config: &Config) -> Vec<(&'static str, Duration)> {
    let (server, auth, socket) = (&config.server, &config.auth, &config.socket);
    vec![
        ("server.header_timeout", server.header_timeout),
        ("server.request_timeout", server.request_timeout),
        ("server.stop_timeout", server.stop_timeout),
        ("database.timeout", config.database.timeout),
        ("database.keep_logs", config.database.keep_logs),
        ("auth.access_ttl", auth.access_ttl),
        ("auth.refresh_ttl", auth.refresh_ttl),
        ("auth.session_max", auth.session_max),
        ("auth.ticket_ttl", auth.ticket_ttl),
        ("auth.lock_time", auth.lock_time),
        ("auth.follow_interval", auth.follow_interval),
        ("socket.idle_timeout", socket.idle_timeout),
        ("socket.ping_interval", socket.ping_interval),
        ("socket.pong_timeout", socket.pong_timeout),
        ("socket.reconnect_min", socket.reconnect_min),
        ("online.diff_interval", config.online.diff_interval),
    ]
}

fn numbers(config: &Config) -> Vec<(&'static str, usize)> {
    let (auth, socket) = (&config.auth, &config.socket);
    vec![
        ("server.max_body", config.server.max_body),
        ("database.max_connections", config.database.max_connections as usize),
        ("database.log_queue", config.database.log_queue),
        ("auth.max_tickets", auth.max_tickets),
        ("auth.max_failure_entries", auth.max_failure_entries),
        ("auth.password_queue", auth.password_queue),
        ("socket.max_frame", socket.max_frame),
        ("socket.queue_bytes", socket.queue_bytes),
        ("socket.queue_messages", socket.queue_messages),
        ("socket.per_user", socket.per_user),
        ("socket.per_address", socket.per_address),
        ("socket.max_clients", socket.max_clients),
        ("socket.frames_per_second", socket.frames_per_second as usize),
        ("online.live_max", config.online.live_max),
        ("online.max_leaves", config.online.max_leaves),
    ]
}

fn together(config: &Config) -> Result<(), ConfigError> {
    let (server, auth, socket) = (&config.server, &config.auth, &config.socket);
    let sentence = |text: &'static str| move || text.to_owned();
    need(
        auth.key_overlap >= auth.access_ttl,
        sentence(
            "auth.key_overlap must be at least auth.access_ttl: a replaced key must verify as long as its tokens live.",
        ),
    )?;
    need(auth.refresh_ttl <= auth.session_max, sentence("auth.refresh_ttl must be at most auth.session_max."))?;
    need(auth.access_ttl <= auth.refresh_ttl, sentence("auth.access_ttl must be at most auth.refresh_ttl."))?;
    need(server.stop_timeout > server.drain, sentence("server.stop_timeout must be longer than server.drain."))?;
    need(
        socket.ping_interval + socket.pong_timeout < socket.idle_timeout,
        sentence(
            "socket.idle_timeout must be longer than socket.ping_interval and socket.pong_timeout together, or the sweeper evicts who only waits for a ping.",
        ),
    )?;
    need(
        socket.reconnect_min <= socket.reconnect_max,
        sentence("socket.reconnect_max must be at least socket.reconnect_min."),
    )?;
    need(socket.frame_burst > 0, sentence("socket.frame_burst must be above zero."))?;
    need(socket.queue_bytes >= socket.max_frame, sentence("socket.queue_bytes must be at least socket.max_frame."))
}

fn texts(config: &Config) -> Result<(), ConfigError> {
    let prefix = &config.database.table_prefix;
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    need(prefix.len() <= 30 && prefix.chars().all(plain), || {
        "database.table_prefix has at most 30 characters of a-z, 0-9 and _.".to_owned()
    })?;
    let port = config.server.listen.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    need(matches!(port, Some((host, Ok(_))) if !host.is_empty()), || {
        "server.listen is an address and a port, as 127.0.0.1:8080 or [::1]:8080.".to_owned()
    })?;
    for key in [&config.auth.signing_key, &config.auth.previous_signing_key] {
        let long =
            key.is_empty() || config.auth.algorithm == Algorithm::EdDSA || key.expose().chars().count() >= MIN_KEY;
        need(long, || {
            format!("auth.signing_key for HS256 has at least {MIN_KEY} characters; try `openssl rand -base64 48`.")
        })?;
    }
    for origin in &config.server.allowed_origins {
        let host = origin.split_once("://").map(|(_, host)| host.trim_end_matches('/'));
        need(host.is_some_and(|host| !host.is_empty() && !host.contains('/')), || {
            format!("server.allowed_origins: {origin} is no origin; write it as https://admin.example.com.")
        })?;
    }
    Ok(())
}

fn need(holds: bool, sentence: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError(sentence())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::defaults();
        change(&mut config);
        check(&config).unwrap_err().to_string()
    }

    #[test]
    fn keys_that_do_not_fit_together_are_named() {
        assert!(refused(|c| c.auth.key_overlap = Duration::from_secs(1)).starts_with("auth.key_overlap"));
        assert!(refused(|c| c.socket.idle_timeout = Duration::from_secs(30)).starts_with("socket.idle_timeout"));
        assert!(refused(|c| c.database.table_prefix = "Robert'); --".to_owned()).starts_with("database.table_prefix"));
        assert!(refused(|c| c.server.listen = "8080".to_owned()).starts_with("server.listen"));
        assert!(refused(|c| c.auth.signing_key = crate::config::Secret::new("short")).starts_with("auth.signing_key"));
        assert!(
            refused(|c| c.server.allowed_origins = vec!["example.com".into()]).contains("example.com is no origin")
        );
        assert!(refused(|c| c.socket.max_frame = 0).starts_with("socket.max_frame"));
    }
}
