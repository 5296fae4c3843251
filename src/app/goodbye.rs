//! The goodbye, in this order: nobody comes in any more, everyone is told, sockets close spread over `server.drain` while
//! requests end, jobs stop, background tasks end, the log is written, the database closes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::protocol::{CloseCode, CloseReason, Message};
use crate::realtime::{Cause, Client, Target};

/// Sockets are closed in steps of this length.
const STEP: Duration = Duration::from_millis(50);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Draining {
    retry_after_ms: u64,
}

/// Waits as long as a stop may take.
pub(super) async fn deadline(app: &App) -> io::Result<()> {
    let limit = app.services.config().server.stop_timeout;
    sleep(limit).await;
    let left = (app.services.manager().len(), app.sockets.len(), app.tasks.len());
    tracing::warn!(clients = left.0, sockets = left.1, tasks = left.2, "server.stop_timeout is over; leaving at once");
    Err(io::Error::new(io::ErrorKind::TimedOut, "stopping took longer than server.stop_timeout"))
}

/// After the stop: tells every socket, closes them one after the other, and returns when `server.drain` is over.
pub(super) async fn send_away(app: &App) {
    app.stop.cancelled().await;
    app.services.draining().cancel();
    let mut clients = app.services.manager().select(&Target::Everyone, false);
    let drain = app.services.config().server.drain;
    tracing::info!(clients = clients.len(), "saying goodbye");
    announce(app, &clients, drain);
    let steps = (drain.as_millis() / STEP.as_millis()).max(1) as usize;
    let share = clients.len().div_ceil(steps).max(1);
    let mut next = Instant::now();
    while !clients.is_empty() {
        for client in clients.drain(..share.min(clients.len())) {
            close(app, &client);
        }
        if !clients.is_empty() {
            next += STEP;
            sleep_until(next).await;
        }
    }
}

/// When requests and sockets are done: ends everything else. A socket whose handshake had begun before the stop is closed
/// here.
pub(super) async fn close_house(app: &App, ending: &CancellationToken) {
    let manager = app.services.manager();
    app.sockets.close();
    while !app.sockets.is_empty() {
        manager.select(&Target::Everyone, false).iter().for_each(|late| close(app, late));
        tokio::select! { () = app.sockets.wait() => {}, () = sleep(STEP) => {} }
    }
    // Nobody comes back within the grace.
    manager.select(&Target::Everyone, true).iter().for_each(|leaving| manager.dismiss(leaving, Cause::Shutdown));
    app.board.stop().await;
    ending.cancel();
    app.tasks.close();
    app.tasks.wait().await;
    app.services.writer().stop().await;
    app.services.store().close().await;
    tracing::info!("stopped");
}

fn announce(app: &App, clients: &[Arc<Client>], drain: Duration) {
    let data = Draining { retry_after_ms: retry_after(app).saturating_add(drain.as_millis() as u64) };
    let message = Message::push("server/draining", Some(&data), app.services.clock().now().timestamp());
    for client in clients {
        client.send(&message);
    }
}

/// Not over the broker: this node's own clients are meant, whatever others there are.
fn close(app: &App, client: &Client) {
    let mut reason = CloseReason::new(CloseCode::Restart);
    reason.retry_after_ms = Some(retry_after(app));
    client.close(&reason, Cause::Shutdown);
}

/// Somewhere between the configured bounds, so that ten thousand pages do not come back together.
fn retry_after(app: &App) -> u64 {
    let socket = &app.services.config().socket;
    let (min, max) = (socket.reconnect_min.as_millis() as u64, socket.reconnect_max.as_millis() as u64);
    min + u64::from(rand::random::<u32>()) % max.saturating_sub(min).max(1)
}
