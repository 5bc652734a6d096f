//! When a branch may be called, and how many bytes that may cost: time windows and byte budgets. A run that reaches either
//! stops at the next chunk; the next run goes on there.

use std::time::SystemTime;

use jiff::Zoned;
use replica::office::{Branch, Office};

use super::DriveError;
use crate::units;

/// What a run may still do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Allowance {
    windows: Option<(String, Windows)>,
    /// The budget as written, and the bytes that this run may use of it.
    budget: Option<(String, u64)>,
}

impl Allowance {
    /// Reads the branch's settings, and what its budget has left. With `force` nothing is forbidden.
    pub(super) async fn of(branch: &Branch, office: &Office, force: bool) -> Result<Self, DriveError> {
        if force {
            return Ok(Self::default());
        }
        let windows = match branch.settings.get("window") {
            Some(text) => Some((text.clone(), parse_windows(text).map_err(DriveError::Unusable)?)),
            None => None,
        };
        let budget = match branch.settings.get("byte_budget") {
            Some(text) => {
                let budget = parse_budget(text).map_err(DriveError::Unusable)?;
                let used = match budget.since(&Zoned::now()) {
                    Some(since) => office.bytes_since(branch, since).await?,
                    None => 0,
                };
                Some((text.clone(), budget.bytes.saturating_sub(used)))
            }
            None => None,
        };
        Ok(Self { windows, budget })
    }

    /// Whether the run may go on, after so many bytes on the wire.
    pub(super) fn check(&self, moved: u64) -> Result<(), DriveError> {
        let now = Zoned::now();
        self.check_at(u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs()), moved)
    }

    fn check_at(&self, minute: u16, moved: u64) -> Result<(), DriveError> {
        if let Some((text, windows)) = &self.windows
            && !windows.include(minute)
        {
            return Err(DriveError::OutsideWindow { window: text.clone() });
        }
        match &self.budget {
            Some((text, left)) if moved >= *left => Err(DriveError::BudgetUsed { budget: text.clone() }),
            _ => Ok(()),
        }
    }

    /// How many of the wanted bytes may move next, after so many on the wire: a budget is not overrun by a chunk.
    pub(super) fn of_wanted(&self, wanted: u64, moved: u64) -> Result<u64, DriveError> {
        self.check(moved)?;
        Ok(wanted.min(self.left(moved)))
    }

    /// Bytes that may still move, after so many on the wire; unlimited without a budget.
    fn left(&self, moved: u64) -> u64 {
        self.budget.as_ref().map_or(u64::MAX, |(_, left)| left.saturating_sub(moved))
    }
}

/// Times of the day, as minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Windows(Vec<(u16, u16)>);

/// Whether a branch with these windows may be called now. Windows that cannot be read are left to the run, which says so.
pub(crate) fn is_open_now(windows: &str) -> bool {
    let now = Zoned::now();
    let minute = u16::from(now.hour().unsigned_abs()) * 60 + u16::from(now.minute().unsigned_abs());
    parse_windows(windows).map_or(true, |windows| windows.include(minute))
}

impl Windows {
    /// Whether a minute lies in one of them. One may go past midnight; one that ends where it begins is the whole day.
    fn include(&self, minute: u16) -> bool {
        self.0.iter().any(
            |&(from, to)| {
                if from < to { (from..to).contains(&minute) } else { minute >= from || minute < to }
            },
        )
    }
}

/// Reads `22:00-06:00`, or several with commas between them.
pub(crate) fn parse_windows(text: &str) -> Result<Windows, String> {
    let wrong = || format!("`{text}` is no time window; write 22:00-06:00, or 22:00-06:00,12:30-13:30");
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60).then_some(hour * 60 + minute)
    };
    let window = |text: &str| {
        let (from, to) = text.split_once('-')?;
        Some((minute(from)?, minute(to)?))
    };
    text.split(',').map(window).collect::<Option<Vec<_>>>().map(Windows).ok_or_else(wrong)
}

/// Bytes that a branch may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    bytes: u64,
    span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    Run,
    Day,
    Month,
}

impl Budget {
    /// When the span began for which the bytes are; none for a run.
    fn since(self, now: &Zoned) -> Option<SystemTime> {
        let date = match self.span {
            Span::Run => return None,
            Span::Day => now.date(),
            Span::Month => now.date().first_of_month(),
        };
        date.to_zoned(now.time_zone().clone()).ok().map(|midnight| SystemTime::from(midnight.timestamp()))
    }
}

/// Reads `5MiB` (each run), `5MiB/day` or `200MiB/month`.
pub(crate) fn parse_budget(text: &str) -> Result<Budget, String> {
    let wrong = || format!("`{text}` is no byte budget; write 5MiB (for each run), 5MiB/day or 200MiB/month");
    let (size, span) = match text.split_once('/') {
        None => (text, Span::Run),
        Some((size, "day")) => (size, Span::Day),
        Some((size, "month")) => (size, Span::Month),
        Some(_) => return Err(wrong()),
    };
    Ok(Budget { bytes: units::parse_rate(size).map_err(|_| wrong())?, span })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_go_past_midnight_and_there_may_be_several() {
        let night = parse_windows("22:00-06:00").unwrap();
        assert!(night.include(23 * 60) && night.include(0) && night.include(359));
        assert!(!night.include(360) && !night.include(12 * 60));
        let day = parse_windows("08:30-18:00").unwrap();
        assert!(day.include(9 * 60) && !day.include(18 * 60));
        let both = parse_windows("22:00-06:00, 12:30-13:30").unwrap();
        assert!(both.include(0) && both.include(13 * 60) && !both.include(14 * 60));
        for wrong in ["22-6", "25:00-06:00", "22:00", "a:b-c:d", "22:00-06:00,"] {
            assert!(parse_windows(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_run_stops_when_its_window_closes_or_its_bytes_are_used_up() {
        let window = ("22:00-06:00".to_owned(), parse_windows("22:00-06:00").unwrap());
        let allowance = Allowance { windows: Some(window), budget: Some(("1k".to_owned(), 1024)) };
        assert!(allowance.check_at(5 * 60 + 59, 1023).is_ok());
        assert!(matches!(allowance.check_at(6 * 60, 0), Err(DriveError::OutsideWindow { .. })));
        assert!(matches!(allowance.check_at(0, 1024), Err(DriveError::BudgetUsed { .. })));
        assert_eq!((allowance.left(1000), allowance.left(2000)), (24, 0));
        assert_eq!(Allowance::default().left(1 << 40), u64::MAX);
    }

    #[test]
    fn a_budget_is_for_a_run_a_day_or_a_month() {
        let now = jiff::civil::date(2006, 9, 22).at(14, 3, 11, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        let since = |text: &str| {
            parse_budget(text).unwrap().since(&now).map(|at| jiff::Timestamp::try_from(at).unwrap().to_string())
        };
        assert_eq!(since("5MiB"), None);
        assert_eq!(since("5MiB/day").as_deref(), Some("2006-09-22T00:00:00Z"));
        assert_eq!(since("5MiB/month").as_deref(), Some("2006-09-01T00:00:00Z"));
        assert_eq!(parse_budget("5MiB/day").unwrap().bytes, 5 << 20);
        for wrong in ["much", "5MiB/year", "/day"] {
            assert!(parse_budget(wrong).is_err(), "{wrong}");
        }
    }
}
