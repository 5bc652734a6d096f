//! `dateTime.iso8601`: read in every common spelling, written in the one of the specification.

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::Offset;

/// A date and time of day, with what the sender said about fraction and zone.
///
/// The fields may be set freely; [`DateTime::civil`] says whether such a time exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateTime {
    /// 1 to 9999.
    pub year: i16,
    /// 1 to 12.
    pub month: i8,
    /// 1 to 31.
    pub day: i8,
    /// 0 to 23.
    pub hour: i8,
    /// 0 to 59.
    pub minute: i8,
    /// 0 to 59; leap seconds are refused.
    pub second: i8,
    /// Microseconds, 0 to 999 999; the specification has none and the writer drops them.
    pub micro: u32,
    /// Minutes east of UTC; `None` when the text named no zone, which means UTC here.
    pub offset_minutes: Option<i16>,
}

impl DateTime {
    /// Reads `19980717T14:08:55` and its relatives: dashes, no colons, a space for the `T`, a fraction, `Z` or an offset.
    ///
    /// `None` for anything else, and for dates and times that do not exist.
    pub fn parse(text: &str) -> Option<Self> {
        let mut scan = Scan { rest: text.as_bytes() };
        let year = scan.digits(4)?;
        let dashed = scan.eat(b'-');
        let month = scan.digits(2)?;
        if dashed != scan.eat(b'-') {
            return None;
        }
        let day = scan.digits(2)?;
        if !(scan.eat(b'T') || scan.eat(b' ')) {
            return None;
        }
        let hour = scan.digits(2)?;
        let colons = scan.eat(b':');
        let minute = scan.digits(2)?;
        if colons != scan.eat(b':') {
            return None;
        }
        let second = scan.digits(2)?;
        let micro = scan.fraction()?;
        let offset_minutes = scan.offset()?;
        let datetime = Self {
            year: i16::try_from(year).ok()?,
            month: i8::try_from(month).ok()?,
            day: i8::try_from(day).ok()?,
            hour: i8::try_from(hour).ok()?,
            minute: i8::try_from(minute).ok()?,
            second: i8::try_from(second).ok()?,
            micro,
            offset_minutes,
        };
        scan.rest.is_empty().then_some(datetime)?.civil().map(|_| datetime)
    }

    /// The same as jiff's type, without the zone; `None` when no such time exists.
    pub fn civil(&self) -> Option<civil::DateTime> {
        let nanos = i32::try_from(self.micro).ok()?.checked_mul(1000)?;
        let in_range = (1..=9999).contains(&self.year) && self.second < 60;
        in_range.then_some(())?;
        civil::DateTime::new(self.year, self.month, self.day, self.hour, self.minute, self.second, nanos).ok()
    }

    /// The moment it names; a time without a zone is taken as UTC.
    pub fn timestamp(&self) -> Option<Timestamp> {
        let offset = Offset::from_seconds(i32::from(self.offset_minutes.unwrap_or(0)) * 60).ok()?;
        offset.to_timestamp(self.civil()?).ok()
    }

    /// From jiff's type, without a zone.
    pub fn from_civil(datetime: civil::DateTime) -> Self {
        Self {
            year: datetime.year(),
            month: datetime.month(),
            day: datetime.day(),
            hour: datetime.hour(),
            minute: datetime.minute(),
            second: datetime.second(),
            micro: u32::try_from(datetime.subsec_nanosecond() / 1000).unwrap_or(0),
            offset_minutes: None,
        }
    }

    /// From a moment, in UTC.
    pub fn from_timestamp(timestamp: Timestamp) -> Self {
        Self { offset_minutes: Some(0), ..Self::from_civil(Offset::UTC.to_datetime(timestamp)) }
    }

    /// The spelling of the specification, in UTC without zone and fraction; `None` when the time does not exist.
    pub fn to_wire(&self) -> Option<String> {
        let utc = match self.offset_minutes {
            None | Some(0) => *self,
            Some(_) => Self::from_timestamp(self.timestamp()?),
        };
        utc.civil()?;
        let Self { year, month, day, hour, minute, second, .. } = utc;
        Some(format!("{year:04}{month:02}{day:02}T{hour:02}:{minute:02}:{second:02}"))
    }
}

