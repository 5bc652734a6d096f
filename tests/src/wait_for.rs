//! Waiting for a condition, not for a time.

use std::thread;
use std::time::{Duration, Instant};

/// How long a condition may take to come true. Generous: only a test that fails waits that long.
pub const BOUND: Duration = Duration::from_secs(90);

const LOOK: Duration = Duration::from_millis(10);

/// Waits until the condition holds.
///
/// # Panics
/// If it does not within [`BOUND`]; `what` says in the message what was waited for.
pub fn condition(what: &str, mut condition: impl FnMut() -> bool) {
    some(what, || condition().then_some(()));
}

/// Waits until there is a value.
///
/// # Panics
/// If there is none within [`BOUND`]; `what` says in the message what was waited for.
pub fn some<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(began.elapsed() < BOUND, "waited {BOUND:?} in vain for: {what}");
        thread::sleep(LOOK);
    }
}
