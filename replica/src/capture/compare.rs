//! Which columns of a row an update changed, in SQL that costs little for each of them.
//!
//! Rows are compared by their stored bytes (docs/adr/0005). `record_image_ne` does that for every type, and is dear; where
//! the type's own comparison cannot call different bytes equal, it is used instead.
//!
//! Every name is qualified: what is written here may run with any search path.

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
        return format!("pg_catalog.record_image_ne(row({old}), row({new}))");
    }
    // another collation may call different texts equal
    let collation =
        if type_name == "text" || type_name.starts_with("character") { " collate pg_catalog.\"C\"" } else { "" };
    // what `is distinct from` says; that one looks its operator up in the search path
    format!(
        "coalesce({old} operator(pg_catalog.<>) {new}{collation}, ({old} is null) operator(pg_catalog.<>) ({new} is null))"
    )
}

/// Columns as numbers: of up to [`GROUP`] conditions each a sum of the powers of two of those that hold, and how many.
pub(super) fn groups(conditions: &[String]) -> Vec<(String, usize)> {
    conditions
        .chunks(GROUP)
        .map(|group| {
            let weighed: Vec<String> = (group.iter().enumerate())
                .map(|(index, condition)| {
                    format!("case when {condition} then {} else 0 end", 1_u32 << (group.len() - 1 - index))
                })
                .collect();
            (weighed.join(" operator(pg_catalog.|) "), group.len())
        })
        .collect()
}

/// Conditions in one number: an `integer` has so many bits beside its sign.
const GROUP: usize = 31;

/// A bit for each condition, of what [`groups`] gives.
pub(super) fn bits(groups: &[(String, usize)]) -> String {
    if groups.is_empty() {
        return "B''::bit varying".to_owned();
    }
    let bits: Vec<String> = groups.iter().map(|(number, count)| format!("({number})::bit({count})")).collect();
    bits.join(" operator(pg_catalog.||) ")
}

/// Whether any of the conditions holds.
pub(super) fn any(groups: &[(String, usize)]) -> String {
    if groups.is_empty() {
        return "false".to_owned();
    }
    let set: Vec<String> = groups.iter().map(|(number, _)| format!("({number}) operator(pg_catalog.<>) 0")).collect();
    set.join(" or ")
}
