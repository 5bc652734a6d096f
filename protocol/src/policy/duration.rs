//! Lengths of time as a policy writes them: `90d`, `10 min`, `0s`.

use std::time::Duration;

/// Nothing in retail is older.
const DURATION_S_MAX: u64 = 100 * 366 * 86_400;

/// What `expected` says in errors about lengths of time.
pub(super) const EXPECTED: &str = "a length of time such as \"90d\", \"12h\", \"10min\" or \"30s\"";

/// Units, largest first, with the spellings that are read; the first of each is written.
const UNITS: [(u64, &[&str]); 5] = [
    (604_800, &["w", "week", "weeks"]),
    (86_400, &["d", "day", "days"]),
    (3_600, &["h", "hour", "hours"]),
    (60, &["min", "m", "minute", "minutes"]),
    (1, &["s", "sec", "second", "seconds"]),
];

/// Reads a whole number and a unit.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = unit.trim_start();
    let (seconds, _) = UNITS.iter().find(|(_, spellings)| spellings.contains(&unit))?;
    let seconds = number.parse::<u64>().ok()?.checked_mul(*seconds)?;
    (seconds <= DURATION_S_MAX).then(|| Duration::from_secs(seconds))
}

/// Writes it in the largest unit that gives a whole number; days rather than weeks, as people say it.
pub(super) fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fits = |unit: &&(u64, &[&str])| unit.0 < 604_800 && seconds > 0 && seconds.is_multiple_of(unit.0);
    let (unit, spellings) = UNITS.iter().find(fits).unwrap_or(&UNITS[4]);
    format!("{}{}", seconds / unit, spellings[0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_is_read() {
        for (text, seconds) in
            [("90d", 7_776_000), ("10 min", 600), ("10m", 600), ("1 week", 604_800), ("0s", 0), ("2h", 7_200)]
        {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "90", "d", "-1d", "1.5d", "1y", "99999999999999999999d", "4000000d"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in 0..=DURATION_S_MAX) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(parse(&format(duration)), Some(duration));
        }
    }
}
