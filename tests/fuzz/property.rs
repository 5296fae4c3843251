//! What must hold whatever bytes a client sends. Shared by the fuzz target and by the test that runs the corpus.

use super::{CloseCode, Decoder, Incoming};

/// Small, so that few bytes reach the bound.
const MAX_MESSAGE: usize = 300;

/// However the bytes are cut, they mean the same; nothing panics, and nothing is larger than it may be.
pub(crate) fn holds(bytes: &[u8]) {
    let whole = read(bytes, bytes.len());
    for piece in [1, 2, 3, 7, 64] {
        assert_eq!(read(bytes, piece), whole, "in pieces of {piece}");
    }
}

/// What was said, and the code with which it would be closed.
fn read(bytes: &[u8], piece: usize) -> (Vec<String>, Option<CloseCode>) {
    let (mut decoder, mut seen, mut ended) = (Decoder::default(), Vec::new(), false);
    for piece in bytes.chunks(piece.max(1)) {
        let fed = decoder.feed(&mut piece.to_vec(), MAX_MESSAGE, |incoming| {
            assert!(!ended, "{incoming:?} after the goodbye");
            match incoming {
                Incoming::Text(text) => assert!(text.len() <= MAX_MESSAGE),
                Incoming::Ping(payload) | Incoming::Pong(payload) => assert!(payload.len() <= 125),
                Incoming::Close(code) => {
                    assert!(code.is_none_or(|code| matches!(code, 1000..=1014 | 3000..=4999)));
                    ended = true;
                }
            }
            seen.push(format!("{incoming:?}"));
        });
        match fed {
            Err(code) => return (seen, Some(code)),
            Ok(()) if ended => return (seen, None),
            Ok(()) => {}
        }
    }
    (seen, None)
}
