use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Config, DEFAULT_FILE, Loaded, Logins, load};

fn env(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn write(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).expect("a file in a new folder");
    path
}

fn with_file(text: &str) -> Result<Loaded, String> {
    let dir = TempDir::new().expect("a folder");
    let path = write(&dir, "rollcall.toml", text);
    let folder = format!("{}/", dir.path().display());
    load(Some(&path), []).map_err(|error| error.to_string().replace(&folder, ""))
}

fn refusal(text: &str) -> String {
    with_file(text).expect_err("a refusal")
}

fn with_env(variables: &[(&str, &str)]) -> Result<Loaded, String> {
    load(None, env(variables)).map_err(|error| error.to_string())
}

fn env_refusal(name: &str, value: &str) -> String {
    with_env(&[(name, value)]).expect_err("a refusal")
}

#[test]
fn every_field_is_a_key_of_the_embedded_file_and_the_other_way_round() {
    // Unknown keys are refused and no field has a default, so loading it is the comparison.
    let config = Config::defaults();
    assert_eq!(config.server.listen, "127.0.0.1:8080");
    assert_eq!(config.auth.logins, Logins::Many);
    assert_eq!(config.socket.idle_timeout.as_secs(), 300);
}

#[test]
fn every_key_of_the_embedded_file_is_explained_above_it() {
    let lines: Vec<&str> = DEFAULT_FILE.lines().collect();
    for pair in lines.windows(2) {
        if pair[1].contains(" = ") && !pair[1].starts_with('#') {
            assert!(pair[0].starts_with("# "), "{} has no comment", pair[1]);
        }
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let dir = TempDir::new().expect("a folder");
    let path = write(&dir, "mine.toml", "[server]\nlisten = \"0.0.0.0:1\"\n[cluster]\nnode = \"a\"\n");
    let variables = env(&[("ROLLCALL__SERVER__LISTEN", "localhost:2"), ("ROLLCALL_CONFIG", "x"), ("HOME", "/")]);
    let loaded = load(Some(&path), variables).expect("settings");
    assert_eq!(loaded.config.server.listen, "localhost:2");
    assert_eq!(loaded.config.cluster.node, "a");
    let effective = loaded.effective();
    for line in [
        "listen = \"localhost:2\"  # environment ROLLCALL__SERVER__LISTEN",
        &format!("node = \"a\"  # file {}", path.display()),
        "max_body = 1048576  # default",
        "allowed_origins = []  # default",
    ] {
        assert!(effective.lines().any(|found| found == line), "no {line} in\n{effective}");
    }
}

#[test]
fn the_effective_settings_have_the_shape_of_the_file() {
    let keys = |text: &str| {
        let mut keys = Vec::new();
        for (section, content) in text.parse::<toml::Table>().expect("TOML") {
            let names = content.as_table().expect("a section").keys();
            keys.extend(names.map(|name| format!("{section}.{name}")));
        }
        keys.sort();
        keys
    };
    assert_eq!(keys(&load(None, []).expect("settings").effective()), keys(DEFAULT_FILE));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    assert_eq!(
        refusal("[server]\nlisen = \"x\""),
        "server.lisen in rollcall.toml is not a key; did you mean server.listen?"
    );
    assert_eq!(
        refusal("[socket]\nlisten = \"x\""),
        "socket.listen in rollcall.toml is not a key; did you mean server.listen?"
    );
    assert_eq!(refusal("listen = \"x\""), "listen in rollcall.toml is not a key; did you mean server.listen?");
    assert_eq!(
        refusal("[socket]\nmax_clients = 5"),
        "socket.max_clients in rollcall.toml is not a key; it is limits.clients now."
    );
    assert_eq!(
        env_refusal("ROLLCALL__SOCKET__MAX_CLIENTS", "5"),
        "ROLLCALL__SOCKET__MAX_CLIENTS in the environment is not a key; it is ROLLCALL__LIMITS__CLIENTS now."
    );
    assert_eq!(
        refusal("[limits]\nmemory = \"2 gigs\""),
        "limits.memory in rollcall.toml is \"2 gigs\", but should be a size as \"512MiB\" or \"2GiB\", or empty."
    );
    assert_eq!(
        refusal("[zzzzzzz]\nqqqqqqqqqqqqqqqqqqqqqqqqqqqq = 1"),
        "zzzzzzz.qqqqqqqqqqqqqqqqqqqqqqqqqqqq in rollcall.toml is not a key; `rollcall config print` lists them all."
    );
    assert_eq!(
        refusal("server = 1"),
        "server in rollcall.toml is a section, not a key; write it as [server], as server.allowed_origins."
    );
    assert_eq!(
        env_refusal("ROLLCALL__SERVER__LISEN", "x"),
        "ROLLCALL__SERVER__LISEN in the environment is not a key; did you mean ROLLCALL__SERVER__LISTEN?"
    );
    assert_eq!(
        env_refusal("ROLLCALL__server__listen", "x"),
        "ROLLCALL__server__listen in the environment is not a key; did you mean ROLLCALL__SERVER__LISTEN?"
    );
    // Only secrets are read from files.
    assert!(env_refusal("ROLLCALL__SERVER__LISTEN_FILE", "x").contains("is not a key"));
}

#[test]
fn a_secret_is_read_from_its_file_without_the_last_newline() {
    let dir = TempDir::new().expect("a folder");
    let secret = "a secret that is long enough to sign";
    let path = write(&dir, "key", &format!("{secret}\n"));
    let path = path.to_str().expect("UTF-8");
    let by_env = with_env(&[("ROLLCALL__AUTH__SIGNING_KEY_FILE", path)]).expect("settings");
    assert_eq!(by_env.config.auth.signing_key.expose(), secret);
    let line = "signing_key = \"(hidden)\"  # environment ROLLCALL__AUTH__SIGNING_KEY_FILE";
    assert!(by_env.effective().contains(line));
    let by_file = with_file(&format!("[auth]\nsigning_key_file = \"{path}\"")).expect("settings");
    assert_eq!(by_file.config.auth.signing_key.expose(), secret);
}

#[test]
fn a_secret_file_that_holds_nothing_is_refused() {
    let dir = TempDir::new().expect("a folder");
    let empty = write(&dir, "empty", "\n");
    let name = "ROLLCALL__AUTH__SIGNING_KEY_FILE";
    assert!(env_refusal(name, empty.to_str().expect("UTF-8")).contains("which is empty"));
    assert!(env_refusal(name, "").contains("names no file"));
    assert!(env_refusal(name, "/nowhere/key").starts_with(&format!("{name} names /nowhere/key, which cannot be read")));
    let both = with_env(&[(name, "Cargo.toml"), ("ROLLCALL__AUTH__SIGNING_KEY", "x")]).expect_err("a refusal");
    assert!(both.contains("keep one of the two"), "{both}");
}

#[test]
fn no_secret_is_ever_printed() {
    let secret = "hush-hush-hush-hush-hush-hush-hush";
    let loaded = with_env(&[
        ("ROLLCALL__AUTH__SIGNING_KEY", secret),
        ("ROLLCALL__DATABASE__URL", &format!("postgres://ann:{secret}@db/rollcall")),
    ])
    .expect("settings");
    let effective = loaded.effective();
    assert!(effective.contains("url = \"postgres://ann:(hidden)@db/rollcall\"  # environment ROLLCALL__DATABASE__URL"));
    assert!(effective.contains("previous_signing_key = \"(not set)\"  # default"));
    assert!(!format!("{effective}{loaded:?}").contains("hush"));
    for error in [
        env_refusal("ROLLCALL__AUTH__SIGNING_KEY", "hush"),
        env_refusal("ROLLCALL__AUTH__SIGNING_KEYS", "hush"),
        refusal("[auth]\nsigning_key = [\"hush\"]"),
        refusal("[auth]\nsigning_key = \"hush\nx = 1"),
        refusal("[auth]\nsigning_key = hush"),
        refusal("[auth]\nsigning_key = 12hush"),
        refusal("[auth]\nsigning_key = 1234567").replace("1234567", "hush"),
        refusal("[auth]\nsigning_key_file = \"/nowhere\"\nsigning_key = \"hush\""),
    ] {
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn a_bad_value_names_key_source_and_what_was_expected() {
    for (text, sentence) in [
        (
            "[server]\ndrain = \"5\"",
            "server.drain in rollcall.toml is \"5\", but should be a duration with its unit as \"30s\", at most 3650d, or \"0s\".",
        ),
        (
            "[server]\nrequest_timeout = \"0s\"",
            "server.request_timeout in rollcall.toml is \"0s\", but should be a duration with its unit (ms, s, m, h or d) as \"30s\", from 1ms to 3650d.",
        ),
        (
            "[socket]\nper_user = 0",
            "socket.per_user in rollcall.toml is 0, but should be a whole number from 1 to 2147483647.",
        ),
        ("[docs]\npublic = \"yes\"", "docs.public in rollcall.toml is \"yes\", but should be true or false."),
        ("[auth]\naudience = 5", "auth.audience in rollcall.toml is 5, but should be a text in quotes."),
        (
            "[cluster]\nnode = \"a b\"",
            "cluster.node in rollcall.toml is \"a b\", but should be at most 64 letters, digits, -, . and _, or empty.",
        ),
        ("[log]\nformat = \"xml\"", "log.format in rollcall.toml is \"xml\", but should be \"text\" or \"json\"."),
        (
            "[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"proxy\"]",
            "server.trusted_proxies in rollcall.toml is [\"10.0.0.0/8\", \"proxy\"], but should be a list of networks as \"10.0.0.0/8\", for one address \"127.0.0.1/32\".",
        ),
    ] {
        assert_eq!(refusal(text), sentence);
    }
    for (name, value) in [
        ("ROLLCALL__SERVER__DRAIN", "9999999d"),
        ("ROLLCALL__SERVER__MAX_BODY", "1 MiB"),
        ("ROLLCALL__SERVER__MAX_BODY", "-1"),
        ("ROLLCALL__SERVER__MAX_BODY", "99999999999999999999"),
        ("ROLLCALL__SERVER__LISTEN", "8080"),
        ("ROLLCALL__SERVER__LISTEN", "::1:8080"),
        ("ROLLCALL__SERVER__LISTEN", "localhost:70000"),
        ("ROLLCALL__SERVER__ALLOWED_ORIGINS", "https://admin.example.com/"),
        ("ROLLCALL__SERVER__ALLOWED_ORIGINS", "*"),
        ("ROLLCALL__SERVER__ALLOWED_ORIGINS", "[1, 2]"),
        ("ROLLCALL__DATABASE__TABLE_PREFIX", "Roll-call"),
        ("ROLLCALL__DATABASE__TABLE_PREFIX", "abcdefghijabcdefghijabcdefghijk"),
        ("ROLLCALL__AUTH__ALGORITHM", "none"),
        ("ROLLCALL__AUTH__LOGINS", "0"),
        ("ROLLCALL__DOCS__PUBLIC", "1"),
    ] {
        let error = env_refusal(name, value);
        assert!(error.contains(&format!(" from {name} is ")) && error.contains(", but should be "), "{error}");
    }
}

#[test]
fn several_nodes_need_a_database_that_they_can_share() {
    let redis = ("ROLLCALL__CLUSTER__REDIS_URL", "redis://me:hush@redis:6379");
    let error = with_env(&[redis]).expect_err("a refusal");
    assert_eq!(
        error,
        "cluster.redis_url from ROLLCALL__CLUSTER__REDIS_URL is for several nodes, which share one database, but database.url is a \
         SQLite file; set database.url to a PostgreSQL or MySQL URL, or leave cluster.redis_url empty."
    );
    let (database, master) = (("ROLLCALL__DATABASE__URL", "postgres://db/rollcall"), "m".repeat(32));
    let loaded = with_env(&[redis, database, ("ROLLCALL__AUTH__MASTER_KEY", &master)]).expect("settings");
    let effective = loaded.effective();
    assert!(effective.contains("redis_url = \"redis://me:(hidden)@redis:6379\""), "{effective}");
    let error = with_env(&[("ROLLCALL__CLUSTER__REDIS_URL", "redis:6379")]).expect_err("a refusal");
    assert!(error.contains("but should be an address as \"redis://host:6379\""), "{error}");
    let error = with_env(&[("ROLLCALL__CLUSTER__SUSPECT", "20s")]).expect_err("a refusal");
    assert!(error.starts_with("cluster.dead (default) is \"12s\", but should be more than cluster.suspect"), "{error}");
}

#[test]
fn an_unreadable_file_is_named() {
    let error = load(Some(Path::new("/nowhere/rollcall.toml")), []).expect_err("a refusal").to_string();
    assert!(error.starts_with("The settings in /nowhere/rollcall.toml cannot be read"), "{error}");
    let error = refusal("[server]\nlisten = \"a\nx = 1");
    assert!(error.starts_with("rollcall.toml is not TOML at line 2: "), "{error}");
}

#[test]
fn lists_and_logins_are_written_simply_in_the_environment() {
    let origins = |text| {
        let loaded = with_env(&[("ROLLCALL__SERVER__ALLOWED_ORIGINS", text)]).expect("settings");
        loaded.config.server.allowed_origins
    };
    assert_eq!(origins("https://a.example, http://b.example:81"), ["https://a.example", "http://b.example:81"]);
    assert_eq!(origins("[\"https://a.example\"]"), ["https://a.example"]);
    assert!(origins("").is_empty());
    let proxies = with_env(&[("ROLLCALL__SERVER__TRUSTED_PROXIES", "10.0.0.0/8,::1/128")]).expect("settings");
    assert_eq!(proxies.config.server.trusted_proxies.len(), 2);
    let logins = with_env(&[("ROLLCALL__AUTH__LOGINS", "3")]).expect("settings").config.auth.logins;
    assert_eq!(logins, Logins::AtMost(3));
    assert_eq!(with_file("[auth]\nlogins = 3").expect("settings").config.auth.logins, Logins::AtMost(3));
    let node = with_env(&[("ROLLCALL__CLUSTER__NODE", "007")]).expect("settings").config.cluster.node;
    assert_eq!(node, "007");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    assert_eq!(
        refusal("[auth]\nkey_overlap = \"5m\""),
        "auth.key_overlap in rollcall.toml is \"5m\", but should be at least auth.access_ttl (default), which is \"15m\"; \
         raise auth.key_overlap or lower auth.access_ttl."
    );
    for (text, key) in [
        ("[auth]\naccess_ttl = \"31d\"", "auth.refresh_ttl (default)"),
        ("[auth]\nrefresh_ttl = \"91d\"", "auth.session_max (default)"),
        ("[server]\ndrain = \"20s\"", "server.stop_timeout (default)"),
        ("[socket]\nidle_timeout = \"35s\"", "socket.idle_timeout in rollcall.toml"),
        ("[socket]\nping_interval = \"5m\"", "socket.idle_timeout (default)"),
        ("[socket]\nqueue_bytes = 1000", "socket.queue_bytes in rollcall.toml"),
        ("[socket]\nreconnect_max = \"100ms\"", "socket.reconnect_max in rollcall.toml"),
        ("[socket]\nframe_burst = 50", "socket.frame_burst in rollcall.toml"),
        ("[auth]\nsigning_key = \"short\"", "auth.signing_key in rollcall.toml has fewer than 32 characters"),
        ("[auth]\nprevious_signing_key = \"short\"", "auth.previous_signing_key in rollcall.toml has fewer than 32"),
        ("[auth]\nsigning_key = \"-----BEGIN PRIVATE KEY-----\"", "auth.signing_key in rollcall.toml is a PEM"),
        ("[auth]\nalgorithm = \"EdDSA\"\nsigning_key = \"x\"", "auth.signing_key in rollcall.toml is no PKCS#8 PEM"),
        ("[auth]\nissuer = \"\"", "auth.issuer in rollcall.toml is empty"),
    ] {
        let error = refusal(text);
        assert!(error.starts_with(key), "{error}");
    }
}

#[test]
fn zero_is_allowed_where_it_has_a_meaning() {
    let text = "[server]\ndrain = \"0s\"\n[auth]\nkey_rotation = \"0s\"\nrefresh_overlap = \"0s\"\nlogins_per_address = 0\n\
                [socket]\nfailed_handshakes = 0\nmax_rooms = 0\n[presence]\ngrace = \"0s\"";
    let config = with_file(text).expect("settings").config;
    assert!(config.presence.grace.is_zero() && config.auth.logins_per_address == 0);
}

#[test]
fn enormous_values_are_refused_before_anything_can_overflow() {
    for (name, value) in [
        ("ROLLCALL__SOCKET__PING_INTERVAL", "18446744073709551615s"),
        ("ROLLCALL__AUTH__SESSION_MAX", "500000000d"),
        ("ROLLCALL__DATABASE__LOG_QUEUE", "9223372036854775807"),
        ("ROLLCALL__SOCKET__HANDSHAKES_PER_USER", "4294967296"),
    ] {
        assert!(env_refusal(name, value).contains(", but should be "), "{name}");
    }
}

fn issuer(lines: &str) -> String {
    refusal(&format!("[[auth.issuers]]\nname = \"shop\"\nalgorithm = \"HS256\"\n{lines}"))
}

#[test]
fn an_issuer_that_cannot_work_is_refused_with_the_way_out() {
    for (lines, told) in [
        ("key = \"x\"", "matches no token; set iss, kid or match_without_iss."),
        ("iss = \"x\"", "has no key; set key, key_file or jwks_file."),
        ("iss = \"x\"\nkey = \"x\"\nkey_file = \"y\"", "has more than one of key, key_file and jwks_file; keep one."),
        ("iss = \"x\"\njwks_file = \"y\"", "has a JWKS file and a secret's algorithm; a JWKS file holds public keys."),
        ("match_without_iss = true\nkey = \"x\"", "takes tokens that may have no `exp`; set max_age, or verify_url."),
        ("iss = \"x\"\nkey = \"x\"\nverify_cache = \"61s\"", "has a verify_cache above 60s, the most that is allowed."),
        ("iss = \"x\"\nkey = \"x\"\nverify_url = \"ftp://x\"", "has a verify_url that is no http or https address."),
        (
            "iss = \"x\"\nkey = \"x\"\nrevoke_url = \"https://x\"",
            "has a revoke_url and nothing to sign with; set revoke_secret or revoke_secret_file.",
        ),
    ] {
        assert_eq!(issuer(lines), format!("auth.issuers \"shop\" {told}"));
    }
    let twice =
        "iss = \"x\"\nkey = \"x\"\n[[auth.issuers]]\nname = \"shop\"\nalgorithm = \"HS256\"\niss = \"y\"\nkey = \"x\"";
    assert!(issuer(twice).contains("is there twice"));
    assert!(refusal("[[auth.issuers]]\nname = \"key\"\nalgorithm = \"HS256\"").contains("cannot be called so"));
    assert!(issuer("algorithm2 = 1").starts_with("auth.issuers in rollcall.toml cannot be read at [0]"));
    assert!(refusal("[auth]\ndefault_issuer = \"shop\"").contains("no entry of auth.issuers is called so"));
}

#[test]
fn an_issuers_secrets_are_not_printed() {
    let file = "[[auth.issuers]]\nname = \"shop\"\nalgorithm = \"HS256\"\niss = \"x\"\nkey = \"hush one\"\nrevoke_secret = \"hush two\"";
    let loaded = with_file(file).expect("settings");
    let shown = format!("{}{:?}", loaded.effective(), loaded.config);
    assert!(!shown.contains("hush") && loaded.effective().contains("name = \"shop\""), "{shown}");
}

#[test]
fn an_unknown_time_zone_is_refused_with_the_nearest_one() {
    assert_eq!(
        refusal("[server]\ntimezone = \"Europe/Berln\""),
        "server.timezone in rollcall.toml is \"Europe/Berln\", which is no time zone; did you mean \"Europe/Berlin\"?"
    );
    assert_eq!(
        with_file("[server]\ntimezone = \"Asia/Shanghai\"").expect("settings").config.server.timezone.name(),
        "Asia/Shanghai"
    );
}

#[test]
fn several_nodes_need_a_key_for_their_keys() {
    let settings = |master: &str| {
        let url = "postgres://rollcall@localhost/rollcall";
        with_env(&[
            ("ROLLCALL__CLUSTER__REDIS_URL", "redis://localhost:6379"),
            ("ROLLCALL__DATABASE__URL", url),
            ("ROLLCALL__AUTH__MASTER_KEY", master),
        ])
    };
    let missing = settings("").expect_err("a refusal");
    assert!(missing.contains("auth.master_key") && missing.contains("openssl rand"), "{missing}");
    let short = settings("short").expect_err("a refusal");
    assert!(short.contains("ROLLCALL__AUTH__MASTER_KEY") && short.contains("fewer than 32"), "{short}");
    assert!(!settings(&"m".repeat(32)).expect("settings").effective().contains("mmm"), "it is a secret");
}
