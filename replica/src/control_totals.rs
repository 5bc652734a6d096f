//! Control totals: how many rows a table has and what its money comes to, with and without the rows that were changed
//! since the two ends last agreed. So they can be held against those of the other end although both go on working.

use protocol::methods::{ColumnSum, Settled, TableDigest};
use protocol::names::quote_identifier;
use tokio_postgres::GenericClient;

use crate::ReplicaError;
use crate::capture::CapturedTable;
use crate::catalogue::Table;
use crate::diff::{count_window, meant_for};
use crate::error::classify;
use crate::watermark::Snapshot;

/// Since when changes of a table are not yet at the other end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Since<'a> {
    /// What captures the table; its changes are not for the other end where nothing does.
    pub(crate) captured: &'a CapturedTable,
    /// The other end has what this snapshot sees.
    pub(crate) snapshot: &'a Snapshot,
    /// The other end.
    pub(crate) peer: i32,
}

/// Counts a table, or those of its rows that fulfil a condition on alias `x`, and adds up some columns. It reads these rows
/// once, and hashes none of them.
pub(crate) async fn count(
    client: &impl GenericClient,
    table: &Table,
    condition: Option<&str>,
    sums: &[String],
    since: Option<Since<'_>>,
) -> Result<TableDigest, ReplicaError> {
    let columns: Vec<&String> = sums.iter().filter(|name| table.column(name).is_some()).collect();
    let mut changed = 0;
    if let Some(since) = since {
        let counts = count_window(client, std::iter::once((since.captured, since.snapshot)), since.peer).await?;
        changed = counts.iter().map(|count| count.keys).sum();
    }
    let target = table.target();
    let (from, settled) = match since.filter(|_| changed > 0) {
        Some(since) => {
            let window = format!("{} and {}", since.snapshot.unseen(), meant_for(since.peer));
            let keys = since.captured.keys(table.key.len(), "", &window);
            let on = table.same_numbered_key("k.", "x.");
            (format!("{target} x left join (select distinct * from ({keys}) w) k on {on}"), "k.k1 is null")
        }
        None => (format!("{target} x"), "true"),
    };
    let parts: String = columns
        .iter()
        .map(|name| format!("sum(x.{}::numeric)", quote_identifier(name)))
        .map(|sum| format!(", coalesce({sum}, 0)::text, coalesce({sum} filter (where {settled}), 0)::text"))
        .collect();
    let sql = format!(
        "select count(*), count(*) filter (where {settled}){parts} from {from} where {}",
        condition.unwrap_or("true")
    );
    let row = client.query_one(&sql, &[]).await.map_err(|error| classify("count the control totals", error))?;
    let sums = |offset: usize| {
        let sum = |(index, name): (usize, &&String)| ColumnSum {
            column: (*name).clone(),
            sum: row.get(2 + index * 2 + offset),
        };
        columns.iter().enumerate().map(sum).collect()
    };
    Ok(TableDigest {
        table: table.name.to_string(),
        rows: row.get(0),
        sums: sums(0),
        settled: Some(Settled { changed, rows: row.get(1), sums: sums(1) }),
        ..TableDigest::default()
    })
}
