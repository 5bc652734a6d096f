//! Rows in the binary format of COPY, made from rows in its text format.
//!
//! The server reads numbers, dates and times in half the time when they come in its own format. Only values that are
//! spelled the way the server prints them are taken; of everything else it shall be the judge, so whoever asks gets
//! [`Unfit`] and sends the text.
//!
//! The formats are those of the server's receive functions (`src/backend/utils/adt/*.c`: `int8recv`, `numeric_recv`,
//! `timestamptz_recv`, ...), which have not changed since version 7.4; that of the file is in the reference of COPY.

mod number;
mod time;

use std::net::IpAddr;

use protocol::dialect::escaped_byte;

/// What a COPY in binary format begins with: signature, no flags, no extension.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What it ends with.
pub const TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// Families of addresses, as the server numbers them on all systems (`PGSQL_AF_INET`, `PGSQL_AF_INET6`).
const FAMILIES: (u8, u8) = (2, 3);

/// A type whose binary format is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryType {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric` of any precision
    Numeric,
    /// All whose format is their text: `text`, `varchar`, `char`, `json`, enumerations
    Text,
    /// `jsonb`
    Jsonb,
    /// `uuid`
    Uuid,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `time without time zone`
    Time,
    /// `timestamp without time zone`
    Timestamp,
    /// `timestamp with time zone`
    TimestampTz,
    /// `inet`
    Inet,
}

/// A value, or a row, that is left to the server in its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit;

impl BinaryType {
    /// A type of the system's schema by the name that it has in `pg_type`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "bool" => Self::Bool,
            "int2" => Self::Int2,
            "int4" => Self::Int4,
            "int8" => Self::Int8,
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            "numeric" => Self::Numeric,
            "text" | "varchar" | "bpchar" | "json" => Self::Text,
            "jsonb" => Self::Jsonb,
            "uuid" => Self::Uuid,
            "bytea" => Self::Bytea,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            "inet" => Self::Inet,
            _ => return None,
        })
    }

    /// Appends a value without its length; `text` is unescaped.
    fn encode(self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
        match self {
            Self::Bool => match text {
                b"t" => out.push(1),
                b"f" => out.push(0),
                _ => return Err(Unfit),
            },
            Self::Int2 => put(out, i16::try_from(number::integer(text)?).map_err(|_| Unfit)?.to_be_bytes()),
            Self::Int4 => put(out, i32::try_from(number::integer(text)?).map_err(|_| Unfit)?.to_be_bytes()),
            Self::Int8 => put(out, number::integer(text)?.to_be_bytes()),
            Self::Float4 => put(out, number::float::<f32>(text)?.to_be_bytes()),
            Self::Float8 => put(out, number::float::<f64>(text)?.to_be_bytes()),
            Self::Numeric => number::numeric(text, out)?,
            Self::Text => out.extend_from_slice(text),
            Self::Jsonb => {
                // the version of its format
                out.push(1);
                out.extend_from_slice(text);
            }
            Self::Uuid => put(out, uuid(text)?),
            Self::Bytea => hex(text.strip_prefix(b"\\x").ok_or(Unfit)?, out)?,
            Self::Date => put(out, time::date(text)?.to_be_bytes()),
            Self::Time => put(out, time::of_day(text)?.to_be_bytes()),
            Self::Timestamp => put(out, time::timestamp(text)?.to_be_bytes()),
            Self::TimestampTz => put(out, time::timestamp_with_zone(text)?.to_be_bytes()),
            Self::Inet => inet(text, out)?,
        }
        Ok(())
    }
}

/// Appends a row: the fields of a line of COPY's text format, without its newline. What was appended of a row that is
/// unfit has to be cut off.
///
/// # Errors
/// If the line has not a field for each type, or one of them is not spelled as the server prints it.
pub fn encode_row(types: &[BinaryType], line: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
    put(out, i16::try_from(types.len()).map_err(|_| Unfit)?.to_be_bytes());
    let mut marks = memchr::memchr2_iter(b'\t', b'\\', line);
    let mut begin = 0;
    for (number, binary) in types.iter().enumerate() {
        if begin > line.len() {
            return Err(Unfit);
        }
        let mut escapes = false;
        let end = loop {
            match marks.next() {
                Some(mark) if line[mark] == b'\t' => break mark,
                // that of a tab too: the server would take the tab for text, here the field ends in a lone backslash
                Some(_) => escapes = true,
                None => break line.len(),
            }
        };
        let field = &line[begin..end];
        begin = end + 1;
        if number + 1 == types.len() && end < line.len() {
            return Err(Unfit);
        }
        if field == b"\\N" {
            put(out, (-1_i32).to_be_bytes());
            continue;
        }
        let length = out.len();
        put(out, [0; 4]);
        if escapes {
            binary.encode(&unescape(field)?, out)?;
        } else {
            binary.encode(field, out)?;
        }
        let bytes = i32::try_from(out.len() - length - 4).map_err(|_| Unfit)?;
        out[length..length + 4].copy_from_slice(&bytes.to_be_bytes());
    }
    Ok(())
}