/// What is left of the text.
struct Scan<'a> {
    rest: &'a [u8],
}

impl Scan<'_> {
    fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, rest)) if first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn digits(&mut self, count: usize) -> Option<u32> {
        let digits = self.rest.get(..count)?;
        self.rest = &self.rest[count..];
        digits.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
    }

    /// Microseconds; further digits are cut off.
    fn fraction(&mut self) -> Option<u32> {
        if !(self.eat(b'.') || self.eat(b',')) {
            return Some(0);
        }
        let len = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        let micro = (0..6).fold(0, |micro, at| micro * 10 + digits.get(at).map_or(0, |byte| u32::from(byte - b'0')));
        (len > 0).then_some(micro)
    }

    /// `Z`, `+02:00`, `+0200`, `+02`, or nothing.
    #[allow(clippy::option_option)] // outside: readable at all; inside: a zone is named
    fn offset(&mut self) -> Option<Option<i16>> {
        if self.eat(b'Z') {
            return Some(Some(0));
        }
        let sign = match (self.eat(b'+'), self.rest.first()) {
            (true, _) => 1,
            (false, Some(b'-')) => {
                self.eat(b'-');
                -1
            }
            _ => return Some(None),
        };
        let hours = self.digits(2)?;
        let colon = self.eat(b':');
        let minutes = if self.rest.is_empty() && !colon { 0 } else { self.digits(2)? };
        let total = i16::try_from(hours * 60 + minutes).ok()?;
        (hours < 24 && minutes < 60).then_some(Some(sign * total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_moment_are_read_and_written_in_utc() {
        let check = |text: &str, wire: &str, micro: u32, offset: Option<i16>| {
            let read = DateTime::parse(text).unwrap_or_else(|| panic!("{text} refused"));
            assert_eq!(read.to_wire().as_deref(), Some(wire), "{text}");
            assert_eq!((read.micro, read.offset_minutes), (micro, offset), "{text}");
        };
        let wire = "19980717T14:08:55";
        check("19980717T14:08:55", wire, 0, None);
        check("1998-07-17T14:08:55", wire, 0, None);
        check("1998-07-17 14:08:55", wire, 0, None);
        check("19980717T140855", wire, 0, None);
        check("1998-07-17T14:08:55Z", wire, 0, Some(0));
        check("1998-07-17T14:08:55.123", wire, 123_000, None);
        check("1998-07-17T14:08:55.123456789Z", wire, 123_456, Some(0));
        check("1998-07-17T16:08:55+02:00", wire, 0, Some(120));
        check("19980717T10:38:55-0330", wire, 0, Some(-210));
        check("1998-07-18T00:08:55+10", wire, 0, Some(600));
        check("20000229T23:59:59", "20000229T23:59:59", 0, None);
    }

    #[test]
    fn times_that_do_not_exist_are_refused() {
        for text in [
            "19981317T14:08:55",
            "19980230T14:08:55",
            "19990229T00:00:00",
            "19980717T24:00:00",
            "19980717T14:08:60",
            "19980717T14:60:00",
            "19980717",
            "",
            "99999999T99:99:99",
            "00000717T14:08:55",
            "1998-0717T14:08:55",
            "199807-17T14:08:55",
            "19980717T14:0855",
            "19980717T14:08:55.",
            "19980717T14:08:55+2",
            "19980717T14:08:55+24:00",
            "19980717T14:08:55+02:",
            "19980717T14:08:55 Z",
            "19980717T14:08:55Zx",
            "1998071714:08:55",
            "１９980717T14:08:55",
            "+9980717T14:08:55",
        ] {
            assert_eq!(DateTime::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_that_leaves_the_years_by_its_offset_is_not_written() {
        let first = DateTime::parse("00010101T00:00:00+01:00").unwrap();
        assert_eq!(first.to_wire(), None);
    }

    #[test]
    fn a_timestamp_survives_the_way_there_and_back() {
        let timestamp: Timestamp = "2006-09-22T14:03:11.042317Z".parse().unwrap();
        assert_eq!(DateTime::from_timestamp(timestamp).timestamp(), Some(timestamp));
    }
}
