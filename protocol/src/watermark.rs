//! Watermarks: timestamps that stand for a stored snapshot, and the `since` of a diff.
//!
//! A watermark's time is only a *key*: which rows it covers is decided by the snapshot that the issuer stored with it,
//! never by comparing clocks.

pub mod select;

use std::fmt;
use std::str::FromStr;

use jiff::civil;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::xmlrpc::{DateTime, Value};

/// Longest text that is looked at; every spelling fits in far less.
const TEXT_BYTES_MAX: usize = 64;

/// Largest tag of an incarnation: three decimal digits.
pub const TAG_MAX: u16 = 999;

/// A timestamp that an agent issued for a stored snapshot.
///
/// Its text form is `2006-09-22T14:03:11.042317123Z`: microseconds, then three digits that tag the incarnation of the
/// database which issued it. Without a tag there are six fractional digits. Ordered by time first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark {
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub micros: i64,
    /// Tag of the issuing incarnation, `0..=999`; `None` when the text had fewer than nine fractional digits.
    pub tag: Option<u16>,
}

impl Watermark {
    /// A watermark of the given time and tag. A tag above [`TAG_MAX`] is taken modulo 1000.
    pub fn new(micros: i64, tag: Option<u16>) -> Self {
        Self { micros, tag: tag.map(|tag| tag % (TAG_MAX + 1)) }
    }

    /// The time as a timestamp; times outside the years -9999..=9999 are clamped to that range.
    pub fn timestamp(&self) -> jiff::Timestamp {
        let edge = if self.micros < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        jiff::Timestamp::from_microsecond(self.micros).unwrap_or(edge)
    }
}

/// The tag of an incarnation: a number in `0..=999` that does not change for the same incarnation.
///
/// Two incarnations share a tag once in a thousand times, so a tag can prove a watermark foreign and never prove it own.
pub fn incarnation_tag(incarnation: &str) -> u16 {
    let digest = Sha256::digest(incarnation.as_bytes());
    u16::from_be_bytes([digest[0], digest[1]]) % (TAG_MAX + 1)
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = TimeZone::UTC.to_datetime(self.timestamp());
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}",
            time.year(),
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
            time.subsec_nanosecond() / 1_000
        )?;
        match self.tag {
            Some(tag) => write!(f, "{tag:03}Z"),
            None => f.write_str("Z"),
        }
    }
}

impl FromStr for Watermark {
    type Err = WatermarkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_time(text, &TimeZone::UTC)
    }
}

impl Serialize for Watermark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Watermark {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// From where a diff is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Since {
    /// Everything since `clean`, or since capture was installed.
    Zero,
    /// What the snapshot of this watermark does not hold.
    At(Watermark),
}

impl Since {
    /// Reads any spelling of PROTOCOL.md; a time without a zone is UTC.
    ///
    /// Accepted are `0`, the empty text and `-infinity` (all [`Since::Zero`]), epoch seconds with or without a fraction,
    /// and ISO 8601 in its basic and extended forms, with `T` or a blank, any fraction, and any numeric offset. Digits
    /// beyond the microsecond are a tag when there are exactly nine, and are cut off otherwise: an earlier `since` may
    /// repeat changes and never skips any.
    pub fn parse(text: &str) -> Result<Self, WatermarkError> {
        Self::parse_in(text, &TimeZone::UTC)
    }

    /// As [`Since::parse`], with the zone of a time that names none. Of an hour that a clock change repeats, the
    /// earlier one is meant.
    pub fn parse_in(text: &str, zone: &TimeZone) -> Result<Self, WatermarkError> {
        let text = text.trim();
        match text {
            "" | "-infinity" => return Ok(Self::Zero),
            _ if text.len() > TEXT_BYTES_MAX => return Err(WatermarkError::TooLong { bytes: text.len() }),
            _ => {}
        }
        match parse_epoch(text)? {
            Some(0) => Ok(Self::Zero),
            Some(micros) => Ok(Self::At(Watermark::new(micros, None))),
            None => parse_time(text, zone).map(Self::At),
        }
    }

