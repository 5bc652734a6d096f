//! How large the next chunk or slice is: small on an unknown line, half after a drop, growing to what the line carries
//! in about five seconds.

use std::time::Duration;

use crate::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, CHUNK_BYTES_START, CHUNK_DURATION_WANTED};

/// The size of chunks in one direction of a line, and how fast it was found to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sizer {
    bytes: u64,
    bytes_max: u64,
    /// Up to here it doubles, above it grows carefully: half of what was lost the last time.
    careful_above: u64,
    /// Bytes per second, smoothed; none before the first chunk of a line that was never measured.
    rate: Option<f64>,
    /// Whether anything was measured in this run.
    is_measured: bool,
}

impl Sizer {
    /// For a line that was measured before, or not.
    pub(super) fn new(rate: Option<u64>) -> Self {
        let mut sizer = Self {
            bytes: CHUNK_BYTES_START,
            bytes_max: CHUNK_BYTES_MAX,
            careful_above: u64::MAX,
            rate: rate.map(|rate| rate as f64),
            is_measured: false,
        };
        if rate.is_some() {
            // half of what it would carry: it may be another line today
            sizer.bytes = (sizer.wanted() / 2).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_START);
        }
        sizer
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

    /// Bytes per second that the line has carried lately, answers included; none when this run has measured nothing.
    pub(super) fn measured(&self) -> Option<u64> {
        self.rate.filter(|_| self.is_measured).map(|rate| rate as u64)
    }

    /// One of that size took so long on the line, answer included.
    pub(super) fn took(&mut self, bytes: u64, elapsed: Duration) {
        let sample = bytes as f64 / elapsed.as_secs_f64().max(0.000_1);
        // a short last one says more about the answer's way than about the line: it counts only if it is all there is
        if bytes.saturating_mul(2) < self.bytes {
            if !self.is_measured && bytes >= CHUNK_BYTES_MIN {
                self.is_measured = true;
                self.rate = Some(sample);
            }
            return;
        }
        self.rate = Some(self.rate.filter(|_| self.is_measured).map_or(sample, |rate| (rate + sample) / 2.0));
        self.is_measured = true;
        let wanted = self.wanted();
        let grown = if self.bytes < self.careful_above { self.bytes * 2 } else { self.bytes + self.bytes / 8 };
        let before = self.bytes;
        self.bytes = wanted.min(grown).clamp(CHUNK_BYTES_MIN, self.bytes_max);
        if self.bytes.ilog2() != before.ilog2() {
            tracing::info!(bytes = self.bytes, bytes_per_s = self.measured(), "chunks have another size");
        }
    }

    /// The line dropped. Whether it could be made any smaller.
    pub(super) fn halve(&mut self) -> bool {
        let before = self.bytes;
        self.bytes = (self.bytes / 2).max(CHUNK_BYTES_MIN);
        self.careful_above = self.bytes;
        if self.bytes < before {
            tracing::info!(bytes = self.bytes, "chunks are halved");
        }
        self.bytes < before
    }

    /// What the line carries in the time that one should take.
    fn wanted(&self) -> u64 {
        let bytes = self.rate.unwrap_or(0.0) * CHUNK_DURATION_WANTED.as_secs_f64();
        bytes.min(CHUNK_BYTES_MAX as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends so many chunks over a line of that rate.
    fn send(sizer: &mut Sizer, chunks: usize, rate: u64) {
        for _ in 0..chunks {
            sizer.took(sizer.bytes(), Duration::from_secs_f64(sizer.bytes() as f64 / rate as f64));
        }
    }

    #[test]
    fn chunks_grow_to_five_seconds_of_line_within_bounds() {
        let mut sizer = Sizer::new(None);
        assert_eq!(sizer.bytes(), CHUNK_BYTES_START);
        send(&mut sizer, 20, 4200);
        assert!((20_000..=21_000).contains(&sizer.bytes()), "{sizer:?}");
        send(&mut sizer, 40, 1 << 40);
        assert_eq!(sizer.bytes(), CHUNK_BYTES_MAX);
        send(&mut sizer, 40, 10);
        assert_eq!(sizer.bytes(), CHUNK_BYTES_MIN);
    }

    #[test]
    fn a_drop_halves_them_and_then_they_grow_with_care() {
        let mut sizer = Sizer::new(None);
        send(&mut sizer, 20, 100_000);
        let before = sizer.bytes();
        assert!(sizer.halve());
        assert_eq!(sizer.bytes(), before / 2);
        send(&mut sizer, 1, 100_000);
        assert!(sizer.bytes() < before * 2 / 3, "{sizer:?}");
        send(&mut sizer, 20, 100_000);
        assert!(sizer.bytes() >= before * 9 / 10, "{sizer:?}");
        while sizer.halve() {}
        assert_eq!(sizer.bytes(), CHUNK_BYTES_MIN);
    }

    #[test]
    fn a_line_that_was_measured_before_starts_with_half_of_what_it_carries() {
        assert_eq!(Sizer::new(Some(4000)).bytes(), 10_000);
        assert_eq!(Sizer::new(Some(1 << 40)).bytes(), CHUNK_BYTES_START);
        assert_eq!(Sizer::new(Some(0)).bytes(), CHUNK_BYTES_MIN);
    }

    #[test]
    fn a_last_short_chunk_says_nothing_about_the_line() {
        let mut sizer = Sizer::new(None);
        sizer.took(10, Duration::from_millis(1));
        assert_eq!((sizer.bytes(), sizer.measured()), (CHUNK_BYTES_START, None));
    }

    #[test]
    fn a_peer_may_ask_for_smaller_chunks() {
        let mut sizer = Sizer::new(None);
        sizer.limit(10_000);
        assert_eq!(sizer.bytes(), 10_000);
        sizer.limit(1);
        assert_eq!(sizer.bytes(), CHUNK_BYTES_MIN);
    }
}
