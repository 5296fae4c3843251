//! What happens to the nodes, to Redis, to the database and to the wires between them; all of it heals.

use std::io;
use std::time::Duration;

use rollcall_wire::Proxy;
use rustix::process::Signal;

use super::site::{NODES, Site};
use crate::interrupt;
use crate::truth::random::Random;

/// Longer than `cluster.fence`, within which a node must have read what others took away.
const BEYOND_THE_FENCE: u64 = 12_000;

impl Site {
    /// One of them happens, for a while, and is over; what it was.
    pub(super) fn shake(&mut self, random: &mut Random) -> io::Result<&'static str> {
        let (kind, number, which) = (random.below(20), random.below(NODES as u64) as usize, random.below(2) as usize);
        let time = match random.below(40) {
            0 => BEYOND_THE_FENCE,
            1..=4 => 500 + random.below(3_500),
            _ => 10 + random.below(490),
        };
        let time = Duration::from_millis(time);
        let name = match kind {
            14 => self.on_all_wires(0, time, "all wires to Redis cut")?,
            15 => self.on_all_wires(1, time, "all wires to the database cut")?,
            16 => {
                self.ground.redis.start_again(time)?;
                "Redis killed, with all it held"
            }
            17 => self.database("pause", "resume", time, "database standing still")?,
            18 => self.database("stop", "start", time, "database stopped")?,
            19 => {
                let server = self.server(number).expect("it runs");
                server.process.signal(Signal::STOP)?;
                interrupt::sleep(time)?;
                server.process.signal(Signal::CONT)?;
                "node standing still"
            }
            kind => {
                let wires = self.wires().nth(number).expect("each node has them");
                let what = disturb(&wires[which], kind % 4);
                interrupt::sleep(time)?;
                wires[which].resume();
                what
            }
        };
        // Between two, kicks are kept again.
        interrupt::sleep(Duration::from_millis(100 + random.below(900)))?;
        Ok(name)
    }

    fn on_all_wires(&self, which: usize, time: Duration, name: &'static str) -> io::Result<&'static str> {
        self.wires().for_each(|wires| wires[which].cut());
        interrupt::sleep(time)?;
        self.wires().for_each(|wires| wires[which].resume());
        Ok(name)
    }

    fn database(&mut self, away: &str, back: &str, time: Duration, name: &'static str) -> io::Result<&'static str> {
        self.ground.database.order(away)?;
        interrupt::sleep(time)?;
        self.ground.database.order(back)?;
        Ok(name)
    }
}

fn disturb(wire: &Proxy, kind: u64) -> &'static str {
    match kind {
        0 => {
            wire.cut();
            "wire cut"
        }
        1 => {
            wire.cut_once();
            "wire cut once"
        }
        2 => {
            wire.hold();
            "wire held"
        }
        _ => {
            wire.delay(Duration::from_millis(100));
            "wire slow by 100 ms"
        }
    }
}
