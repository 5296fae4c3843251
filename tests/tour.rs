//! The tour of the README, run as it stands against the real binary.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::harness::PASSWORD;

#[tokio::test]
async fn the_readmes_tour_works_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, url) = serve(folder.path()).await;
    let readme = include_str!("../README.md");
    let tour = readme.split_once("<!-- tour").unwrap().1.split_once("<!-- end of the tour").unwrap().0;
    let script: String = tour.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect();
    // Two tours at once must not read each other's log.
    let script = script.replace("/tmp/", &format!("{}/", folder.path().display()));
    let tour = Command::new("bash")
        .args(["-eu", "-c", &script])
        .envs([("URL", url.as_str()), ("PASSWORD", PASSWORD)])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(60), tour).await.unwrap().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    for expected in
        [r#""username":"bob""#, r#""delivered":1"#, r#"{"event":"order/paid","data":{"order":7}"#, "closed 4410"]
    {
        assert!(said.contains(expected), "{expected} is missing in\n{said}\n{complained}");
    }
    assert!(said.contains("The shop closes for tonight."), "{said}");
    server.kill().await.unwrap();
}

/// The binary on a free port; its address.
async fn serve(folder: &std::path::Path) -> (Child, String) {
    let mut server = Command::new(env!("CARGO_BIN_EXE_rollcall"))
        .arg("serve")
        .env("ROLLCALL__SERVER__LISTEN", "127.0.0.1:0")
        .env("ROLLCALL__DATA__DIR", folder)
        .env("ROLLCALL__DATABASE__URL", format!("sqlite://{}/rollcall.db", folder.display()))
        .env("ROLLCALL_ADMIN_PASSWORD", PASSWORD)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("the server prints its address");
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    (server, url)
}
