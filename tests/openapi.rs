//! The approved documents: what other systems generate their clients from changes only when somebody has looked at it.
//! `make openapi` renews them.

use std::path::PathBuf;

#[test]
fn the_openapi_document_is_the_approved_one() {
    approved("openapi.json", &rollcall::http::openapi_document());
}

fn approved(name: &str, now: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(before == now, "{name} is not what the server writes; look at the difference, then run `make openapi`");
}
