//! Nobody gains a right: whatever calls users make, in whatever order, what anybody may do grows only by what the caller may do.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{PASSWORD, TestApp, TestUser};

/// Words that roles of the model are made of: those that open a way to give rights, and some that do not.
const WORDS: [&str; 6] = ["user:read", "user:write", "role:write", "key:write", "session:write", "push:send"];
const ROLES: [&str; 3] = ["first", "second", "third"];
/// Random users beside the administrator.
const USERS: usize = 3;

/// A call by one of them, aimed at one of them, or at a role.
#[derive(Clone, Debug)]
enum Call {
    SetRoles {
        at: usize,
        roles: Vec<usize>,
    },
    CreateUser {
        roles: Vec<usize>,
    },
    Import {
        roles: Vec<usize>,
    },
    ChangeRole {
        role: usize,
        words: Vec<usize>,
    },
    CreateRole {
        words: Vec<usize>,
    },
    CreateKey {
        words: Vec<usize>,
    },
    ResetPassword {
        at: usize,
    },
    /// With a key that was made: the call of somebody who is no user.
    KeyChangesRole {
        role: usize,
        words: Vec<usize>,
    },
    KeySetsRoles {
        at: usize,
        roles: Vec<usize>,
    },
}

fn calls() -> impl Strategy<Value = Vec<(usize, Call)>> {
    // One role beyond those of the model is `admin`.
    let roles = || prop::collection::vec(0..=ROLES.len(), 0..3);
    let words = || prop::collection::vec(0..WORDS.len(), 0..4);
    // One user beyond them is the administrator.
    let at = || 0..=USERS;
    let call = prop_oneof![
        (at(), roles()).prop_map(|(at, roles)| Call::SetRoles { at, roles }),
        roles().prop_map(|roles| Call::CreateUser { roles }),
        roles().prop_map(|roles| Call::Import { roles }),
        (0..=ROLES.len(), words()).prop_map(|(role, words)| Call::ChangeRole { role, words }),
        words().prop_map(|words| Call::CreateRole { words }),
        words().prop_map(|words| Call::CreateKey { words }),
        at().prop_map(|at| Call::ResetPassword { at }),
        (0..ROLES.len(), words()).prop_map(|(role, words)| Call::KeyChangesRole { role, words }),
        (at(), roles()).prop_map(|(at, roles)| Call::KeySetsRoles { at, roles }),
    ];
    prop::collection::vec((0..USERS, call), 1..16)
}

