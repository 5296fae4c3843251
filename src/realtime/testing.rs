//! Clients without sockets, for tests of the tables.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use super::{ClientManager, ManagerLimits, NewClient, QueueLimits, Registration, Wire};
use crate::auth::{Permissions, Rights, UserKey};
use crate::clock::ManualClock;

/// Nobody's stream: nothing is sent here.
pub(super) fn wire() -> Arc<Wire> {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let stream = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
        });
        let _guard = runtime.enter();
        Arc::new(Wire::plain(stream))
    })
    .join()
    .unwrap()
}

/// A manager without bounds that matter.
pub(super) fn manager(clock: &Arc<ManualClock>, grace: Duration) -> Arc<ClientManager> {
    let limits = ManagerLimits {
        max_clients: 1000,
        per_user: 1000,
        replace_oldest: false,
        per_address: 1000,
        max_rooms: 1,
        queue: QueueLimits { bytes: 1, messages: 1 },
        grace,
        max_leaves: 1,
    };
    Arc::new(ClientManager::new(clock.clone(), limits))
}

/// A client of this user, with names and addresses to choose from.
pub(super) fn register(
    manager: &Arc<ClientManager>,
    wire: &Arc<Wire>,
    (user, name, ip, app): (u8, usize, u8, usize),
    session: Uuid,
) -> Registration {
    let username = ["Ann", "bob", "Bob", "zoë"][name % 4].into();
    let rights = Rights { username, roles: [].into(), permissions: Permissions::default() };
    let now = manager.clock().now();
    let new = NewClient {
        user: UserKey::new(["", "shop"][usize::from(user) % 2], &user.to_string()),
        session,
        app: ["", "crm"][app % 2].into(),
        rights: Arc::new(rights),
        scopes: Permissions::all(),
        avatar: "".into(),
        ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, ip)),
        agent: Arc::default(),
        logged_in_at: now,
        expires_at: now,
        answer: Bytes::new(),
    };
    manager.register(new, wire.clone()).unwrap()
}
