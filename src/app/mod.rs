//! The house: builds the hall, opens the door, and says goodbye. The binary and the tests run the same lines. Deliberately
//! absent: behaviour of its own; what is decided here is order.

mod background;
mod build;
mod error;
mod first_admin;
mod goodbye;
#[cfg(test)]
pub(crate) mod testing;

use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::StartError;
pub use first_admin::{ADMIN_NAME, FirstAdministrator, PASSWORD_FILE};

use crate::events::Registry;
use crate::http::{self, SocketDoor};
use crate::jobs::Board;
use crate::realtime::LocalPresence;
use crate::services::Services;

/// A built server that does not listen yet.
pub struct App {
    services: Services,
    /// Flushed by a background task, which needs it as what it is.
    presence: Arc<LocalPresence>,
    registry: Arc<Registry>,
    board: Arc<Board>,
    stop: CancellationToken,
    tasks: TaskTracker,
    sockets: TaskTracker,
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

    /// Answers until `stop` is cancelled, then says goodbye to everyone and leaves nothing behind. `TimedOut` when that
    /// took longer than `server.stop_timeout`; what is left then ends with the process.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        let ending = CancellationToken::new();
        background::start(&self, &ending);
        let door = SocketDoor { registry: self.registry.clone(), tasks: self.sockets.clone() };
        let endpoint = http::endpoint(self.services.clone(), door, self.board.clone());
        let header_timeout = self.services.config().server.header_timeout;
        let requests = http::serve(listener, endpoint, header_timeout, self.stop.clone());
        let goodbye = async {
            self.stop.cancelled().await;
            goodbye::deadline(&self).await
        };
        tokio::pin!(requests);
        tokio::select! {
            // The requests end by themselves only after the stop; they go on while the sockets are sent away.
            () = async { tokio::join!(requests, goodbye::send_away(&self)); goodbye::close_house(&self, &ending).await } => Ok(()),
            late = goodbye => late,
        }
    }
}
