//! Documents around values that are spelled out, right or wrong: what a test of conformance sends and expects.

use super::{Limits, MethodCall, ReadError, Value, parse_call};

/// A call whose parameters are these texts, each put into a `<value>` as it is.
pub fn spelled_call(method: &str, values: &[impl AsRef<str>]) -> String {
    let mut document = format!("<?xml version=\"1.0\"?>\n<methodCall><methodName>{method}</methodName><params>");
    for value in values {
        document.push_str("<param><value>");
        document.push_str(value.as_ref());
        document.push_str("</value></param>");
    }
    document.push_str("</params></methodCall>");
    document
}

/// The value that is meant by the content of a `<value>`.
///
/// # Errors
/// When it means none.
pub fn spelled_value(content: &str) -> Result<Value, ReadError> {
    let MethodCall { params, .. } = parse_call(spelled_call("m", &[content]).as_bytes(), &Limits::default())?;
    Ok(params.into_iter().next().unwrap_or(Value::Nil))
}

/// A struct of one member, whose value is this text.
pub fn spelled_struct(name: &str, value: &str) -> String {
    format!("<struct><member><name>{name}</name><value>{value}</value></member></struct>")
}
