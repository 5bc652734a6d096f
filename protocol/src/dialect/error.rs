//! Why a script is not accepted.

/// Why the [`Reader`](super::Reader) stopped, and where.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct DialectError {
    /// Bytes of SQL text before the place (inside a long string, somewhere near it).
    pub offset: u64,
    /// The statement that the place belongs to, from 1; 0 before the first.
    pub statement: u64,
    /// The line of the place, from 1.
    pub line: u64,
    /// Of what sort.
    pub kind: DialectErrorKind,
    /// What happened, where, and the statement with every literal as `?`.
    pub message: String,
}

/// The sorts of [`DialectError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialectErrorKind {
    /// Outside the dialect: DDL, functions, casts, sub-selects, meta-commands.
    Refused,
    /// Begun like the dialect but not well formed, or cut short.
    Syntax,
    /// Beyond a limit.
    TooLong,
    /// Not UTF-8, or a character that no value can hold.
    Encoding,
    /// The input could not be read.
    Io,
}
