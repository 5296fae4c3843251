//! What others install: the tarball, whose binary needs nothing beside it, and the image that holds the same binary.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::{PASSWORD, Served, http_client};

/// The tarball of the binary under test, unpacked in an empty folder; the folder inside.
async fn unpacked() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let root = env!("CARGO_MANIFEST_DIR");
    let script = format!(
        "{root}/config/dist/pack.sh {} . > made && sha256sum --check --quiet *.sha256 && tar -xzf *.tar.gz \
         && cd rollcall-*/ && sha256sum --check --quiet SHA256SUMS && pwd",
        env!("CARGO_BIN_EXE_rollcall")
    );
    let made = Command::new("bash").args(["-euc", &script]).current_dir(folder.path()).output().await.unwrap();
    let (out, err) = (String::from_utf8(made.stdout).unwrap(), String::from_utf8(made.stderr).unwrap());
    assert!(made.status.success(), "{out}{err}");
    (folder, PathBuf::from(out.trim()))
}

#[tokio::test]
async fn the_tarball_has_all_and_its_binary_starts_in_an_empty_folder_as_the_image_says() {
    let (folder, root) = unpacked().await;
    for file in [
        "README.md",
        "LICENSE",
        "config/rollcall.toml",
        "config/nginx.conf",
        "config/deploy/kubernetes.yaml",
        "docs/install.md",
        "Dockerfile",
    ] {
        assert!(root.join(file).is_file(), "{file}");
    }
    let unit = std::fs::read_to_string(root.join("config/rollcall.service")).unwrap();
    assert!(unit.contains("\nLimitNOFILE=") && unit.contains("kill -HUP"), "{unit}");
    let licences = std::fs::read_to_string(root.join("THIRD-PARTY-LICENCES.txt")).unwrap();
    let (crates, packages) = licences.split_once("Packages in the page\n").unwrap();
    for (of, names) in
        [(crates, &["poem 3", "sea-orm 2", "tokio 1", "ring 0"][..]), (packages, &["vue 3", "naive-ui 2"])]
    {
        for name in names {
            assert!(of.contains(&format!("\n{name}")), "{name}");
        }
        assert!(of.contains("Permission is hereby granted"));
    }
    assert!(
        !crates.contains("\nproptest ") && !packages.contains("\nvite "),
        "what only builds and tests use is in nobody's binary"
    );

    // Nothing beside it, nothing in the environment.
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut command = Command::new(root.join("rollcall"));
    command.arg("serve").env_clear().env("ROLLCALL_ADMIN_PASSWORD", PASSWORD).current_dir(&empty);
    works(command, &empty).await;
    assert!(empty.join("data/rollcall.db").is_file());

    as_the_image_says(folder.path(), &root).await;
}

/// Starts the Dockerfile's command as its user in its environment, with a folder in place of its volume.
async fn as_the_image_says(folder: &Path, root: &Path) {
    let image = instructions(&std::fs::read_to_string(root.join("Dockerfile")).unwrap());
    let words = |name: &str| -> Vec<String> { serde_json::from_str(&image[name]).unwrap() };
    let (user, volume) = (image["USER"].clone(), image["VOLUME"].clone());
    let id: u32 = user.split(':').next().unwrap().parse().expect("a number, which orchestrators can check");
    assert!(id > 0 && volume == "/data", "{user} {volume}");
    assert!(image["HEALTHCHECK"].ends_with(r#"CMD ["/opt/rollcall/rollcall", "health"]"#));
    let data = folder.join("volume");
    std::fs::create_dir(&data).unwrap();
    let root_runs = rustix::process::getuid().is_root();
    let mut command = if root_runs {
        chown(&data, Some(id), Some(id)).unwrap();
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={id}"), &format!("--regid={id}"), "--clear-groups"]);
        command.arg(root.join("rollcall"));
        command
    } else {
        Command::new(root.join("rollcall"))
    };
    assert_eq!(words("ENTRYPOINT"), ["/opt/rollcall/rollcall"]);
    command.args(words("CMD")).env_clear().env("PATH", "/usr/bin:/bin").env("ROLLCALL_ADMIN_PASSWORD", PASSWORD);
    for setting in image["ENV"].split_whitespace() {
        let (name, value) = setting.split_once('=').unwrap();
        command.env(name, value.replace("/data", data.to_str().unwrap()));
    }
    command.current_dir(&data);
    works(command, &data).await;
    assert!(data.join("rollcall.db").is_file() && data.join("signing-keys.json").is_file());
}

/// It serves, somebody logs in, it stops.
async fn works(command: Command, folder: &Path) {
    let server = Served::spawn(command, folder).await;
    let login = json!({"username": "admin", "password": PASSWORD});
    let answer = http_client().post(format!("{}/api/v1/auth/login", server.url)).json(&login).send().await.unwrap();
    let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert!(body["accessToken"].is_string(), "{body}");
    assert_eq!(server.terminate().await, 0);
}

/// What a Dockerfile says last of each kind.
fn instructions(text: &str) -> BTreeMap<String, String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).map(|(name, rest)| (name.into(), rest.trim().into())).collect()
}
