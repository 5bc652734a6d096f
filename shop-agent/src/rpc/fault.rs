//! Errors become faults here, and nowhere else: the log gets the whole chain once, the caller no internals.

use std::error::Error;

use protocol::fault::{Fault, FaultCode};
use replica::ReplicaError;

/// The fault for an error of the database.
pub(crate) fn of_replica(error: &ReplicaError) -> Fault {
    let code = error.fault_code();
    match error {
        ReplicaError::Unavailable(_) => {
            tracing::warn!(error = chain(error), "the database is not available");
            Fault::new(code, "the shop's database is not available; try again later")
        }
        ReplicaError::Spool { what, source } if is_full(source) => of_io(what, source),
        ReplicaError::Query { .. } | ReplicaError::Spool { .. } => internal(code, error),
        ReplicaError::Stopped => Fault::new(code, "the agent is stopping; try again later"),
        told => Fault::new(code, told.to_string()),
    }
}

/// The fault for a file of the agent's own that could not be written or read.
pub(crate) fn of_io(what: &str, error: &std::io::Error) -> Fault {
    if is_full(error) {
        tracing::error!(what, "the disk of the state directory is full");
        return Fault::new(FaultCode::System, "the shop has no room left on its disk; free some and try again");
    }
    tracing::error!(error = chain(error), what, "a file of the agent failed");
    Fault::new(FaultCode::System, format!("the shop could not {what}; its log says why"))
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

fn internal(code: FaultCode, error: &ReplicaError) -> Fault {
    let reference = format!("{:08x}", rand::random::<u32>());
    tracing::error!(reference, error = chain(error), "internal error");
    Fault::new(code, format!("internal error {reference}; the shop's log says more"))
}

/// The fault for wrong parameters.
pub(crate) fn wrong_parameters(message: impl Into<String>) -> Fault {
    Fault::new(FaultCode::WrongParameters, message)
}

/// An error with everything that caused it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
