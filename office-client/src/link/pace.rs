//! The rate limit of a run: so many bytes of bodies a second, over all its requests and both directions together.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::clock;

/// Hands out the time of the line, piece after piece.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes per second; unlimited when none.
    rate: Option<u64>,
    /// When the time is over that was handed out so far.
    free_at: Mutex<Option<Instant>>,
}

/// The time that some bytes have on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// What is sent may begin then.
    pub(super) begin: Instant,
    /// What has been received is read on then, and TCP slows the sender down.
    pub(super) end: Instant,
}

impl Pace {
    /// A pace of so many bytes a second.
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate, free_at: Mutex::new(None) }
    }

    /// Takes the next time for so many bytes; none where nothing limits them.
    pub(super) fn take(&self, bytes: usize) -> Option<Slot> {
        let rate = self.rate?.max(1);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let begin = free_at.map_or(now, |free_at| free_at.max(now));
        let end = begin + clock::real(Duration::from_secs_f64(bytes as f64 / rate as f64));
        *free_at = Some(end);
        Some(Slot { begin, end })
    }

    /// The most bytes to hand out at a time: a slow line gets a piece about every tenth of a second.
    pub(super) fn piece_bytes(&self, bytes_max: usize) -> usize {
        self.rate.map_or(bytes_max, |rate| (rate / 10).clamp(64, bytes_max as u64) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_follows_what_was_taken_before_and_a_pause_saves_nothing_up() {
        let pace = Pace::new(Some(1000));
        let began = Instant::now();
        let at = |slot: Option<Slot>| slot.map(|slot| (slot.begin - began, slot.end - began));
        let seconds = |from, to| Some((Duration::from_secs(from), Duration::from_secs(to)));
        assert_eq!(at(pace.take(1000)), seconds(0, 1));
        assert_eq!(at(pace.take(2000)), seconds(1, 3));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(at(pace.take(1000)), seconds(10, 11));
        assert_eq!(Pace::new(None).take(1 << 30), None);
    }
}
