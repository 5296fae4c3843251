//! Rooms: who may join what, and how many.

use serde_json::json;

use crate::harness::TestApp;

#[tokio::test]
async fn a_client_is_in_sixty_four_rooms_at_most() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.user("root", "admin").await, app.user("bob", "member").await);
    let mut socket = bob.connect(&app).await;
    for number in 0..64 {
        assert_eq!(socket.ask("join", json!({"id": format!("room{number}")})).await["code"], 0);
    }
    let refused = socket.ask("join", json!({"id": "room64"})).await;
    assert_eq!(refused["code"], 409, "{refused}");
    assert_eq!(socket.ask("join", json!({"id": "room7"})).await["code"], 0, "it is there already");
    assert_eq!(socket.ask("quit", json!({"id": "room7"})).await["code"], 0);
    assert_eq!(socket.ask("join", json!({"id": "room64"})).await["code"], 0);
    let row = admin.get("/api/v1/online/clients").await.body["list"][0].clone();
    assert_eq!(row["rooms"].as_array().unwrap().len(), 64);
    drop(socket);
    app.shutdown().await;
}

#[tokio::test]
async fn a_room_has_a_sensible_name_and_one_with_a_prefix_is_closed() {
    let app = TestApp::start().await;
    let mut socket = app.user("bob", "member").await.connect(&app).await;
    let long = "x".repeat(10_000);
    for name in ["", " ", " lobby", "a\u{0}b", "a\nb", "\u{7f}", long.as_str()] {
        let refused = socket.ask("join", json!({"id": name})).await;
        assert_eq!(refused["code"], 422, "{name:?}: {refused}");
        assert!(refused["errorMsg"].as_str().unwrap().starts_with("data.id"), "{refused}");
    }
    assert_eq!(socket.ask("join", json!({"id": "private:1"})).await["code"], 403);
    assert_eq!(socket.ask("join", json!({"id": "x".repeat(128)})).await["code"], 0);
    assert_eq!(socket.ask("join", json!({"id": "房间"})).await["code"], 0);
    drop(socket);
    app.shutdown().await;
}
