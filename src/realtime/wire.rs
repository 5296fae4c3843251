//! What a socket's frames travel on: a TCP stream, or TLS over one. Both are written by whoever sends and read by the
//! connection's task, and neither waits: what cannot be done now is `WouldBlock`, or nothing taken.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConnection;

/// Plain text that is encrypted at once, at most; what does not fit stays in the socket's own queue, which has a bound.
const MAX_ENCRYPTED: usize = 16 * 1024;

/// One end of a connection. Nothing here blocks.
pub struct Wire {
    tcp: TcpStream,
    /// Boxed, so that a plain connection does not pay for it.
    tls: Option<Box<Mutex<ServerConnection>>>,
}

impl Wire {
    /// Without TLS.
    pub fn plain(tcp: TcpStream) -> Wire {
        forget_wakers(&tcp);
        Wire { tcp, tls: None }
    }

    /// With TLS, after its handshake; and what has been decrypted already, which nobody would be woken for.
    pub fn tls(tcp: TcpStream, mut connection: ServerConnection) -> (Wire, Vec<u8>) {
        connection.set_buffer_limit(Some(MAX_ENCRYPTED));
        let mut early = Vec::new();
        // It ends with `WouldBlock`, or with the end of the stream, which the next read meets again.
        let _ = connection.reader().read_to_end(&mut early);
        forget_wakers(&tcp);
        (Wire { tcp, tls: Some(Box::new(Mutex::new(connection))) }, early)
    }

    /// The stream below, to wait for.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Whether there may be something to read; wakes `context` when there may. What is decrypted already counts: a record holds more
    /// than one read takes with what came after it, and the kernel has told of it before.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.locked().is_some_and(|mut tls| tls.reader().fill_buf().is_ok()) {
            return Poll::Ready(Ok(()));
        }
        self.tcp.poll_read_ready(context)
    }

    /// Reads what is there; zero is the end.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(mut tls) = self.locked() else { return receive(&self.tcp, buffer) };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if tls.read_tls(&mut Raw(&self.tcp))? == 0 {
                return Ok(0);
            }
            let processed = tls.process_new_packets();
            // An alert, or the answer to a new key.
            let _ = flush(&mut tls, &self.tcp);
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    /// Whether the kernel may take something; wakes `context` when it may.
    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_write_ready(context)
    }

    /// Lets `write` write, after `poll_writable`, and say whether everything is out: if not, the next `poll_writable` waits for
    /// the kernel.
    pub(super) fn try_write(&self, write: impl FnOnce() -> io::Result<bool>) -> io::Result<()> {
        let written = self.tcp.try_io(Interest::WRITABLE, || match write()? {
            true => Ok(()),
            false => Err(ErrorKind::WouldBlock.into()),
        });
        written.or_else(|error| if error.kind() == ErrorKind::WouldBlock { Ok(()) } else { Err(error) })
    }

    /// Takes as much as can go now; zero is nothing.
    pub(super) fn transmit(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(mut tls) = self.locked() else { return transmit(&self.tcp, bytes) };
        let mut sent = 0;
        while sent < bytes.len() && flush(&mut tls, &self.tcp)? {
            sent += tls.writer().write(&bytes[sent..])?;
        }
        flush(&mut tls, &self.tcp)?;
        Ok(sent)
    }

    /// Whether everything that was taken is out, after another try.
    pub(super) fn flush(&self) -> io::Result<bool> {
        self.locked().map_or(Ok(true), |mut tls| flush(&mut tls, &self.tcp))
    }

    /// Whether something that was taken is not out yet: encrypted, and more than the kernel took.
    pub(super) fn has_unsent(&self) -> bool {
        self.locked().is_some_and(|tls| tls.wants_write())
    }

    /// Ends our side.
    pub(super) fn shutdown(&self) {
        if let Some(mut tls) = self.locked() {
            tls.send_close_notify();
            let _ = flush(&mut tls, &self.tcp);
        }
        let _ = shutdown(&self.tcp, Shutdown::Write);
    }

    fn locked(&self) -> Option<MutexGuard<'_, ServerConnection>> {
        self.tls.as_ref().map(|tls| tls.lock().expect("nothing panics while holding the connection"))
    }
}

/// Whoever read the stream before us left a waker in it, which would keep that whole task's memory (5 KB of an HTTP connection)
/// as long as the socket is open. One that does nothing takes its place.
fn forget_wakers(tcp: &TcpStream) {
    let mut nobody = Context::from_waker(Waker::noop());
    let _ = tcp.poll_read_ready(&mut nobody);
    let _ = tcp.poll_write_ready(&mut nobody);
}

/// Writes what is encrypted. Whether all of it is out.
fn flush(tls: &mut ServerConnection, tcp: &TcpStream) -> io::Result<bool> {
    while tls.wants_write() {
        match tls.write_tls(&mut Raw(tcp)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// One `recv`. A read that does not fill the buffer has emptied the kernel's, and epoll, which tokio uses edge-triggered, tells
/// of the next byte: to ask again would cost a system call for each message. tokio's own `poll_read` does the same, its `try_read`
/// does not.
fn receive(tcp: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    let tried = tcp.try_io(Interest::READABLE, || {
        (_, read) = recv(tcp, &mut *buffer, RecvFlags::DONTWAIT)?;
        if read == 0 || read == buffer.len() { Ok(()) } else { Err(ErrorKind::WouldBlock.into()) }
    });
    match tried {
        Err(error) if read == 0 => Err(error),
        _ => Ok(read),
    }
}

/// One `send` that never waits: tokio's `try_write` would cost a quarter more. 0 means the kernel takes nothing now.
fn transmit(tcp: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match send(tcp, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => return Ok(sent),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The stream as TLS wants it.
struct Raw<'a>(&'a TcpStream);

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        receive(self.0, buffer)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match transmit(self.0, bytes)? {
            0 if !bytes.is_empty() => Err(ErrorKind::WouldBlock.into()),
            sent => Ok(sent),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
