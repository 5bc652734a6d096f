//! The codec as a whole: the conformance table, round trips, large values, and a second parser as a judge.

mod blobs;
mod boundaries;
mod differential;
mod documents;
mod limits;
mod messages;
mod roundtrip;
mod serde;
mod values;

use super::{Limits, MethodCall, ReadError, Value, parse_call, read_call};

/// Reads a call, whole and byte by byte, and makes sure that both see the same.
fn call(document: &[u8]) -> Result<MethodCall, ReadError> {
    let whole = parse_call(document, &Limits::default());
    let single = std::io::BufReader::with_capacity(1, document);
    let single = read_call(single, None, &Limits::default(), None);
    assert_eq!(
        whole.as_ref().map_err(|error| error.fault_code()).ok(),
        single.as_ref().map_err(|error| error.fault_code()).ok(),
        "{}",
        String::from_utf8_lossy(document)
    );
    whole
}

/// The only parameter of a call, or the fault code that answers it.
fn value_of(document: &[u8]) -> Result<Value, i32> {
    let mut params = call(document).map_err(|error| error.fault_code().code())?.params;
    assert_eq!(params.len(), 1);
    Ok(params.remove(0))
}

/// A call around a `<value>` element.
fn around(value: &str) -> String {
    format!(
        "<?xml version='1.0'?><methodCall><methodName>m</methodName><params><param>{value}</param></params></methodCall>"
    )
}
