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

/// Reads a call, whole and in pieces of several lengths, and makes sure that all see the same: values are read in a short
/// way where they are at hand whole, and with care where they are not.
fn call(document: &[u8]) -> Result<MethodCall, ReadError> {
    let whole = parse_call(document, &Limits::default());
    for piece in [1, 17, 200] {
        let pieces = std::io::BufReader::with_capacity(piece, document);
        let read = read_call(pieces, None, &Limits::default(), None);
        // as text: a double that is no number equals nothing
        let seen =
            |read: &Result<MethodCall, ReadError>| format!("{:?}", read.as_ref().map_err(|error| error.fault_code()));
        assert_eq!(seen(&whole), seen(&read), "{piece} bytes at a time: {}", String::from_utf8_lossy(document));
    }
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
