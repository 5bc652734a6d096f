//! Times as people read them: the office's own clock, the exact moment in UTC on hover.

use std::fmt;
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A moment, shown as short as it can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment(pub(super) SystemTime);

impl Moment {
    /// ISO 8601 in UTC, to the second.
    pub(super) fn iso(self) -> String {
        let seconds = Timestamp::try_from(self.0).map(|at| at.as_second()).unwrap_or_default();
        Timestamp::from_second(seconds).map(|at| at.to_string()).unwrap_or_default()
    }

    /// `14:05` today, `Thu 14:05` within a week, `12 Nov 14:05`, `12 Nov 2025`.
    pub(super) fn short(self) -> String {
        self.short_at(SystemTime::now(), &TimeZone::system())
    }

    fn short_at(self, now: SystemTime, zone: &TimeZone) -> String {
        let (Ok(at), Ok(now)) = (Timestamp::try_from(self.0), Timestamp::try_from(now)) else { return "?".to_owned() };
        let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
        let days = at.date().until(now.date()).map(|span| span.get_days()).unwrap_or(i32::MAX);
        let format = match days {
            0 => "%H:%M",
            1..=6 => "%a %H:%M",
            _ if at.year() == now.year() => "%-d %b %H:%M",
            _ => "%-d %b %Y",
        };
        at.strftime(format).to_string()
    }
}

/// HTML: digits, letters and colons only, so nothing has to be escaped.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let iso = self.iso();
        write!(
            f,
            "<time datetime=\"{iso}\" title=\"{} UTC\">{}</time>",
            iso.trim_end_matches('Z').replace('T', " "),
            self.short()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_moment_is_as_short_as_it_can_be_understood() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_269_900); // 2026-11-21 14:05 UTC, a Saturday
        let ago = |hours: u64| Moment(now - Duration::from_secs(hours * 3600)).short_at(now, &TimeZone::UTC);
        assert_eq!(ago(2), "12:05");
        assert_eq!(ago(24), "Fri 14:05");
        assert_eq!(ago(24 * 10), "11 Nov 14:05");
        assert_eq!(ago(24 * 400), "17 Oct 2025");
    }

    #[test]
    fn the_exact_moment_is_on_hover() {
        let html = Moment(UNIX_EPOCH).to_string();
        assert!(
            html.contains("datetime=\"1970-01-01T00:00:00Z\"") && html.contains("1970-01-01 00:00:00 UTC"),
            "{html}"
        );
    }
}
