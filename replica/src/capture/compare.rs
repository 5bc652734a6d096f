//! Which columns of a row an update changed, in SQL that costs little for each of them.
//!
//! Rows are compared by their stored bytes (docs/adr/0005). `*<>` on records does that for every type, and is dear; where
//! the type's own comparison cannot call different bytes equal, it is used instead.

use protocol::names::quote_identifier;

use crate::catalogue::{Column, Table};

/// Columns that a log entry can tell apart: those that are written and do not belong to the key.
pub(super) fn data_columns(table: &Table) -> impl Iterator<Item = &Column> {
    table.columns.iter().filter(|column| !column.generated && !table.is_key(&column.name))
}

/// The condition that a column differs between two aliases such as `o.` and `n.`.
pub(super) fn differs(column: &Column, old: &str, new: &str) -> String {
    let name = quote_identifier(&column.name);
    let (old, new) = (format!("{old}{name}"), format!("{new}{name}"));
    let type_name = column.type_name.as_str();
    let plain = matches!(
        type_name,
        "smallint"
            | "integer"
            | "bigint"
            | "oid"
            | "boolean"
            | "date"
            | "uuid"
            | "bytea"
            | "text"
            | "character varying"
    );
    // numeric(p, s) is stored with s digits behind the point, whatever was written; without them 1.0 and 1.00 differ
    let limited = type_name.starts_with("numeric(")
        || type_name.starts_with("character varying(")
        || type_name.starts_with("timestamp");
    if type_name.ends_with("[]") || !(plain || limited) {
        return format!("row({old})::record *<> row({new})::record");
    }
    // another collation may call different texts equal
    let collation = if type_name == "text" || type_name.starts_with("character") { " collate \"C\"" } else { "" };
    format!("{old}{collation} is distinct from {new}{collation}")
}

/// A bit for each data column: whether it differs, by conditions such as [`differs`] gives them.
pub(super) fn bits(conditions: &[String]) -> String {
    if conditions.is_empty() {
        return "B''::varbit".to_owned();
    }
    let digits: Vec<String> =
        conditions.iter().map(|condition| format!("case when {condition} then '1' else '0' end")).collect();
    // a function takes a hundred arguments
    let groups: Vec<String> = digits.chunks(50).map(|group| format!("concat({})", group.join(", "))).collect();
    format!("({})::varbit", groups.join(" || "))
}
