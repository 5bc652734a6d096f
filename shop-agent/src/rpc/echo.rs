//! `sync.echo(...)`: gives its parameters back, so that a peer sees how its values arrive.

use protocol::fault::Fault;
use protocol::xmlrpc::{Blob, Value};

use super::fault::wrong_parameters;
use crate::server::Reply;

/// Parameters of one call.
const PARAMETERS_MAX: usize = 8;

pub(super) fn echo(params: Vec<Value>) -> Result<Reply, Fault> {
    if params.len() > PARAMETERS_MAX {
        return Err(wrong_parameters(format!("sync.echo takes {PARAMETERS_MAX} parameters at most")));
    }
    if params.iter().any(is_spooled) {
        return Err(wrong_parameters("sync.echo takes base64 of up to 64 KiB"));
    }
    Ok(Reply::Value(Value::Array(params)))
}

/// Whether part of a value was too large for memory.
fn is_spooled(value: &Value) -> bool {
    match value {
        Value::Base64(Blob::Spooled { .. }) => true,
        Value::Array(items) => items.iter().any(is_spooled),
        Value::Struct(members) => members.iter().any(|(_, item)| is_spooled(item)),
        _ => false,
    }
}
