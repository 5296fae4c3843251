//! The link between nodes, over a real Redis: order, confirmation, and coming back.

use std::time::Duration;

use rollcall::cluster::{Channel, Link, Topic, hash};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::{PATIENCE, Redis, eventually};

/// A node that only has a link; it ends with the test.
struct Node {
    link: Link,
    running: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Node {
    async fn start(redis: &Redis, prepare: impl FnOnce(&Link)) -> Node {
        let link = Link::new(&redis.url(), "t", Uuid::now_v7()).unwrap();
        prepare(&link);
        let running = TaskTracker::new().spawn(link.clone().run());
        let node = Node { link, running };
        node.up(1).await;
        node
    }

    /// Waits until it has come up so often.
    async fn up(&self, times: u64) {
        let mut changes = self.link.changes();
        let up = changes.wait_for(|state| state.up && state.times >= times);
        tokio::time::timeout(PATIENCE, up).await.expect("Redis is found in time").unwrap();
    }
}

#[tokio::test]
async fn messages_arrive_in_the_order_in_which_they_were_published() {
    let redis = Redis::start().await;
    let mut mailbox = None;
    let reader = Node::start(&redis, |link| mailbox = Some(link.mailbox(Topic::Delivery))).await;
    let writer = Node::start(&redis, |_| {}).await;
    let channels = [Channel::User(hash("1")), Channel::Room(hash("1")), Channel::All];
    reader.link.subscribe(channels[..2].to_vec()).await.unwrap();
    let sent: Vec<_> = (0..3_000)
        .map(|number: usize| writer.link.send(channels[number % 3], Topic::Delivery, &number, &[7; 300]))
        .collect();
    for (number, sent) in sent.into_iter().enumerate() {
        assert_eq!(sent.await, Ok(if number % 3 == 2 { 2 } else { 1 }), "receivers of {number}");
    }
    let mailbox = mailbox.as_mut().unwrap();
    for number in 0..3_000 {
        let message = mailbox.next().await.unwrap();
        assert_eq!((reader.link.read(&message), message.rest.len()), (Some(number), 300));
        assert_eq!(message.origin, writer.link.generation());
    }
}

#[tokio::test]
async fn own_messages_are_left_out_unless_they_are_wanted() {
    let redis = Redis::start().await;
    let (mut without, mut with) = (None, None);
    let node = Node::start(&redis, |link| {
        without = Some(link.mailbox(Topic::Presence));
        with = Some(link.mailbox_with_own(Topic::Delivery));
    })
    .await;
    let other = Node::start(&redis, |_| {}).await;
    for topic in [Topic::Presence, Topic::Delivery] {
        node.link.send(Channel::All, topic, &"own", b"").await.unwrap();
        other.link.send(Channel::All, topic, &"other", b"").await.unwrap();
    }
    let (mut without, mut with) = (without.unwrap(), with.unwrap());
    let text = |message| node.link.read::<String>(&message).unwrap();
    assert_eq!(text(without.next().await.unwrap()), "other");
    assert_eq!([text(with.next().await.unwrap()), text(with.next().await.unwrap())], ["own", "other"]);
    assert_eq!(other.link.skipped(), 4, "topics that nobody reads there");
}

#[tokio::test]
async fn a_node_is_connected_only_when_it_hears_everything_it_wants() {
    let mut redis = Redis::start().await;
    let many: Vec<Channel> = (0..5_000).map(Channel::User).collect();
    let wanted = many.clone();
    let reader = Node::start(&redis, |link| link.on_connect(move || wanted.clone())).await;
    let writer = Node::start(&redis, |_| {}).await;
    for times in 2..4 {
        assert_eq!(writer.link.connected().await, Ok(2));
        let message = writer.link.seal(Topic::Delivery, &1, b"");
        assert_eq!(writer.link.publish(&many, &message).await, Ok(vec![1; many.len()]));
        redis.stop().await;
        for node in [&reader, &writer] {
            node.link.changes().wait_for(|state| !state.up).await.unwrap();
        }
        assert!(writer.link.connected().await.is_err() && writer.link.subscribe(vec![Channel::User(1)]).await.is_err());
        redis.start_again().await;
        reader.up(times).await;
        writer.up(times).await;
    }
    reader.link.unsubscribe(many[1..].to_vec()).await.unwrap();
    let message = writer.link.seal(Topic::Delivery, &1, b"");
    assert_eq!(writer.link.publish(&many[..3], &message).await, Ok(vec![1, 0, 0]));
}

#[tokio::test]
async fn a_redis_that_says_nothing_is_away() {
    let redis = Redis::start().await;
    let node = Node::start(&redis, |_| {}).await;
    redis.pause();
    assert!(node.link.send(Channel::All, Topic::Rows, &1, b"").await.is_err());
    node.link.changes().wait_for(|state| !state.up).await.unwrap();
    redis.resume();
    node.up(2).await;
    assert_eq!(node.link.send(Channel::All, Topic::Rows, &1, b"").await, Ok(1));
}

#[tokio::test]
async fn what_is_not_understood_is_skipped_and_counted() {
    let redis = Redis::start().await;
    let mut mailbox = None;
    let node = Node::start(&redis, |link| mailbox = Some(link.mailbox(Topic::Rows))).await;
    for text in ["", "\u{2}later version", "\u{1}\u{9}unknown topic and much more after it"] {
        let _: i64 = redis.ask("PUBLISH", &["t:all", text]).await;
    }
    let other = Node::start(&redis, |_| {}).await;
    other.link.send(Channel::All, Topic::Rows, &"good", b"").await.unwrap();
    let message = mailbox.unwrap().next().await.unwrap();
    assert_eq!(node.link.read::<u8>(&message), None);
    assert_eq!(node.link.skipped(), 4);
}

#[tokio::test]
async fn keys_are_claimed_counted_and_taken_once() {
    let redis = Redis::start().await;
    let Node { link, .. } = &Node::start(&redis, |_| {}).await;
    let long = Duration::from_secs(60);
    assert_eq!(link.claim("node:a", "me", long).await, Ok(None));
    assert_eq!(link.claim("node:a", "you", long).await, Ok(Some("me".to_owned())));
    assert_eq!(link.claim("node:a", "me", Duration::from_millis(20)).await, Ok(None));
    eventually("a claim ends", || async { link.claim("node:a", "you", long).await == Ok(None) }).await;
    assert_eq!((link.add("n", 2, long).await, link.add("n", 3, long).await), (Ok(2), Ok(5)));
    assert!((50_000..=60_000).contains(&redis.ask::<i64>("PTTL", &["t:n"]).await));
    link.put("ticket", b"x", long).await.unwrap();
    assert_eq!(link.get("ticket").await, Ok(Some(b"x".to_vec())));
    assert_eq!(link.take_key("ticket").await, Ok(Some(b"x".to_vec())));
    assert_eq!(link.take_key("ticket").await, Ok(None));
    redis.flush().await;
    assert_eq!((link.get("n").await, link.claim("node:a", "me", long).await), (Ok(None), Ok(None)));
    link.remove("node:a").await.unwrap();
    assert_eq!(link.get("node:a").await, Ok(None));
}
