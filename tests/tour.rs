//! The tour of the README, run as it stands against the real binary.

use tokio::process::Command;

use crate::harness::{PASSWORD, Served};

#[tokio::test]
async fn the_readmes_tour_works_as_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let server = Served::start(folder.path()).await;
    let readme = include_str!("../README.md");
    let tour = readme.split_once("<!-- tour").unwrap().1.split_once("<!-- end of the tour").unwrap().0;
    let script: String = tour.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0).collect();
    // Two tours at once must not read each other's log.
    let script = script.replace("/tmp/", &format!("{}/", folder.path().display()));
    let tour = Command::new("bash")
        .args(["-eu", "-c", &script])
        .envs([("URL", server.url.as_str()), ("PASSWORD", PASSWORD)])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(180), tour).await.unwrap().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complained}");
    for expected in
        [r#""username":"bob""#, r#""delivered":1"#, r#"{"event":"order/paid","data":{"order":7}"#, "closed 4410"]
    {
        assert!(said.contains(expected), "{expected} is missing in\n{said}\n{complained}");
    }
    assert!(said.contains("The shop closes for tonight."), "{said}");
    assert_eq!(server.terminate().await, 0);
}
