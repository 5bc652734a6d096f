//! Dates and times in ISO style: days, and microseconds, since the beginning of 2000.

use super::Unfit;

const MICROSECONDS: i64 = 1_000_000;
const DAY: i64 = 86_400 * MICROSECONDS;

/// Hours that a zone is off at most; the server takes 15:59:59.
const ZONE_HOURS_MAX: i64 = 15;

/// Two digits.
fn pair(text: &[u8]) -> Result<i64, Unfit> {
    match text {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => Ok(i64::from(tens - b'0') * 10 + i64::from(ones - b'0')),
        _ => Err(Unfit),
    }
}

fn below(value: i64, bound: i64) -> Result<i64, Unfit> {
    if value < bound { Ok(value) } else { Err(Unfit) }
}

/// `YYYY-MM-DD`, in years of four digits.
pub(super) fn date(text: &[u8]) -> Result<i32, Unfit> {
    let &[a, b, c, d, b'-', e, f, b'-', g, h] = text else { return Err(Unfit) };
    let (year, month, day) = (pair(&[a, b])? * 100 + pair(&[c, d])?, pair(&[e, f])?, pair(&[g, h])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return Err(Unfit),
    };
    if year == 0 || day == 0 || day > days_in_month {
        return Err(Unfit);
    }
    // years that begin in March, so that the day which some lack is their last
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    const BEGINNING: i64 = 1999 * 365 + 1999 / 4 - 1999 / 100 + 1999 / 400 + (10 * 153 + 2) / 5;
    i32::try_from(days - BEGINNING).map_err(|_| Unfit)
}

/// `HH:MM:SS`, with up to six decimals.
pub(super) fn of_day(text: &[u8]) -> Result<i64, Unfit> {
    let Some((&[a, b, b':', c, d, b':', e, f], decimals)) = text.split_first_chunk::<8>() else { return Err(Unfit) };
    let hours = below(pair(&[a, b])?, 24)?;
    let (minutes, seconds) = (below(pair(&[c, d])?, 60)?, below(pair(&[e, f])?, 60)?);
    let microseconds = match decimals {
        [] => 0,
        [b'.', decimals @ ..] if (1..=6).contains(&decimals.len()) && decimals.iter().all(u8::is_ascii_digit) => {
            let padding = std::iter::repeat_n(&b'0', 6 - decimals.len());
            decimals.iter().chain(padding).fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
        }
        _ => return Err(Unfit),
    };
    Ok(((hours * 60 + minutes) * 60 + seconds) * MICROSECONDS + microseconds)
}

/// A date, a space, a time.
pub(super) fn timestamp(text: &[u8]) -> Result<i64, Unfit> {
    match text.split_at_checked(10) {
        Some((day, [b' ', time @ ..])) => Ok(i64::from(date(day)?) * DAY + of_day(time)?),
        _ => Err(Unfit),
    }
}

/// The same with the hours that the zone is ahead of UTC, and its minutes and seconds where it has any.
pub(super) fn timestamp_with_zone(text: &[u8]) -> Result<i64, Unfit> {
    // behind the date, which has dashes too
    let sign = text.iter().skip(10).position(|byte| matches!(byte, b'+' | b'-')).ok_or(Unfit)? + 10;
    let (local, zone) = text.split_at(sign);
    let seconds = match zone[1..] {
        [a, b] => hours(a, b)?,
        [a, b, b':', c, d] => hours(a, b)? + below(pair(&[c, d])?, 60)? * 60,
        [a, b, b':', c, d, b':', e, f] => hours(a, b)? + below(pair(&[c, d])?, 60)? * 60 + below(pair(&[e, f])?, 60)?,
        _ => return Err(Unfit),
    };
    let ahead = seconds * MICROSECONDS;
    let local = timestamp(local)?;
    Ok(if zone[0] == b'+' { local - ahead } else { local + ahead })
}

fn hours(tens: u8, ones: u8) -> Result<i64, Unfit> {
    Ok(below(pair(&[tens, ones])?, ZONE_HOURS_MAX + 1)? * 3600)
}