    /// Reads epoch seconds; `0` is [`Since::Zero`]. The fraction is cut off below the microsecond, downwards.
    pub fn from_epoch(seconds: f64) -> Result<Self, WatermarkError> {
        let micros = (seconds * 1e6).floor();
        let in_range = micros.is_finite() && jiff::Timestamp::from_microsecond(micros as i64).is_ok();
        match in_range {
            true if seconds == 0.0 => Ok(Self::Zero),
            true => Ok(Self::At(Watermark::new(micros as i64, None))),
            false => Err(WatermarkError::OutOfRange { text: seconds.to_string() }),
        }
    }

    /// Reads whole epoch seconds; `0` is [`Since::Zero`].
    pub fn from_epoch_seconds(seconds: i64) -> Result<Self, WatermarkError> {
        match seconds {
            0 => Ok(Self::Zero),
            _ => epoch_micros(seconds, 0).map(|micros| Self::At(Watermark::new(micros, None))),
        }
    }

    /// Reads the `since` argument of a call: nil, whole or fractional epoch seconds, `dateTime.iso8601`, or a string
    /// as [`Since::parse`] does. A time without a zone is UTC.
    pub fn from_xmlrpc(value: &Value) -> Result<Self, WatermarkError> {
        Self::from_xmlrpc_in(value, &TimeZone::UTC)
    }

    /// As [`Since::from_xmlrpc`], with the zone of a time that names none.
    pub fn from_xmlrpc_in(value: &Value, zone: &TimeZone) -> Result<Self, WatermarkError> {
        let kind = match value {
            Value::Nil => return Ok(Self::Zero),
            Value::Int(seconds) => return Self::from_epoch_seconds(i64::from(*seconds)),
            Value::Long(seconds) => return Self::from_epoch_seconds(*seconds),
            Value::Double(seconds) => return Self::from_epoch(*seconds),
            Value::String(text) => return Self::parse_in(text, zone),
            Value::DateTime(time) => return from_datetime(time, zone).map(Self::At),
            Value::Bool(_) => "boolean",
            Value::Base64(_) => "base64",
            Value::Array(_) => "array",
            Value::Struct(_) => "struct",
        };
        Err(WatermarkError::Kind { kind })
    }

    /// The watermark, unless everything is asked.
    pub fn watermark(&self) -> Option<Watermark> {
        match self {
            Self::Zero => None,
            Self::At(watermark) => Some(*watermark),
        }
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("0"),
            Self::At(watermark) => watermark.fmt(f),
        }
    }
}

impl FromStr for Since {
    type Err = WatermarkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// A time that could not be read. The text is the caller's own and holds no data of any table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatermarkError {
    /// The text is no time in any accepted spelling.
    #[error(
        "`{text}` is no timestamp; write it like 2006-09-22T14:03:11.042317Z, or epoch seconds, or 0 for everything"
    )]
    Syntax {
        /// What was written.
        text: String,
    },
    /// The text names a day, an hour or a year that does not exist.
    #[error("`{text}` is outside the times that exist; write it like 2006-09-22T14:03:11.042317Z, or epoch seconds")]
    OutOfRange {
        /// What was written.
        text: String,
    },
    /// The text is far longer than any timestamp.
    #[error("a timestamp of {bytes} bytes is too long; at most 64 are read")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The XML-RPC value is of a type that cannot be a time.
    #[error("a value of type {kind} is no timestamp; pass dateTime.iso8601, a string, or epoch seconds")]
    Kind {
        /// The XML-RPC type that arrived.
        kind: &'static str,
    },
}

/// Epoch seconds in decimal digits, as microseconds; `None` when the text is something else.
fn parse_epoch(text: &str) -> Result<Option<i64>, WatermarkError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Ok(None);
    }
    let out_of_range = || WatermarkError::OutOfRange { text: text.to_owned() };
    let seconds: i64 = whole.parse().map_err(|_| out_of_range())?;
    let micros = epoch_micros(seconds, fraction_micros(fraction))?;
    // Cutting the magnitude of a negative time would move it forward: one microsecond back is always safe.
    let cut = negative && fraction.len() > 6;
    Ok(Some(if negative { -micros - i64::from(cut) } else { micros }))
}

