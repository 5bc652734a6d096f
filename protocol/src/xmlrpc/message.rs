//! Whole messages: a call, or a response with a value or a fault.

use std::io::BufRead;

use super::blob::BlobSink;
use super::error::ReadError;
use super::limits::Limits;
use super::plain;
use super::reader::Parser;
use super::value::Value;
use crate::fault::Fault;

/// A method that is called, with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodCall {
    /// Its name, as it was sent, without white space around it; never empty.
    pub method: String,
    /// Its parameters in order.
    pub params: Vec<Value>,
}

/// Reads a call from memory; every base64 stays inline.
///
/// # Errors
/// What is wrong with the document, and where.
pub fn parse_call(bytes: &[u8], limits: &Limits) -> Result<MethodCall, ReadError> {
    parse_labelled_call(bytes, None, limits)
}

/// Like [`parse_call`]. `charset` is that of the transport's Content-Type.
///
/// # Errors
/// What is wrong with the document, and where.
pub fn parse_labelled_call(bytes: &[u8], charset: Option<&str>, limits: &Limits) -> Result<MethodCall, ReadError> {
    if charset.is_none_or(|label| label.eq_ignore_ascii_case("utf-8"))
        && let Some(call) = plain::call(bytes, limits)
    {
        return Ok(call);
    }
    read_call(bytes, charset, limits, None)
}

/// Reads a response from memory; every base64 stays inline.
///
/// # Errors
/// What is wrong with the document, and where.
pub fn parse_response(bytes: &[u8], limits: &Limits) -> Result<Result<Value, Fault>, ReadError> {
    read_response(bytes, None, limits, None)
}

/// Reads a call in bounded memory, to the end of the source. `charset` is that of the transport's Content-Type.
///
/// A base64 larger than `limits.inline_blob_bytes_max` goes into the sink, if there is one.
///
/// # Errors
/// What is wrong with the document, and where. What the sink has received must then be thrown away.
pub fn read_call<R: BufRead>(
    bytes: R,
    charset: Option<&str>,
    limits: &Limits,
    sink: Option<&mut dyn BlobSink>,
) -> Result<MethodCall, ReadError> {
    let mut parser = Parser::new(bytes, charset, limits, sink)?;
    parser.open_named("methodCall")?;
    let (mut method, mut params) = (None, None);
    // Parameters before the name are taken, too: nothing is done before the document is complete.
    loop {
        match parser.open()? {
            Some("methodName") if method.is_none() => {
                let name = parser.text(limits.name_bytes_max)?.trim_matches(super::is_xml_space).to_owned();
                if name.is_empty() {
                    return Err(parser.invalid("an empty methodName"));
                }
                method = Some(name);
            }
            Some("params") if params.is_none() => params = Some(read_params(&mut parser)?),
            Some(_) => return Err(parser.unexpected("one methodName and one params")),
            None => break,
        }
    }
    parser.end()?;
    match method {
        Some(method) => Ok(MethodCall { method, params: params.unwrap_or_default() }),
        None => Err(parser.invalid("a call without methodName")),
    }
}

/// Reads a response in bounded memory, to the end of the source; parameters as with [`read_call`].
///
/// # Errors
/// What is wrong with the document, and where. What the sink has received must then be thrown away.
pub fn read_response<R: BufRead>(
    bytes: R,
    charset: Option<&str>,
    limits: &Limits,
    sink: Option<&mut dyn BlobSink>,
) -> Result<Result<Value, Fault>, ReadError> {
    let mut parser = Parser::new(bytes, charset, limits, sink)?;
    parser.open_named("methodResponse")?;
    let response = match parser.open()? {
        Some("params") => {
            let mut params = read_params(&mut parser)?;
            match (params.pop(), params.is_empty()) {
                (Some(value), true) => Ok(value),
                _ => return Err(parser.invalid("a response without exactly one param")),
            }
        }
        Some("fault") => {
            parser.open_named("value")?;
            let value = parser.value()?;
            parser.close()?;
            Err(read_fault(&parser, &value)?)
        }
        Some(_) => return Err(parser.unexpected("params or fault")),
        None => return Err(parser.invalid("a response without params and fault")),
    };
    parser.close()?;
    parser.end()?;
    Ok(response)
}

/// The content of `<params>`, with its end tag.
fn read_params<R: BufRead>(parser: &mut Parser<'_, R>) -> Result<Vec<Value>, ReadError> {
    let mut params = Vec::new();
    loop {
        parser.plain_params(&mut params)?;
        match parser.open()? {
            Some("param") => {
                parser.open_named("value")?;
                params.push(parser.value()?);
                parser.close()?;
            }
            Some(_) => return Err(parser.unexpected("<param>")),
            None => return Ok(params),
        }
    }
}

/// Members in any order; others beside them are ignored.
fn read_fault<R: BufRead>(parser: &Parser<'_, R>, value: &Value) -> Result<Fault, ReadError> {
    let member = |name| value.as_struct().and_then(|members| members.get(name));
    let message = member("faultString").and_then(Value::as_str);
    let code = match member("faultCode") {
        Some(Value::Int(code)) => Some(*code),
        Some(Value::Long(code)) => i32::try_from(*code).ok(),
        _ => None,
    };
    match (code, message) {
        (Some(code), Some(message)) => Ok(Fault { code, message: message.to_owned() }),
        (None, Some(message)) => Err(parser.invalid(format!("a fault without a faultCode; it says: {message}"))),
        (Some(code), None) => Err(parser.invalid(format!("fault {code} without a faultString"))),
        (None, None) => Err(parser.invalid("a fault without faultCode and faultString")),
    }
}
