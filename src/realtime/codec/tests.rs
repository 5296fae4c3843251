use std::path::Path;

use proptest::prelude::*;

use super::*;

use frame::frame;

#[path = "../../../tests/fuzz/frame.rs"]
mod frame;
#[path = "../../../tests/fuzz/property.rs"]
mod property;

fn texts(decoder: &mut Decoder, bytes: &[u8]) -> Result<Vec<String>, CloseCode> {
    let mut texts = Vec::new();
    decoder.feed(&mut bytes.to_vec(), 65_536, |incoming| match incoming {
        Incoming::Text(text) => texts.push(text.to_owned()),
        other => texts.push(format!("{other:?}")),
    })?;
    Ok(texts)
}

fn refused(bytes: &[u8]) -> CloseCode {
    texts(&mut Decoder::default(), bytes).unwrap_err()
}

#[test]
fn what_breaks_the_protocol_is_refused_with_its_code() {
    assert_eq!(refused(&[0x81, 0x01, b'x']), CloseCode::Protocol, "unmasked");
    assert_eq!(refused(&frame(0xC1, b"x")), CloseCode::Protocol, "reserved bit");
    assert_eq!(refused(&frame(0x83, b"x")), CloseCode::Protocol, "unknown opcode");
    assert_eq!(refused(&frame(0x89, &[0; 126])), CloseCode::Protocol, "ping of 126 bytes");
    assert_eq!(refused(&frame(0x09, b"")), CloseCode::Protocol, "fragmented ping");
    assert_eq!(refused(&frame(0x80, b"x")), CloseCode::Protocol, "continuation of nothing");
    assert_eq!(refused(&[frame(0x01, b"x"), frame(0x81, b"x")].concat()), CloseCode::Protocol, "text inside text");
    assert_eq!(refused(&frame(0x88, &[3])), CloseCode::Protocol, "half a close code");
    assert_eq!(refused(&frame(0x88, &1005_u16.to_be_bytes())), CloseCode::Protocol, "a code nobody may send");
    assert_eq!(refused(&frame(0x82, b"x")), CloseCode::Unsupported, "binary");
    assert_eq!(refused(&frame(0x81, &[0xFF])), CloseCode::InvalidText, "not UTF-8");
    assert_eq!(refused(&[0x81, 0xFF, 0, 0, 0, 0, 0, 1, 0, 1]), CloseCode::TooBig, "by the header alone");
    assert_eq!(refused(&frame(0x81, &vec![b'x'; 65_537])), CloseCode::TooBig);
    assert_eq!(refused(&[0x81, 0xFE, 0, 125]), CloseCode::Protocol, "a length that is not the shortest");
    assert_eq!(refused(&[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]), CloseCode::Protocol, "nor this one");
    assert_eq!(refused(&[0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0]), CloseCode::Protocol, "the top bit of a length");
    let endless = [frame(0x01, b"")].into_iter().chain((0..1024).map(|_| frame(0x00, b""))).collect::<Vec<_>>();
    assert_eq!(refused(&endless.concat()), CloseCode::TooBig, "endless fragments");
}

#[test]
fn control_frames_stand_between_fragments() {
    let bytes = [frame(0x01, b"ro"), frame(0x89, b"!"), frame(0x80, b"om"), frame(0x88, b""), frame(0x81, b"late")];
    let seen = texts(&mut Decoder::default(), &bytes.concat()).unwrap();
    assert_eq!(seen, ["Ping([33])", "room", "Close(None)"]);
}

#[test]
fn text_across_fragments_is_refused_as_soon_as_nothing_can_mend_it() {
    let snowman = "\u{2603}".as_bytes();
    let cut = [frame(0x01, &snowman[..1]), frame(0x00, &snowman[1..2]), frame(0x00, b""), frame(0x80, &snowman[2..])];
    assert_eq!(texts(&mut Decoder::default(), &cut.concat()).unwrap(), ["\u{2603}"]);
    assert_eq!(
        refused(&[frame(0x01, b"a"), frame(0x00, &[0xFF])].concat()),
        CloseCode::InvalidText,
        "never a byte of text"
    );
    assert_eq!(refused(&[frame(0x01, &snowman[..2]), frame(0x00, b"a")].concat()), CloseCode::InvalidText, "cut short");
    assert_eq!(refused(&[frame(0x01, &[0xED]), frame(0x00, &[0xA0])].concat()), CloseCode::InvalidText, "a surrogate");
    assert_eq!(
        refused(&[frame(0x01, &snowman[..2]), frame(0x80, b"")].concat()),
        CloseCode::InvalidText,
        "an end inside"
    );
}

#[test]
fn what_an_idle_client_keeps_of_its_frames_does_not_grow() {
    assert_eq!(size_of::<Decoder>(), 56);
}

