//! The rest of the table of failures in `docs/cluster.md`: what is on a disk, full, expired or unreadable.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::KeyPair;
use rollcall::clock::{Clock, SystemClock};
use serde_json::json;

use crate::cluster_failures::{Sitter, kick, login, ready};
use crate::harness::other_system::sign;
use crate::harness::{
    Authority, DatabaseServer, Door, Given, Node, Nodes, PASSWORD, TestSocket, TestUser, believing, eventually,
    http_client_believing,
};

/// The disk of the database: a node writes nothing else once it has started, but its log, which may be lost.
#[tokio::test]
async fn with_the_databases_disk_full_sockets_and_pushes_go_on_and_what_cannot_be_written_answers_503() {
    const MANY: usize = 300;
    let mut database = DatabaseServer::on_a_small_disk().await;
    let nodes = Nodes::given(Given { database: Some(database.empty().await), ..Given::default() }, &[]).await;
    let (admin, ann) = (nodes.user("root", "admin").await, nodes.user("ann", "member").await);
    let (bob, mut anns) = (nodes.user("bob", "member").await, Sitter::on(nodes.iter(), &ann).await);
    database.order("fill").await;
    let (mut logins, mut kicks) = (Vec::new(), Vec::new());
    for number in 0..MANY {
        let node = &nodes[number % nodes.len()];
        logins.push(login(node, "ann").await);
        kicks.push(kick(&admin.at(node), &bob).await.status);
        if [&logins, &kicks].iter().all(|statuses| statuses.last() == Some(&503)) {
            break;
        }
    }
    for statuses in [&logins, &kicks] {
        let written = statuses.iter().take_while(|status| **status == 200).count();
        assert!(statuses.contains(&503) && statuses[written..].iter().all(|status| *status == 503), "{statuses:?}");
    }
    anns.stays().await;
    for node in nodes.iter() {
        assert!(anns.is_pushed(&admin.at(node)).await);
        assert_eq!(ready(node).await, (200, json!("ready")), "sending callers elsewhere would not mend it");
        let listed = admin.at(node).get("/api/v1/online/clients").await;
        assert_eq!((listed.status, &listed.body["totalCount"]), (200, &json!(3)), "{}", listed.text);
        eventually("there is no room for a user", || async {
            let new =
                json!({"username": format!("x{}", rand::random::<u64>()), "password": PASSWORD, "roles": ["member"]});
            let refused = admin.at(node).post("/api/v1/users", new).await;
            (refused.status, refused.body["code"] == "unavailable") == (503, true)
        })
        .await;
    }

    database.order("free").await;
    for node in nodes.iter() {
        eventually("logins are written", || async { login(node, "ann").await == 200 }).await;
    }
    anns.goes_with_a_kick(&admin, nodes.iter()).await;
}

const TLS: &str = "[server.tls]\ncert = \"FOLDER/server.pem\"\nkey = \"FOLDER/server.key\"\n";

/// Gives a node another certificate while it runs.
async fn certify(node: &Node, (cert, key): (String, String)) {
    const READ: &str = "settings, keys and certificates were read again";
    let before = node.log().matches(READ).count();
    std::fs::write(node.path("server.pem"), cert).unwrap();
    std::fs::write(node.path("server.key"), key).unwrap();
    node.hang_up();
    eventually("it has read them", || async { node.log().matches(READ).count() > before }).await;
}

#[tokio::test]
async fn a_node_whose_certificate_has_expired_keeps_its_sockets_and_takes_nobody_new_until_it_has_another() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    let (cert, key) = authority.certificate_until(2100);
    let tls = believing(&authority.certificate());
    let files = vec![("server.pem", cert), ("server.key", key), ("rollcall.toml", TLS.to_owned())];
    let nodes = Nodes::given(Given { files, tls: Some(tls.clone()), database: None }, &[]).await;
    let (admin, ann) = (nodes.user("root", "admin").await, nodes.user("ann", "member").await);
    let (bob, mut anns) = (nodes.user("bob", "member").await, Sitter::on(nodes.iter(), &ann).await);
    let bobs = Sitter::on(nodes.iter(), &bob).await;

    certify(&nodes[1], authority.certificate_until(2020)).await;
    let newcomer = |node: &Node| http_client_believing(&tls).get(node.url("/")).send();
    let refused = newcomer(&nodes[1]).await.expect_err("a browser would not open it");
    assert!(format!("{refused:?}").contains("Expired"), "{refused:?}");
    anns.stays().await;
    for number in [0, 2] {
        let fresh = http_client_believing(&tls);
        let body = json!({"username": "ann", "password": PASSWORD});
        let answer = fresh.post(nodes[number].url("/api/v1/auth/login")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(anns.is_pushed(&admin.at(&nodes[number])).await);
    }
    // Connections that stand are not looked at again.
    bobs.goes_with_a_kick(&admin, nodes.iter()).await;

    certify(&nodes[1], authority.certificate_until(2100)).await;
    newcomer(&nodes[1]).await.unwrap();
    anns.sockets.push(ann.connect(&nodes[1]).await);
    assert!(anns.is_pushed(&admin).await);
    anns.goes_with_a_kick(&admin, nodes.iter()).await;
}

