//! Which settings a running server takes over when they are read again. The rest count from the next start: whatever is
//! built from them (tables, pools, timers, routes) stays as it is.

use std::fmt;

use super::layers::Settings;
use super::{ConfigError, Loaded, checks, deserialize};

/// The settings that hold at once.
pub(super) const AT_ONCE: &[&str] = &[
    "auth.access_cookie",
    "auth.access_ttl",
    "auth.algorithm",
    "auth.issuers",
    "auth.key_overlap",
    "auth.key_rotation",
    "auth.key_ttl",
    "auth.logins",
    "auth.max_keys",
    "auth.previous_signing_key",
    "auth.refresh_overlap",
    "auth.refresh_ttl",
    "auth.session_max",
    "auth.signing_key",
    "database.keep_logs",
    "docs.public",
    "limits.connections_per_address",
    "limits.memory",
    "log.level",
    "outgoing.retry_for",
    "server.allowed_origins",
    "server.drain",
    "server.max_body",
    "server.request_timeout",
    "server.stop_timeout",
    "server.tls.cert",
    "server.tls.key",
    "server.trusted_proxies",
    "socket.bad_frames",
    "socket.frame_burst",
    "socket.frames_per_second",
    "socket.idle_timeout",
    "socket.max_frame",
    "socket.ping_interval",
    "socket.pong_timeout",
    "socket.reconnect_max",
    "socket.reconnect_min",
    "socket.token_in_query",
];

/// A setting that reads otherwise than before, as it may be logged: a secret is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// As `auth.logins`.
    pub key: String,
    /// Whether it holds from now on; otherwise from the next start.
    pub at_once: bool,
    old: String,
    new: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { key, old, new, .. } = self;
        let when = if self.at_once { "from now on" } else { "after a restart" };
        write!(f, "{key}: {old} -> {new}, {when}")
    }
}

impl Loaded {
    /// These settings with what a running server takes over from newer ones; and every difference between the two.
    /// An error means that the mixture does not fit together: a restart is needed for it.
    pub fn take_over(&self, new: &Loaded) -> Result<(Loaded, Vec<Change>), ConfigError> {
        let (mut settings, mut changes) = (self.settings.clone(), Vec::new());
        for (key, setting) in &new.settings {
            let old = &self.settings[key];
            if old.value == setting.value {
                continue;
            }
            let at_once = AT_ONCE.contains(&key.as_str()) && (!key.starts_with("server.tls.") || self.same_tls(new));
            changes.push(Change { key: key.clone(), at_once, old: old.shown(key), new: setting.shown(key) });
            if at_once {
                settings.insert(key.clone(), setting.clone());
            }
        }
        Ok((Loaded::new(settings)?, changes))
    }

    /// TLS is on in both or off in both: who listens in the clear goes on so.
    fn same_tls(&self, new: &Loaded) -> bool {
        let is_on = |loaded: &Loaded| !loaded.config.server.tls.cert.as_os_str().is_empty();
        is_on(self) == is_on(new)
    }

    pub(super) fn new(settings: Settings) -> Result<Loaded, ConfigError> {
        let config = deserialize(&settings)?;
        checks::together(&config, &settings)?;
        Ok(Loaded { config, settings })
    }
}

#[cfg(test)]
mod tests {
    use super::super::load;
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Loaded {
        load(None, variables.iter().map(|(name, value)| (format!("ROLLCALL__{name}"), (*value).to_owned()))).unwrap()
    }

    #[test]
    fn every_setting_that_holds_at_once_exists() {
        let known = with(&[]).settings;
        for key in AT_ONCE {
            assert!(known.contains_key(*key), "{key}");
        }
        assert!(AT_ONCE.is_sorted());
    }

    #[test]
    fn what_holds_at_once_is_taken_over_and_the_rest_waits_for_a_restart() {
        let before = with(&[]);
        let after =
            with(&[("AUTH__LOGINS", "one"), ("SOCKET__MAX_ROOMS", "3"), ("AUTH__SIGNING_KEY", &"s".repeat(40))]);
        let (mixed, changes) = before.take_over(&after).unwrap();
        let said: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "auth.logins: \"many\" -> \"one\", from now on",
                "auth.signing_key: \"(not set)\" -> \"(hidden)\", from now on",
                "socket.max_rooms: 64 -> 3, after a restart",
            ]
        );
        assert_eq!((mixed.config.auth.logins, mixed.config.socket.max_rooms), (after.config.auth.logins, 64));
        assert_eq!(mixed.take_over(&after).unwrap().1.len(), 1, "what waits is said again");
    }

    #[test]
    fn tls_is_neither_begun_nor_ended_without_a_restart() {
        let on = [("SERVER__TLS__CERT", "a.pem"), ("SERVER__TLS__KEY", "a.key")];
        let other = [("SERVER__TLS__CERT", "b.pem"), ("SERVER__TLS__KEY", "b.key")];
        let at_once = |old: &[(&str, &str)], new: &[(&str, &str)]| {
            let changes = with(old).take_over(&with(new)).unwrap().1;
            assert_eq!(changes.len(), 2);
            changes.iter().all(|change| change.at_once)
        };
        assert!(at_once(&on, &other));
        assert!(!at_once(&[], &on) && !at_once(&on, &[]));
    }

    #[test]
    fn a_mixture_that_does_not_fit_together_is_refused() {
        let new = with(&[("SOCKET__MAX_FRAME", "500000"), ("SOCKET__QUEUE_BYTES", "600000")]);
        let refused = with(&[]).take_over(&new).unwrap_err().to_string();
        assert!(refused.contains("socket.queue_bytes"), "{refused}");
    }
}
