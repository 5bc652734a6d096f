//! When a branch is updated by itself: every so often, or at times of the day.
//!
//! A schedule is a setting of the branch, so every office process on the database sees the same one. What was missed while
//! no console ran is caught up once. Of several processes one begins a run (`Office::claim_run`), and the branch's lease
//! keeps any two runs of it apart.

use std::time::{Duration, SystemTime};

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use replica::office::Attempt;

use crate::units;

/// Shortest time between two runs.
const EVERY_MIN: Duration = Duration::from_secs(60);
/// Longest.
const EVERY_MAX: Duration = Duration::from_secs(31 * 86_400);
/// Times of a day.
const TIMES_MAX: usize = 48;
/// Results after which a run is begun again before its time; one that was refused to protect data waits for somebody.
const AGAIN: [&str; 3] = ["unreachable", "failed", "postponed"];
/// How long after its beginning; twice as long after every further failure in a row.
const AGAIN_PAUSE: Duration = Duration::from_secs(5 * 60);
/// At most.
const AGAIN_PAUSE_MAX: Duration = Duration::from_secs(3600);

/// A schedule: `every 15m`, `every 1h jitter 5m`, `at 06:00,13:30`, `at 22:00 jitter 10m`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule {
    when: When,
    /// A run is put off by up to that much, so that many branches do not all begin at once.
    jitter: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum When {
    Every(Duration),
    /// In the time of this machine.
    At(Vec<Time>),
}

impl Schedule {
    /// Reads it as people write it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no schedule; write `every 15m`, `at 06:00,13:30`, and `jitter 5m` behind either");
        let mut words = text.split_whitespace();
        let when = match (words.next(), words.next()) {
            (Some("every"), Some(span)) => {
                let every = units::parse_duration(span)?;
                if !(EVERY_MIN..=EVERY_MAX).contains(&every) {
                    return Err(format!("`every {span}` is out of range: one minute to 31 days"));
                }
                When::Every(every)
            }
            (Some("at"), Some(list)) => {
                let times: Result<Vec<Time>, String> = list
                    .split(',')
                    .map(|time| {
                        let shape = time.len() == 5 && time.as_bytes()[2] == b':';
                        time.parse().ok().filter(|_| shape).ok_or_else(|| format!("`{time}` is no time; write 06:00"))
                    })
                    .collect();
                let mut times = times?;
                times.sort();
                times.dedup();
                if times.is_empty() || times.len() > TIMES_MAX {
                    return Err(wrong());
                }
                When::At(times)
            }
            _ => return Err(wrong()),
        };
        let jitter = match (words.next(), words.next(), words.next()) {
            (None, ..) => Duration::ZERO,
            (Some("jitter"), Some(span), None) => units::parse_duration(span)?,
            _ => return Err(wrong()),
        };
        let most = match &when {
            When::Every(every) => *every,
            When::At(_) => Duration::from_secs(86_400),
        };
        if jitter >= most {
            return Err(format!("a jitter of {} s is as long as the schedule itself", jitter.as_secs()));
        }
        Ok(Self { when, jitter })
    }

    /// When the next run of a branch is due. One that was missed is due at once, and however many were, once. One that came
    /// to nothing (the shop was not reached, the process that began it has died) is begun again before the next time.
    pub(crate) fn next(&self, branch: i64, attempt: &Attempt, zone: &TimeZone) -> Option<SystemTime> {
        let began = attempt.last.as_ref().map(|(at, _)| *at);
        let last = attempt.claimed_at.max(began)?;
        let regular = self.due(last, seed(branch, last), zone)?;
        let came_to_nothing =
            attempt.unrecorded || attempt.last.as_ref().is_some_and(|(_, result)| AGAIN.contains(&result.as_str()));
        if !came_to_nothing {
            return Some(regular);
        }
        let doublings = u32::try_from(attempt.failures.clamp(1, 8) - 1).unwrap_or(0);
        let pause = AGAIN_PAUSE.saturating_mul(1 << doublings).min(AGAIN_PAUSE_MAX);
        Some(regular.min(last.checked_add(pause)?))
    }

    /// When it is due after a run that began then. `seed` decides about the jitter: it is the same until the next run has
    /// begun.
    fn due(&self, last: SystemTime, seed: u64, zone: &TimeZone) -> Option<SystemTime> {
        let base = match &self.when {
            When::Every(every) => last.checked_add(*every)?,
            When::At(times) => {
                let last = Timestamp::try_from(last).ok()?.to_zoned(zone.clone());
                next_of(times, &last)?.timestamp().into()
            }
        };
        let share = (seed % 1000) as f64 / 1000.0;
        base.checked_add(self.jitter.mul_f64(share))
    }
}

/// The first of these times after a moment. A time that a change of the clock leaves out comes when the clock goes on.
fn next_of(times: &[Time], after: &Zoned) -> Option<Zoned> {
    (0..3).find_map(|days| {
        let date = after.date().checked_add(SignedDuration::from_hours(24 * days)).ok()?;
        times.iter().find_map(|time| {
            let at = date.to_datetime(*time).to_zoned(after.time_zone().clone()).ok()?;
            (at > *after).then_some(at)
        })
    })
}