const ISSUER: &str = "[[auth.issuers]]\nname = \"sso\"\nalgorithm = \"ES256\"\niss = \"https://sso\"\naudience = \"rollcall\"\n\
    jwks_file = \"FOLDER/jwks.json\"\n";

/// Keys of another system, called `0`, `1`, …
struct Keys(Vec<KeyPair>);

impl Keys {
    /// What the system publishes of the first so many.
    fn published(&self, many: usize) -> String {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let key = |(kid, key): (usize, &KeyPair)| {
            let (x, y) = key.public_key_raw()[1..].split_at(32);
            json!({"kty": "EC", "crv": "P-256", "kid": kid.to_string(), "alg": "ES256", "use": "sig", "x": part(x), "y": part(y)})
        };
        json!({"keys": self.0.iter().enumerate().take(many).map(key).collect::<Vec<_>>()}).to_string()
    }

    fn login(&self, node: &Node, key: usize, user: &str) -> TestUser {
        let now = SystemClock::new().now().timestamp();
        let claims = json!({"iss": "https://sso", "sub": user, "aud": "rollcall", "iat": now, "exp": now + 3_600});
        let signing = EncodingKey::from_ec_der(&self.0[key].serialize_der());
        let user = format!("sso:{user}");
        let token = sign(Algorithm::ES256, &signing, Some(&key.to_string()), &claims);
        let mut login = TestUser::with_token(node, token);
        login.id = user;
        login
    }
}

/// What a handshake is answered.
async fn handshake(node: &Node, user: &TestUser) -> u16 {
    let opened = TestSocket::dial(node, &[("authorization", &format!("Bearer {}", user.token))], "").await;
    opened.map_or_else(|status| status, |socket| socket.response.status().as_u16())
}

#[tokio::test]
async fn a_node_that_cannot_read_a_jwks_file_goes_on_with_the_keys_it_has_and_says_which_file() {
    let keys = Keys((0..2).map(|_| KeyPair::generate().unwrap()).collect());
    let files = vec![("jwks.json", keys.published(1)), ("rollcall.toml", ISSUER.to_owned())];
    let nodes = Nodes::given(Given { files, ..Given::default() }, &[]).await;
    let admin = nodes.user("root", "admin").await;
    let eve = keys.login(&nodes[0], 0, "eve");
    let mut eves = Sitter::on(nodes.iter(), &eve).await;

    for node in nodes.iter() {
        let (file, broken) = (node.path("jwks.json"), node.name == "n1");
        std::fs::write(&file, if broken { "<html>502</html>".to_owned() } else { keys.published(2) }).unwrap();
    }
    let file = nodes[1].path("jwks.json").display().to_string();
    let told = || nodes[1].log().matches(&format!("{file} is no JWKS file")).count();
    eventually("the log says which file", || async { told() == 1 }).await;
    nodes[1].hang_up();
    eventually("nothing of it is taken over", || async { told() == 2 }).await;
    assert_eq!(ready(&nodes[1]).await, (200, json!("ready")), "nobody else is told");
    for node in nodes.iter() {
        assert_eq!(login(node, "root").await, 200);
        assert_eq!(handshake(node, &keys.login(node, 0, "bob")).await, 101, "{}", node.name);
        let new = keys.login(node, 1, "bob");
        let expected = if node.name == "n1" { 401 } else { 101 };
        eventually("the new key counts where it could be read", || async { handshake(node, &new).await == expected })
            .await;
    }
    eves.stays().await;
    assert!(eves.is_pushed(&admin.at(&nodes[1])).await);

    std::fs::write(nodes[1].path("jwks.json"), keys.published(2)).unwrap();
    let new = keys.login(&nodes[1], 1, "bob");
    eventually("the new key counts here too", || async { handshake(&nodes[1], &new).await == 101 }).await;
    eves.goes_with_a_kick(&admin.at(&nodes[1]), nodes.iter()).await;
}
