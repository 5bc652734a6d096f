//! Guessing costs time: failures of a user name from an address are counted, and further tries put off.
//!
//! Only that pair is put off, so nobody can lock others out from elsewhere.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures without consequence.
const FREE: u32 = 5;
/// Longest time a try is put off.
const LONGEST: Duration = Duration::from_secs(300);
/// Pairs that are remembered; the one that failed longest ago gives way.
const PAIRS_MAX: usize = 4096;

/// Who has failed how often.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    failures: Mutex<HashMap<(String, IpAddr), Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn pause(self) -> Duration {
        match self.count.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(more) => Duration::from_secs(1 << more.min(9)).min(LONGEST),
        }
    }
}

impl Throttle {
    /// How long this pair still has to wait, if it does.
    pub(super) fn wait(&self, user: &str, peer: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let known = failures.get(&(cut(user), peer))?;
        known.pause().checked_sub(now.duration_since(known.last)).filter(|left| !left.is_zero())
    }

    /// A try failed.
    pub(super) fn failed(&self, user: &str, peer: IpAddr, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (cut(user), peer);
        if failures.len() >= PAIRS_MAX && !failures.contains_key(&key) {
            let oldest = failures.iter().min_by_key(|(_, known)| known.last).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                failures.remove(&oldest);
            }
        }
        let known = failures.entry(key).or_insert(Failures { count: 0, last: now });
        known.count = known.count.saturating_add(1);
        known.last = now;
    }

    /// A try succeeded: the pair starts afresh.
    pub(super) fn succeeded(&self, user: &str, peer: IpAddr) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&(cut(user), peer));
    }
}

/// What is kept of a name that may be anything.
fn cut(user: &str) -> String {
    user.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pair_that_fails_waits_and_longer_each_time() {
        let throttle = Throttle::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        for _ in 0..FREE - 1 {
            throttle.failed("ana", here, now);
        }
        assert_eq!(throttle.wait("ana", here, now), None);
        throttle.failed("ana", here, now);
        assert_eq!(throttle.wait("ana", here, now), Some(Duration::from_secs(1)));
        throttle.failed("ana", here, now);
        assert_eq!(throttle.wait("ana", here, now), Some(Duration::from_secs(2)));
        assert_eq!(throttle.wait("ana", there, now), None);
        assert_eq!(throttle.wait("rui", here, now), None);
        assert_eq!(throttle.wait("ana", here, now + Duration::from_secs(3)), None);
        throttle.succeeded("ana", here);
        assert_eq!(throttle.wait("ana", here, now), None);
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::default();
        let now = Instant::now();
        for n in 0..PAIRS_MAX + 10 {
            throttle.failed(&n.to_string(), IpAddr::from([10, 0, 0, 1]), now);
        }
        assert_eq!(throttle.failures.lock().unwrap_or_else(PoisonError::into_inner).len(), PAIRS_MAX);
    }
}
