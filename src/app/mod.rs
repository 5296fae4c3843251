//! The house: builds the hall, opens the door, and says goodbye. The binary and the tests run the same lines. Deliberately
//! absent: behaviour of its own; what is decided here is order.

mod background;
mod build;
mod capacity;
mod cluster;
mod error;
mod first_admin;
mod goodbye;
mod reload;
#[cfg(test)]
pub(crate) mod testing;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use capacity::Capacity;
pub use error::StartError;
pub use first_admin::{ADMIN_NAME, FirstAdministrator, PASSWORD_FILE};
pub use reload::Reloader;

use crate::events::Registry;
use crate::http::{self, Gate, Patience, SocketDoor, Tls};
use crate::jobs::Board;
use crate::services::Services;

/// A built server that does not listen yet.
pub struct App {
    services: Services,
    registry: Arc<Registry>,
    board: Arc<Board>,
    stop: CancellationToken,
    /// Ends background tasks, at the latest with this.
    ending: CancellationToken,
    _ends: DropGuard,
    tasks: TaskTracker,
    sockets: TaskTracker,
    /// Counts the connections of all listeners.
    gate: Arc<Gate>,
    capacity: Capacity,
    /// Of `server.tls`.
    tls: Option<Arc<Tls>>,
    /// Of `metrics.listen`.
    metrics: Option<TcpListener>,
}

impl App {
    /// The hall: for tests, and for who prepares something before the door opens.
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// The handler registry.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The jobs.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Background tasks and runs of jobs; empty after [`App::serve`].
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// One task per open socket; empty after [`App::serve`].
    pub fn sockets(&self) -> &TaskTracker {
        &self.sockets
    }

    /// What this process can hold.
    pub fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    /// Where `/metrics` is, if anywhere.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Answers until `stop` is cancelled, then says goodbye to everyone and leaves nothing behind. `TimedOut` when that
    /// took longer than `server.stop_timeout`; what is left then ends with the process.
    pub async fn serve(mut self, listener: TcpListener) -> io::Result<()> {
        self.services.listens_at(listener.local_addr()?);
        background::start(&self);
        let door = SocketDoor { registry: self.registry.clone(), tasks: self.sockets.clone() };
        let endpoint = http::endpoint(self.services.clone(), self.gate.clone(), door, self.board.clone());
        let server = &self.services.config().server;
        let patience = Patience { header: server.header_timeout, reader: server.request_timeout };
        let (gate, tls, stop) = (self.gate.clone(), self.tls.clone(), self.stop.clone());
        let requests = http::serve(listener, gate, tls, endpoint, patience, stop);
        let metrics = self.serve_metrics(patience);
        let goodbye = async {
            self.stop.cancelled().await;
            goodbye::deadline(&self).await
        };
        tokio::pin!(requests);
        tokio::select! {
            // The requests end by themselves only after the stop; they go on while the sockets are sent away.
            () = async { tokio::join!(requests, metrics, goodbye::send_away(&self)); goodbye::close_house(&self).await } => Ok(()),
            late = goodbye => late,
        }
    }

    fn serve_metrics(&mut self, patience: Patience) -> impl Future<Output = ()> + use<> {
        let endpoint = http::metrics_endpoint(self.services.clone(), self.gate.clone(), self.registry.clone());
        let (listener, gate, stop) = (self.metrics.take(), self.gate.clone(), self.stop.clone());
        async move {
            if let Some(listener) = listener {
                http::serve(listener, gate, None, endpoint, patience, stop).await;
            }
        }
    }
}
