//! Strangers without end: handshakes that fail and logins that fail, each with a new name, a new browser and from a new address. What
//! the server remembers of them has bounds; once those are reached, memory stays where it is.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use crate::machine::machine;
use crate::server::Server;

/// Requests that are sent before the answers are read.
const BATCH: usize = 100;
/// Handshakes for each login, which costs the server as much as a thousand of them: a password is computed for every name.
const PER_LOGIN: usize = 200;
/// Looks at the memory. The tables are full after three tenths of a million.
const LOOKS: usize = 10;

/// So many strangers come to this server: a table, and whether memory stayed.
pub(crate) fn run(strangers: usize, rollcall: &Path) -> io::Result<(String, bool)> {
    let settings = [("SERVER__TRUSTED_PROXIES", "127.0.0.1/32"), ("SERVER__INSECURE_HTTP", "true")];
    let server = Server::rollcall(rollcall, &settings)?;
    let mut stream = TcpStream::connect(server.address)?;
    let mut text = format!("# {strangers} strangers\n\n{}\n\n", machine());
    text += "| strangers | resident, MB | allocated, MB | entries in all tables |\n| --- | --- | --- | --- |\n";
    let mut resident = vec![look(&server, 0, &mut text)];
    for number in 1..=LOOKS {
        let (from, to) = (strangers / LOOKS * (number - 1), strangers / LOOKS * number);
        for first in (from..to).step_by(BATCH) {
            let requests: String = (first..to.min(first + BATCH)).map(request).collect();
            stream.write_all(requests.as_bytes())?;
            answers(&mut stream, to.min(first + BATCH) - first)?;
        }
        resident.push(look(&server, to, &mut text));
    }
    let grown = resident[LOOKS] / resident[LOOKS * 3 / 10];
    let _ = writeln!(text, "\nresident at the end ÷ when the tables were full: {grown:.2}, may be 1.10");
    Ok((text, grown <= 1.1))
}

fn look(server: &Server, strangers: usize, text: &mut String) -> f64 {
    let (figures, resident) = (server.figures(), server.process.rss() / 1048576.0);
    let entries: f64 =
        figures.iter().filter(|(name, _)| name.starts_with("rollcall_entries{")).map(|(_, entries)| entries).sum();
    let allocated = figures.get("rollcall_memory_bytes{part=\"allocated\"}").copied().unwrap_or_default() / 1048576.0;
    let _ = writeln!(text, "| {strangers} | {resident:.1} | {allocated:.1} | {entries} |");
    eprintln!("{strangers} strangers: {resident:.1} MB");
    resident
}

/// What the stranger of this number sends.
fn request(number: usize) -> String {
    let address = Ipv4Addr::from(0x0B00_0000 + number as u32);
    let from = format!("Host: x\r\nX-Forwarded-For: {address}\r\nUser-Agent: Stranger{number}/1\r\n");
    if number.is_multiple_of(PER_LOGIN) {
        let body = format!("{{\"username\":\"stranger{number}\",\"password\":\"not the password\"}}");
        let length = body.len();
        return format!(
            "POST /api/v1/auth/login HTTP/1.1\r\n{from}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
    }
    format!(
        "GET /socket HTTP/1.1\r\n{from}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer stranger.{number}.x\r\n\r\n"
    )
}

/// Reads so many answers; that each is a refusal.
fn answers(stream: &mut TcpStream, count: usize) -> io::Result<()> {
    let (mut read, mut buffer) = (Vec::new(), [0; 64 * 1024]);
    // A problem's body ends where the next answer begins.
    while read.windows(12).filter(|window| window.starts_with(b"HTTP/1.1 401")).count() < count || !read.ends_with(b"}")
    {
        match stream.read(&mut buffer)? {
            0 => return Err(io::Error::other(format!("not refused: {}", String::from_utf8_lossy(&read)))),
            length => read.extend_from_slice(&buffer[..length]),
        }
    }
    Ok(())
}
