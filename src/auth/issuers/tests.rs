//! What opens nothing, and what a good token says.

use std::path::Path;
use std::sync::LazyLock;

use chrono::TimeDelta;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};

use super::*;
use crate::auth::testing::{auth, now};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

const SECRET: &str = "the other system's secret, long enough";

static RSA: LazyLock<rsa::RsaPrivateKey> =
    LazyLock::new(|| rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap());

/// One entry, written as in the settings file.
fn issuers(entry: &str) -> Result<Issuers, String> {
    let text = format!("[[issuers]]\nname = \"shop\"\n{entry}");
    let mut table: toml::Table = text.parse().unwrap();
    let issuers = table.remove("issuers").unwrap().try_into::<Vec<Issuer>>().unwrap();
    Issuers::open(&config::Auth { issuers, ..auth() }, Tz::Asia__Shanghai).map_err(|error| error.to_string())
}

fn hotgo() -> Issuers {
    issuers(&format!(
        "algorithm = \"HS256\"\nmatch_without_iss = true\nkey = \"{SECRET}\"\nuser_claim = \"id\"\nname_claim = \"username\"\n\
         role_claim = \"roleKey\"\napp_claim = \"app\"\nissued_claim = \"loginAt\"\nmax_age = \"7d\"\n\
         roles = {{ editor = [\"online:read\"] }}"
    ))
    .unwrap()
}

fn with_iss(algorithm: &str, key: &str) -> Issuers {
    issuers(&format!("algorithm = \"{algorithm}\"\niss = \"https://shop\"\naudience = \"rollcall\"\n{key}")).unwrap()
}

fn signed(algorithm: Algorithm, key: &EncodingKey, kid: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

fn hs256(claims: &Value) -> String {
    signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), None, claims)
}

