//! What the reader yields.

use crate::names::TableName;

/// The field text that stands for DEFAULT in a row (no COPY text field can be spelled so).
pub const DEFAULT_FIELD: &[u8] = b"\\D";

/// One thing recognised by the [`Reader`](super::Reader).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A statement begins; its rows follow. A statement that differs from the one before only in its rows brings no
    /// new event: its rows just go on (`Reader::statement_number` tells them apart).
    Statement(&'a Statement),
    /// One row of the current statement as a COPY text line without its newline: fields separated by tabs, `\N` is
    /// null, [`DEFAULT_FIELD`] is DEFAULT.
    Row(&'a [u8]),
    /// `SELECT pg_catalog.setval('sequence', value, called)`.
    SetVal {
        /// The sequence.
        sequence: TableName,
        /// Its value.
        value: i64,
        /// The value has been handed out already.
        called: bool,
    },
    /// A structured comment, `--@ name {json}`. Inside a statement it precedes the row that it belongs to.
    Note {
        /// Its name.
        name: &'a str,
        /// What follows the name, unparsed.
        json: &'a str,
    },
    /// The comment line `-- watermark: ...`, without its label.
    Watermark(&'a str),
}

/// The head of a statement: all of it but its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its place among the statements of the script, from 1.
    pub number: u64,
    /// The table that it writes.
    pub table: TableName,
    /// What it does.
    pub kind: WriteKind,
    /// The columns of its rows. Insert and Copy: the named columns, empty when none were named. Update: the columns
    /// set, then the key columns, then the guard columns. Delete: the key columns.
    pub columns: Vec<String>,
    /// Update: how many of `columns` are set; 0 otherwise.
    pub set_len: usize,
    /// Update and Delete: how many of `columns` (after those set) are key columns; 0 otherwise.
    pub key_len: usize,
    /// `OVERRIDING SYSTEM VALUE`.
    pub overriding: bool,
    /// The columns of `ON CONFLICT (...)`; empty when it has none.
    pub conflict: Vec<String>,
    /// The columns of `DO UPDATE SET c = excluded.c`.
    pub updates: Vec<String>,
}

/// What a statement does with its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    /// `INSERT`.
    Insert,
    /// `INSERT ... ON CONFLICT DO NOTHING`.
    InsertIgnore,
    /// `INSERT ... ON CONFLICT (...) DO UPDATE SET ...`.
    Upsert,
    /// `COPY ... FROM stdin`.
    Copy,
    /// `UPDATE ... WHERE key [AND guard]`.
    Update,
    /// `DELETE ... WHERE key`.
    Delete,
}
