//! `server.public_url`: where people reach us, whoever stands in front.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use url::Url;

/// Begins of our own paths. A base path among them would be taken for one when a proxy has stripped it already.
const OWN: [&str; 10] = [
    "/account/",
    "/admin/monitor/",
    "/api/",
    "/assets/",
    "/docs/",
    "/health/",
    "/login/",
    "/online/",
    "/socket/",
    "/unreachable/",
];

/// The one source of the base path, the cookie's name and path, our own origin, and every link we make. Without a value
/// they come from each request, and the base path is `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicUrl(Option<Url>);

impl PublicUrl {
    /// As `/` or `/rollcall/`.
    pub fn base_path(&self) -> &str {
        self.0.as_ref().map_or("/", Url::path)
    }

    /// As (`https`, `ops.example.com`); none when it is not set. A port stands only where it is not the scheme's own.
    pub fn origin(&self) -> Option<(&str, String)> {
        let url = self.0.as_ref()?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some((url.scheme(), format!("{}{port}", url.host_str()?)))
    }

    /// The whole of it, ending in `/`.
    pub fn as_str(&self) -> Option<&str> {
        self.0.as_ref().map(Url::as_str)
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PublicUrl, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map_err(D::Error::custom)
    }
}

fn parse(text: &str) -> Result<PublicUrl, &'static str> {
    if text.is_empty() {
        return Ok(PublicUrl(None));
    }
    let mut url: Url = text.parse().map_err(|_| "no address")?;
    let bare =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !bare {
        return Err("more or less than scheme, host, port and path");
    }
    let base = format!("{}/", url.path().trim_end_matches('/'));
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    if !base.chars().all(plain) || base.contains("//") {
        return Err("a path of other characters");
    }
    if base != "/" && OWN.iter().any(|own| own.starts_with(&base) || base.starts_with(own)) {
        return Err("a path of our own");
    }
    url.set_path(&base);
    Ok(PublicUrl(Some(url)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_follows_from_it() {
        for (text, base, origin) in [
            ("", "/", None),
            ("https://ops.example.com", "/", Some(("https", "ops.example.com".to_owned()))),
            ("https://ops.example.com:443/rollcall", "/rollcall/", Some(("https", "ops.example.com".to_owned()))),
            ("http://[::1]:8080/a/b-c/", "/a/b-c/", Some(("http", "[::1]:8080".to_owned()))),
            (
                "https://OPS.example.com/admin/rollcall/",
                "/admin/rollcall/",
                Some(("https", "ops.example.com".to_owned())),
            ),
        ] {
            let url = parse(text).unwrap();
            assert_eq!((url.base_path(), url.origin()), (base, origin), "{text}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "ops.example.com",
            "/rollcall/",
            "ftp://ops.example.com/",
            "https://ops.example.com/?a=b",
            "https://ops.example.com/#top",
            "https://ann:hush@ops.example.com/",
            "https://ops.example.com/röll/",
            "https://ops.example.com//a/",
            "https://ops.example.com/api/",
            "https://ops.example.com/admin/",
            "https://ops.example.com/online/",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
