use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::auth::testing::{auth, days, now};
use crate::config::Secret;

/// From `openssl genpkey -algorithm ed25519`; used nowhere else.
const PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIKBozGeKzruLSzpGiGEvofn3b993x94w6GXAYJoWH0A3
-----END PRIVATE KEY-----
";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn kid(keyring: &Keyring) -> String {
    keyring.signing().kid.clone()
}

#[test]
fn the_first_start_makes_a_key_only_we_can_read_and_the_second_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("new/data");
    let first = Keyring::open(&data, &auth(), now()).unwrap();
    let file = data.join("signing-keys.json");
    assert_eq!((mode(&data), mode(&file)), (0o700, 0o600));
    let text = fs::read_to_string(&file).unwrap();
    let second = Keyring::open(&data, &auth(), now()).unwrap();
    assert_eq!((kid(&first), first.refresh_secrets()), (kid(&second), second.refresh_secrets()));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let names: Vec<_> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn processes_that_start_at_once_agree_on_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let kids: Vec<String> = std::thread::scope(|scope| {
        let open = || kid(&Keyring::open(dir.path(), &auth(), now()).unwrap());
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(kids.iter().all(|kid| *kid == kids[0]), "{kids:?}");
}

#[test]
fn a_file_that_others_can_read_is_refused_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    Keyring::open(dir.path(), &auth(), now()).unwrap();
    let file = dir.path().join("signing-keys.json");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Keyring::open(dir.path(), &auth(), now()).unwrap_err().to_string();
    assert!(error.contains(&format!("chmod 600 {}", file.display())) && error.contains("644"), "{error}");
}

#[test]
fn a_damaged_file_is_named_and_neither_replaced_nor_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("signing-keys.json");
    for damaged in ["", "{", r#"{"refreshSecret":"hush","keys":[]}"#, r#"{"refreshSecret":12345,"keys":[]}"#] {
        fs::write(&file, damaged).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let error = Keyring::open(dir.path(), &auth(), now()).unwrap_err().to_string();
        assert!(error.contains("signing-keys.json") && error.contains("damaged"), "{error}");
        assert!(!error.contains("hush") && !error.contains("12345"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), damaged);
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let blocked = dir.path().join("file");
    fs::write(&blocked, "").unwrap();
    let error = Keyring::open(&blocked, &auth(), now()).unwrap_err().to_string();
    assert!(error.contains("file/signing-keys.json") && error.contains("data.dir"), "{error}");
}

#[test]
fn an_old_key_is_replaced_and_verifies_until_the_overlap_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(dir.path(), &auth(), now()).unwrap();
    let (first, refresh) = (kid(&keyring), keyring.refresh_secrets());
    assert!(!keyring.rotate_if_due(now() + days(29)).unwrap());
    assert!(keyring.rotate_if_due(now() + days(30)).unwrap());
    assert!(!keyring.rotate_if_due(now() + days(30)).unwrap());
    let second = kid(&keyring);
    assert_ne!(first, second);
    assert!(keyring.verifying(&first, now() + days(36)).is_some());
    assert!(keyring.verifying(&first, now() + days(37)).is_none());
    assert!(keyring.verifying(&second, now() + days(37)).is_some());
    assert_eq!(keyring.refresh_secrets(), refresh, "nobody has to log in again");

    assert!(keyring.rotate_if_due(now() + days(37)).unwrap(), "the first one is forgotten");
    let file = fs::read_to_string(dir.path().join("signing-keys.json")).unwrap();
    assert!(!file.contains(&first) && file.contains(&second));
    assert_eq!(mode(&dir.path().join("signing-keys.json")), 0o600);
}

#[test]
fn a_rotation_of_zero_keeps_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut auth = auth();
    auth.key_rotation = Duration::ZERO;
    let keyring = Keyring::open(dir.path(), &auth, now()).unwrap();
    assert!(!keyring.rotate_if_due(now() + days(10_000)).unwrap());
}

#[test]
fn a_wall_clock_that_went_back_replaces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(dir.path(), &auth(), now()).unwrap();
    let first = kid(&keyring);
    assert!(!keyring.rotate_if_due(now() - days(1_000)).unwrap());
    keyring.rotate_if_due(now() + days(30)).unwrap();
    assert!(keyring.verifying(&first, now()).is_some());
}

#[test]
fn a_changed_algorithm_signs_with_a_new_key_and_a_running_server_learns_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = Keyring::open(dir.path(), &auth(), now()).unwrap();
    assert!(!running.reload().unwrap());
    let mut changed = auth();
    changed.algorithm = config::Algorithm::EdDSA;
    let keyring = Keyring::open(dir.path(), &changed, now()).unwrap();
    assert_eq!(keyring.signing().algorithm, Algorithm::EdDSA);
    assert!(keyring.verifying(&kid(&running), now() + days(6)).is_some());
    assert!(running.verifying(&kid(&keyring), now()).is_none());
    assert!(running.reload().unwrap());
    assert!(running.verifying(&kid(&keyring), now()).is_some());
}

#[test]
fn a_file_removed_under_a_running_server_is_reported_and_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(dir.path(), &auth(), now()).unwrap();
    fs::remove_file(dir.path().join("signing-keys.json")).unwrap();
    assert!(matches!(keyring.rotate_if_due(now()), Err(KeyError::Gone { .. })));
    assert!(matches!(keyring.reload(), Err(KeyError::Gone { .. })));
    assert!(keyring.verifying(&kid(&keyring), now()).is_some());
}

#[test]
fn a_configured_key_has_the_same_name_everywhere_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let (mut secret, mut pem) = (auth(), auth());
    secret.signing_key = Secret::new("s".repeat(32));
    pem.signing_key = Secret::new(PEM);
    pem.algorithm = config::Algorithm::EdDSA;
    pem.previous_signing_key = secret.signing_key.clone();
    let [one, two] = [(); 2].map(|()| Keyring::open(dir.path(), &secret, now()).unwrap());
    let three = Keyring::open(dir.path(), &pem, now()).unwrap();
    assert_eq!(kid(&one), kid(&two));
    assert!(three.verifying(&kid(&one), now() + days(1_000)).is_some(), "the previous one still verifies");
    assert!(!one.rotate_if_due(now() + days(1_000)).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_configured_key_that_does_not_fit_is_refused_by_the_name_of_its_setting() {
    let dir = tempfile::tempdir().unwrap();
    let (hs, ed) = (config::Algorithm::HS256, config::Algorithm::EdDSA);
    let long = "s".repeat(32);
    for (algorithm, key, previous, says) in [
        (hs, &*"s".repeat(31), "", "auth.signing_key has fewer than 32 characters"),
        (ed, &long, "", "auth.signing_key is no PEM"),
        (hs, PEM, "", "auth.signing_key is a PEM"),
        (ed, "-----BEGIN RSA PRIVATE KEY-----", "", "auth.signing_key is no Ed25519 private key"),
        (hs, &long, "short", "auth.previous_signing_key has fewer than 32 characters"),
    ] {
        let mut auth = auth();
        (auth.algorithm, auth.signing_key, auth.previous_signing_key) =
            (algorithm, Secret::new(key), Secret::new(previous));
        let error = Keyring::open(dir.path(), &auth, now()).unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
        assert!(!error.contains("sss"), "{error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(dir.path(), &auth(), now()).unwrap();
    let shown = format!("{keyring:?}");
    assert_eq!(shown, format!("Keyring {{ signing: {0:?}, verifying: [{0:?}], .. }}", kid(&keyring)));
}