proptest! {
    #[test]
    fn however_the_bytes_arrive_the_messages_are_the_same(
        messages in prop::collection::vec("\\PC{0,200}", 0..8),
        cuts in prop::collection::vec(1_usize..40, 0..200),
    ) {
        let mut bytes: &[u8] = &messages.iter().flat_map(|text| frame(0x81, text.as_bytes())).collect::<Vec<_>>();
        let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
        for cut in cuts {
            let (now, later) = bytes.split_at(cut.min(bytes.len()));
            seen.extend(texts(&mut decoder, now).unwrap());
            bytes = later;
        }
        seen.extend(texts(&mut decoder, bytes).unwrap());
        prop_assert_eq!(seen, messages);
        prop_assert_eq!(decoder.rest.capacity() * usize::from(decoder.rest.is_empty()), 0, "nothing is kept when idle");
    }

    #[test]
    fn no_bytes_can_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = texts(&mut Decoder::default(), &bytes);
    }
}

/// What a peer that is not ours makes of the same bytes: the messages, and whether the last was an error.
fn as_tungstenite_reads(bytes: &[u8]) -> (Vec<String>, bool) {
    use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
    use tokio_tungstenite::tungstenite::{Error, Message};
    let config = WebSocketConfig::default().max_message_size(Some(65_536)).max_frame_size(Some(65_536));
    let mut socket = WebSocket::from_raw_socket(Recording(bytes), Role::Server, Some(config));
    let mut seen = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => seen.push(text.to_string()),
            Ok(Message::Ping(payload)) => seen.push(format!("{:?}", Incoming::Ping(&payload))),
            Ok(Message::Pong(payload)) => seen.push(format!("{:?}", Incoming::Pong(&payload))),
            Ok(Message::Close(close)) => {
                seen.push(format!("{:?}", Incoming::Close(close.map(|close| close.code.into()))));
                return (seen, false);
            }
            Ok(other) => panic!("{other:?}"),
            // The end of the bytes.
            Err(Error::Io(_) | Error::ConnectionClosed) => return (seen, false),
            Err(Error::Protocol(error)) if error.to_string().contains("without closing handshake") => {
                return (seen, false);
            }
            Err(_) => return (seen, true),
        }
    }
}

/// Bytes to read; what is written is nobody's.
struct Recording<'a>(&'a [u8]);

impl std::io::Read for Recording<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        std::io::Read::read(&mut self.0, buffer)
    }
}

impl std::io::Write for Recording<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Frames as clients send them, and some that nobody may send: any opcode but binary's, reserved bits, fragments in any
/// order, texts and bytes, codes of all kinds.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::collection::vec(prop_oneof![8 => Just("a"), 1 => Just("é"), 1 => Just("\u{1F600}")], 0..40)
        .prop_map(|letters| letters.concat().into_bytes());
    let payload = prop_oneof![
        6 => text,
        1 => prop::collection::vec(any::<u8>(), 0..130),
        1 => (0_u16..5000).prop_map(|code| code.to_be_bytes().to_vec()),
    ];
    let first = prop_oneof![
        8 => Just(0x81_u8), 4 => Just(0x01), 4 => Just(0x00), 4 => Just(0x80), 3 => Just(0x89), 3 => Just(0x8A), 1 => Just(0x88),
        1 => any::<u8>().prop_filter("binary is ours to refuse", |first| first & 0x0F != BINARY),
    ];
    (first, payload).prop_map(|(first, payload)| frame(first, &payload))
}

proptest! {
    #[test]
    fn another_implementation_reads_the_same(frames in prop::collection::vec(any_frame(), 0..12)) {
        let bytes = frames.concat();
        let (mut seen, mut decoder) = (Vec::new(), Decoder::default());
        let fed = decoder.feed(&mut bytes.clone(), 65_536, |incoming| seen.push(match incoming {
            Incoming::Text(text) => text.to_owned(),
            other => format!("{other:?}"),
        }));
        let (mut theirs, mut failed) = as_tungstenite_reads(&bytes);
        // A goodbye with a code that nobody may send is told as one with 1002.
        if fed.is_err() && theirs.last().is_some_and(|last| last == "Close(Some(1002))") {
            theirs.pop();
            failed = true;
        }
        prop_assert_eq!(fed.is_err(), failed, "{:?} and {:?}", seen, theirs);
        prop_assert_eq!(seen, theirs);
    }
}

/// What the fuzzer starts from, and has found: `tests/fuzz`. Here each file, and a few hundred things like it, always the same.
#[test]
fn whatever_is_like_the_fuzzers_corpus_holds_the_property() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/frames");
    let mut files: Vec<_> = std::fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let files: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(files.len() >= 30, "{} files in {}", files.len(), corpus.display());
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    // Xorshift: as good as it has to be.
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound.max(1) as u64) as usize
    };
    for file in &files {
        property::holds(file);
        for _ in 0..300 {
            let mut bytes = file.clone();
            for _ in 0..=below(4) {
                let (from, to, other) = (below(bytes.len()), below(bytes.len()), &files[below(files.len())]);
                match below(5) {
                    0 => bytes.truncate(from),
                    1 => bytes.extend_from_slice(other),
                    2 => _ = bytes.splice(from..from.max(to), other[..below(other.len())].to_vec()),
                    3 => bytes.get_mut(from).into_iter().for_each(|byte| *byte = to as u8),
                    _ => bytes.get_mut(from).into_iter().for_each(|byte| *byte ^= 1 << (to % 8)),
                }
            }
            property::holds(&bytes);
        }
    }
}
