//! The approved documents: what other systems generate their clients from changes only when somebody has looked at it.
//! `make openapi` renews them.

use std::path::PathBuf;

use crate::harness::TestApp;

#[test]
fn the_openapi_document_is_the_approved_one() {
    approved("openapi.json", &rollcall::http::openapi_document("/"));
}

#[tokio::test]
async fn the_asyncapi_document_is_the_approved_one_and_names_every_event() {
    let app = TestApp::start().await;
    let served = app.anonymous("GET", "/api/v1/asyncapi.json", serde_json::Value::Null).await;
    let mut document = served.body;
    // Where it stands differs; `rollcall asyncapi` does not know.
    assert!(document.as_object_mut().unwrap().remove("servers").is_some());
    approved("asyncapi.json", &format!("{}\n", serde_json::to_string_pretty(&document).unwrap()));
    for event in ["ping", "join", "quit", "auth/refresh", "online/subscribe", "online/unsubscribe"] {
        assert!(served.text.contains(&format!("\"const\": \"{event}\"")), "{event}");
    }
    app.shutdown().await;
}

fn approved(name: &str, now: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(before == now, "{name} is not what the server writes; look at the difference, then run `make openapi`");
}