fn put<const N: usize>(out: &mut Vec<u8>, bytes: [u8; N]) {
    out.extend_from_slice(&bytes);
}

/// The escapes that COPY TO writes; COPY FROM knows others.
fn unescape(field: &[u8]) -> Result<Vec<u8>, Unfit> {
    let mut text = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        text.extend_from_slice(&rest[..at]);
        text.push(rest.get(at + 1).copied().and_then(escaped_byte).ok_or(Unfit)?);
        rest = &rest[at + 2..];
    }
    text.extend_from_slice(rest);
    Ok(text)
}

fn nibble(digit: u8) -> Result<u8, Unfit> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(Unfit),
    }
}

fn hex(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
    let (pairs, []) = text.as_chunks::<2>() else { return Err(Unfit) };
    for [high, low] in pairs {
        out.push(nibble(*high)? << 4 | nibble(*low)?);
    }
    Ok(())
}

fn uuid(text: &[u8]) -> Result<[u8; 16], Unfit> {
    let text: &[u8; 36] = text.try_into().map_err(|_| Unfit)?;
    let mut bytes = [0; 16];
    let mut at = 0;
    for (index, byte) in bytes.iter_mut().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            if text[at] != b'-' {
                return Err(Unfit);
            }
            at += 1;
        }
        *byte = nibble(text[at])? << 4 | nibble(text[at + 1])?;
        at += 2;
    }
    Ok(bytes)
}

