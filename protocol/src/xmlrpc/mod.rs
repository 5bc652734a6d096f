//! XML-RPC: values, a reader with limits, a writer, and serde on both sides.
//!
//! Strict in what is written, liberal in what is read, never silently wrong. The reader stands on `quick-xml`, which is
//! fast but checks little; `events` adds what the XML recommendation asks for. Nothing else in the product knows XML.

mod blob;
mod charset;
mod cut;
mod datetime;
mod error;
mod events;
mod limits;
mod message;
mod plain;
mod reader;
mod scalar;
mod serde;
mod spelled;
mod text;
mod value;
mod writer;

#[cfg(test)]
mod tests;

pub use self::serde::{SerdeError, from_value, to_value};
pub use blob::{Base64Encoder, BlobSink, base64_len};
pub use cut::mend_cut_string;
pub use datetime::DateTime;
pub use error::{ReadError, ReadErrorKind, WriteError};
pub use limits::{DEPTH_HARD_MAX, Limits};
pub use message::{MethodCall, parse_call, parse_labelled_call, parse_response, read_call, read_response};
pub use spelled::{spelled_call, spelled_struct, spelled_value};
pub use value::{Blob, Struct, Value};
pub use writer::{Envelope, call_envelope, response_envelope, write_call, write_fault, write_response};

/// The four characters that XML calls white space.
pub(crate) fn is_xml_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}
