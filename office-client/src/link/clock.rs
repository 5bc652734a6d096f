//! The clock of the line. Everything that has to do with how fast a line is (the time of a chunk, pauses between tries, a
//! rate limit, how long silence is borne) is measured with it, so that a test of a slow line can let it run faster:
//! `SYNC_LINE_CLOCK=20` is twenty times as fast as the real one, and so is the line that the test simulates.

use std::sync::LazyLock;
use std::time::Duration;

/// Name of the environment variable, for tests only.
const VARIABLE: &str = "SYNC_LINE_CLOCK";

/// No faster than this: beyond it the machine itself becomes part of what is measured.
const SPEED_MAX: f64 = 20.0;

static SPEED: LazyLock<f64> = LazyLock::new(|| speed(std::env::var(VARIABLE).ok().as_deref()));

fn speed(written: Option<&str>) -> f64 {
    written.and_then(|text| text.parse().ok()).filter(|speed| (1.0..=SPEED_MAX).contains(speed)).unwrap_or(1.0)
}

/// How long a time of the line is on the machine's clock.
pub(crate) fn real(on_line: Duration) -> Duration {
    on_line.div_f64(*SPEED)
}

/// How long a time of the machine's clock is on the line.
pub(crate) fn on_line(real: Duration) -> Duration {
    real.mul_f64(*SPEED)
}

/// Waits so long on the line.
pub(crate) async fn sleep(on_line: Duration) {
    tokio::time::sleep(real(on_line)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_at_most_twenty_times_as_fast_and_never_slower() {
        assert_eq!(speed(None), 1.0);
        assert_eq!(speed(Some("20")), 20.0);
        for wrong in ["0.5", "21", "-3", "fast", "inf", "NaN"] {
            assert_eq!(speed(Some(wrong)), 1.0, "{wrong}");
        }
    }
}
