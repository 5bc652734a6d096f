//! Trying again: longer and longer pauses with jitter, within a deadline that every progress moves.

use std::time::Duration;

use tokio::time::Instant;

use super::{LinkError, clock};
use crate::limits::{FIRST_CONTACT_DURATION_MAX, PAUSE_MAX, PAUSE_MIN};
use crate::stop::Stop;

/// When to try again, and when no more.
#[derive(Debug)]
pub(crate) struct Retry {
    stop: Stop,
    patience: Duration,
    first_patience: Duration,
    /// Since when nothing has worked.
    since: Instant,
    failures: u32,
    contact: bool,
    /// How often something worked again after it had failed.
    recovered: u32,
}

impl Retry {
    /// Tries for `patience` without progress. The first contact is tried for a short time only, unless the user named a patience.
    pub(crate) fn new(stop: Stop, patience: Duration, named: bool) -> Self {
        let first_patience = if named { patience } else { patience.min(FIRST_CONTACT_DURATION_MAX) };
        Self { stop, patience, first_patience, since: Instant::now(), failures: 0, contact: false, recovered: 0 }
    }

    /// Something worked: the deadline and the pauses start afresh.
    pub(crate) fn progress(&mut self) {
        self.contact = true;
        self.recovered += u32::from(self.failures > 0);
        self.failures = 0;
        self.since = Instant::now();
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// How often the line was lost and came back.
    pub(crate) fn recovered(&self) -> u32 {
        self.recovered
    }

    /// Whether to stop.
    pub(crate) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// A new request begins after work elsewhere: time that passed in the database is no failure of the line.
    pub(crate) fn begin(&mut self) {
        if self.failures == 0 {
            self.since = Instant::now();
        }
    }

    /// Waits before the next try, or returns the error when there is no time left, or the user asked to stop.
    pub(crate) async fn pause(&mut self, error: LinkError) -> Result<(), LinkError> {
        if !error.is_passing() {
            return Err(error);
        }
        if self.failures == 0 && self.contact {
            // how long the request had worked before the line was lost (a finish may take minutes) is no time without success
            self.since = Instant::now();
        }
        let patience = if self.contact { self.patience } else { self.first_patience };
        let left = patience.saturating_sub(clock::on_line(self.since.elapsed()));
        let pause = jittered(base_pause(self.failures), rand::random::<f64>());
        if left < pause {
            return Err(error);
        }
        self.failures += 1;
        tracing::info!(error = %crate::error::chain(&error), pause_ms = pause.as_millis() as u64, "line failed, trying again");
        tokio::select! {
            () = clock::sleep(pause) => Ok(()),
            () = self.stop.wait() => Err(LinkError::Stopped),
        }
    }
}

/// The pause after so many failures in a row, before jitter.
fn base_pause(failures: u32) -> Duration {
    PAUSE_MIN.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX)
}

/// Half of the pause is certain, the other half is chance: shops that lost one line do not all come back at once.
fn jittered(pause: Duration, chance: f64) -> Duration {
    pause.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_jitter_keeps_half() {
        assert_eq!(base_pause(0), PAUSE_MIN);
        assert_eq!(base_pause(1), PAUSE_MIN * 2);
        assert_eq!(base_pause(1000), PAUSE_MAX);
        assert_eq!(jittered(Duration::from_secs(4), 0.0), Duration::from_secs(2));
        assert_eq!(jittered(Duration::from_secs(4), 1.0), Duration::from_secs(4));
    }

    fn lost() -> LinkError {
        LinkError::unknown("x", "reset")
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_shop_is_given_up_after_the_first_contact_and_a_dropped_line_later() {
        let began = Instant::now();
        let mut retry = Retry::new(Stop::default(), Duration::from_secs(120), false);
        while retry.pause(lost()).await.is_ok() {}
        assert!(began.elapsed() <= FIRST_CONTACT_DURATION_MAX);
        let began = Instant::now();
        retry.progress();
        while retry.pause(lost()).await.is_ok() {}
        assert!(began.elapsed() > Duration::from_secs(100) && began.elapsed() <= Duration::from_secs(120));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_lost_after_long_work_is_tried_again() {
        let mut retry = Retry::new(Stop::default(), Duration::from_secs(120), false);
        retry.progress();
        retry.begin();
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(retry.pause(lost()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_never_tried_again() {
        let mut retry = Retry::new(Stop::default(), Duration::from_secs(120), true);
        let refused = LinkError::Http { status: 401, meaning: "x" };
        assert!(matches!(retry.pause(refused).await, Err(LinkError::Http { status: 401, .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_wait() {
        let stop = Stop::default();
        let mut retry = Retry::new(stop.clone(), Duration::from_secs(120), true);
        stop.request();
        assert!(matches!(retry.pause(lost()).await, Err(LinkError::Stopped)));
    }
}
