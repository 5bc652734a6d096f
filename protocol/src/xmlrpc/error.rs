//! What can be wrong with a document that was read, or a value that is to be written.

use std::io;

use thiserror::Error;

use crate::fault::{Fault, FaultCode};

/// Why a document was not accepted, and where.
#[derive(Debug, Error)]
#[error("{kind} (byte {offset})")]
pub struct ReadError {
    /// Bytes from the start of the document; after conversion to UTF-8 when it came in another charset.
    pub offset: u64,
    /// What is wrong.
    pub kind: ReadErrorKind,
}

/// What is wrong with a document. No variant carries a value from it, so that its text may be logged and sent.
#[derive(Debug, Error)]
pub enum ReadErrorKind {
    /// Not well-formed XML.
    #[error("not well-formed XML: {0}")]
    NotWellFormed(String),
    /// A character encoding that is not known.
    #[error("unsupported encoding {0:?}: send UTF-8")]
    UnsupportedEncoding(String),
    /// Bytes that are no characters in the document's encoding.
    #[error("invalid character: {0}")]
    InvalidCharacter(String),
    /// Well-formed XML, but not XML-RPC.
    #[error("not XML-RPC: {0}")]
    Invalid(String),
    /// One of [`Limits`](super::Limits) was exceeded.
    #[error("limit exceeded: {what} of more than {max}")]
    Limit {
        /// The thing that is limited, with its unit.
        what: &'static str,
        /// The largest value allowed.
        max: u64,
    },
    /// The source of the document failed.
    #[error("the document could not be read to its end: {0}")]
    Io(io::Error),
    /// The sink of a large base64 failed.
    #[error("a base64 could not be stored: {0}")]
    Sink(io::Error),
}

impl ReadError {
    pub(super) fn new(offset: u64, kind: ReadErrorKind) -> Self {
        Self { offset, kind }
    }

    /// The fault code that answers such a request.
    pub fn fault_code(&self) -> FaultCode {
        match self.kind {
            ReadErrorKind::NotWellFormed(_) => FaultCode::NotWellFormed,
            ReadErrorKind::UnsupportedEncoding(_) => FaultCode::UnsupportedEncoding,
            ReadErrorKind::InvalidCharacter(_) => FaultCode::InvalidCharacter,
            ReadErrorKind::Invalid(_) => FaultCode::InvalidRequest,
            ReadErrorKind::Limit { .. } => FaultCode::LimitExceeded,
            ReadErrorKind::Io(_) => FaultCode::Transport,
            ReadErrorKind::Sink(_) => FaultCode::System,
        }
    }

    /// The fault that answers such a request. Errors of the operating system stay out of its text.
    pub fn to_fault(&self) -> Fault {
        let message = match self.kind {
            ReadErrorKind::Io(_) => "the request did not arrive whole; send it again".to_owned(),
            ReadErrorKind::Sink(_) => "the data could not be stored; see the server's log".to_owned(),
            _ => self.to_string(),
        };
        Fault::new(self.fault_code(), message)
    }
}

/// Why a value cannot be written.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum WriteError {
    /// A character that XML 1.0 cannot hold, not even escaped.
    #[error("character U+{0:04X} cannot be sent in XML; send the text as base64")]
    Character(u32),
    /// Infinity or not-a-number, for which XML-RPC has no spelling.
    #[error("the double {0} has no spelling in XML-RPC")]
    NotFinite(f64),
    /// A date that does not exist, or lies outside the years 1 to 9999 in UTC.
    #[error("the date and time does not exist or is outside the years 1 to 9999")]
    DateTime,
    /// A base64 whose bytes are in a sink, not in memory.
    #[error("a spooled base64 cannot be written from memory; stream it between the parts of an envelope")]
    Spooled,
    /// More arrays and structs inside each other than any reader takes.
    #[error("values are nested more than {0} deep")]
    TooDeep(usize),
}
