//! Fingerprints of tables: the number of rows, and the sum of a 64-bit hash of each row's text.
//!
//! The sum does not depend on the order of rows, so collations that sort keys differently do not matter.

use protocol::methods::TableDigest;
use protocol::names::{TableName, quote_identifier};
use tokio_postgres::GenericClient;

use crate::ReplicaError;
use crate::catalogue::Table;
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
