//! Three processes under churn, while they, Redis and the wires between them die, stand still and come back: in the end each node's
//! list, counts and page are as it is, and nobody gets in who was shown the door.

use serde_json::{Value, json};

use crate::harness::{Crowd, Nodes, TestUser, eventually};

async fn crowded(nodes: &Nodes) -> (TestUser, Crowd) {
    let (admin, mut users) = (nodes.user("root", "admin").await, Vec::new());
    for number in 0..8 {
        users.push(nodes.user(&format!("user{number}"), "member").await);
    }
    let crowd = Crowd::gather(nodes, &admin, &users).await;
    (admin, crowd)
}

#[tokio::test]
async fn the_clients_of_a_killed_node_are_lost_once_and_come_back_also_to_its_successor() {
    let mut nodes = Nodes::start().await;
    let (_, crowd) = crowded(&nodes).await;
    for victim in [2, 0] {
        crowd.churn(60).await;
        let lost = crowd.known_on(victim);
        nodes.kill(victim).await;
        crowd.doors(&nodes);
        crowd.were_lost(victim, &lost).await;
        assert!(!lost.is_empty(), "there was somebody");
        crowd.agree(&nodes).await;
        nodes.start_again(victim).await;
        crowd.doors(&nodes);
        crowd.churn(60).await;
        eventually("it takes clients", || async { crowd.open().values().any(|here| here.node == victim) }).await;
        crowd.agree(&nodes).await;
    }
}

#[tokio::test]
async fn a_node_that_stood_still_finds_out_and_nobody_stays_wrong() {
    let nodes = Nodes::start().await;
    let (_, crowd) = crowded(&nodes).await;
    crowd.churn(60).await;
    let lost = crowd.known_on(1);
    nodes.pause(1);
    crowd.churn(60).await;
    crowd.were_lost(1, &lost).await;
    crowd.calm().await;
    crowd.agree_on(&nodes, &[0, 2]).await;
    nodes.resume(1);
    crowd.agree(&nodes).await;
    crowd.churn(60).await;
    crowd.agree(&nodes).await;
}

#[tokio::test]
async fn a_second_process_with_the_name_of_a_node_does_not_start_and_says_why() {
    let mut nodes = Nodes::start().await;
    let (_, crowd) = crowded(&nodes).await;
    crowd.agree(&nodes).await;
    let told = nodes.refusal(1).await;
    let sentence = "Another node calls itself \"n1\" and is alive; set cluster.node to a name of this node's own.";
    assert!(told.contains(sentence), "{told}");
    crowd.agree(&nodes).await;
    nodes.pause(1);
    let mut before = nodes.replace(1).await;
    crowd.doors(&nodes);
    before.resume();
    assert_eq!(before.ended().await, 0, "it hears of its successor and stops");
    crowd.churn(30).await;
    crowd.agree(&nodes).await;
}

/// What a node says of itself.
async fn health(node: &TestUser) -> Value {
    node.get("/health/ready").await.body["status"].clone()
}
