//! RFC 6455 frames from the client, read out of any buffer without keeping one: an idle connection owns no bytes.
//! Deliberately absent: extensions, binary messages, and the client's side.
//!
//! Text that is not UTF-8 is refused with the fragment in which that shows, not with the last of the message; the inside of a
//! frame is not looked at before its end (in the words of the Autobahn suite, 6.4.1 and 6.4.2 fail fast, 6.4.3 and 6.4.4 do not).

use crate::protocol::CloseCode;

/// Fragments of one message, at most: an endless row of empty fragments ends here.
const MAX_FRAGMENTS: u32 = 1024;
/// Bytes of a control frame's payload, at most (section 5.5).
const MAX_CONTROL: usize = 125;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// What one frame, or the fragments of a message, mean.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<'a> {
    /// A whole text message.
    Text(&'a str),
    /// To be answered with a pong of the same payload.
    Ping(&'a [u8]),
    /// The answer to a ping of ours, or a sign of life.
    Pong(&'a [u8]),
    /// The client says goodbye; the code is absent where it gave none.
    Close(Option<u16>),
}

/// The unfinished part of what one client sends.
#[derive(Default)]
pub(super) struct Decoder {
    /// An unfinished frame, from its first byte.
    rest: Vec<u8>,
    /// The fragments of an unfinished message, unmasked.
    message: Vec<u8>,
    fragments: u32,
    /// Bytes of `message` that are whole characters.
    checked: u32,
}

/// A frame's header, decoded.
struct Header {
    last: bool,
    opcode: u8,
    mask: [u8; 4],
    start: usize,
    end: usize,
}

impl Decoder {
    /// Takes what the socket gave and hands each whole message or control frame to `take`, in order. `bytes` is
    /// overwritten. An error is the code to close with; nothing after it is read.
    pub(super) fn feed(
        &mut self,
        bytes: &mut [u8],
        max_message: usize,
        mut take: impl FnMut(Incoming<'_>),
    ) -> Result<(), CloseCode> {
        if self.rest.is_empty() {
            let used = self.frames(bytes, max_message, &mut take)?;
            self.rest.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        let used = self.frames(&mut rest, max_message, &mut take)?;
        if used < rest.len() {
            rest.drain(..used);
            self.rest = rest;
        }
        Ok(())
    }

    fn frames(
        &mut self,
        bytes: &mut [u8],
        max_message: usize,
        take: &mut impl FnMut(Incoming<'_>),
    ) -> Result<usize, CloseCode> {
        let mut used = 0;
        while let Some(header) = Header::parse(&bytes[used..], max_message)? {
            let frame = &mut bytes[used..];
            if frame.len() < header.end {
                break;
            }
            let payload = &mut frame[header.start..header.end];
            unmask(payload, header.mask);
            used += header.end;
            if self.frame(&header, payload, max_message, take)? {
                return Ok(bytes.len());
            }
        }
        Ok(used)
    }

    /// Whether the client said goodbye, after which nothing counts.
    fn frame(
        &mut self,
        header: &Header,
        payload: &[u8],
        max_message: usize,
        take: &mut impl FnMut(Incoming<'_>),
    ) -> Result<bool, CloseCode> {
        match header.opcode {
            PING => take(Incoming::Ping(payload)),
            PONG => take(Incoming::Pong(payload)),
            CLOSE => {
                take(Incoming::Close(close_code(payload)?));
                return Ok(true);
            }
            TEXT if self.fragments > 0 => return Err(CloseCode::Protocol),
            CONTINUATION if self.fragments == 0 => return Err(CloseCode::Protocol),
            TEXT if header.last => take(Incoming::Text(utf8(payload)?)),
            TEXT | CONTINUATION => self.fragment(header.last, payload, max_message, take)?,
            BINARY => return Err(CloseCode::Unsupported),
            _ => return Err(CloseCode::Protocol),
        }
        Ok(false)
    }

    fn fragment(
        &mut self,
        last: bool,
        payload: &[u8],
        max_message: usize,
        take: &mut impl FnMut(Incoming<'_>),
    ) -> Result<(), CloseCode> {
        self.fragments += 1;
        if self.message.len() + payload.len() > max_message || self.fragments > MAX_FRAGMENTS {
            return Err(CloseCode::TooBig);
        }
        self.message.extend_from_slice(payload);
        self.checked += whole_characters(&self.message[self.checked as usize..])? as u32;
        if last {
            (self.fragments, self.checked) = (0, 0);
            let message = std::mem::take(&mut self.message);
            take(Incoming::Text(utf8(&message)?));
        }
        Ok(())
    }
}

impl Header {
    /// `None` while the header is not there as a whole. What can be refused by the header alone is refused at once,
    /// before the payload is waited for.
    fn parse(bytes: &[u8], max_message: usize) -> Result<Option<Header>, CloseCode> {
        let [first, second, ..] = *bytes else { return Ok(None) };
        let (last, reserved, opcode) = (first & 0x80 != 0, first & 0x70, first & 0x0F);
        let (masked, short) = (second & 0x80 != 0, usize::from(second & 0x7F));
        // A client masks every frame (section 5.1); reserved bits need an extension, and there is none.
        if !masked || reserved != 0 {
            return Err(CloseCode::Protocol);
        }
        if opcode >= CLOSE && (!last || short > MAX_CONTROL) {
            return Err(CloseCode::Protocol);
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(length) = bytes.get(2..2 + extended) else { return Ok(None) };
        let length = match extended {
            0 => short as u64,
            _ => length.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if length > max_message.max(MAX_CONTROL) as u64 {
            return Err(if length >> 63 == 1 { CloseCode::Protocol } else { CloseCode::TooBig });
        }
        // The shortest form is the only one (section 5.2).
        if matches!((extended, length), (2, ..126) | (8, ..65_536)) {
            return Err(CloseCode::Protocol);
        }
        let start = 2 + extended + 4;
        let Some(mask) = bytes.get(start - 4..start) else { return Ok(None) };
        let mask = mask.try_into().expect("four bytes");
        Ok(Some(Header { last, opcode, mask, start, end: start + length as usize }))
    }
}

/// Section 5.3, eight bytes at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let word = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let mut chunks = payload.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let bytes = u64::from_ne_bytes((&*chunk).try_into().expect("eight bytes"));
        chunk.copy_from_slice(&(bytes ^ word).to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, CloseCode> {
    std::str::from_utf8(bytes).map_err(|_| CloseCode::InvalidText)
}

/// Bytes before the character that is not complete yet; an error where no byte that follows could mend it.
fn whole_characters(bytes: &[u8]) -> Result<usize, CloseCode> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.len()),
        Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
        Err(_) => Err(CloseCode::InvalidText),
    }
}

/// Section 7.4: which codes a client may send.
fn close_code(payload: &[u8]) -> Result<Option<u16>, CloseCode> {
    match payload {
        [] => Ok(None),
        [_] => Err(CloseCode::Protocol),
        [high, low, reason @ ..] => {
            utf8(reason)?;
            match u16::from_be_bytes([*high, *low]) {
                code @ (1000..=1003 | 1007..=1014 | 3000..=4999) => Ok(Some(code)),
                _ => Err(CloseCode::Protocol),
            }
        }
    }
}

#[cfg(test)]
mod tests;
