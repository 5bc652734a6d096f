//! How large the next chunk or slice is: small on an unknown line, half after a drop, growing to what the line carries
//! in about five seconds.

use std::time::Duration;

use crate::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, CHUNK_BYTES_START, CHUNK_DURATION_WANTED};

/// The size of chunks on one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizer {
    bytes: u64,
    bytes_max: u64,
}

impl Sizer {
    pub(super) fn new() -> Self {
        Self { bytes: CHUNK_BYTES_START, bytes_max: CHUNK_BYTES_MAX }
    }

    /// The peer takes no larger ones.
    pub(super) fn limit(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        self.bytes = self.bytes.min(self.bytes_max);
    }

    /// Size of the next one, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// One of that size took so long, answer included.
    pub(super) fn took(&mut self, bytes: u64, elapsed: Duration) {
        if elapsed < CHUNK_DURATION_WANTED / 2 && bytes >= self.bytes {
            self.bytes = (self.bytes * 2).min(self.bytes_max);
        } else if elapsed > CHUNK_DURATION_WANTED * 2 {
            self.halve();
        }
    }

    /// The line dropped. Whether it could be made any smaller.
    pub(super) fn halve(&mut self) -> bool {
        let before = self.bytes;
        self.bytes = (self.bytes / 2).max(CHUNK_BYTES_MIN);
        self.bytes < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_on_a_fast_line_and_shrink_on_a_bad_one_within_bounds() {
        let mut sizer = Sizer::new();
        assert_eq!(sizer.bytes(), CHUNK_BYTES_START);
        for _ in 0..40 {
            sizer.took(sizer.bytes(), Duration::from_millis(10));
        }
        assert_eq!(sizer.bytes(), CHUNK_BYTES_MAX);
        sizer.took(sizer.bytes(), Duration::from_secs(20));
        assert_eq!(sizer.bytes(), CHUNK_BYTES_MAX / 2);
        while sizer.halve() {}
        assert_eq!(sizer.bytes(), CHUNK_BYTES_MIN);
    }

    #[test]
    fn a_last_short_chunk_says_nothing_about_the_line() {
        let mut sizer = Sizer::new();
        sizer.took(10, Duration::from_millis(1));
        assert_eq!(sizer.bytes(), CHUNK_BYTES_START);
    }

    #[test]
    fn a_peer_may_ask_for_smaller_chunks() {
        let mut sizer = Sizer::new();
        sizer.limit(10_000);
        assert_eq!(sizer.bytes(), 10_000);
        sizer.limit(1);
        assert_eq!(sizer.bytes(), CHUNK_BYTES_MIN);
    }
}
