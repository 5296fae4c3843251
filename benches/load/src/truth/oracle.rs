//! The comparison: what the server lists against what the program holds, when nothing moves for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::churn::Churn;
use super::doors::Doors;
use super::live::ids;
use super::vanish::VANISHING;
use crate::server::text;

/// Longest wait until both agree: the goodbyes, the grace of those who were lost, and a slow machine. What differs then is wrong.
const PATIENCE: Duration = Duration::from_secs(30);

/// What differed at quiet points.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) quiet_points: usize,
    /// Listed and not held.
    pub(crate) ghosts: usize,
    /// Held and not listed.
    pub(crate) missing: usize,
    /// Rows with other rooms than the client was told.
    pub(crate) rooms: usize,
    /// Between `/counts` and what is held.
    pub(crate) counts: usize,
    /// Between the list that differences made and the list itself.
    pub(crate) live: usize,
    /// Differences whose predecessor was missing.
    pub(crate) gaps: usize,
    /// The longest it took until all agreed.
    pub(crate) agreed_after: Duration,
    /// Sockets compared at the largest quiet point.
    pub(crate) most: usize,
    /// Whether a page begins anew when a difference is missing or its node is gone, as it must where there are several nodes.
    pub(crate) begins_anew: bool,
}

impl Findings {
    fn is_true(&self) -> bool {
        self.ghosts + self.missing + self.rooms + self.counts + self.live == 0
    }

    /// Waits for a quiet point, compares, and adds what is wrong.
    pub(crate) fn compare(&mut self, churn: &mut Churn<'_>, doors: &Doors, admin: &str) -> io::Result<()> {
        let begun = Instant::now();
        // Who does not read cannot know that it was closed.
        churn.crowd.undeafen();
        let found = loop {
            churn.hear()?;
            if self.begins_anew && (churn.crowd.watched_at().is_none() || churn.crowd.live.gaps > 0) {
                churn.watch()?;
            }
            let (moved, late) = (churn.crowd.poll(Duration::from_millis(20))?, begun.elapsed() > PATIENCE);
            if !late && (moved > 0 || churn.calls.waiting > 0 || churn.crowd.is_busy()) {
                continue;
            }
            let found = doors
                .all()
                .into_iter()
                .map(|door| once(churn, doors, door, admin))
                .fold(Findings::default(), Findings::and);
            if late || found.is_true() {
                break found;
            }
        };
        if !found.is_true() {
            eprintln!(
                "not true after {:?}: {} ghosts, {} missing, {} rooms, {} counts, {} live",
                begun.elapsed(),
                found.ghosts,
                found.missing,
                found.rooms,
                found.counts,
                found.live
            );
        }
        if found.live > 0 {
            say_what_differs(churn, doors, admin);
        }
        if found.ghosts > 0 {
            let (waiting, late) = (churn.calls.waiting, churn.crowd.people.values().filter(|person| person.leaving));
            eprintln!("{waiting} calls wait; {} were to leave; refused calls: {:?}", late.count(), churn.failed);
        }
        *self = Findings { quiet_points: self.quiet_points + 1, ..std::mem::take(self).and(found) };
        self.gaps = churn.crowd.live.gaps;
        self.agreed_after = self.agreed_after.max(begun.elapsed());
        Ok(())
    }

    /// What differed here or there.
    fn and(self, other: Findings) -> Findings {
        Findings {
            ghosts: self.ghosts + other.ghosts,
            missing: self.missing + other.missing,
            rooms: self.rooms + other.rooms,
            counts: self.counts + other.counts,
            live: self.live + other.live,
            most: self.most.max(other.most),
            ..self
        }
    }
}

/// Which rows differences told and the list does not have, and the other way round.
fn say_what_differs(churn: &Churn<'_>, doors: &Doors, admin: &str) {
    let Some(door) = churn.crowd.watched_at() else { return };
    let (list, live) = (doors.get(door, "/online/clients?all=true", admin), &churn.crowd.live);
    let listed = ids(&list["list"]);
    let told: Vec<_> = live.ids.difference(&listed).collect();
    let missed: Vec<_> = listed.difference(&live.ids).collect();
    let (rev, complete) = (&list["rev"], &list["complete"]);
    eprintln!("revision {} of {rev}, complete: {complete}; only told: {told:?}; only listed: {missed:?}", live.rev);
}

fn once(churn: &Churn<'_>, doors: &Doors, door: SocketAddr, admin: &str) -> Findings {
    let list = doors.get(door, "/online/clients?all=true", admin);
    let counts = doors.get(door, "/online/counts", admin);
    // Those whose network is taken away are somebody else's question.
    let rows = list["list"].as_array().into_iter().flatten();
    let (vanishing, rows): (Vec<&Value>, Vec<&Value>) = rows.partition(|row| row["username"] == VANISHING);
    let listed: BTreeMap<String, &Value> = rows.into_iter().map(|row| (text(&row["id"]), row)).collect();
    let held: BTreeMap<&str, &BTreeSet<String>> = churn
        .crowd
        .people
        .values()
        .filter(|person| person.is_held())
        .map(|person| (person.id.as_str(), &person.rooms))
        .collect();
    let told = |row: &Value| row["rooms"].as_array().into_iter().flatten().map(text).collect::<BTreeSet<_>>();
    let wrong_rooms = |(id, row): &(&String, &&Value)| held.get(id.as_str()).is_some_and(|rooms| told(row) != **rooms);
    let counted = counts["clients"].as_u64().unwrap_or(u64::MAX);
    let live = if churn.crowd.watched_at() != Some(door) {
        // Each node counts its own revisions.
        0
    } else if churn.crowd.live.rev < list["rev"].as_u64().unwrap_or_default() {
        // Its difference is on its way.
        1
    } else {
        churn.crowd.live.ids.symmetric_difference(&ids(&list["list"])).count()
    };
    Findings {
        ghosts: listed.keys().filter(|id| !held.contains_key(id.as_str())).count(),
        missing: held.keys().filter(|id| !listed.contains_key(**id)).count(),
        rooms: listed.iter().filter(wrong_rooms).count(),
        counts: counted.abs_diff((held.len() + vanishing.len()) as u64) as usize,
        live,
        most: held.len(),
        ..Findings::default()
    }
}