/// A number that stays the same until the next run of the branch has begun.
fn seed(branch: i64, last: SystemTime) -> u64 {
    let since = last.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    // any fixed mixing will do: it only has to tell branches and runs apart
    (branch.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ since.wrapping_mul(0xbf58_476d_1ce4_e5b9)) >> 17
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        text.parse::<Timestamp>().unwrap().into()
    }

    fn due(schedule: &str, last: &str) -> String {
        let due = Schedule::parse(schedule).unwrap().due(at(last), 0, &TimeZone::UTC).unwrap();
        Timestamp::try_from(due).unwrap().to_string()
    }

    #[test]
    fn a_schedule_is_read_as_people_write_it() {
        for right in ["every 15m", "every 1h jitter 5m", "at 06:00,13:30", "at 22:00 jitter 10m", " every  90s "] {
            assert!(Schedule::parse(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "15m",
            "every",
            "every 5s",
            "every 99d",
            "at 6",
            "at 25:00",
            "at 06:00 jitter",
            "every 15m jitter 15m",
            "every 1h now",
        ] {
            assert!(Schedule::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_next_run_is_counted_from_the_last_one() {
        assert_eq!(due("every 15m", "2026-11-21T14:00:00Z"), "2026-11-21T14:15:00Z");
        assert_eq!(due("at 06:00,13:30", "2026-11-21T06:00:00Z"), "2026-11-21T13:30:00Z");
        assert_eq!(due("at 06:00,13:30", "2026-11-21T14:00:00Z"), "2026-11-22T06:00:00Z");
    }

    #[test]
    fn what_was_missed_is_due_once() {
        // the machine was off for three days: the next run after the last one lies in the past, so it is due now
        let (now, last) = (at("2026-11-21T14:00:00Z"), "2026-11-18T06:00:00Z");
        let schedule = Schedule::parse("at 06:00").unwrap();
        assert!(schedule.due(at(last), 0, &TimeZone::UTC).unwrap() < now);
        assert!(schedule.due(now, 0, &TimeZone::UTC).unwrap() > now, "and not again after that");
    }

    fn attempt(claimed: Option<&str>, unrecorded: bool, last: Option<(&str, &str)>, failures: i64) -> Attempt {
        let last = last.map(|(began, result)| (at(began), result.to_owned()));
        Attempt { claimed_at: claimed.map(at), unrecorded, last, failures, ..Attempt::default() }
    }

    #[test]
    fn a_run_that_came_to_nothing_is_begun_again_before_its_time_and_less_and_less_often() {
        let schedule = Schedule::parse("at 06:00").unwrap();
        let next = |attempt: Attempt| {
            let next = schedule.next(1, &attempt, &TimeZone::UTC).unwrap();
            Timestamp::try_from(next).unwrap().to_string()
        };
        let began = "2026-11-21T06:00:00Z";
        for (result, failures, expected) in [
            ("done", 0, "2026-11-22T06:00:00Z"),
            ("interrupted", 0, "2026-11-22T06:00:00Z"),
            ("refused", 1, "2026-11-22T06:00:00Z"),
            ("unreachable", 1, "2026-11-21T06:05:00Z"),
            ("unreachable", 2, "2026-11-21T06:10:00Z"),
            ("failed", 40, "2026-11-21T07:00:00Z"),
            ("postponed", 0, "2026-11-21T06:05:00Z"),
        ] {
            assert_eq!(next(attempt(Some(began), false, Some((began, result)), failures)), expected, "{result}");
        }
        // whoever began it has died: the history knows nothing of it
        let before = Some(("2026-11-20T06:00:00Z", "done"));
        assert_eq!(next(attempt(Some(began), true, before, 0)), "2026-11-21T06:05:00Z");
        // never a later time than the schedule's own
        let often = Schedule::parse("every 2m").unwrap();
        let soon = often.next(1, &attempt(None, false, Some((began, "failed")), 9), &TimeZone::UTC).unwrap();
        assert_eq!(soon, at("2026-11-21T06:02:00Z"));
    }

    #[test]
    fn a_time_that_the_clock_leaves_out_or_has_twice_comes_once_a_day() {
        // Lisbon's rules
        let zone = TimeZone::posix("WET0WEST,M3.5.0/1,M10.5.0").unwrap();
        let schedule = Schedule::parse("at 01:30").unwrap();
        for (last, first, second) in [
            ("2026-03-28T02:00:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"),
            ("2026-10-24T02:00:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
        ] {
            assert_eq!(schedule.due(at(last), 0, &zone), Some(at(first)));
            assert_eq!(schedule.due(at(first), 0, &zone), Some(at(second)));
        }
    }

    #[test]
    fn jitter_puts_off_and_stays_the_same_until_the_run() {
        let schedule = Schedule::parse("every 1h jitter 10m").unwrap();
        let last = at("2026-11-21T14:00:00Z");
        let all: std::collections::BTreeSet<SystemTime> =
            (1..50).filter_map(|branch| schedule.due(last, seed(branch, last), &TimeZone::UTC)).collect();
        assert!(all.len() > 30, "branches begin at different times");
        let (first, end) = (at("2026-11-21T15:00:00Z"), at("2026-11-21T15:10:00Z"));
        assert!(all.iter().all(|due| (first..end).contains(due)));
        assert_eq!(seed(7, last), seed(7, last));
    }
}
