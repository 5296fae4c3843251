//! Which room may use which: the picture in `src/lib.rs`, held to. An arrow that is not listed here is a mistake, or a
//! decision to be written down.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Room, and the rooms it may use. What is not listed uses everything: `app`, `cli` and `main` put the house together.
const MAY_USE: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("clock", &[]),
    ("config", &[]),
    ("lifecycle", &[]),
    ("telemetry", &["config"]),
    ("auth", &["clock", "config"]),
    ("cluster", &["clock", "config", "protocol"]),
    ("outgoing", &["config"]),
    ("store", &["auth", "config"]),
    ("realtime", &["auth", "clock", "cluster", "protocol"]),
    ("services", &["auth", "clock", "cluster", "config", "outgoing", "protocol", "realtime", "store"]),
    ("events", &["auth", "protocol", "realtime", "services"]),
    ("jobs", &["config", "services", "store"]),
    ("http", &["auth", "cluster", "config", "events", "jobs", "protocol", "realtime", "services", "store"]),
];

#[test]
fn arrows_point_down() {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (room, allowed) in MAY_USE {
        for used in rooms_used_by(&source, room) {
            if used != *room && !allowed.contains(&used.as_str()) {
                wrong.push(format!("`{room}` may not use `{used}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_ground_and_the_rooms_know_neither_the_web_nor_each_others_libraries() {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    for (room, absent) in [
        ("protocol", &["poem", "tokio", "sea_orm"][..]),
        ("auth", &["poem", "hyper", "sea_orm", "redis"]),
        ("cluster", &["poem", "hyper", "sea_orm"]),
        ("store", &["poem", "hyper", "redis"]),
        ("realtime", &["poem", "hyper", "sea_orm", "redis"]),
        ("services", &["poem", "hyper", "sea_orm", "redis"]),
        ("events", &["poem", "hyper", "sea_orm", "redis"]),
        ("http", &["sea_orm", "redis"]),
    ] {
        for library in absent {
            for (file, text) in files_of(&source, room) {
                assert!(!text.contains(&format!("use {library}::")), "{} uses {library}", file.display());
            }
        }
    }
}

/// poem-openapi's `Json` takes a number for a text; `Body` does not, and lets an endpoint say 404 first.
#[test]
fn the_bodies_of_rest_calls_are_held_against_their_schema() {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    for (file, text) in files_of(&source, "http") {
        assert!(!text.contains(": Json<"), "{} takes a body as Json; take a Body", file.display());
    }
}

fn rooms_used_by(source: &Path, room: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (_, text) in files_of(source, room) {
        // Tests inside a room may build a whole house.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for rest in code.split("crate::").skip(1) {
            let name: String = rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            used.insert(name);
        }
    }
    used
}

fn files_of(source: &Path, room: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![source.join(room)];
    let single = source.join(format!("{room}.rs"));
    if single.exists() {
        files.push(single);
    }
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "there is no room {room}");
    files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}
