//! The link to the other nodes: channels and bytes over Redis (or Valkey). [`Link`] keeps two connections, one for commands and one for
//! subscriptions, comes back by itself, and hands what arrives to mailboxes by [`Topic`]. Redis holds no truth: messages
//! that it passes on, and small keys that expire. Whatever it forgets heals by itself.
//!
//! How a room that has something to say to the other nodes uses it:
//!
//! ```text
//! let mut mailbox = link.mailbox(Topic::Presence);        // before `Link::run`, once for each topic
//! link.on_connect(|| vec![Channel::User(hash("42"))]);    // what to subscribe at each connection, read anew each time
//! link.send(Channel::Presence, Topic::Presence, &head, b"").await   // how many nodes have it; in the order of the calls
//! while let Some(message) = mailbox.next().await {        // in order per sender, own messages left out
//!     let Some(head) = link.read::<Head>(&message) else { continue };  // what is not understood is skipped and counted
//! }
//! link.changes()                                           // a watch: up or away, and how often it came up
//! ```
//!
//! [`Members`] knows the other nodes: `live()` for whom to ask, `observe` for who comes, announces, falls silent and goes.
//!
//! Deliberately absent: clients, users and rooms (a channel is named by a hash), the database, and every Redis type outside of this
//! room.

mod channel;
mod envelope;
mod keys;
mod link;
mod mailbox;
mod members;
mod session;

pub use channel::{Channel, hash};
pub use envelope::{Received, Topic};
pub use link::{Away, Link, LinkError, LinkState};
pub use mailbox::Mailbox;
pub use members::{Announcement, Facts, Member, MemberEvent, MemberState, Members, MembersSettings, NameTaken};

/// What a node that is not alone has of the others.
#[derive(Clone)]
pub struct Cluster {
    /// The way to them.
    pub link: Link,
    /// Who they are.
    pub members: Members,
}
