//! Fingerprints of tables: the number of rows, and the sum of a 64-bit hash of each row's text.
//!
//! The sum does not depend on the order of rows, so collations that sort keys differently do not matter.

use std::collections::{BTreeMap, BTreeSet};

use protocol::methods::TableDigest;
use protocol::names::{TableName, quote_identifier};
use protocol::policy::{Direction, ResolvedPolicy};
use tokio_postgres::GenericClient;

use crate::ReplicaError;
use crate::catalogue::{Catalogue, Table};
use crate::error::classify;

/// Fingerprints a table, or those of its rows that fulfil a condition on alias `x`.
pub async fn digest(
    client: &impl GenericClient,
    table: &Table,
    condition: Option<&str>,
) -> Result<TableDigest, ReplicaError> {
    let mut columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    columns.sort_unstable();
    let values: Vec<String> = columns.iter().map(|name| format!("x.{}::text", quote_identifier(name))).collect();
    let sql = format!(
        "select count(*), coalesce(sum(hashtextextended(row({})::text, 0)::numeric), 0)::text from {} x where {}",
        values.join(", "),
        table.target(),
        condition.unwrap_or("true")
    );
    let row = client.query_one(&sql, &[]).await.map_err(|error| classify("fingerprint a table", error))?;
    Ok(TableDigest { table: table.name.to_string(), rows: row.get(0), digest: row.get(1) })
}

/// Reads a table name of the wire.
pub fn table_name(text: &str) -> TableName {
    text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {})
}

/// Conditions on alias `x` that select a branch's own rows: by an id of its range, or through a foreign key to a table
/// whose rows are told apart by such an id.
pub(crate) fn own_rows(
    catalogue: &Catalogue,
    rules: &ResolvedPolicy,
    (low, high): (i64, i64),
) -> BTreeMap<TableName, String> {
    let tables: BTreeSet<TableName> = rules.in_direction(Direction::FromTarget).map(|(name, _)| name.clone()).collect();
    let within = |column: &str| {
        let column = quote_identifier(column);
        format!("x.{column} > {low} and x.{column} <= {high}")
    };
    let mut ranged: BTreeMap<TableName, String> = BTreeMap::new();
    for name in &tables {
        let column = catalogue.get(name).and_then(|table| {
            table.key_columns().find(|column| column.sequence.is_some()).map(|column| column.name.clone())
        });
        if let Some(column) = column {
            ranged.insert(name.clone(), column);
        }
    }
    let mut conditions: BTreeMap<TableName, String> =
        ranged.iter().map(|(name, column)| (name.clone(), within(column))).collect();
    for name in &tables {
        if conditions.contains_key(name) {
            continue;
        }
        let through = catalogue.keys_of(name).find_map(|key| {
            let parent = ranged.get(&key.parent)?;
            let place = key.parent_columns.iter().position(|column| column == parent)?;
            key.columns.get(place).filter(|column| {
                catalogue.get(name).and_then(|table| table.column(column)).is_some_and(|column| column.not_null)
            })
        });
        if let Some(column) = through {
            conditions.insert(name.clone(), within(column));
        }
    }
    conditions
}
