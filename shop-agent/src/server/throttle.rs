//! What guessing costs at the agent's port. A credential that was proven before is not put off at all.

use credentials::{Bounds, Throttle};

use crate::limits::{GUESSERS_MAX, GUESSES_FREE, GUESSES_FREE_PER_PEER};

/// Nobody has failed yet.
pub(crate) fn throttle() -> Throttle {
    Throttle::new(Bounds { free: GUESSES_FREE, free_per_peer: GUESSES_FREE_PER_PEER, guessers_max: GUESSERS_MAX })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn boundary_of_guesses_free() {
        let throttle = throttle();
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
        let throttle = throttle();
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
    fn boundary_of_guessers_max() {
        let throttle = throttle();
        let now = Instant::now();
        let size = || throttle.guessers();
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
