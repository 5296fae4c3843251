//! `[[auth.issuers]]`: the other systems whose tokens are accepted. A list of tables has no row in the embedded file to
//! take defaults from, so what may be left out is empty, off, or stated at its field.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Secret;

/// Issuers, at most: each may be asked whether its key verifies.
const MAX_ISSUERS: usize = 32;

/// Words that other users' keys begin with.
const RESERVED: [&str; 2] = ["key", "rollcall"];

/// Another system whose tokens are accepted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// First part of its users' keys, as `shop` in `shop:42`: 1 to 32 small letters, digits and `-`.
    pub name: String,
    /// The token's `iss`. Empty: its tokens have none.
    #[serde(default)]
    pub iss: String,
    /// The token's `kid`, for tokens without `iss`.
    #[serde(default)]
    pub kid: Vec<String>,
    /// Whether a token that has neither `iss` nor `kid` is this one's if its key verifies.
    #[serde(default)]
    pub match_without_iss: bool,
    /// The one algorithm of its key, and of those keys of a JWKS file that name none.
    pub algorithm: IssuerAlgorithm,
    /// The token's `aud`. Empty: its tokens have none, and one that has is refused.
    #[serde(default)]
    pub audience: String,
    /// The key: a secret for HS256, HS384 and HS512, a public key in PEM for the others.
    #[serde(default)]
    pub key: Secret,
    /// A file that holds the key.
    #[serde(default)]
    pub key_file: PathBuf,
    /// Whether a secret is bytes in base64, as Java's jjwt takes it.
    #[serde(default)]
    pub key_base64: bool,
    /// A JWKS file, RFC 7517; read again when it changes.
    #[serde(default)]
    pub jwks_file: PathBuf,
    /// The claim with the user's id. A dot leads into an object, as `user.id`.
    #[serde(default = "sub")]
    pub user_claim: String,
    /// The claim with the name shown in lists. Empty, or absent in a token: the id.
    #[serde(default)]
    pub name_claim: String,
    /// The claim with the role or the roles. Empty: nobody has any.
    #[serde(default)]
    pub role_claim: String,
    /// The claim with the application, as HotGo's `app`.
    #[serde(default)]
    pub app_claim: String,
    /// The claim that names the login. Empty: `sid`, then `jti`, then the token itself.
    #[serde(default)]
    pub session_claim: String,
    /// The claim with the time of issue: Unix seconds or milliseconds, RFC 3339, or `YYYY-MM-DD HH:MM:SS` in
    /// `server.timezone`.
    #[serde(default = "iat")]
    pub issued_claim: String,
    /// How long a token without `exp` is valid from its time of issue. Absent: such a token needs `verify_url`.
    #[serde(default, with = "humantime_serde")]
    pub max_age: Option<Duration>,
    /// What a role may do, as words of the permission catalogue. A role that is not listed may do nothing.
    #[serde(default)]
    pub roles: BTreeMap<String, Vec<String>>,
    /// Asked with the token as a Bearer whether it is still good. Empty: nobody is asked.
    #[serde(default)]
    pub verify_url: String,
    /// How long such an answer is believed, at most 60 s.
    #[serde(default = "minute", with = "humantime_serde")]
    pub verify_cache: Duration,
    /// What holds while nobody answers there.
    #[serde(default)]
    pub verify_away: WhenAway,
    /// Told when an operator ends one of its users' sessions. Empty: nobody is told.
    #[serde(default)]
    pub revoke_url: String,
    /// Signs what is sent to `revoke_url`: `whsec_` and base64, or any text of at least 32 characters.
    #[serde(default)]
    pub revoke_secret: Secret,
    /// A file that holds it.
    #[serde(default)]
    pub revoke_secret_file: PathBuf,
}

/// How an issuer signs. `none` is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names of RFC 7518 section 3.1 and RFC 8037")]
pub enum IssuerAlgorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    ES256,
    EdDSA,
}

/// What holds while an issuer does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenAway {
    /// Its tokens open nothing: 503.
    #[default]
    Closed,
    /// A good signature is enough, but not for a user who was kicked here.
    Open,
}

impl Issuer {
    /// Key of a HMAC rather than a public key.
    pub fn is_symmetric(&self) -> bool {
        use IssuerAlgorithm::{HS256, HS384, HS512};
        matches!(self.algorithm, HS256 | HS384 | HS512)
    }
}

