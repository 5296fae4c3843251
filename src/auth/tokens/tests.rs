use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use jsonwebtoken::{Algorithm, EncodingKey};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::auth::testing::{auth, days, keyring, now};

const SESSION: Uuid = Uuid::from_u128(0x018f_7a3b_0000_7000_8000_0000_0000_0001);
const SECRET: &str = "a signing key of the settings, long enough";

fn user() -> UserKey {
    UserKey::from_wire("42")
}

fn second() -> chrono::Duration {
    chrono::Duration::seconds(1)
}

fn generated(algorithm: config::Algorithm) -> (TempDir, Tokens) {
    let dir = tempfile::tempdir().unwrap();
    let mut auth = auth();
    auth.algorithm = algorithm;
    let tokens = Tokens::new(keyring(dir.path(), &auth), &auth);
    (dir, tokens)
}

/// Tokens whose key the test knows, to sign what the server never would.
fn configured() -> Tokens {
    let mut auth = auth();
    auth.signing_key = config::Secret::new(SECRET);
    Tokens::new(keyring(std::path::Path::new("unused"), &auth), &auth)
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

fn signed(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = unsigned(header, claims);
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A genuine token of `configured()` with some of its claims replaced, or left out where null.
fn forged(tokens: &Tokens, claims: Value) -> String {
    let genuine = tokens.issue(&user(), SESSION, now()).0;
    let mut all = part(&genuine, 1);
    for (name, value) in claims.as_object().unwrap() {
        match value {
            Value::Null => drop(all.as_object_mut().unwrap().remove(name)),
            value => all[name] = value.clone(),
        }
    }
    signed(SECRET.as_bytes(), &part(&genuine, 0), &all)
}

#[test]
fn a_token_says_who_by_which_login_until_when_and_nothing_else() {
    for algorithm in [config::Algorithm::HS256, config::Algorithm::EdDSA] {
        let (_dir, tokens) = generated(algorithm);
        let (token, expires_at) = tokens.issue(&user(), SESSION, now());
        assert_eq!(expires_at, now() + Duration::from_secs(900));
        let claims = tokens.verify(&token, now()).unwrap();
        assert_eq!((claims.user, claims.session, claims.expires_at), (user(), SESSION, expires_at));

        let (header, claims) = (part(&token, 0), part(&token, 1));
        assert_eq!(header["alg"], format!("{algorithm:?}"));
        assert!(header["kid"].is_string());
        let names: Vec<_> = claims.as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "sid", "sub"]);
        assert_eq!((&claims["iss"], &claims["aud"]), (&json!("rollcall"), &json!("rollcall")));
    }
}

#[test]
fn a_token_with_a_life_of_its_own_keeps_it() {
    let (_dir, tokens) = generated(config::Algorithm::HS256);
    let (token, expires_at) = tokens.issue_for(&user(), SESSION, now(), days(5));
    assert_eq!(expires_at, now() + days(5));
    assert!(tokens.verify(&token, now() + days(5) - second()).is_ok());
    let (_, endless) = tokens.issue_for(&user(), SESSION, now(), Duration::MAX);
    assert!(endless > now());
}

#[test]
fn a_token_expires_at_its_second_without_grace() {
    let (_dir, tokens) = generated(config::Algorithm::HS256);
    let (token, expires_at) = tokens.issue(&user(), SESSION, now());
    assert!(tokens.verify(&token, expires_at - chrono::Duration::milliseconds(1)).is_ok());
    assert_eq!(tokens.verify(&token, expires_at), Err(TokenError::Expired));
}

#[test]
fn a_token_survives_the_rotation_of_its_key_but_not_the_overlap() {
    let (_dir, tokens) = generated(config::Algorithm::HS256);
    let issued = now() + days(30);
    let (token, _) = tokens.issue_for(&user(), SESSION, issued, days(30));
    tokens.keyring.rotate_if_due(issued).unwrap();
    assert!(tokens.verify(&token, issued + days(6)).is_ok());
    assert_eq!(tokens.verify(&token, issued + days(7)), Err(TokenError::BadSignature));
    assert_ne!(part(&token, 0)["kid"], part(&tokens.issue(&user(), SESSION, issued).0, 0)["kid"]);
}

#[test]
fn a_token_without_signature_is_refused() {
    let tokens = configured();
    let genuine = tokens.issue(&user(), SESSION, now()).0;
    let (mut header, claims) = (part(&genuine, 0), part(&genuine, 1));
    for none in ["none", "None", "NONE", ""] {
        header["alg"] = json!(none);
        for tail in [".", "", &format!(".{}", genuine.rsplit('.').next().unwrap())] {
            let token = format!("{}{tail}", unsigned(&header, &claims));
            assert_eq!(tokens.verify(&token, now()), Err(TokenError::Malformed), "{none} {tail}");
        }
    }
    let (message, _) = genuine.rsplit_once('.').unwrap();
    assert_eq!(tokens.verify(&format!("{message}."), now()), Err(TokenError::BadSignature));
}

#[test]
fn a_token_of_another_server_is_refused() {
    let ((_a, ours), (_b, theirs)) = (generated(config::Algorithm::HS256), generated(config::Algorithm::HS256));
    let foreign = theirs.issue(&user(), SESSION, now()).0;
    assert_eq!(ours.verify(&foreign, now()), Err(TokenError::BadSignature));
    let mut header = part(&foreign, 0);
    header["kid"] = part(&ours.issue(&user(), SESSION, now()).0, 0)["kid"].clone();
    let renamed = signed(b"their key, with the name of ours put on it", &header, &part(&foreign, 1));
    assert_eq!(ours.verify(&renamed, now()), Err(TokenError::BadSignature));
}