/// Family, bits, not a `cidr`, length, address.
fn inet(text: &[u8], out: &mut Vec<u8>) -> Result<(), Unfit> {
    let text = std::str::from_utf8(text).map_err(|_| Unfit)?;
    let (address, bits) = match text.split_once('/') {
        // as it is printed: no sign, no zero in front
        Some((address, bits)) => {
            (address, Some(bits.parse::<u8>().ok().filter(|n| n.to_string() == bits).ok_or(Unfit)?))
        }
        None => (text, None),
    };
    let mut address_of = |family: u8, all: u8, octets: &[u8]| {
        let bits = bits.or(Some(all)).filter(|bits| *bits <= all).ok_or(Unfit)?;
        out.extend_from_slice(&[family, bits, 0, all / 8]);
        out.extend_from_slice(octets);
        Ok(())
    };
    match address.parse().map_err(|_| Unfit)? {
        IpAddr::V4(address) => address_of(FAMILIES.0, 32, &address.octets()),
        IpAddr::V6(address) => address_of(FAMILIES.1, 128, &address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(types: &[BinaryType], line: &str) -> Result<Vec<u8>, Unfit> {
        let mut out = Vec::new();
        encode_row(types, line.as_bytes(), &mut out).map(|()| out)
    }

    fn value(binary: BinaryType, text: &str) -> Result<Vec<u8>, Unfit> {
        row(&[binary], text).map(|row| row[6..].to_vec())
    }

    #[test]
    fn a_row_is_the_number_of_its_fields_and_each_with_its_length() {
        let types = [BinaryType::Int4, BinaryType::Text, BinaryType::Text, BinaryType::Bool];
        let expected = b"\0\x04\0\0\0\x04\0\0\x01\0\xff\xff\xff\xff\0\0\0\x03a\tb\0\0\0\x01\x01";
        assert_eq!(row(&types, "256\t\\N\ta\\tb\tt").as_deref(), Ok(expected.as_slice()));
    }

    #[test]
    fn a_line_with_other_fields_than_there_are_columns_is_the_servers_to_refuse() {
        let types = [BinaryType::Int4, BinaryType::Int4];
        assert_eq!(row(&types, "1"), Err(Unfit));
        assert_eq!(row(&types, "1\t2\t3"), Err(Unfit));
        assert_eq!(row(&types, "1\t"), Err(Unfit));
        assert!(row(&types, "1\t2").is_ok());
    }

    #[test]
    fn escapes_that_the_server_does_not_write_are_the_servers_to_read() {
        for text in ["\\101", "\\x41", "a\\", "\\.", "\\q"] {
            assert_eq!(value(BinaryType::Text, text), Err(Unfit), "{text}");
        }
        assert_eq!(
            value(BinaryType::Text, "\\b\\f\\n\\r\\t\\v\\\\").as_deref(),
            Ok(b"\x08\x0c\n\r\t\x0b\\".as_slice())
        );
    }

    #[test]
    fn what_is_spelled_otherwise_than_the_server_prints_it_is_unfit() {
        for (binary, texts) in [
            (BinaryType::Bool, &["true", "T", "1", ""] as &[&str]),
            (BinaryType::Int2, &["32768", "-32769", "1.0", "+1", " 1", "", "-", "1_000", "0x1"]),
            (BinaryType::Int4, &["2147483648", "1e3"]),
            (BinaryType::Int8, &["9223372036854775808", "-9223372036854775809", "99999999999999999999999999"]),
            (BinaryType::Float8, &["NaN", "Infinity", "inf", "1e999", "1e-999", "+1", " 1", "0x10", ""]),
            (BinaryType::Float4, &["1e39", "1e-60"]),
            (BinaryType::Numeric, &["NaN", "Infinity", "1e3", "1.", ".5", "+1", "", "-", "1 ", "1_0", "--1"]),
            (BinaryType::Uuid, &["{00000000-0000-0000-0000-000000000000}", "00000000000000000000000000000000"]),
            (BinaryType::Bytea, &["abc", "\\\\xa", "\\\\xAB", "\\\\x0g"]),
            (
                BinaryType::Date,
                &["infinity", "2026-02-29", "2026-13-01", "2026-00-10", "0044-03-15 BC", "20260101", "12026-01-01"],
            ),
            (BinaryType::Time, &["24:00:00", "12:60:00", "12:00:60", "12:00", "12:00:00.", "12:00:00.1234567"]),
            (
                BinaryType::Timestamp,
                &["2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00+00", "now", "-infinity"],
            ),
            (
                BinaryType::TimestampTz,
                &[
                    "2026-01-01 00:00:00",
                    "2026-01-01 00:00:00 UTC",
                    "2026-01-01 00:00:00+0",
                    "2026-01-01 00:00:00+16",
                    "2026-01-01 00:00:00+00:60",
                ],
            ),
            (
                BinaryType::Inet,
                &["10.0.0.1/33", "10.0.0", "::1/129", "010.0.0.1", "10.0.0.1/-1", "10.0.0.1/-0", "::1/08", "10.0.0.1/"],
            ),
        ] {
            for text in texts {
                assert_eq!(value(binary, text), Err(Unfit), "{binary:?} {text:?}");
            }
        }
    }

    #[test]
    fn values_are_what_the_receive_functions_read() {
        for (binary, text, expected) in [
            (BinaryType::Int2, "-1", [0xff_u8, 0xff].as_slice()),
            (BinaryType::Int8, "-9223372036854775808", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            (BinaryType::Float8, "-0", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            // digits, weight, sign, scale, digits of four decimals
            (BinaryType::Numeric, "0.00", &[0, 0, 0, 0, 0, 0, 0, 2]),
            (BinaryType::Numeric, "-0.0", &[0, 0, 0, 0, 0, 0, 0, 1]),
            (BinaryType::Numeric, "12345.6", &[0, 3, 0, 1, 0, 0, 0, 1, 0, 1, 0x09, 0x29, 0x17, 0x70]),
            (BinaryType::Numeric, "-0.00012", &[0, 2, 0xff, 0xff, 0x40, 0, 0, 5, 0, 1, 0x07, 0xd0]),
            (BinaryType::Numeric, "10000", &[0, 1, 0, 1, 0, 0, 0, 0, 0, 1]),
            (BinaryType::Date, "2000-01-01", &[0, 0, 0, 0]),
            (BinaryType::Date, "1999-12-31", &[0xff, 0xff, 0xff, 0xff]),
            (BinaryType::Timestamp, "2000-01-01 00:00:00.5", &[0, 0, 0, 0, 0, 0x07, 0xa1, 0x20]),
            (BinaryType::TimestampTz, "2000-01-01 05:30:00+05:30", &[0; 8]),
            (BinaryType::TimestampTz, "1999-12-31 20:00:00-04", &[0; 8]),
            (BinaryType::Time, "00:00:01", &[0, 0, 0, 0, 0, 0x0f, 0x42, 0x40]),
            (BinaryType::Inet, "10.0.0.1", &[2, 32, 0, 4, 10, 0, 0, 1]),
            (BinaryType::Inet, "10.0.0.1/8", &[2, 8, 0, 4, 10, 0, 0, 1]),
            (BinaryType::Bytea, "\\\\x00ff", &[0, 0xff]),
            (BinaryType::Bytea, "\\\\x", &[]),
            (BinaryType::Jsonb, "{}", b"\x01{}"),
        ] {
            assert_eq!(value(binary, text).as_deref(), Ok(expected), "{binary:?} {text:?}");
        }
    }
}
