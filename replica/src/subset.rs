//! Row filters: which rows of a table belong to a branch.
//!
//! A subset is a condition on the row with alias `x`. A row that no longer fulfils it has left the subset: to the branch
//! that is a delete.

use protocol::names::{TableName, quote_identifier};
use protocol::policy::{ResolvedPolicy, RowFilter};

use crate::ReplicaError;
use crate::catalogue::{Catalogue, ForeignKey, Table};

/// Longest chain of `via`.
const VIA_MAX: usize = 16;

/// The condition on alias `x` for the rows of a branch; none when all of them belong to it.
pub fn condition(
    catalogue: &Catalogue,
    rules: &ResolvedPolicy,
    table: &TableName,
    branch_id: i64,
) -> Result<Option<String>, ReplicaError> {
    nested(catalogue, rules, table, branch_id, VIA_MAX)
}

fn nested(
    catalogue: &Catalogue,
    rules: &ResolvedPolicy,
    table: &TableName,
    branch_id: i64,
    depth: usize,
) -> Result<Option<String>, ReplicaError> {
    let Some(filter) = rules.get(table).and_then(|rules| rules.rows.as_ref()) else { return Ok(None) };
    if let Some(expression) = filter.expression(&format!("{branch_id}::bigint")) {
        return Ok(Some(expression));
    }
    let key = via(catalogue, table, filter)?;
    if depth == 0 {
        return Err(ReplicaError::Schema(format!(
            "table {table}: the chain of \"via\" is too long, or goes round in a circle"
        )));
    }
    let Some(parent) = nested(catalogue, rules, &key.parent, branch_id, depth - 1)? else { return Ok(None) };
    Ok(Some(of_parents(catalogue, key, &parent)))
}

/// The condition on alias `x` for the rows of a from-target table that a re-cloned shop gets back; none when it gets none.
///
/// Rows that belong to the branch `via` a parent come with the parent, whose age decides.
pub fn history(
    catalogue: &Catalogue,
    rules: &ResolvedPolicy,
    table: &TableName,
    branch_id: i64,
) -> Result<Option<String>, ReplicaError> {
    let Some(table_rules) = rules.get(table) else { return Ok(None) };
    let (Some(age), Some(column), Some(filter)) = (table_rules.history, &table_rules.history_column, &table_rules.rows)
    else {
        return Ok(None);
    };
    if let Some(expression) = filter.expression(&format!("{branch_id}::bigint")) {
        let seconds = age.as_secs();
        return Ok(Some(format!(
            "{expression} and x.{} >= statement_timestamp() - interval '{seconds} seconds'",
            quote_identifier(column)
        )));
    }
    let key = via(catalogue, table, filter)?;
    if key.parent == *table {
        return Ok(None);
    }
    let Some(parent) = history(catalogue, rules, &key.parent, branch_id)? else { return Ok(None) };
    Ok(Some(of_parents(catalogue, key, &parent)))
}

/// The condition on alias `x` that a row's parent fulfils a condition.
fn of_parents(catalogue: &Catalogue, key: &ForeignKey, parent: &str) -> String {
    let refers: Vec<String> = key
        .columns
        .iter()
        .zip(&key.parent_columns)
        .map(|(child, parent)| format!("p.{} = x.{}", quote_identifier(parent), quote_identifier(child)))
        .collect();
    let target = catalogue.get(&key.parent).map_or_else(|| key.parent.quoted(), Table::target);
    format!("exists (select from (select x.* from {target} x where {parent}) p where {})", refers.join(" and "))
}

/// The foreign key that a `via` follows.
pub fn via<'a>(
    catalogue: &'a Catalogue,
    table: &'a TableName,
    filter: &RowFilter,
) -> Result<&'a ForeignKey, ReplicaError> {
    let parent = filter.parent().unwrap_or_else(|| table.clone());
    catalogue.keys_of(table).find(|key| key.parent == parent).ok_or_else(|| {
        ReplicaError::Schema(format!(
            "table {table}: rows = \"via {parent}\" needs a foreign key to {parent}, and there is none"
        ))
    })
}

/// The table's rows that fulfil the condition, for a FROM clause.
pub fn source(table: &Table, condition: Option<&str>) -> String {
    match condition {
        Some(condition) => format!("(select x.* from {} x where {condition})", table.target()),
        None => table.target(),
    }
}
