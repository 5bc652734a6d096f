//! Durations, sizes and rates as people write and read them.

use std::time::Duration;

use replica::office::IdUse;

/// Reads `30s`, `5m`, `1h`, `2d`; a number alone means seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    let factor = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return Err(format!("`{text}` is no duration; write 30s, 5m, 1h or 2d")),
    };
    let seconds: f64 = number.parse().map_err(|_| format!("`{text}` is no duration; write 30s, 5m, 1h or 2d"))?;
    Duration::try_from_secs_f64(seconds * factor).map_err(|_| format!("`{text}` is out of range"))
}

/// Reads a rate in bytes per second: `3KiB/s`, `24k`, `1MB/s`, `5000`.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text.trim().trim_end_matches("/s"));
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "kb" => 1000.0,
        "m" | "mib" => 1024.0 * 1024.0,
        "mb" => 1_000_000.0,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "gb" => 1_000_000_000.0,
        _ => return Err(format!("`{text}` is no rate; write 3KiB/s or 1MB/s")),
    };
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is no rate; write 3KiB/s or 1MB/s"))?;
    let rate = number * factor;
    if !(1.0..=1e15).contains(&rate) {
        return Err(format!("`{text}` is out of range; a rate is at least one byte per second"));
    }
    Ok(rate as u64)
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..at], text[at..].trim())
}

/// A number of bytes for people, as in `12.3 KiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// An age in words, as in `3 minutes`.
pub(crate) fn age(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..=1 => return "a moment".to_owned(),
        2..=119 => (seconds, "seconds"),
        120..=7199 => (seconds / 60, "minutes"),
        7200..=172_799 => (seconds / 3600, "hours"),
        _ => (seconds / 86400, "days"),
    };
    format!("{count} {unit}")
}

/// How far ids have come, as in `12.5 % of its ids are used, the rest lasts about 3 years`.
pub(crate) fn id_use(ids: &IdUse) -> String {
    let percent = ids.share() * 100.0;
    let used = if ids.used > 0 && percent < 0.1 { "less than 0.1".to_owned() } else { format!("{percent:.1}") };
    let rest = match ids.days_left {
        None => String::new(),
        Some(days) if days >= 36_500.0 => ", the rest lasts more than 100 years".to_owned(),
        Some(days) if days >= 730.0 => format!(", the rest lasts about {} years", (days / 365.0).floor()),
        Some(days) => format!(", the rest lasts about {}", count(days.floor() as i64, "day")),
    };
    format!("{used} % of its ids are used{rest}")
}

/// A count with its noun, as in `1 row` and `2 rows`.
pub(crate) fn count(number: i64, noun: &str) -> String {
    if number == 1 {
        return format!("1 {noun}");
    }
    let plural = match noun.strip_suffix("ch") {
        Some(stem) => format!("{stem}ches"),
        None => format!("{noun}s"),
    };
    format!("{number} {plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse_duration("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "s", "1w", "-3s", "1e400d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!(parse_rate("3KiB/s"), Ok(3072));
        assert_eq!(parse_rate("24k"), Ok(24576));
        assert_eq!(parse_rate("1 MB/s"), Ok(1_000_000));
        for wrong in ["0", "fast", "1XB/s", "-1"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(age(90), "90 seconds");
        assert_eq!(age(180), "3 minutes");
        assert_eq!(age(400_000), "4 days");
        assert_eq!(count(1, "row"), "1 row");
        assert_eq!(count(3, "branch"), "3 branches");
    }
}
