//! Guessing costs time: failures of a user name from an address, and of an address in all, are counted, and further tries
//! put off, each time for twice as long.
//!
//! Only the address that fails is put off, so nobody can lock out the real office from elsewhere; and a credential that
//! was proven before is not put off at all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::limits::{GUESSERS_MAX, GUESSES_FREE, GUESSES_FREE_PER_PEER};

/// Longest time a try is put off.
const LONGEST: Duration = Duration::from_secs(300);

/// Longest part of a user name that is told apart.
const NAME_CHARS: usize = 64;

/// Who fails: a user from an address, or, without a name, the address.
type Guesser = (Option<String>, IpAddr);

#[derive(Debug, Default)]
pub(crate) struct Throttle {
    failures: Mutex<HashMap<Guesser, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// How long after the last failure the next try is put off.
    fn pause(self, free: u32) -> Duration {
        match self.count.checked_sub(free) {
            None => Duration::ZERO,
            Some(more) => Duration::from_secs(1 << more.min(9)).min(LONGEST),
        }
    }
}

impl Throttle {
    /// How long this user still has to wait at this address, if so.
    pub(crate) fn wait(&self, user: &str, peer: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |guesser: &Guesser, free| {
            let known = failures.get(guesser)?;
            known.pause(free).checked_sub(now.saturating_duration_since(known.last)).filter(|left| !left.is_zero())
        };
        let [pair, peer] = guessers(user, peer);
        left(&pair, GUESSES_FREE).max(left(&peer, GUESSES_FREE_PER_PEER))
    }

    /// A try failed.
    pub(crate) fn failed(&self, user: &str, peer: IpAddr, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for guesser in guessers(user, peer) {
            if failures.len() >= GUESSERS_MAX && !failures.contains_key(&guesser) {
                let oldest = failures.iter().min_by_key(|(_, known)| known.last).map(|(key, _)| key.clone());
                if let Some(oldest) = oldest {
                    failures.remove(&oldest);
                }
            }
            let known = failures.entry(guesser).or_insert(Failures { count: 0, last: now });
            known.count = known.count.saturating_add(1);
            known.last = now;
        }
    }

    /// A try succeeded: the user starts afresh at this address. The address does not, since whoever has one credential
    /// could otherwise guess at others for ever.
    pub(crate) fn succeeded(&self, user: &str, peer: IpAddr) {
        let [pair, _] = guessers(user, peer);
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&pair);
    }
}

fn guessers(user: &str, peer: IpAddr) -> [Guesser; 2] {
    let peer = network(peer);
    [(Some(user.chars().take(NAME_CHARS).collect()), peer), (None, peer)]
}

/// What an address counts as: of IPv6 the first 64 bits, since one host has all the rest.
pub(crate) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundary_of_guesses_free() {
        let throttle = Throttle::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        for _ in 0..GUESSES_FREE - 1 {
            throttle.failed("office", here, now);
        }
        assert_eq!(throttle.wait("office", here, now), None);
        throttle.failed("office", here, now);
        assert_eq!(throttle.wait("office", here, now), Some(Duration::from_secs(1)));
        throttle.failed("office", here, now);
        assert_eq!(throttle.wait("office", here, now), Some(Duration::from_secs(2)));
        assert_eq!(throttle.wait("office", there, now), None);
        assert_eq!(throttle.wait("other", here, now), None);
        assert_eq!(throttle.wait("office", here, now + Duration::from_secs(3)), None);
        throttle.succeeded("office", here);
        assert_eq!(throttle.wait("office", here, now), None);
    }

    #[test]
    fn boundary_of_guesses_free_per_peer() {
        let throttle = Throttle::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let now = Instant::now();
        for n in 0..GUESSES_FREE_PER_PEER - 1 {
            throttle.failed(&n.to_string(), here, now);
        }
        assert_eq!(throttle.wait("another", here, now), None);
        throttle.failed("last", here, now);
        assert_eq!(throttle.wait("another", here, now), Some(Duration::from_secs(1)));
        throttle.succeeded("another", here);
        assert!(throttle.wait("yet another", here, now).is_some(), "one success does not pay for all guesses");
        assert_eq!(throttle.wait("another", there, now), None);
    }

    #[test]
    fn the_addresses_of_one_host_count_as_one() {
        let of = |text: &str| network(text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0])));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn boundary_of_guessers_max() {
        let throttle = Throttle::default();
        let now = Instant::now();
        let size = || throttle.failures.lock().unwrap_or_else(PoisonError::into_inner).len();
        for n in 0..GUESSERS_MAX - 2 {
            throttle.failed(&n.to_string(), IpAddr::from([10, 0, 0, 1]), now);
        }
        assert_eq!(size(), GUESSERS_MAX - 1);
        for n in [GUESSERS_MAX, GUESSERS_MAX + 1] {
            throttle.failed(&n.to_string(), IpAddr::from([10, 0, 0, 1]), now);
            assert_eq!(size(), GUESSERS_MAX);
        }
    }
}
