//! The limit must answer what it is compared by.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

#[test]
fn the_limit_shakes_hands_and_answers_a_ping_and_a_fan_out() {
    let mut limit = Command::new(env!("CARGO_BIN_EXE_rollcall-limit")).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(limit.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut stream = TcpStream::connect(line.trim().strip_prefix("http://").unwrap()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    // RFC 6455 section 1.3 gives this answer to this key.
    assert!(String::from_utf8(head).unwrap().contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    for (payload, bytes) in [(b"{", 57), (b"F", 135)] {
        stream.write_all(&[&[0x81, 0x81, 0, 0, 0, 0], &payload[..]].concat()).unwrap();
        let mut frame = vec![0; bytes];
        stream.read_exact(&mut frame).unwrap();
        assert_eq!(frame[0], 0x81);
    }
    limit.kill().unwrap();
    limit.wait().unwrap();
}
