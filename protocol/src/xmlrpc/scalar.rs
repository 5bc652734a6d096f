//! The scalar types by their element names: text in, value out, or why not.

use super::datetime::DateTime;
use super::text::is_blank;
use super::value::Value;

/// The longest text of a number, boolean or date, with the white space around it: a double without exponent needs 350.
pub(super) const SHORT_TEXT_MAX: usize = 1024;

/// A type element that holds nothing but text (`base64` is read by the reader itself).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Nil,
    Bool,
    Integer { min: i64, max: i64 },
    Long,
    Double,
    Float,
    String,
    DateTime,
}

impl Scalar {
    /// The type of an element name; the extensions of Apache also with any prefix.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "int" | "i4" => Self::Integer { min: i32::MIN.into(), max: i32::MAX.into() },
            "boolean" => Self::Bool,
            "double" => Self::Double,
            "string" => Self::String,
            "dateTime.iso8601" => Self::DateTime,
            _ => match name.split_once(':').map_or(name, |(_, local)| local) {
                "nil" => Self::Nil,
                "i8" => Self::Long,
                "i2" => Self::Integer { min: i16::MIN.into(), max: i16::MAX.into() },
                "i1" => Self::Integer { min: i8::MIN.into(), max: i8::MAX.into() },
                "float" => Self::Float,
                _ => return None,
            },
        })
    }

    /// The value of the element's text.
    ///
    /// # Errors
    /// What is wrong, without the text itself.
    pub(super) fn parse(self, text: &str, non_finite: bool) -> Result<Value, &'static str> {
        let trimmed = text.trim_matches(super::is_xml_space);
        match self {
            Self::Nil if is_blank(text) => Ok(Value::Nil),
            Self::Nil => Err("a nil that is not empty"),
            Self::Bool => match trimmed {
                "0" => Ok(Value::Bool(false)),
                "1" => Ok(Value::Bool(true)),
                _ => Err("a boolean that is neither 0 nor 1"),
            },
            Self::Integer { min, max } => {
                let long = trimmed.parse::<i64>().ok().filter(|long| (min..=max).contains(long));
                let int = long.and_then(|long| i32::try_from(long).ok());
                int.map(Value::Int).ok_or("an int that is no number of its type")
            }
            Self::Long => trimmed.parse().map(Value::Long).map_err(|_| "an i8 that is no number of 64 bits"),
            Self::Double => double(trimmed, non_finite).map(Value::Double),
            Self::Float => match double(trimmed, non_finite)? {
                double if double.is_finite() && double.abs() > f64::from(f32::MAX) => Err("a float that is too large"),
                double => Ok(Value::Double(double)),
            },
            Self::String => Ok(Value::String(text.to_owned())),
            Self::DateTime => {
                DateTime::parse(trimmed).map(Value::DateTime).ok_or("a dateTime.iso8601 that does not exist")
            }
        }
    }
}

/// A decimal number with an optional exponent, which the specification does not have and everybody sends.
fn double(text: &str, non_finite: bool) -> Result<f64, &'static str> {
    // Rust's grammar is the one wanted, but for the names of what is not finite.
    let decimal = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
    if !decimal && !non_finite {
        return Err("a double that is no decimal number");
    }
    let double: f64 = text.parse().map_err(|_| "a double that is no decimal number")?;
    if decimal && double.is_infinite() {
        return Err("a double that is too large");
    }
    Ok(double)
}
