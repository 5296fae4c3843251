//! A database's URL without what opens it.

/// The URL with its password hidden. Where it is not certain what the password is, all but the scheme is hidden.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return if url.starts_with("sqlite:") { url.to_owned() } else { "(hidden)".to_owned() };
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if path.contains('@') {
        // A password with an unescaped slash looks like this.
        return format!("{scheme}://(hidden)");
    }
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:(hidden)@{host}"),
            None => format!("{user}@{host}"),
        },
        None => authority.to_owned(),
    };
    let path = match path.split_once('?') {
        Some((path, query)) => format!("{path}?{}", query.split('&').map(parameter).collect::<Vec<_>>().join("&")),
        None => path.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

/// `sslpassword=…`, `key=…` and their like are hidden, `mode=rwc` is not.
fn parameter(pair: &str) -> String {
    let secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["pass", "pwd", "key", "secret", "token"].iter().any(|part| name.contains(part))
    };
    match pair.split_once('=') {
        Some((name, _)) if secret(name) => format!("{name}=(hidden)"),
        _ => pair.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_password_is_hidden_wherever_it_stands() {
        for (url, shown) in [
            ("sqlite://data/rollcall.db", "sqlite://data/rollcall.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("sqlite://a.db?mode=rwc&key=hush", "sqlite://a.db?mode=rwc&key=(hidden)"),
            ("postgres://ann:hush@db:5432/rollcall", "postgres://ann:(hidden)@db:5432/rollcall"),
            ("postgres://ann:hu@sh:x@db/rollcall", "postgres://ann:(hidden)@db/rollcall"),
            ("postgres://ann:hu/sh@db/rollcall", "postgres://(hidden)"),
            ("postgres://db/rollcall?user=ann&password=hush", "postgres://db/rollcall?user=ann&password=(hidden)"),
            ("postgres://ann@db/rollcall", "postgres://ann@db/rollcall"),
            ("hush", "(hidden)"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
