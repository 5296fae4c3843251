//! What `config/deploy` tells people to use: each file is run, or held against what would run it. Compose and Kubernetes are in
//! `frontend/test/deploy.spec.ts`, where their schemas are.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::harness::{Port, TestApp, TestSocket, eventually, http_client, rollcall};

/// Longest wait for everything of a cluster to start, on a machine that does other things.
const START: Duration = Duration::from_secs(180);

fn deployed(name: &str) -> String {
    std::fs::read_to_string(Path::new("config/deploy").join(name)).unwrap()
}

#[tokio::test]
async fn sockets_and_callers_come_through_caddy_as_the_example_has_it() {
    let mut app = TestApp::with(|config| {
        config.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.server.insecure_http = true;
    })
    .await;
    let port = Port::reserve().number;
    let (folder, front) = (tempdir().unwrap(), format!("http://127.0.0.1:{port}"));
    let site = deployed("Caddyfile").replace("n1:8080 n2:8080 n3:8080", &app.address.to_string());
    let site = site.replace("\nops.example.com {", &format!("\n{{\n\tadmin off\n}}\n{front} {{"));
    std::fs::write(folder.path().join("Caddyfile"), site).unwrap();
    let mut caddy = Command::new("caddy");
    caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(folder.path().join("Caddyfile"));
    caddy.env("HOME", folder.path()).stderr(std::fs::File::create(folder.path().join("log")).unwrap());
    let mut caddy = caddy.kill_on_drop(true).spawn().expect("tests/all.sh installs caddy");
    eventually("caddy sends callers on", || async {
        let asked = http_client().get(format!("{front}/health/ready")).send().await;
        asked.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    app.through(&front);
    let bob = app.user("bob", "member").await;
    let bearer = format!("Bearer {}", bob.token);
    let mut socket = TestSocket::open(&app, &[("authorization", &bearer)], "").await.unwrap();
    assert_eq!(socket.ask("ping", json!({})).await["code"], 0);
    drop(socket);
    caddy.kill().await.unwrap();
    app.shutdown().await;
}

#[tokio::test]
async fn systemd_takes_the_unit_and_what_a_node_of_several_adds() {
    let folder = tempdir().unwrap();
    let runs = |text: String| text.replace("/opt/rollcall/rollcall", "/bin/true");
    let unit = folder.path().join("rollcall.service");
    std::fs::write(&unit, runs(std::fs::read_to_string("config/rollcall.service").unwrap())).unwrap();
    std::fs::create_dir(folder.path().join("rollcall.service.d")).unwrap();
    let more = folder.path().join("rollcall.service.d/cluster.conf");
    std::fs::write(&more, runs(deployed("rollcall-cluster.conf"))).unwrap();
    let verify = async || {
        let verify = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output().await;
        verify.ok().map(|said| String::from_utf8_lossy(&said.stderr).into_owned())
    };
    // Not every machine that builds has systemd.
    let Some(said) = verify().await else { return };
    assert_eq!(said, "");
    std::fs::write(&more, "[Service]\nTimeoutStopsSec=3\n").unwrap();
    assert!(verify().await.unwrap().contains("TimeoutStopsSec"), "what is misspelled would be said");
}

#[tokio::test]
async fn the_settings_in_the_manifests_are_settings() {
    let manifests = deployed("kubernetes.yaml");
    let (_, settings) = manifests.split_once("  rollcall.toml: |\n").unwrap();
    let lines = settings.lines().take_while(|line| *line != "---").map(str::trim_start);
    let folder = tempdir().unwrap();
    let file = folder.path().join("rollcall.toml");
    std::fs::write(&file, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let checked = rollcall(folder.path(), &["--config", file.to_str().unwrap(), "config", "check"]).await;
    assert_eq!((checked.code, checked.err.as_str()), (0, ""));
}

/// `make cluster`, without the build.
#[tokio::test]
async fn one_command_starts_three_nodes_behind_nginx_and_leaves_nothing() {
    // As from a terminal: a shell that runs this in the background has taught its children to ignore Ctrl-C.
    let mut script = Command::new("env");
    script.args(["--default-signal=INT,QUIT", "config/deploy/cluster.sh", env!("CARGO_BIN_EXE_rollcall")]);
    script.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    let id = script.id().unwrap();
    let mut said = BufReader::new(script.stdout.take().unwrap()).lines();
    let (mut password, mut url) = (String::new(), String::new());
    while url.is_empty() {
        let line = tokio::time::timeout(START, said.next_line()).await.expect("it starts in time").unwrap();
        let line = line.expect("the script ended; what it says is above");
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["password", file] => password = file.to_owned(),
            [.., "stop", "them", "all"] => {
                url = words.iter().find(|word| word.starts_with("http")).unwrap().to_string()
            }
            _ => {}
        }
    }
    let url = url.trim_end_matches('/');
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let children: Vec<i32> = children.split_whitespace().map(|child| child.parse().unwrap()).collect();
    assert_eq!(children.len(), 6, "Redis, PostgreSQL, three nodes, nginx");

    let folder = Path::new(&password).parent().unwrap().to_owned();
    let login = json!({"username": "admin", "password": std::fs::read_to_string(&password).unwrap().trim()});
    let http = http_client();
    let answer = http.post(format!("{url}/api/v1/auth/login")).json(&login).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let token = answer["accessToken"].as_str().unwrap_or_else(|| panic!("no login: {answer}"));
    let nodes = async || {
        let answer = http.get(format!("{url}/api/v1/nodes")).bearer_auth(token).send().await.unwrap();
        serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap()["list"].as_array().unwrap().clone()
    };
    eventually("three nodes are up", || async {
        let nodes = nodes().await;
        nodes.len() == 3 && nodes.iter().all(|node| node["state"] == "up")
    })
    .await;
    let mut sockets = Vec::new();
    for _ in 0..6 {
        let mut request = format!("{url}/socket").replacen("http", "ws", 1).into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        sockets.push(connect_async(request).await.unwrap().0);
    }
    eventually("each node has two of the sockets", || async { nodes().await.iter().all(|node| node["clients"] == 2) })
        .await;
    drop(sockets);

    kill_process(Pid::from_raw(id.cast_signed()).unwrap(), Signal::INT).unwrap();
    let ended = tokio::time::timeout(START, script.wait()).await.expect("it stops in time").unwrap();
    assert_eq!(ended.code(), Some(130));
    let alive = |child: &&i32| test_kill_process(Pid::from_raw(**child).unwrap()).is_ok();
    assert_eq!(children.iter().filter(alive).count(), 0, "processes were left behind");
    assert!(!folder.exists(), "files were left behind");
}
