//! Churn on several nodes of which one after the other is killed and comes again.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::Size;
use super::site::{NODES, Site};
use crate::nodes::when;
use crate::server::Member;
use crate::truth::calls::Calls;
use crate::truth::churn::Churn;
use crate::truth::doors::Doors;
use crate::truth::oracle::Findings;

/// What was seen.
#[derive(Default)]
pub(super) struct Deaths {
    pub(super) findings: Findings,
    /// Seconds from each kill until the list of each other node was right.
    pub(super) right: Vec<f64>,
    /// ms of kicks while all nodes lived, and while one was dead and not known to be.
    pub(super) kicks: Vec<f64>,
    pub(super) kicks_beside: Vec<f64>,
    /// What was done how often, and calls that were refused.
    pub(super) done: String,
    pub(super) refused: String,
}

/// Kills so many times as the size says; in the end everybody has gone.
pub(super) fn deaths(size: &Size, site: &mut Site, doors: &Doors, admin: &str) -> io::Result<Deaths> {
    let member = |number: usize| site.server(0).expect("it runs").member(admin, &format!("member{number}"));
    let members: Vec<Member> = (0..size.members).map(member).collect();
    let mut seen = Deaths { findings: Findings { begins_anew: true, ..Findings::default() }, ..Deaths::default() };
    thread::scope(|scope| {
        let mut churn = Churn::new(doors, admin, members, Calls::start(scope, doors), size.most)?;
        for kill in 0..size.kills {
            live(&mut churn, size.churn)?;
            seen.findings.compare(&mut churn, doors, admin)?;
            seen.kicks.append(&mut churn.crowd.kicks);
            eprintln!("kill {} of {}", kill + 1, size.kills);
            let name = site.kill(kill % NODES, doors).to_owned();
            seen.right.extend(until_right(&mut churn, &name, doors, admin)?);
            seen.kicks_beside.append(&mut churn.crowd.kicks);
            live(&mut churn, size.churn / 4)?;
            seen.findings.compare(&mut churn, doors, admin)?;
            site.raise(kill % NODES, doors)?;
            site.whole(doors, admin)?;
        }
        live(&mut churn, size.churn)?;
        seen.findings.compare(&mut churn, doors, admin)?;
        seen.kicks.append(&mut churn.crowd.kicks);
        let texts = churn.done.iter().map(|(what, count)| format!("{what} {count}"));
        seen.done = texts.collect::<Vec<_>>().join(", ");
        let texts = churn.failed.iter().map(|(code, count)| format!("{code} {count}"));
        seen.refused = texts.collect::<Vec<_>>().join(", ");
        crate::truth::empty(&mut churn)?;
        Ok(seen)
    })
}

fn live(churn: &mut Churn<'_>, time: Duration) -> io::Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        crate::interrupt::check()?;
        churn.run(Duration::from_millis(100).min(time))?;
    }
    Ok(())
}

/// Everything goes on while the others find out; seconds until each list has nobody of the dead node, and nobody is missing.
fn until_right(churn: &mut Churn<'_>, name: &str, doors: &Doors, admin: &str) -> io::Result<Vec<f64>> {
    let (begun, others) = (Instant::now(), doors.all());
    let path = format!("/online/clients?node={name}&pageSize=1");
    let knows = |door: &std::net::SocketAddr| {
        let list = doors.get(*door, &path, admin);
        list["totalCount"] == 0 && list["complete"] == true
    };
    thread::scope(|scope| {
        let watching = scope.spawn(|| when(&others, &knows, begun));
        while !watching.is_finished() {
            churn.run(Duration::from_millis(50))?;
        }
        watching.join().map_err(|_| io::Error::other("a thread died"))?
    })
}
