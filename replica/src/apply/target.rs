//! What a statement of the script writes to: looked up in the catalogue, checked against the policy.

use std::sync::Arc;

use protocol::dialect::{Statement, WriteKind};
use protocol::policy::Direction;

use crate::binary_copy::BinaryType;
use crate::catalogue::{Column, Table};

/// Which way changes come in, and what they may therefore touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming {
    /// From an office to this shop.
    FromOffice {
        /// Tables that are copied once, at the clone, may be written.
        initial: bool,
        /// The branch's own rows of from-target tables are given back.
        history: bool,
    },
    /// From a shop to this office.
    FromShop,
}

impl Incoming {
    /// Why a table of that direction may not be written; none when it may.
    pub fn refusal(self, direction: Direction) -> Option<&'static str> {
        match (self, direction) {
            (_, Direction::Local) => Some("is local: it never leaves its database"),
            (_, Direction::Both) => None,
            (Self::FromOffice { .. }, Direction::FromSource) | (Self::FromShop, Direction::FromTarget) => None,
            (Self::FromOffice { initial, .. }, Direction::Initial) => {
                (!initial).then_some("has direction initial: it is written by a clone only")
            }
            (Self::FromOffice { history, .. }, Direction::FromTarget) => {
                (!history).then_some("has direction from-target: the shop owns its rows")
            }
            (Self::FromShop, Direction::FromSource | Direction::Initial) => {
                Some("is owned by the office: a shop may not write it")
            }
        }
    }
}

/// What is done with the rows of a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ShapeKind {
    /// Rows must be new (INSERT, COPY).
    Insert,
    /// Rows that are there already stay as they are.
    InsertIgnore,
    /// Rows that are there already get the values of these columns.
    Upsert(Vec<String>),
    /// Columns of rows that are there are set.
    Update,
    /// As `Update`, on rows that still have the guard's values.
    GuardedUpdate,
    /// Rows go.
    Delete,
}

impl ShapeKind {
    /// The word for it in the quarantine.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::InsertIgnore => "insert-ignore",
            Self::Upsert(_) => "upsert",
            Self::Update => "update",
            Self::GuardedUpdate => "guarded-update",
            Self::Delete => "delete",
        }
    }
}

/// Rows of one table that are staged and merged together.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) id: usize,
    pub(super) table: Arc<Table>,
    pub(super) kind: ShapeKind,
    /// Insert kinds: the columns written. Update kinds: the key columns, then all other written columns (then those
    /// again as guards). Delete: the key columns.
    pub(super) columns: Vec<String>,
    /// Types of the columns, where rows may go straight into the table and all types can be told in binary.
    pub(super) binary: Option<Vec<BinaryType>>,
    /// The staging table ends with a column `totals`: some of the columns are amounts.
    pub(super) amounts: bool,
    /// It ends with a column `stamp`, behind that: both sides change the table.
    pub(super) stamped: bool,
}

/// Columns that a statement is told with at most.
const COLUMNS_TOLD_MAX: usize = 20;

impl Shape {
    /// The statement that wrote its rows, with every value as `?`. Updates of a table are written together, whichever
    /// columns each of them sets.
    pub(super) fn redacted(&self) -> String {
        let table = &self.table.name;
        let is_value = |column: &str| format!("{column} = ?");
        match &self.kind {
            ShapeKind::Insert | ShapeKind::InsertIgnore | ShapeKind::Upsert(_) => {
                let conflict = match &self.kind {
                    ShapeKind::Insert => "",
                    ShapeKind::Upsert(set) if !set.is_empty() => " ON CONFLICT ... DO UPDATE",
                    _ => " ON CONFLICT ... DO NOTHING",
                };
                let (columns, values) =
                    (told(&self.columns, ", ", str::to_owned), told(&self.columns, ", ", |_| "?".into()));
                format!("INSERT INTO {table} ({columns}) VALUES ({values}){conflict}")
            }
            ShapeKind::Update | ShapeKind::GuardedUpdate => {
                let key = &self.columns[..self.table.key.len().min(self.columns.len())];
                format!("UPDATE {table} SET ... WHERE {}", told(key, " AND ", is_value))
            }
            ShapeKind::Delete => format!("DELETE FROM {table} WHERE {}", told(&self.columns, " AND ", is_value)),
        }
    }
}

fn told(columns: &[String], between: &str, spell: impl Fn(&str) -> String) -> String {
    let mut parts: Vec<String> = columns.iter().take(COLUMNS_TOLD_MAX).map(|column| spell(column)).collect();
    if columns.len() > COLUMNS_TOLD_MAX {
        parts.push("...".to_owned());
    }
    parts.join(between)
}

