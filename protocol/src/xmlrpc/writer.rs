//! Messages in the strictest spelling there is: every reader that was tried takes it.

use super::blob::encode;
use super::error::WriteError;
use super::limits::DEPTH_HARD_MAX;
use super::text::is_xml_char;
use super::value::{Blob, Value};
use crate::fault::Fault;

const DECLARATION: &str = r#"<?xml version="1.0" encoding="UTF-8"?>"#;

/// Room for a short message, so that one does not grow step by step.
const SHORT_BYTES: usize = 512;

fn document() -> Vec<u8> {
    let mut out = Vec::with_capacity(SHORT_BYTES);
    out.extend_from_slice(DECLARATION.as_bytes());
    out
}

/// The parts of a message around one base64 that is streamed between them.
///
/// The message's length is `prefix.len() + base64_len(n) + suffix.len()`, known before a byte is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// What comes before the base64.
    pub prefix: Vec<u8>,
    /// What comes after it.
    pub suffix: Vec<u8>,
}

/// Writes a call.
///
/// # Errors
/// A value that XML-RPC cannot carry.
pub fn write_call(method: &str, params: &[Value]) -> Result<Vec<u8>, WriteError> {
    let mut out = call_head(method)?;
    params.iter().try_for_each(|value| write_param(&mut out, value))?;
    out.extend_from_slice(b"</params></methodCall>");
    Ok(out)
}

/// Writes a response with a value.
///
/// # Errors
/// A value that XML-RPC cannot carry.
pub fn write_response(value: &Value) -> Result<Vec<u8>, WriteError> {
    let mut out = response_head();
    write_value(&mut out, value, 0)?;
    out.extend_from_slice(b"</param></params></methodResponse>");
    Ok(out)
}

/// Writes a response with a fault. Characters of its text that XML cannot hold become `?`: a fault must always be sent.
pub fn write_fault(fault: &Fault) -> Vec<u8> {
    let mut out = document();
    out.extend_from_slice(b"<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>");
    out.extend_from_slice(fault.code.to_string().as_bytes());
    out.extend_from_slice(b"</int></value></member><member><name>faultString</name><value><string>");
    let message = fault.message.replace(|character| !is_xml_char(character), "?");
    escape(&mut out, &message);
    out.extend_from_slice(b"</string></value></member></struct></value></fault></methodResponse>");
    out
}

/// The parts of a call around one streamed base64 parameter, with the other parameters before and after it.
///
/// # Errors
/// A value that XML-RPC cannot carry.
pub fn call_envelope(method: &str, before: &[Value], after: &[Value]) -> Result<Envelope, WriteError> {
    let mut prefix = call_head(method)?;
    before.iter().try_for_each(|value| write_param(&mut prefix, value))?;
    prefix.extend_from_slice(b"<param><value><base64>");
    let mut suffix = b"</base64></value></param>".to_vec();
    after.iter().try_for_each(|value| write_param(&mut suffix, value))?;
    suffix.extend_from_slice(b"</params></methodCall>");
    Ok(Envelope { prefix, suffix })
}

/// The parts of a response around one streamed base64.
pub fn response_envelope() -> Envelope {
    let mut prefix = response_head();
    prefix.extend_from_slice(b"<value><base64>");
    Envelope { prefix, suffix: b"</base64></value></param></params></methodResponse>".to_vec() }
}

fn call_head(method: &str) -> Result<Vec<u8>, WriteError> {
    let mut out = document();
    out.extend_from_slice(b"<methodCall><methodName>");
    write_text(&mut out, method)?;
    out.extend_from_slice(b"</methodName><params>");
    Ok(out)
}

fn response_head() -> Vec<u8> {
    let mut out = document();
    out.extend_from_slice(b"<methodResponse><params><param>");
    out
}

fn write_param(out: &mut Vec<u8>, value: &Value) -> Result<(), WriteError> {
    out.extend_from_slice(b"<param>");
    write_value(out, value, 0)?;
    out.extend_from_slice(b"</param>");
    Ok(())
}

/// Recursive, but never deeper than [`DEPTH_HARD_MAX`].
fn write_value(out: &mut Vec<u8>, value: &Value, depth: usize) -> Result<(), WriteError> {
    out.extend_from_slice(b"<value>");
    match value {
        Value::Nil => out.extend_from_slice(b"<nil/>"),
        Value::Int(int) => write_plain(out, "int", &int.to_string()),
        Value::Long(long) => write_plain(out, "i8", &long.to_string()),
        Value::Bool(bool) => write_plain(out, "boolean", if *bool { "1" } else { "0" }),
        Value::Double(double) => write_plain(out, "double", &double_text(*double)?),
        Value::String(text) => {
            out.extend_from_slice(b"<string>");
            write_text(out, text)?;
            out.extend_from_slice(b"</string>");
        }
        Value::DateTime(datetime) => {
            write_plain(out, "dateTime.iso8601", &datetime.to_wire().ok_or(WriteError::DateTime)?);
        }
        Value::Base64(Blob::Inline(bytes)) => {
            out.extend_from_slice(b"<base64>");
            encode(bytes, out);
            out.extend_from_slice(b"</base64>");
        }
        Value::Base64(Blob::Spooled { .. }) => return Err(WriteError::Spooled),
        Value::Array(_) | Value::Struct(_) if depth >= DEPTH_HARD_MAX => {
            return Err(WriteError::TooDeep(DEPTH_HARD_MAX));
        }
        Value::Array(items) => {
            out.extend_from_slice(b"<array><data>");
            items.iter().try_for_each(|item| write_value(out, item, depth + 1))?;
            out.extend_from_slice(b"</data></array>");
        }
        Value::Struct(members) => {
            out.extend_from_slice(b"<struct>");
            for (name, value) in members.iter() {
                out.extend_from_slice(b"<member><name>");
                write_text(out, name)?;
                out.extend_from_slice(b"</name>");
                write_value(out, value, depth + 1)?;
                out.extend_from_slice(b"</member>");
            }
            out.extend_from_slice(b"</struct>");
        }
    }
    out.extend_from_slice(b"</value>");
    Ok(())
}

fn write_plain(out: &mut Vec<u8>, element: &str, text: &str) {
    for part in ["<", element, ">", text, "</", element, ">"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The shortest decimal that reads back the same: always with a point, never with an exponent.
fn double_text(double: f64) -> Result<String, WriteError> {
    if !double.is_finite() {
        return Err(WriteError::NotFinite(double));
    }
    let mut text = double.to_string();
    if !text.contains('.') {
        text.push_str(".0");
    }
    Ok(text)
}

fn write_text(out: &mut Vec<u8>, text: &str) -> Result<(), WriteError> {
    if let Some(bad) = super::text::forbidden_char(text) {
        return Err(WriteError::Character(bad.into()));
    }
    escape(out, text);
    Ok(())
}

/// Escapes what XML would take for markup, and the CR that it would turn into LF.
fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let escaped: &[u8] = match byte {
            b'&' => b"&amp;",
            b'<' => b"&lt;",
            b'>' => b"&gt;",
            b'\r' => b"&#13;",
            _ => continue,
        };
        out.extend_from_slice(&bytes[copied..at]);
        out.extend_from_slice(escaped);
        copied = at + 1;
    }
    out.extend_from_slice(&bytes[copied..]);
}
