//! A node dies without a word: when the others know, and when its clients are back.

use std::io;
use std::thread;
use std::time::Instant;

use super::fleet::Fleet;
use crate::hold::Hand;
use crate::nodes::when;
use crate::server::Server;

/// What was seen.
pub(super) struct Death {
    /// Seconds until each other node's list was right: nobody of the dead node in it, and all nodes answered.
    pub(super) right: Vec<f64>,
    /// Until all clients were back, and until each node said how many that are, with no node missing.
    pub(super) back: f64,
    pub(super) counted: f64,
    /// Clients that came back, and attempts that were refused.
    pub(super) came: usize,
    pub(super) refused: usize,
}

impl Fleet {
    /// Kills the last node, of this name. Its clients go to the others at once, as fast as these take them.
    pub(super) fn kill(&mut self, name: &str) -> io::Result<Death> {
        let (all, dead) = (self.all(), self.nodes.pop().expect("there are several"));
        let mut hand = self.hands.pop().expect("each has one");
        let begun = Instant::now();
        drop(dead);
        let (nodes, admin) = (&self.nodes, self.admin.as_str());
        let death = thread::scope(|scope| {
            let coming = scope.spawn(|| come_back(&mut hand, nodes, begun));
            let path = format!("/online/clients?node={name}&pageSize=1");
            let knows = |node: &Server| {
                let list = node.call("GET", &path, admin, None);
                list["totalCount"] == 0 && list["complete"] == true
            };
            let right = when(nodes, &knows, begun)?;
            let (came, refused, back) = coming.join().map_err(|_| io::Error::other("a thread died"))??;
            let counts = |node: &Server| {
                let counts = node.call("GET", "/online/counts", admin, None);
                counts["clients"] == all && counts["complete"] == true
            };
            let counted = when(nodes, &counts, begun)?.into_iter().fold(0.0, f64::max);
            io::Result::Ok(Death { right, back, counted, came, refused })
        })?;
        self.hands.push(hand);
        Ok(death)
    }
}

/// (Those who came back, refused attempts, seconds until the last was back.)
fn come_back(hand: &mut Hand, nodes: &[Server], begun: Instant) -> io::Result<(usize, usize, f64)> {
    let addresses: Vec<String> = nodes.iter().map(|node| node.address.to_string()).collect();
    let answer = hand.ask(&format!("back {}", addresses.join(" ")))?;
    Ok((answer[0] as usize, answer[1] as usize, begun.elapsed().as_secs_f64()))
}