/// How a row of the script becomes a row of its shape.
#[derive(Debug, Clone)]
pub(super) enum Conversion {
    /// Field by field as it is.
    AsIs,
    /// Fields at these positions are generated columns: they must say DEFAULT and are left out.
    Without(Vec<usize>),
    /// Positions of the script's fields: set (into the other columns), key, guards (into the other columns).
    Update { set: Vec<usize>, key: Vec<usize>, guards: Vec<usize>, others: usize },
    /// The key's fields in the key's order.
    Key(Vec<usize>),
}

/// Kind, columns and conversion of a statement, or why it is refused.
pub(super) fn resolve(table: &Table, statement: &Statement) -> Result<(ShapeKind, Vec<String>, Conversion), String> {
    for name in statement.columns.iter().chain(&statement.updates).chain(&statement.conflict) {
        if table.column(name).is_none() {
            return Err(format!("table {} has no column {name:?}", table.name));
        }
    }
    match statement.kind {
        WriteKind::Insert | WriteKind::InsertIgnore | WriteKind::Upsert | WriteKind::Copy => {
            resolve_insert(table, statement)
        }
        WriteKind::Update => resolve_update(table, statement),
        WriteKind::Delete => {
            let positions = key_positions(table, &statement.columns)?;
            let columns = table.key_columns().map(|column| column.name.clone()).collect();
            Ok((ShapeKind::Delete, columns, Conversion::Key(positions)))
        }
    }
}

fn resolve_insert(table: &Table, statement: &Statement) -> Result<(ShapeKind, Vec<String>, Conversion), String> {
    let named: Vec<&Column> = if statement.columns.is_empty() {
        // COPY without a list leaves generated columns out, INSERT without a list has DEFAULT for them
        table.columns.iter().filter(|column| statement.kind != WriteKind::Copy || !column.generated).collect()
    } else {
        statement.columns.iter().filter_map(|name| table.column(name)).collect()
    };
    let generated: Vec<usize> =
        named.iter().enumerate().filter(|(_, column)| column.generated).map(|(index, _)| index).collect();
    if statement.kind == WriteKind::Copy && !generated.is_empty() {
        return Err(format!("column {:?} of table {} is generated", named[generated[0]].name, table.name));
    }
    let columns: Vec<String> =
        named.iter().filter(|column| !column.generated).map(|column| column.name.clone()).collect();
    let kind = match statement.kind {
        WriteKind::Insert | WriteKind::Copy => ShapeKind::Insert,
        WriteKind::InsertIgnore => ShapeKind::InsertIgnore,
        _ => ShapeKind::Upsert(statement.updates.clone()),
    };
    if matches!(kind, ShapeKind::Upsert(_)) || (kind == ShapeKind::InsertIgnore && !statement.conflict.is_empty()) {
        key_positions(table, &statement.conflict)?;
    }
    let conversion = if generated.is_empty() { Conversion::AsIs } else { Conversion::Without(generated) };
    Ok((kind, columns, conversion))
}

fn resolve_update(table: &Table, statement: &Statement) -> Result<(ShapeKind, Vec<String>, Conversion), String> {
    let set_end = statement.set_len;
    let key_end = set_end + statement.key_len;
    let key_names = statement.columns.get(set_end..key_end).unwrap_or_default();
    let key = key_positions(table, key_names)?.into_iter().map(|position| position + set_end).collect();
    let others: Vec<&str> =
        table.written_columns().map(|column| column.name.as_str()).filter(|name| !table.is_key(name)).collect();
    let place = |range: std::ops::Range<usize>| -> Result<Vec<usize>, String> {
        statement
            .columns
            .get(range)
            .unwrap_or_default()
            .iter()
            .map(|name| {
                others.iter().position(|other| other == name).ok_or_else(|| {
                    format!(
                        "column {name:?} of table {} cannot be set by UPDATE: it is part of the key or generated",
                        table.name
                    )
                })
            })
            .collect()
    };
    let set = place(0..set_end)?;
    let guards = place(key_end..statement.columns.len())?;
    let kind = if guards.is_empty() { ShapeKind::Update } else { ShapeKind::GuardedUpdate };
    let mut columns: Vec<String> = table.key_columns().map(|column| column.name.clone()).collect();
    columns.extend(others.iter().map(|name| (*name).to_owned()));
    Ok((kind, columns, Conversion::Update { set, key, guards, others: others.len() }))
}

/// Where each column of the primary key is among the named columns, which must be exactly the key's.
fn key_positions(table: &Table, named: &[String]) -> Result<Vec<usize>, String> {
    let key: Vec<&str> = table.key_columns().map(|column| column.name.as_str()).collect();
    if key.is_empty() {
        return Err(format!("table {} has no primary key", table.name));
    }
    let positions: Option<Vec<usize>> = key.iter().map(|column| named.iter().position(|name| name == column)).collect();
    match positions {
        Some(positions) if named.len() == key.len() => Ok(positions),
        _ => Err(format!(
            "rows of table {} are told apart by ({}), not by ({})",
            table.name,
            key.join(", "),
            named.join(", ")
        )),
    }
}