fn claims() -> Value {
    json!({"iss": "https://shop", "sub": 42, "aud": ["x", "rollcall"], "exp": now().timestamp() + 60, "iat": now().timestamp()})
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn refused(issuers: &Issuers, token: &str) -> TokenError {
    issuers.verify(token, now()).expect("it is one of theirs").unwrap_err()
}

fn rsa_pem() -> String {
    RSA.to_public_key().to_public_key_pem(LineEnding::LF).unwrap()
}

fn rsa_signing() -> EncodingKey {
    EncodingKey::from_rsa_pem(RSA.to_pkcs8_pem(LineEnding::LF).unwrap().as_bytes()).unwrap()
}

fn ed25519(dir: &Path) -> (EncodingKey, String) {
    use ed25519_dalek::pkcs8::{EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding};
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let file = dir.join("shop.pem");
    std::fs::write(&file, key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap()).unwrap();
    (EncodingKey::from_ed_der(key.to_pkcs8_der().unwrap().as_bytes()), format!("key_file = \"{}\"", file.display()))
}

#[test]
fn a_hotgo_token_is_a_user_with_a_name_and_a_role() {
    let token = hs256(&json!({
        "id": 1, "username": "boss", "roleKey": "editor", "app": "admin", "loginAt": "2023-11-15 06:13:20", "mobile": "1"
    }));
    let at = "2023-11-14T22:14:20Z".parse().unwrap();
    let foreign = hotgo().verify(&token, at).unwrap().unwrap();
    assert_eq!((foreign.user.as_str(), &*foreign.username, &*foreign.app), ("shop:1", "boss", "admin"));
    assert_eq!(foreign.roles, ["shop:editor"]);
    assert_eq!(foreign.issued_at, Some("2023-11-14T22:13:20Z".parse().unwrap()), "the zone of the settings");
    assert_eq!(foreign.expires_at, Some("2023-11-21T22:13:20Z".parse().unwrap()));
    assert_eq!(foreign.external_id.len(), 64, "the token's hash stands for the login");
    let roles: Vec<Arc<str>> = vec!["shop:editor".into(), "editor".into(), "admin".into()];
    assert_eq!(hotgo().permissions(&foreign.user, &roles).words(), ["online:read"]);
    assert!(hotgo().permissions(&UserKey::new("", "1"), &roles).words().is_empty());
    let late = "2023-11-22T00:00:00Z".parse().unwrap();
    assert_eq!(hotgo().verify(&token, late).unwrap().unwrap_err(), TokenError::Expired);
    assert_eq!(refused(&hotgo(), &hs256(&json!({"id": 1}))), TokenError::Endless);
}

#[test]
fn a_role_gets_only_permissions_that_there_are() {
    let entry = format!("algorithm = \"HS256\"\niss = \"x\"\nkey = \"{SECRET}\"\nroles = {{ a = [\"online:raed\"] }}");
    assert_eq!(
        issuers(&entry).unwrap_err(),
        "auth.issuers \"shop\": roles name \"online:raed\", which is no permission."
    );
}

#[test]
fn java_gives_its_secret_as_base64() {
    let entry = "algorithm = \"HS512\"\nmatch_without_iss = true\nkey = \"YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo=\"\nkey_base64 = true\n\
                 session_claim = \"login_user_key\"\nverify_url = \"https://shop.example.com/getInfo\"";
    let key = EncodingKey::from_secret(b"abcdefghijklmnopqrstuvwxyz");
    let token = signed(Algorithm::HS512, &key, None, &json!({"sub": "ann", "login_user_key": "0b5e"}));
    let foreign = issuers(entry).unwrap().verify(&token, now()).unwrap().unwrap();
    assert_eq!((foreign.user.as_str(), &*foreign.external_id, foreign.expires_at), ("shop:ann", "0b5e", None));
    assert_eq!(foreign.session, Issuers::session("shop", "0b5e"));
    assert_ne!(foreign.session, Issuers::session("other", "0b5e"));
}

#[test]
fn every_algorithm_verifies_with_its_own_kind_of_key() {
    let dir = tempfile::tempdir().unwrap();
    let (ed, ed_file) = ed25519(dir.path());
    let rsa = with_iss("RS256", &format!("key = \"\"\"{}\"\"\"", rsa_pem()));
    let token = signed(Algorithm::RS256, &rsa_signing(), Some("any"), &claims());
    assert_eq!(rsa.verify(&token, now()).unwrap().unwrap().user.as_str(), "shop:42");
    let token = signed(Algorithm::EdDSA, &ed, None, &claims());
    assert!(with_iss("EdDSA", &ed_file).verify(&token, now()).unwrap().is_ok());
    let ec = rcgen::KeyPair::generate().unwrap();
    let signing = EncodingKey::from_ec_pem(ec.serialize_pem().as_bytes()).unwrap();
    let by_ec = with_iss("ES256", &format!("key = \"\"\"{}\"\"\"", ec.public_key_pem()));
    assert!(by_ec.verify(&signed(Algorithm::ES256, &signing, None, &claims()), now()).unwrap().is_ok());
    assert_eq!(refused(&by_ec, &signed(Algorithm::EdDSA, &ed, None, &claims())), TokenError::BadSignature);
    for (name, algorithm) in [("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)] {
        let token = signed(algorithm, &EncodingKey::from_secret(SECRET.as_bytes()), None, &claims());
        assert!(with_iss(name, &format!("key = \"{SECRET}\"")).verify(&token, now()).unwrap().is_ok(), "{name}");
    }
}

#[test]
fn a_key_id_names_the_system_unless_the_token_has_the_iss_of_another() {
    let entry = |more: &str| {
        issuers(&format!("algorithm = \"HS256\"\nkid = [\"k1\"]\naudience = \"rollcall\"\nkey = \"{SECRET}\"{more}"))
            .unwrap()
    };
    let by =
        |kid, claims: &Value| signed(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), Some(kid), claims);
    let nameless = {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove("iss");
        claims
    };
    let (only_kid, both) = (entry(""), entry("\niss = \"https://shop\""));
    for (issuers, kid, claims, known) in [
        (&only_kid, "k1", &claims(), true),
        (&only_kid, "k1", &nameless, true),
        (&only_kid, "k1", &with("iss", json!("")), true),
        (&only_kid, "k2", &claims(), false),
        (&only_kid, "k1", &with("iss", json!(auth().issuer)), false),
        (&both, "k1", &nameless, true),
        (&both, "any", &claims(), true),
        (&both, "k1", &with("iss", json!("https://other")), false),
    ] {
        let verified = issuers.verify(&by(kid, claims), now());
        assert_eq!(verified.is_some_and(|said| said.is_ok()), known, "{kid} {claims}");
    }
}

#[test]
fn keys_that_a_token_brings_along_are_ignored() {
    let secret = with_iss("HS256", &format!("key = \"{SECRET}\""));
    let (guess, place) = (b"a key of the attacker's own, as long as it likes", "https://evil.example/keys");
    let jwk = json!({"kty": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(guess)});
    let header = Header::new(Algorithm::HS256);
    for header in [
        Header { jwk: Some(serde_json::from_value(jwk).unwrap()), ..header.clone() },
        Header { jku: Some(place.to_owned()), ..header.clone() },
        Header { x5u: Some(place.to_owned()), ..header.clone() },
    ] {
        let token = |key: &[u8]| jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(key)).unwrap();
        assert_eq!(refused(&secret, &token(guess)), TokenError::BadSignature);
        assert!(secret.verify(&token(SECRET.as_bytes()), now()).unwrap().is_ok(), "they make a good one no worse");
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    let rsa = with_iss("RS256", &format!("key = \"\"\"{}\"\"\"", rsa_pem()));
    for public in [rsa_pem(), rsa_pem().trim().to_owned()] {
        let forged = signed(Algorithm::HS256, &EncodingKey::from_secret(public.as_bytes()), None, &claims());
        assert_eq!(refused(&rsa, &forged), TokenError::BadSignature);
    }
    let entry = format!("algorithm = \"HS256\"\niss = \"x\"\nkey = \"\"\"{}\"\"\"", rsa_pem());
    assert!(issuers(&entry).unwrap_err().contains("takes a secret"));
}

#[test]
fn what_is_not_signed_by_the_key_with_its_algorithm_is_refused() {
    let secret = with_iss("HS256", &format!("key = \"{SECRET}\""));
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let wrong_key = signed(Algorithm::HS256, &EncodingKey::from_secret(b"another"), None, &claims());
    let wrong_algorithm = signed(Algorithm::HS512, &key, None, &claims());
    for token in [wrong_key, wrong_algorithm] {
        assert_eq!(refused(&secret, &token), TokenError::BadSignature);
    }
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for header in [json!({"alg": "none"}), json!({"alg": "None", "typ": "JWT"})] {
        let unsigned = format!("{}.{}.", part(&header), part(&claims()));
        assert!(secret.verify(&unsigned, now()).is_none(), "nobody's, so that it is refused as one of ours");
    }
    let good = hs256(&claims());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let altered = format!("{header}.{}.{signature}", part(&with("sub", json!("1"))));
    assert_eq!(refused(&secret, &altered), TokenError::BadSignature);
    assert!(secret.verify(&good, now()).unwrap().is_ok());
}

#[test]
fn times_and_audience_are_judged() {
    let secret = with_iss("HS256", &format!("key = \"{SECRET}\""));
    let later = (now() + TimeDelta::seconds(90)).timestamp();
    for (key, value, expected) in [
        ("exp", json!(now().timestamp()), TokenError::Expired),
        ("exp", json!("soon"), TokenError::Malformed),
        ("nbf", json!(later), TokenError::NotYetValid),
        ("iat", json!(later), TokenError::NotYetValid),
        ("aud", json!("somebody"), TokenError::WrongAudience),
        ("aud", json!(null), TokenError::WrongAudience),
        ("sub", json!(""), TokenError::Malformed),
        ("sub", json!("a\nb"), TokenError::Malformed),
        ("sub", json!("42 "), TokenError::Malformed),
        ("sub", json!({"id": 1}), TokenError::Malformed),
    ] {
        assert_eq!(refused(&secret, &hs256(&with(key, value.clone()))), expected, "{key} {value}");
    }
    let unnamed = hs256(&with("iss", json!("https://nobody")));
    assert!(secret.verify(&unnamed, now()).is_none());
    assert_eq!(refused(&hotgo(), &hs256(&json!({"id": 1, "aud": "shop", "iat": 1}))), TokenError::WrongAudience);
}

#[test]
fn a_replaced_key_file_counts_from_then_on_and_a_broken_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let part = |number: &rsa::BigUint| URL_SAFE_NO_PAD.encode(number.to_bytes_be());
    let jwk = |kid: &str| json!({"kty": "RSA", "kid": kid, "use": "sig", "n": part(RSA.n()), "e": part(RSA.e())});
    std::fs::write(&file, json!({"keys": [jwk("a"), {"kty": "oct", "kid": "x", "k": "c2VjcmV0"}]}).to_string())
        .unwrap();
    let rsa = with_iss("RS256", &format!("jwks_file = \"{}\"", file.display()));
    let by = |kid| signed(Algorithm::RS256, &rsa_signing(), kid, &claims());
    assert!(rsa.verify(&by(Some("a")), now()).unwrap().is_ok());
    assert!(rsa.verify(&by(None), now()).unwrap().is_ok());
    assert_eq!(refused(&rsa, &by(Some("b"))), TokenError::BadSignature);
    assert!(rsa.read_changed_files().is_empty());
    std::fs::write(&file, "{}").unwrap();
    assert!(rsa.read_changed_files().remove(0).is_err());
    assert!(rsa.verify(&by(Some("a")), now()).unwrap().is_ok());
    std::fs::write(&file, json!({"keys": [jwk("b")]}).to_string()).unwrap();
    assert_eq!(rsa.read_changed_files().remove(0).unwrap(), "shop");
    assert!(rsa.verify(&by(Some("b")), now()).unwrap().is_ok());
    assert_eq!(refused(&rsa, &by(Some("a"))), TokenError::BadSignature);
}

#[test]
fn the_default_issuer_has_bare_ids_that_are_no_others() {
    let mut settings = config::Auth { default_issuer: "shop".into(), ..auth() };
    let text = format!(
        "[[issuers]]\nname = \"shop\"\nalgorithm = \"HS256\"\niss = \"https://shop\"\nkey = \"{SECRET}\"\naudience = \"rollcall\""
    );
    settings.issuers = text.parse::<toml::Table>().unwrap().remove("issuers").unwrap().try_into().unwrap();
    let issuers = Issuers::open(&settings, Tz::UTC).unwrap();
    assert_eq!(issuers.verify(&hs256(&claims()), now()).unwrap().unwrap().user.as_str(), "42");
    assert_eq!(refused(&issuers, &hs256(&with("sub", json!("other:42")))), TokenError::Malformed);
    assert_eq!(issuers.user("shop", "7"), Some(UserKey::new("", "7")));
}
