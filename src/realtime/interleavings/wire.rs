//! A wire made for trying: a kernel with room for a few bytes, what tokio believes of it, and TLS's own buffer in front of it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll, Waker};

use shuttle::sync::{Condvar, Mutex};

/// Bytes the kernel holds, at most: less than any frame, so that every frame is written in parts.
const ROOM: usize = 4;
/// Bytes encrypted at once, at most.
const MAX_ENCRYPTED: usize = 6;

pub(super) struct Wire {
    kernel: Mutex<Kernel>,
    /// The peer has something to read, or has met the end.
    arrived: Condvar,
    belief: Mutex<Belief>,
    /// With TLS: what was taken and is not in the kernel.
    encrypted: Option<Mutex<VecDeque<u8>>>,
}

#[derive(Default)]
struct Kernel {
    bytes: VecDeque<u8>,
    /// It took less than it was given: it will tell of room, once (edge-triggered).
    full: bool,
    reset: bool,
    shut: bool,
}

/// What tokio has heard of the kernel: it may be late.
struct Belief {
    writable: bool,
    reset: bool,
    /// Counts what was heard, so that news is not taken for what was known before.
    tick: usize,
    writer: Option<Waker>,
    reader: Option<Waker>,
}

impl Wire {
    pub(super) fn new(tls: bool) -> Wire {
        Wire {
            kernel: Mutex::default(),
            arrived: Condvar::new(),
            belief: Mutex::new(Belief { writable: true, reset: false, tick: 0, writer: None, reader: None }),
            encrypted: tls.then(Mutex::default),
        }
    }

    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut belief = self.belief.lock().unwrap();
        if belief.writable {
            return Poll::Ready(Ok(()));
        }
        belief.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Stands for reading, which meets the reset.
    pub(super) fn poll_reset(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut belief = self.belief.lock().unwrap();
        belief.reader = Some(context.waker().clone());
        if belief.reset { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn try_write(&self, write: impl FnOnce() -> io::Result<bool>) -> io::Result<()> {
        let tick = self.belief.lock().unwrap().tick;
        if !write()? {
            let mut belief = self.belief.lock().unwrap();
            if belief.tick == tick {
                belief.writable = false;
            }
        }
        Ok(())
    }

    pub(super) fn transmit(&self, bytes: &[u8]) -> io::Result<usize> {
        let Some(encrypted) = &self.encrypted else { return self.send(bytes) };
        let (mut encrypted, mut sent) = (encrypted.lock().unwrap(), 0);
        while sent < bytes.len() && self.write(&mut encrypted)? {
            let taken = (bytes.len() - sent).min(MAX_ENCRYPTED);
            encrypted.extend(&bytes[sent..sent + taken]);
            sent += taken;
        }
        self.write(&mut encrypted)?;
        Ok(sent)
    }

    pub(super) fn flush(&self) -> io::Result<bool> {
        self.encrypted.as_ref().map_or(Ok(true), |encrypted| self.write(&mut encrypted.lock().unwrap()))
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.encrypted.as_ref().is_some_and(|encrypted| !encrypted.lock().unwrap().is_empty())
    }

    pub(super) fn shutdown(&self) {
        self.kernel.lock().unwrap().shut = true;
        self.arrived.notify_all();
    }

    /// The peer reads, as soon as there is something; nothing is the end.
    pub(super) fn receive(&self, most: usize) -> Vec<u8> {
        let mut kernel = self.kernel.lock().unwrap();
        while kernel.bytes.is_empty() && !kernel.shut {
            kernel = self.arrived.wait(kernel).unwrap();
        }
        let length = kernel.bytes.len().min(most);
        let read = kernel.bytes.drain(..length).collect();
        let tell = std::mem::take(&mut kernel.full);
        drop(kernel);
        if tell {
            self.tell(|belief| belief.writable = true);
        }
        read
    }

    /// The peer breaks the connection.
    pub(super) fn reset(&self) {
        self.kernel.lock().unwrap().reset = true;
        self.tell(|belief| (belief.writable, belief.reset) = (true, true));
    }

    fn tell(&self, news: impl FnOnce(&mut Belief)) {
        let mut belief = self.belief.lock().unwrap();
        belief.tick += 1;
        news(&mut belief);
        let writer = belief.writer.take();
        let reader = if belief.reset { belief.reader.take() } else { None };
        drop(belief);
        writer.into_iter().chain(reader).for_each(Waker::wake);
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut kernel = self.kernel.lock().unwrap();
        if kernel.reset || kernel.shut {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let sent = bytes.len().min(ROOM - kernel.bytes.len());
        kernel.bytes.extend(&bytes[..sent]);
        kernel.full |= sent < bytes.len();
        self.arrived.notify_all();
        Ok(sent)
    }

    fn write(&self, encrypted: &mut VecDeque<u8>) -> io::Result<bool> {
        while !encrypted.is_empty() {
            match self.send(encrypted.make_contiguous())? {
                0 => return Ok(false),
                sent => _ = encrypted.drain(..sent),
            }
        }
        Ok(true)
    }
}
