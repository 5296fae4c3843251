//! Signals: the first one to stop asks, the second one insists.

use std::io;
use std::pin::pin;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Somebody did not want to wait for the goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insisted;

/// Does the work until it ends. The first SIGTERM or SIGINT cancels `stop` and leaves the work to end by itself; the next
/// one drops it. An `io::Error` means that the signals could not be listened for.
pub async fn until_signalled<T>(
    work: impl Future<Output = T>,
    stop: &CancellationToken,
) -> io::Result<Result<T, Insisted>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut work = pin!(work);
    let mut asked = false;
    loop {
        tokio::select! {
            biased;
            ended = work.as_mut() => return Ok(Ok(ended)),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if asked {
            return Ok(Err(Insisted));
        }
        asked = true;
        tracing::info!("stopping; a second signal stops at once");
        stop.cancel();
    }
}
