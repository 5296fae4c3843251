//! An empty database of its own for each test: in memory, or on the server that `tests/databases.sh` started.

use sea_orm::{ConnectionTrait, Database};
use uuid::Uuid;

/// URL of an administrator of the server that tests shall use; SQLite without it.
pub(crate) fn server() -> Option<String> {
    std::env::var("ROLLCALL_TEST_DATABASE").ok()
}

/// The URL of a new empty database on the server, if there is one.
pub(crate) async fn on_server() -> Option<String> {
    Some(create(&server()?).await)
}

/// The URL of a new empty database on the server of this administrator.
pub(crate) async fn create(administrator: &str) -> String {
    let name = format!("t{}", Uuid::now_v7().simple());
    let connection = Database::connect(administrator).await.expect("the test server answers");
    let (create, url) = if administrator.starts_with("postgres") {
        // A schema is made in a millisecond; a database is a copy of eight megabytes.
        (format!("CREATE SCHEMA {name}"), format!("{administrator}?options[search_path]={name}"))
    } else {
        let (server, _) = administrator.rsplit_once('/').expect("a URL names a database");
        (format!("CREATE DATABASE {name}"), format!("{server}/{name}"))
    };
    connection.execute_unprepared(&create).await.expect("an administrator may create");
    connection.close().await.expect("it was open");
    url
}

/// The URL of a new empty database: on the server, else in memory.
pub(crate) async fn empty() -> String {
    on_server().await.unwrap_or_else(|| "sqlite::memory:".to_owned())
}
