//! What the writer must know of a table to write its rows as SQL.

use crate::names::TableName;

/// A table's columns in the order in which its rows are handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The table.
    pub table: TableName,
    /// Its columns, in the order of the fields of a row; generated columns are left out.
    pub columns: Vec<ShapeColumn>,
    /// The primary key is DEFERRABLE, so that `ON CONFLICT` cannot use it: rows go as DELETE and INSERT.
    pub deferrable_key: bool,
}

/// A column of a [`Shape`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeColumn {
    /// Its name, as the catalogue spells it.
    pub name: String,
    /// Part of the primary key.
    pub key: bool,
    /// How its values are written.
    pub literal: LiteralKind,
    /// `GENERATED ALWAYS AS IDENTITY`: an INSERT needs OVERRIDING SYSTEM VALUE, an UPDATE cannot set it.
    pub always_identity: bool,
}

/// How a column's values are written as SQL literals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiteralKind {
    /// Bare when the text is a plain number, quoted otherwise (`NaN`, `Infinity`).
    Number,
    /// `true` and `false`.
    Bool,
    /// `B'0101'`.
    Bits,
    /// `'text'`, with quotes doubled.
    Text,
    /// As [`LiteralKind::Text`], for types without an equality operator (json, xml, point): never part of a guard.
    Opaque,
}