fn epoch_micros(seconds: i64, micros: i64) -> Result<i64, WatermarkError> {
    let total = seconds.checked_mul(1_000_000).and_then(|whole| whole.checked_add(micros));
    total
        .filter(|micros| jiff::Timestamp::from_microsecond(*micros).is_ok())
        .ok_or_else(|| WatermarkError::OutOfRange { text: seconds.to_string() })
}

/// The first six digits of a fraction, as microseconds.
fn fraction_micros(digits: &str) -> i64 {
    let padded = digits.bytes().chain(std::iter::repeat(b'0')).take(6);
    padded.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'))
}

/// A tag, when the fraction has exactly the nine digits that an agent writes.
fn fraction_tag(digits: &str) -> Option<u16> {
    match digits.len() {
        9 => digits[6..].parse().ok(),
        _ => None,
    }
}

/// Reads a date, a time and an offset in any of their ISO 8601 spellings.
fn parse_time(text: &str, zone: &TimeZone) -> Result<Watermark, WatermarkError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(WatermarkError::TooLong { bytes: text.len() });
    }
    let text = text.trim();
    let syntax = || WatermarkError::Syntax { text: text.to_owned() };
    let out_of_range = || WatermarkError::OutOfRange { text: text.to_owned() };
    let mut rest = Scanner { rest: text.as_bytes() };
    let written = written_time(&mut rest).filter(|_| rest.rest.is_empty()).ok_or_else(syntax)?;

    let seconds = written.instant_micros(zone).ok_or_else(out_of_range)?;
    Ok(Watermark { micros: seconds + fraction_micros(&written.fraction), tag: fraction_tag(&written.fraction) })
}

fn from_datetime(time: &DateTime, zone: &TimeZone) -> Result<Watermark, WatermarkError> {
    let written = WrittenTime {
        year: time.year,
        month: time.month,
        day: time.day,
        hour: time.hour,
        minute: time.minute,
        second: time.second,
        fraction: String::new(),
        offset_seconds: time.offset_minutes.map(|minutes| i32::from(minutes) * 60),
    };
    let seconds = written.instant_micros(zone).filter(|_| time.micro < 1_000_000);
    let seconds = seconds.ok_or_else(|| WatermarkError::OutOfRange { text: format!("{time:?}") })?;
    Ok(Watermark::new(seconds + i64::from(time.micro), None))
}

/// The fields of a time as written, not yet held against the calendar.
struct WrittenTime {
    year: i16,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    fraction: String,
    offset_seconds: Option<i32>,
}

impl WrittenTime {
    /// Microseconds since 1970 of its whole second; `None` when no such time exists.
    fn instant_micros(&self, zone: &TimeZone) -> Option<i64> {
        // A leap second has no place of its own; the second before it is the safe, earlier choice.
        let second = if self.second == 60 { 59 } else { self.second };
        let civil = civil::DateTime::new(self.year, self.month, self.day, self.hour, self.minute, second, 0).ok()?;
        let zone = match self.offset_seconds {
            Some(seconds) => jiff::tz::Offset::from_seconds(seconds).ok()?.to_time_zone(),
            None => zone.clone(),
        };
        let instant = zone.to_ambiguous_timestamp(civil).earlier().ok()?;
        Some(instant.as_microsecond())
    }
}

fn written_time(input: &mut Scanner<'_>) -> Option<WrittenTime> {
    let year = i16::try_from(input.digits(4)?).ok()?;
    let dashes = input.eat(b"-");
    let month = input.field()?;
    if dashes != input.eat(b"-") {
        return None;
    }
    let day = input.field()?;
    let mut written =
        WrittenTime { year, month, day, hour: 0, minute: 0, second: 0, fraction: String::new(), offset_seconds: None };
    if input.rest.is_empty() {
        return Some(written);
    }
    if !input.eat(b"Tt ") {
        return None;
    }
    written.hour = input.field()?;
    let colons = input.eat(b":");
    written.minute = input.field()?;
    if colons == input.eat(b":") && input.rest.first().is_some_and(u8::is_ascii_digit) {
        written.second = input.field()?;
        if input.eat(b".,") {
            written.fraction = input.fraction()?;
        }
    }
    input.eat(b" ");
    written.offset_seconds = input.offset()?;
    Some(written)
}

