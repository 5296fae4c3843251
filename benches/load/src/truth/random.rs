//! Chance that is the same in every run.

/// xorshift: the same acts in the same order, as far as answers come in the same order.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new() -> Random {
        Random(0x9E37_79B9_7F4A_7C15)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
