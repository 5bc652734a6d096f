//! The SQL dialect of the wire: a writer of it, and a strict reader that recognises it and nothing else.

mod error;
mod event;
mod literal;
mod reader;
mod redact;
mod shape;
mod writer;

pub use error::{DialectError, DialectErrorKind};
pub use event::{DEFAULT_FIELD, Event, Statement, WriteKind};
pub use literal::{escaped_byte, literal_of_field};
pub use reader::{Reader, ReaderLimits};
pub use shape::{LiteralKind, Shape, ShapeColumn};
pub use writer::ScriptWriter;

#[cfg(test)]
mod tests;
