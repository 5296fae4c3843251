//! Ctrl-C and SIGTERM end a measurement like a failure does, so that what was started is stopped and leaves nothing behind.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

static ASKED: AtomicBool = AtomicBool::new(false);
/// Between two looks whether somebody asked.
const LOOK: Duration = Duration::from_millis(100);

/// From now on neither of the two ends this process at once.
pub(crate) fn catch() -> io::Result<()> {
    let (ready, waiting) = channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    thread::spawn(move || runtime.block_on(listen(&ready)));
    waiting.recv().unwrap_or_else(|_| Err(io::Error::other("signals cannot be caught")))
}

async fn listen(ready: &Sender<io::Result<()>>) {
    let signals = signal(SignalKind::interrupt()).and_then(|first| Ok((first, signal(SignalKind::terminate())?)));
    let (mut interrupt, mut terminate) = match signals {
        Ok(signals) => signals,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        ASKED.store(true, Relaxed);
    }
}

/// An error once somebody has asked for the end.
pub(crate) fn check() -> io::Result<()> {
    if ASKED.load(Relaxed) { Err(io::Error::other("interrupted")) } else { Ok(()) }
}

/// Sleeps, unless somebody asks for the end.
pub(crate) fn sleep(time: Duration) -> io::Result<()> {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        check()?;
        thread::sleep(left.min(LOOK));
    }
    check()
}