#[test]
fn a_public_key_is_not_taken_for_a_secret() {
    let (_dir, tokens) = generated(config::Algorithm::EdDSA);
    let genuine = tokens.issue(&user(), SESSION, now()).0;
    let mut header = part(&genuine, 0);
    let public = tokens.keyring.signing().decoding.try_get_as_bytes().unwrap().to_vec();
    for algorithm in ["HS256", "HS384", "HS512", "RS256", "ES256", "PS256"] {
        header["alg"] = json!(algorithm);
        let token = signed(&public, &header, &part(&genuine, 1));
        assert_eq!(tokens.verify(&token, now()), Err(TokenError::BadSignature), "{algorithm}");
    }
}

#[test]
fn only_the_algorithm_of_the_key_is_accepted() {
    let tokens = configured();
    let genuine = tokens.issue(&user(), SESSION, now()).0;
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let header = Header { kid: part(&genuine, 0)["kid"].as_str().map(str::to_owned), ..Header::new(algorithm) };
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::encode(&header, &part(&genuine, 1), &key).unwrap();
        assert_eq!(tokens.verify(&token, now()), Err(TokenError::BadSignature), "{algorithm:?}");
    }
}

#[test]
fn keys_and_demands_in_the_header_are_not_followed() {
    let tokens = configured();
    let genuine = tokens.issue(&user(), SESSION, now()).0;
    let claims = part(&genuine, 1);
    let with = |name: &str, value: Value, secret: &[u8]| {
        let mut header = part(&genuine, 0);
        header[name] = value;
        signed(secret, &header, &claims)
    };
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("theirs")});
    for (name, value) in [("jwk", jwk), ("jku", json!("http://127.0.0.1/keys")), ("kid", json!("../../dev/null"))] {
        let token = with(name, value, b"theirs");
        assert_eq!(tokens.verify(&token, now()), Err(TokenError::BadSignature), "{name}");
    }
    let critical = with("crit", json!(["b64"]), SECRET.as_bytes());
    assert_eq!(tokens.verify(&critical, now()), Err(TokenError::Malformed));
    let nameless = {
        let header = json!({"alg": "HS256", "typ": "JWT"});
        signed(SECRET.as_bytes(), &header, &claims)
    };
    assert_eq!(tokens.verify(&nameless, now()), Err(TokenError::BadSignature));
}

#[test]
fn claims_that_do_not_fit_are_refused_by_name() {
    let (tokens, at) = (configured(), now().timestamp());
    for (claims, error) in [
        (json!({"aud": "shop"}), TokenError::WrongAudience),
        (json!({"aud": ["rollcall"]}), TokenError::Malformed),
        (json!({"iss": "shop"}), TokenError::WrongIssuer),
        (json!({"exp": at}), TokenError::Expired),
        (json!({"exp": i64::MAX}), TokenError::Malformed),
        (json!({"exp": "9999999999"}), TokenError::Malformed),
        (json!({"exp": -1}), TokenError::Expired),
        (json!({"iat": at + 61}), TokenError::NotYetValid),
        (json!({"nbf": at + 61}), TokenError::NotYetValid),
        (json!({"sub": ""}), TokenError::Malformed),
        (json!({"sub": 42}), TokenError::Malformed),
        (json!({"sid": "1"}), TokenError::Malformed),
    ] {
        assert_eq!(tokens.verify(&forged(&tokens, claims.clone()), now()), Err(error), "{claims}");
    }
    for name in ["iss", "sub", "aud", "exp", "iat", "jti", "sid"] {
        let token = forged(&tokens, json!({ name: null }));
        assert_eq!(tokens.verify(&token, now()), Err(TokenError::Malformed), "without {name}");
    }
    for fine in [json!({}), json!({"iat": at + 60}), json!({"nbf": at + 60}), json!({"extra": {"a": 1}})] {
        assert!(tokens.verify(&forged(&tokens, fine.clone()), now()).is_ok(), "{fine}");
    }
}

#[test]
fn an_oversized_token_is_not_even_read() {
    let tokens = configured();
    assert!(tokens.verify(&forged(&tokens, json!({"extra": "x".repeat(4_000)})), now()).is_ok());
    let big = forged(&tokens, json!({"extra": "x".repeat(8_000)}));
    assert_eq!(tokens.verify(&big, now()), Err(TokenError::Malformed));
}

#[test]
fn what_is_no_token_is_malformed() {
    let (tokens, deep) = (configured(), URL_SAFE_NO_PAD.encode("[".repeat(5_000)));
    for text in ["", ".", "..", "...", "a.b.c", "null", "Bearer x.y.z", "e30.e30.e30", &format!("{deep}.{deep}.")] {
        assert_eq!(tokens.verify(text, now()), Err(TokenError::Malformed), "{text}");
    }
}

proptest! {
    #[test]
    fn a_changed_token_is_refused(eddsa: bool, position: prop::sample::Index, with in "[A-Za-z0-9._=-]") {
        let algorithm = if eddsa { config::Algorithm::EdDSA } else { config::Algorithm::HS256 };
        let (_dir, tokens) = generated(algorithm);
        let token = tokens.issue(&user(), SESSION, now()).0;
        let position = position.index(token.len());
        let changed = format!("{}{with}{}", &token[..position], &token[position + 1..]);
        prop_assume!(changed != token);
        prop_assert!(tokens.verify(&changed, now()).is_err());
        prop_assert!(tokens.verify(&token[..position], now()).is_err());
    }

    #[test]
    fn nothing_invented_is_accepted(token in ".*") {
        prop_assert!(configured().verify(&token, now()).is_err());
    }
}