type Rights = BTreeMap<String, BTreeSet<String>>;

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// What every user and every key may do, as the administrator sees it.
async fn rights(admin: &TestUser) -> Rights {
    let roles = admin.get("/api/v1/roles").await.body;
    let allowed: BTreeMap<String, Vec<String>> = roles["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| (role["name"].as_str().unwrap().to_owned(), texts(&role["permissions"])))
        .collect();
    let users = admin.get("/api/v1/users?pageSize=500").await.body;
    let mut rights = Rights::new();
    for user in users["list"].as_array().unwrap() {
        let mut may: BTreeSet<String> = texts(&user["roles"]).iter().flat_map(|role| allowed[role].clone()).collect();
        if texts(&user["roles"]).contains(&"admin".to_owned()) {
            may.insert("admin".to_owned());
        }
        rights.insert(user["id"].as_str().unwrap().to_owned(), may);
    }
    for key in admin.get("/api/v1/api-keys?pageSize=500").await.body["list"].as_array().unwrap() {
        rights.insert(format!("key:{}", key["id"].as_str().unwrap()), texts(&key["scopes"]).into_iter().collect());
    }
    rights
}

/// A whole server with random roles and users; the calls, one after the other, each held against what it changed.
struct Model {
    app: TestApp,
    admin: TestUser,
    users: Vec<TestUser>,
    /// The last key that was made.
    key: Option<TestUser>,
    made: usize,
}

impl Model {
    async fn new(roles: &[Vec<usize>], users: &[Vec<usize>]) -> Model {
        let app = TestApp::start().await;
        let admin = app.user("root", "admin").await;
        for (name, words) in ROLES.iter().zip(roles) {
            let made = admin.post("/api/v1/roles", json!({"name": name, "permissions": named(words)})).await;
            assert_eq!(made.status, 201, "{}", made.text);
        }
        let mut model = Model { app, admin, users: Vec::new(), key: None, made: 0 };
        for (number, roles) in users.iter().enumerate() {
            let user = model.app.user(&format!("user{number}"), "member").await;
            let path = format!("/api/v1/users/{}", user.id);
            assert_eq!(model.admin.patch(&path, json!({"roles": role_names(roles)})).await.status, 200);
            model.users.push(user);
        }
        model
    }

    fn id(&self, user: usize) -> &str {
        self.users.get(user).map_or(&self.admin.id, |user| &user.id)
    }

    /// Who calls as what is answered; none where there is nobody to call.
    async fn make(&mut self, by: usize, call: &Call) -> Option<(String, u16)> {
        let caller = match call {
            Call::KeyChangesRole { .. } | Call::KeySetsRoles { .. } => self.key.clone()?,
            _ => self.users[by].clone(),
        };
        self.made += 1;
        let path = |at: &usize| format!("/api/v1/users/{}", self.id(*at));
        let answer = match call {
            Call::SetRoles { at, roles } | Call::KeySetsRoles { at, roles } => {
                caller.patch(&path(at), json!({"roles": role_names(roles)})).await
            }
            Call::CreateUser { roles } => {
                let name = format!("made{}", self.made);
                let new = json!({"username": name, "password": PASSWORD, "roles": role_names(roles)});
                caller.post("/api/v1/users", new).await
            }
            Call::Import { roles } => {
                let text =
                    format!("username,roles,password\nmade{},{},{PASSWORD}\n", self.made, role_names(roles).join(";"));
                let request = self.app.http.post(self.app.url("/api/v1/users/import")).bearer_auth(&caller.token);
                let answer = request.header("content-type", "text/csv").body(text).send().await.unwrap();
                return Some((caller.id, answer.status().as_u16()));
            }
            Call::ChangeRole { role, words } | Call::KeyChangesRole { role, words } => {
                let name = ROLES.get(*role).unwrap_or(&"admin");
                caller.patch(&format!("/api/v1/roles/{name}"), json!({"permissions": named(words)})).await
            }
            Call::CreateRole { words } => {
                let new = json!({"name": format!("made{}", self.made), "permissions": named(words)});
                caller.post("/api/v1/roles", new).await
            }
            Call::CreateKey { words } => {
                let new = json!({"name": "made", "scopes": named(words)});
                let answer = caller.post("/api/v1/api-keys", new).await;
                if answer.status == 201 {
                    let text = |name: &str| answer.body[name].as_str().unwrap().to_owned();
                    let id = format!("key:{}", text("id"));
                    let mut key = self.admin.clone();
                    (key.id, key.token) = (id, text("key"));
                    self.key = Some(key);
                }
                answer
            }
            Call::ResetPassword { at } => {
                caller
                    .post(&format!("{}/password", path(at)), json!({"password": PASSWORD, "mustChangePassword": false}))
                    .await
            }
        };
        Some((caller.id, answer.status))
    }

    async fn hold(&mut self, by: usize, call: &Call) {
        let before = rights(&self.admin).await;
        let Some((caller, status)) = self.make(by, call).await else { return };
        let may = before[&caller].clone();
        for (who, after) in rights(&self.admin).await {
            let had = before.get(&who).cloned().unwrap_or_default();
            let beyond: Vec<_> = after.difference(&had).filter(|word| !may.contains(*word)).collect();
            assert!(beyond.is_empty(), "{call:?} by {caller} gave {who} {beyond:?}");
        }
        if let Call::ResetPassword { at } = call
            && status == 200
        {
            let taken = &before[self.id(*at)];
            assert!(taken.is_subset(&may), "{caller} has the password of somebody who may more: {taken:?}");
            let name = format!("user{at}");
            self.users[*at] = self.app.login(&name).await;
        }
    }
}

fn named(words: &[usize]) -> Vec<&'static str> {
    words.iter().map(|word| WORDS[*word]).collect()
}

fn role_names(roles: &[usize]) -> Vec<&'static str> {
    roles.iter().map(|role| *ROLES.get(*role).unwrap_or(&"admin")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn nobody_gains_a_right_by_any_sequence_of_calls(
        roles in prop::collection::vec(prop::collection::vec(0..WORDS.len(), 1..5), ROLES.len()),
        users in prop::collection::vec(prop::collection::vec(0..ROLES.len(), 1..3), USERS),
        calls in calls(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new(&roles, &users).await;
            for (by, call) in &calls {
                model.hold(*by, call).await;
            }
            model.app.shutdown().await;
        });
    }
}
