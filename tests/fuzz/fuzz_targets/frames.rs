//! The frame codec against any bytes. It takes the codec's own file and not the whole server, whose dependencies would all be built
//! with the sanitizer: `RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir tests/fuzz frames` on a stable toolchain.

#![no_main]
#![expect(dead_code, reason = "of the files it takes, the fuzzer needs a part")]

#[path = "../../../src/protocol/close.rs"]
mod close;
#[path = "../../../src/realtime/codec.rs"]
mod codec;
#[path = "../property.rs"]
mod property;

mod protocol {
    pub use crate::close::CloseCode;
}

use codec::{Decoder, Incoming};
use protocol::CloseCode;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| property::holds(bytes));