/// Takes fixed fields off the front of a text.
struct Scanner<'a> {
    rest: &'a [u8],
}

impl Scanner<'_> {
    fn eat(&mut self, any_of: &[u8]) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if any_of.contains(first) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn digits(&mut self, count: usize) -> Option<i32> {
        let digits = self.rest.get(..count)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.rest = &self.rest[count..];
        Some(digits.iter().fold(0, |number, digit| number * 10 + i32::from(digit - b'0')))
    }

    fn field(&mut self) -> Option<i8> {
        self.digits(2).and_then(|number| i8::try_from(number).ok())
    }

    fn fraction(&mut self) -> Option<String> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        (count > 0).then(|| digits.iter().map(|byte| char::from(*byte)).collect())
    }

    /// `Some(None)` when no zone is written, `None` when what is written is no zone.
    fn offset(&mut self) -> Option<Option<i32>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        if self.eat(b"Zz") {
            return Some(Some(0));
        }
        let sign = if self.eat(b"+") {
            1
        } else if self.eat(b"-") {
            -1
        } else {
            return None;
        };
        let hours = self.digits(2)?;
        let colon = self.eat(b":");
        let minutes = if self.rest.is_empty() && !colon { 0 } else { self.digits(2)? };
        (minutes < 60).then_some(Some(sign * (hours * 3600 + minutes * 60)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MICROS: i64 = 1_158_933_791_042_317;

    fn at(micros: i64, tag: Option<u16>) -> Since {
        Since::At(Watermark { micros, tag })
    }

    #[test]
    fn an_issued_watermark_is_written_with_its_tag() {
        assert_eq!(Watermark::new(MICROS, Some(123)).to_string(), "2006-09-22T14:03:11.042317123Z");
        assert_eq!(Watermark::new(MICROS, Some(7)).to_string(), "2006-09-22T14:03:11.042317007Z");
        assert_eq!(Watermark::new(MICROS, None).to_string(), "2006-09-22T14:03:11.042317Z");
        assert_eq!(Watermark::new(-1, None).to_string(), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn every_spelling_of_one_moment_is_that_moment() {
        for text in [
            "2006-09-22T14:03:11.042317Z",
            "2006-09-22t14:03:11.042317z",
            "2006-09-22T14:03:11.042317",
            "2006-09-22 14:03:11.042317",
            "2006-09-22T14:03:11,042317",
            "20060922T14:03:11.042317",
            "20060922T140311.042317Z",
            "2006-09-22T14:03:11.0423179",
            "2006-09-22 11:03:11.042317-03",
            "2006-09-22 11:03:11.042317-0300",
            "2006-09-22 19:33:11.042317 +05:30",
            " 1158933791.042317 ",
        ] {
            assert_eq!(Since::parse(text), Ok(at(MICROS, None)), "{text}");
        }
        assert_eq!(Since::parse("2006-09-22T14:03:11.042317123Z"), Ok(at(MICROS, Some(123))));
        assert_eq!(Since::parse("20060922T14:03"), Since::parse("2006-09-22T14:03:00Z"));
        assert_eq!(Since::parse("2006-09-22"), Since::parse("2006-09-22T00:00:00Z"));
        assert_eq!(Since::parse("2016-12-31T23:59:60Z"), Since::parse("2016-12-31T23:59:59Z"));
    }

    #[test]
    fn zero_means_everything() {
        for text in ["0", "", "0.0", "-infinity", " 0 "] {
            assert_eq!(Since::parse(text), Ok(Since::Zero), "{text:?}");
        }
        for value in [Value::Nil, Value::Int(0), Value::Long(0), Value::Double(0.0), Value::String("0".to_owned())] {
            assert_eq!(Since::from_xmlrpc(&value), Ok(Since::Zero), "{value:?}");
        }
        assert!(Since::Zero < at(i64::MIN, None));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let long = "1".repeat(65);
        for text in [
            "yesterday",
            "2006-13-01",
            "2006-02-30T00:00:00Z",
            "2006-09-22T25:00:00",
            "2006-0922T00:00:00",
            "infinity",
            "2006-09-22T14:03:11.Z",
            "2006-09-22T14:03:11+3",
            "2006-09-22T14:03:11+03:61",
            "1e9",
            "99999999999999",
            "--1",
            "2006-09-22T14:03:11Zjunk",
            "2006-09-22Tx",
            "١٢",
            "2006-09-22T14:03:61",
            &long,
        ] {
            assert!(Since::parse(text).is_err(), "{text:?}");
        }
        for value in [Value::Bool(true), Value::Double(f64::NAN), Value::Double(1e300), Value::Long(i64::MAX)] {
            assert!(Since::from_xmlrpc(&value).is_err(), "{value:?}");
        }
    }

    #[test]
    fn every_xmlrpc_type_that_can_hold_a_moment_is_read() {
        let mut time = DateTime {
            year: 2006,
            month: 9,
            day: 22,
            hour: 14,
            minute: 3,
            second: 11,
            micro: 42_317,
            offset_minutes: None,
        };
        assert_eq!(Since::from_xmlrpc(&Value::DateTime(time)), Ok(at(MICROS, None)));
        (time.hour, time.offset_minutes) = (11, Some(-180));
        assert_eq!(Since::from_xmlrpc(&Value::DateTime(time)), Ok(at(MICROS, None)));
        time.month = 13;
        assert!(Since::from_xmlrpc(&Value::DateTime(time)).is_err());
        let whole = MICROS - 42_317;
        assert_eq!(Since::from_xmlrpc(&Value::Int(1_158_933_791)), Ok(at(whole, None)));
        assert_eq!(Since::from_xmlrpc(&Value::Double(1_158_933_791.5)), Ok(at(whole + 500_000, None)));
    }

    #[test]
    fn a_time_without_a_zone_is_of_the_zone_configured_and_of_the_earlier_hour() {
        let zone = TimeZone::fixed(jiff::tz::offset(-3));
        assert_eq!(Since::parse_in("2006-09-22 11:03:11.042317", &zone), Ok(at(MICROS, None)));
        assert_eq!(Since::parse_in("2006-09-22 14:03:11.042317Z", &zone), Ok(at(MICROS, None)));
        // Central Europe, by rule so that no zone database is needed: 02:30 happens twice on 2026-10-25.
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(Since::parse_in("2026-10-25T02:30:00", &zone), Since::parse("2026-10-25T00:30:00Z"));
    }

    #[test]
    fn reading_never_moves_a_time_forward() {
        assert_eq!(Since::parse("-0.0000001"), Ok(at(-1, None)));
        assert_eq!(Since::parse("-1.5"), Ok(at(-1_500_000, None)));
        assert_eq!(Since::from_epoch(-0.000_000_1), Ok(at(-1, None)));
        assert_eq!(Since::parse("1.9999999"), Ok(at(1_999_999, None)));
    }

    #[test]
    fn a_tag_belongs_to_its_incarnation() {
        assert_eq!(incarnation_tag("a"), incarnation_tag("a"));
        assert_ne!(incarnation_tag("a"), incarnation_tag("b"));
        assert!((0..1000).all(|n| incarnation_tag(&n.to_string()) <= TAG_MAX));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            micros in -62_135_596_800_000_000_i64..253_402_207_200_000_000,
            tag in prop::option::of(0..=TAG_MAX),
        ) {
            let watermark = Watermark { micros, tag };
            prop_assert_eq!(watermark.to_string().parse(), Ok(watermark));
        }

        #[test]
        fn text_order_is_time_order(a in 0..4_000_000_000_000_000_i64, b in 0..4_000_000_000_000_000_i64) {
            let (a, b) = (Watermark::new(a, Some(5)), Watermark::new(b, Some(5)));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", digits in "[-0-9T:.Z+ ]{0,40}") {
            let _ = Since::parse(&text);
            let _ = Since::parse(&digits);
        }

        #[test]
        fn no_number_makes_it_panic(seconds in any::<f64>(), whole in any::<i64>()) {
            let _ = Since::from_epoch(seconds);
            let _ = Since::from_epoch_seconds(whole);
            let _ = Watermark::new(whole, None).to_string();
        }
    }
}