/// The first thing that is wrong, as the end of a sentence that began with the entry's name.
pub(super) fn check(issuers: &[Issuer], default_issuer: &str) -> Result<(), String> {
    if issuers.len() > MAX_ISSUERS {
        return Err(format!("auth.issuers has more than {MAX_ISSUERS} entries."));
    }
    let (mut names, mut words) = (HashSet::new(), HashSet::new());
    for issuer in issuers {
        let named = |problem: &str| Err(format!("auth.issuers {:?} {problem}", issuer.name));
        if !is_name(&issuer.name) || RESERVED.contains(&issuer.name.as_str()) {
            return named(
                "cannot be called so; a name has 1 to 32 small letters, digits and -, and is not key or rollcall.",
            );
        }
        if !names.insert(&issuer.name) {
            return named("is there twice; give each entry a name of its own.");
        }
        if let Some(problem) = matching(issuer, &mut words).or_else(|| keys(issuer)).or_else(|| urls(issuer)) {
            return named(&problem);
        }
    }
    if !default_issuer.is_empty() && !names.contains(&default_issuer.to_owned()) {
        return Err(format!("auth.default_issuer is {default_issuer:?}, but no entry of auth.issuers is called so."));
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn matching<'a>(issuer: &'a Issuer, words: &mut HashSet<(&'static str, &'a str)>) -> Option<String> {
    let ways = usize::from(!issuer.iss.is_empty())
        + usize::from(!issuer.kid.is_empty())
        + usize::from(issuer.match_without_iss);
    if ways == 0 {
        return Some("matches no token; set iss, kid or match_without_iss.".to_owned());
    }
    if issuer.match_without_iss && !issuer.iss.is_empty() {
        return Some("has iss and match_without_iss; a token has an `iss` or has none.".to_owned());
    }
    if !issuer.iss.is_empty() && !words.insert(("iss", &issuer.iss)) {
        return Some(format!("has the iss {:?} of another entry.", issuer.iss));
    }
    let taken = issuer.kid.iter().find(|kid| !words.insert(("kid", kid)))?;
    Some(format!("has the kid {taken:?} of another entry."))
}

fn keys(issuer: &Issuer) -> Option<String> {
    let given = [!issuer.key.is_empty(), is_set(&issuer.key_file), is_set(&issuer.jwks_file)];
    match given.iter().filter(|given| **given).count() {
        1 => {}
        0 => return Some("has no key; set key, key_file or jwks_file.".to_owned()),
        _ => return Some("has more than one of key, key_file and jwks_file; keep one.".to_owned()),
    }
    if is_set(&issuer.jwks_file) && issuer.is_symmetric() {
        return Some("has a JWKS file and a secret's algorithm; a JWKS file holds public keys.".to_owned());
    }
    if issuer.max_age.is_none() && issuer.verify_url.is_empty() && issuer.match_without_iss {
        let problem = "takes tokens that may have no `exp`; set max_age, or verify_url.";
        return Some(problem.to_owned());
    }
    if issuer.user_claim.is_empty() {
        return Some("has no user_claim; name the claim with the user's id.".to_owned());
    }
    (issuer.verify_cache > minute()).then(|| "has a verify_cache above 60s, the most that is allowed.".to_owned())
}

fn urls(issuer: &Issuer) -> Option<String> {
    for (key, text) in [("verify_url", &issuer.verify_url), ("revoke_url", &issuer.revoke_url)] {
        let fits =
            |url: &url::Url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty();
        if !text.is_empty() && !url::Url::parse(text).is_ok_and(|url| fits(&url)) {
            return Some(format!("has a {key} that is no http or https address."));
        }
    }
    let signed = !issuer.revoke_secret.is_empty() || is_set(&issuer.revoke_secret_file);
    (!issuer.revoke_url.is_empty() && !signed)
        .then(|| "has a revoke_url and nothing to sign with; set revoke_secret or revoke_secret_file.".to_owned())
}

fn is_set(path: &std::path::Path) -> bool {
    !path.as_os_str().is_empty()
}

fn sub() -> String {
    "sub".to_owned()
}

fn iat() -> String {
    "iat".to_owned()
}

fn minute() -> Duration {
    Duration::from_secs(60)
}
