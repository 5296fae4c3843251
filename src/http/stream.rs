//! A plain connection as hyper sees it. Two things that a socket does not need are put off: the answer to an upgrade waits for
//! the first frame, so that both are one segment and one system call, and the patience with a reader who has stopped is set only
//! where an answer of HTTP goes out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// No request yet.
const NEW: u8 = 0;
/// One is being answered.
const AT_WORK: u8 = 1;
/// The last one has been answered, or its answer is on its way out.
const ANSWERED: u8 = 2;
/// The stream has been promised to a socket; what is written now is the answer that says so.
const UPGRADED: u8 = 3;

/// How far a connection has come; shared by its stream, its requests and whoever waits for its end.
#[derive(Clone, Default)]
pub(super) struct Standing(Arc<AtomicU8>);

impl Standing {
    pub(super) fn at_work(&self) {
        self.0.store(AT_WORK, Ordering::Relaxed);
    }

    pub(super) fn answered(&self) {
        let _ = self.0.compare_exchange(AT_WORK, ANSWERED, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn upgraded(&self) {
        self.0.store(UPGRADED, Ordering::Relaxed);
    }

    pub(super) fn is_new(&self) -> bool {
        self.0.load(Ordering::Relaxed) == NEW
    }

    pub(super) fn is_at_work(&self) -> bool {
        self.0.load(Ordering::Relaxed) == AT_WORK
    }

    fn is_upgraded(&self) -> bool {
        self.0.load(Ordering::Relaxed) == UPGRADED
    }
}

/// Reads and writes a TCP stream, until it is promised to a socket.
pub(super) struct Plain {
    tcp: TcpStream,
    standing: Standing,
    /// For a reader who has stopped; set with the first answer.
    reader: Duration,
    patient: bool,
    answer: Vec<u8>,
}

impl Plain {
    pub(super) fn new(tcp: TcpStream, standing: Standing, reader: Duration) -> Plain {
        Plain { tcp, standing, reader, patient: false, answer: Vec::new() }
    }

    /// The stream, and the answer that has to go out first.
    pub(super) fn into_parts(self) -> (TcpStream, Bytes) {
        if self.patient {
            set_patience(&self.tcp, Duration::ZERO);
        }
        (self.tcp, self.answer.into())
    }
}

/// Gives a connection up whose peer acknowledges nothing for so long; zero leaves it to the kernel.
pub(super) fn set_patience(tcp: &TcpStream, reader: Duration) {
    let _ = set_tcp_user_timeout(tcp, u32::try_from(reader.as_millis()).unwrap_or(u32::MAX));
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.standing.is_upgraded() {
            bytes.iter().for_each(|part| self.answer.extend_from_slice(part));
            return Poll::Ready(Ok(bytes.iter().map(|part| part.len()).sum()));
        }
        if !std::mem::replace(&mut self.patient, true) {
            set_patience(&self.tcp, self.reader);
        }
        Pin::new(&mut self.tcp).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
