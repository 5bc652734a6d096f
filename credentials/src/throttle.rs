//! Guessing costs time: failures of a user name from an address, and of an address in all, are counted, and further tries
//! put off, each time for twice as long.
//!
//! Only the address that fails is put off, so nobody can lock others out from elsewhere.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longest time a try is put off.
const LONGEST: Duration = Duration::from_secs(300);

/// Longest part of a user name that is told apart.
const NAME_CHARS: usize = 64;

/// Who fails: a user from an address, or, without a name, the address.
type Guesser = (Option<String>, IpAddr);

/// How many failures are without consequence, and how many are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Failures of a user from an address without consequence.
    pub free: u32,
    /// Failures of an address without consequence, whatever the names.
    pub free_per_peer: u32,
    /// Guessers that are remembered; who failed longest ago gives way.
    pub guessers_max: usize,
}

/// Who has failed how often.
#[derive(Debug)]
pub struct Throttle {
    bounds: Bounds,
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
    /// Nobody has failed yet.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, failures: Mutex::default() }
    }

    /// How many guessers are remembered.
    pub fn guessers(&self) -> usize {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How long this user still has to wait at this address, if so.
    pub fn wait(&self, user: &str, peer: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |guesser: &Guesser, free| {
            let known = failures.get(guesser)?;
            known.pause(free).checked_sub(now.saturating_duration_since(known.last)).filter(|left| !left.is_zero())
        };
        let [pair, peer] = guessers(user, peer);
        left(&pair, self.bounds.free).max(left(&peer, self.bounds.free_per_peer))
    }

    /// A try failed.
    pub fn failed(&self, user: &str, peer: IpAddr, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for guesser in guessers(user, peer) {
            if failures.len() >= self.bounds.guessers_max && !failures.contains_key(&guesser) {
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
    pub fn succeeded(&self, user: &str, peer: IpAddr) {
        let [pair, _] = guessers(user, peer);
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&pair);
    }
}

fn guessers(user: &str, peer: IpAddr) -> [Guesser; 2] {
    let peer = network(peer);
    [(Some(user.chars().take(NAME_CHARS).collect()), peer), (None, peer)]
}

/// What an address counts as: of IPv6 the first 64 bits, since one host has all the rest.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_one_host_count_as_one() {
        let of = |text: &str| network(text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0])));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
