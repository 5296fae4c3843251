//! What no client may do.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};

use crate::socket::{TEXT, masked};

/// Kinds of frames that RFC 6455 or our protocol forbids, 0 to 5; the server ends whoever sends one.
pub(crate) fn forbidden(kind: u64) -> Vec<u8> {
    match kind {
        0 => masked(0x82, b"binary"),
        // Without a mask.
        1 => vec![TEXT, 0x01, b'x'],
        2 => masked(0xF1, b"reserved bits"),
        3 => masked(TEXT, b"\xFF\xFE"),
        // The head of one that is longer than anything.
        4 => vec![TEXT, 0xFF, 0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0],
        _ => masked(TEXT, b"no JSON").repeat(12),
    }
}

/// Begins a handshake and goes, or says something else; by kind.
pub(crate) fn break_off(server: SocketAddr, kind: u64) -> io::Result<()> {
    let words: &[u8] = match kind {
        1 => b"GET /socket HTTP/1.1\r\nHost: x\r\nUpgra",
        _ => b"\x16\x03\x01 this is no HTTP\r\n\r\n",
    };
    // The server may close first.
    let _ = TcpStream::connect(server)?.write_all(words);
    Ok(())
}
