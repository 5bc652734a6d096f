//! A call made by hand: its arguments as people type them, its answer as JSON. Both programs have the command `call`; both
//! ask here, so that the same words mean the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use thiserror::Error;

use crate::xmlrpc::{Blob, DateTime, Value, to_value};

/// How arguments are written, for the help of the command.
pub const SPELLINGS: &str = "\
Arguments are strings unless they begin with a type:
  i:5 (also longer than 32 bits)  l:5 (always 64 bits)  s:text  d:1.5  b:true  t:2006-01-02T03:04:05Z
  b64:text  b64:@file  nil  json:[1,\"x\"]
A text that begins with a dash is s:-x; numbers may.

A URL without a port means 9000, without a path /RPC2.";

/// An argument that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArgumentError {
    /// It has a type, and does not fit it.
    #[error("argument `{argument}` is no {wanted}")]
    Misfit {
        /// The argument.
        argument: String,
        /// What its type asks for.
        wanted: String,
    },
    /// Its file cannot be read.
    #[error("argument `{argument}`: the file cannot be read: {reason}")]
    File {
        /// The argument.
        argument: String,
        /// Why not.
        reason: String,
    },
}

/// The value of an argument: a type, a colon and the value; without a type it is a string. `read` gives the bytes of a file.
///
/// # Errors
/// If what follows the type does not fit it, or the file cannot be read.
pub fn argument(text: &str, read: impl Fn(&str) -> std::io::Result<Vec<u8>>) -> Result<Value, ArgumentError> {
    if text == "nil" {
        return Ok(Value::Nil);
    }
    let Some((kind, rest)) = text.split_once(':') else { return Ok(Value::from(text)) };
    let wrong = |wanted: &str| ArgumentError::Misfit { argument: text.to_owned(), wanted: wanted.to_owned() };
    Ok(match kind {
        "i" => {
            let number: i64 = rest.parse().map_err(|_| wrong("integer"))?;
            i32::try_from(number).map_or(Value::Long(number), Value::Int)
        }
        "l" => Value::Long(rest.parse().map_err(|_| wrong("integer of 64 bits"))?),
        "s" => Value::from(rest),
        "d" => {
            Value::Double(rest.parse().ok().filter(|double: &f64| double.is_finite()).ok_or_else(|| wrong("number"))?)
        }
        "b" | "bool" => Value::Bool(match rest {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(wrong("boolean; write b:true or b:false")),
        }),
        "t" => Value::DateTime(moment(rest).ok_or_else(|| wrong("date and time like 2006-01-02T03:04:05Z"))?),
        "b64" => match rest.strip_prefix('@') {
            Some(path) => Value::from(
                read(path)
                    .map_err(|error| ArgumentError::File { argument: text.to_owned(), reason: error.to_string() })?,
            ),
            None => Value::from(rest.as_bytes()),
        },
        "nil" if rest.is_empty() => Value::Nil,
        "json" => {
            let json: Json = serde_json::from_str(rest).map_err(|error| wrong(&format!("JSON: {error}")))?;
            to_value(&json).map_err(|error| wrong(&format!("value of XML-RPC: {error}")))?
        }
        // a URL or a sentence with a colon
        _ => Value::from(text),
    })
}

/// As the wire writes times, and in every other usual spelling.
fn moment(text: &str) -> Option<DateTime> {
    let spelled = || text.parse().ok().map(DateTime::from_timestamp);
    DateTime::parse(text).or_else(spelled)
}

/// An answer as JSON: nil is `null`, base64 a string after `base64:`, a date ISO 8601 (without a zone when none was sent).
pub fn answer(value: &Value) -> Json {
    match value {
        Value::Nil => Json::Null,
        Value::Int(number) => json!(number),
        Value::Long(number) => json!(number),
        Value::Bool(truth) => json!(truth),
        Value::Double(number) => json!(number),
        Value::String(text) => json!(text),
        Value::DateTime(moment) => json!(iso(moment)),
        Value::Base64(Blob::Inline(bytes)) => json!(format!("base64:{}", STANDARD.encode(bytes))),
        Value::Base64(Blob::Spooled { bytes, .. }) => json!(format!("base64 of {bytes} bytes")),
        Value::Array(items) => Json::Array(items.iter().map(answer).collect()),
        Value::Struct(members) => {
            Json::Object(members.iter().map(|(name, member)| (name.to_owned(), answer(member))).collect())
        }
    }
}

fn iso(moment: &DateTime) -> String {
    let Some(civil) = moment.civil() else { return String::new() };
    match moment.offset_minutes {
        None => civil.to_string(),
        Some(0) => format!("{civil}Z"),
        Some(minutes) => {
            let sign = if minutes < 0 { '-' } else { '+' };
            let minutes = minutes.unsigned_abs();
            format!("{civil}{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xmlrpc::Struct;

    fn parse(text: &str) -> Result<Value, ArgumentError> {
        argument(text, |path| match path {
            "there" => Ok(b"abc".to_vec()),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        })
    }

    #[test]
    fn arguments_are_typed_by_their_beginning() {
        for (text, meant) in [
            ("i:5", Value::Int(5)),
            ("i:-5", Value::Int(-5)),
            ("i:5000000000", Value::Long(5_000_000_000)),
            ("l:5", Value::Long(5)),
            ("d:1.5", Value::Double(1.5)),
            ("b:true", Value::Bool(true)),
            ("bool:0", Value::Bool(false)),
            ("s:i:5", Value::from("i:5")),
            ("nil", Value::Nil),
            ("nil:", Value::Nil),
            ("nil: is a word", Value::from("nil: is a word")),
            ("b64:abc", Value::from(b"abc".to_vec())),
            ("b64:@there", Value::from(b"abc".to_vec())),
            ("json:[1,\"x\"]", Value::Array(vec![Value::Int(1), Value::from("x")])),
            ("plain", Value::from("plain")),
            ("-5", Value::from("-5")),
            ("note: x", Value::from("note: x")),
            ("2006-09-22T14:03:11Z", Value::from("2006-09-22T14:03:11Z")),
        ] {
            assert_eq!(parse(text), Ok(meant), "{text}");
        }
        for text in ["t:2006-01-02T03:04:05Z", "t:20060102T03:04:05", "t:2006-01-02 03:04:05+01:00"] {
            assert!(matches!(parse(text), Ok(Value::DateTime(_))), "{text}");
        }
        for bad in ["i:x", "l:", "b:yes", "d:nan", "d:inf", "t:yesterday", "b64:@nowhere", "json:{"] {
            let said = parse(bad).unwrap_err().to_string();
            assert!(said.contains(bad), "{said}");
        }
    }

    #[test]
    fn an_answer_keeps_what_json_has_no_type_for() {
        let moment = |text| Value::DateTime(DateTime::parse(text).unwrap());
        for (value, written) in [
            (Value::from(b"abc".to_vec()), "\"base64:YWJj\""),
            (moment("20060102T03:04:05"), "\"2006-01-02T03:04:05\""),
            (moment("2006-01-02T03:04:05Z"), "\"2006-01-02T03:04:05Z\""),
            (moment("2006-01-02T03:04:05-01:30"), "\"2006-01-02T03:04:05-01:30\""),
            (Value::Array(vec![Value::Nil, Value::Long(1 << 40), Value::Bool(true)]), "[null,1099511627776,true]"),
            (
                [("a", Value::Nil), ("b", Value::Double(1.5))].into_iter().collect::<Struct>().into(),
                r#"{"a":null,"b":1.5}"#,
            ),
        ] {
            assert_eq!(answer(&value).to_string(), written);
        }
    }
}
