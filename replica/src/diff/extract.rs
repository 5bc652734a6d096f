//! Reading the rows of a window, or whole tables, into a frozen stream.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use protocol::names::TableName;
use tokio_postgres::Transaction;

use super::plan::{TablePlan, WindowCount};
use super::script::{ScriptThread, Work, copy_columns};
use crate::ReplicaError;
use crate::catalogue::{Table, column_list};
use crate::error::classify;
use crate::spool::{FrozenStream, FrozenWriter};

/// Bytes handed to the script thread at a time.
const BLOCK_BYTES: usize = 64 * 1024;

/// Share of a table above which reading it in key order is dearer than the planner's own way.
const LARGE_SHARE: f32 = 0.2;

/// What a stream is made with, besides its rows.
pub struct Extraction {
    /// The open stream.
    pub writer: FrozenWriter,
    /// The watermark line at its end.
    pub watermark: Option<String>,
    /// What to remember with it.
    pub labels: BTreeMap<String, String>,
    /// What is told beside the rows: queries of one text column, with the names of the notes.
    pub notes: Vec<(&'static str, String)>,
}

/// A table of a full copy.
pub struct CopyPlan {
    /// The table.
    pub table: Table,
    /// Condition on alias `x` for the rows to copy; none for all.
    pub subset: Option<String>,
}

/// Writes the changes of a window: tables in the given order (parents first), deletes in reverse at the end.
///
/// `transaction` is the REPEATABLE READ one whose snapshot ends the window.
pub async fn extract_changes(
    transaction: &Transaction<'_>,
    tables: Vec<TablePlan>,
    counts: &[WindowCount],
    peer: i32,
    extraction: Extraction,
) -> Result<FrozenStream, ReplicaError> {
    let thread = ScriptThread::start(extraction.writer, caution(&tables, counts))?;
    let mut outcome = Ok(());
    for (name, query) in &extraction.notes {
        if outcome.is_ok() {
            outcome = notes(transaction, name, query, &thread).await;
        }
    }
    for plan in tables {
        if outcome.is_err() {
            break;
        }
        let Some(count) = counts.iter().find(|count| count.table == plan.table.name) else { continue };
        let sorted_lookups = plan.table.estimated_rows < 0.0
            || (count.keys as f32) < LARGE_SHARE * plan.table.estimated_rows.max(1000.0);
        let settings = if sorted_lookups { SORTED_LOOKUPS } else { PLANNERS_CHOICE };
        outcome = async {
            transaction.batch_execute(settings).await.map_err(|error| classify("prepare the diff", error))?;
            let query = plan.query(peer);
            if !thread.send(Work::Changes(Arc::new(plan))).await {
                return Ok(());
            }
            stream(transaction, &format!("copy ({query}) to stdout"), &thread).await
        }
        .await;
        if outcome.is_err() {
            break;
        }
    }
    close(thread, outcome, extraction.watermark, extraction.labels).await
}

/// What a client must know that runs the script as it is: rows are written one after the other, so a unique value that
/// has moved from one row to another may still be taken when it is written. Which values moved is not known before the
/// rows are read, so this says where it can have happened: two rows or more changed, unique by more than their key.
fn caution(tables: &[TablePlan], counts: &[WindowCount]) -> Option<String> {
    let several = |name: &TableName| counts.iter().any(|count| count.table == *name && count.keys > 1);
    let names: Vec<String> = tables
        .iter()
        .filter(|plan| plan.table.more_uniques && several(&plan.table.name))
        .map(|plan| plan.table.name.to_string())
        .collect();
    if names.is_empty() {
        return None;
    }
    Some(format!(
        "where unique values have moved from row to row, a plain run stops at a duplicate key; it may be so in: {}",
        names.join(", ")
    ))
}

/// Whether there is anything to be told beside the rows.
pub async fn any_notes(transaction: &Transaction<'_>, notes: &[(&'static str, String)]) -> Result<bool, ReplicaError> {
    for (_, query) in notes {
        let row = transaction
            .query_one(&format!("select exists ({query})"), &[])
            .await
            .map_err(|error| classify("look for what is told beside the rows", error))?;
        if row.get(0) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn notes(
    transaction: &Transaction<'_>,
    name: &'static str,
    query: &str,
    thread: &ScriptThread,
) -> Result<(), ReplicaError> {
    let failed = |error| classify("read what is told beside the rows", error);
    let none: [&str; 0] = [];
    let rows = transaction.query_raw(query, none).await.map_err(failed)?;
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        if !thread.send(Work::Note(name, row.get(0))).await {
            break;
        }
    }
    Ok(())
}

/// Writes whole tables as COPY blocks, in the given order.
pub async fn extract_copy(
    transaction: &Transaction<'_>,
    tables: Vec<CopyPlan>,
    extraction: Extraction,
) -> Result<FrozenStream, ReplicaError> {
    let thread = ScriptThread::start(extraction.writer, None)?;
    let mut outcome = Ok(());
    for CopyPlan { table, subset } in tables {
        let columns = copy_columns(&table);
        let columns = column_list(columns.iter().map(String::as_str));
        let query = if table.partitioned || table.inherits || subset.is_some() {
            let condition = subset.as_deref().unwrap_or("true");
            format!("copy (select {columns} from {} x where {condition}) to stdout", table.target())
        } else {
            format!("copy {} ({columns}) to stdout", table.name.quoted())
        };
        if !thread.send(Work::Copy(Arc::new(table))).await {
            break;
        }
        outcome = stream(transaction, &query, &thread).await;
        if outcome.is_err() {
            break;
        }
    }
    close(thread, outcome, extraction.watermark, extraction.labels).await
}

/// Label of a stream with the rows that it deletes, by table, as JSON.
pub(crate) const DELETES: &str = "deletes";
/// Label of a stream with the rows that its receiver has already, by table, as JSON.
const UPDATES: &str = "updates";

/// What a stream does to a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableChanges {
    /// Rows that its receiver has not got, as far as the sender can tell.
    pub inserts: u64,
    /// Rows that it has.
    pub updates: u64,
    /// Rows that go.
    pub deletes: u64,
}

/// What a stream does, table by table, in its order.
pub fn table_changes(stream: &FrozenStream) -> Vec<(TableName, TableChanges)> {
    let counts = |label: &str| -> BTreeMap<String, u64> {
        stream.labels.get(label).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    };
    let (updates, deletes) = (counts(UPDATES), counts(DELETES));
    let of = |(name, rows): &(TableName, u64)| {
        let count = |counts: &BTreeMap<String, u64>| counts.get(&name.to_string()).copied().unwrap_or(0);
        let (updates, deletes) = (count(&updates), count(&deletes));
        (name.clone(), TableChanges { inserts: rows.saturating_sub(updates + deletes), updates, deletes })
    };
    stream.tables.iter().filter(|(_, rows)| *rows > 0).map(of).collect()
}

async fn close(
    thread: ScriptThread,
    outcome: Result<(), ReplicaError>,
    watermark: Option<String>,
    mut labels: BTreeMap<String, String>,
) -> Result<FrozenStream, ReplicaError> {
    if outcome.is_ok() {
        thread.send(Work::Finish(watermark.clone())).await;
    }
    let script = thread.join().await;
    outcome?;
    let Some(script) = script? else {
        return Err(ReplicaError::Invalid("the script ended before it was finished".into()));
    };
    let tables: Vec<(TableName, u64)> = script.tables;
    if let (false, Ok(deletes)) = (script.deletes.is_empty(), serde_json::to_string(&script.deletes)) {
        labels.insert(DELETES.to_owned(), deletes);
    }
    if let (false, Ok(updates)) = (script.updates.is_empty(), serde_json::to_string(&script.updates)) {
        labels.insert(UPDATES.to_owned(), updates);
    }
    let finish = move || script.writer.finish(script.rows, tables, watermark, labels);
    tokio::task::spawn_blocking(finish).await.map_err(|_| ReplicaError::Stopped)?
}

/// Streams COPY output to the thread in blocks of whole lines (the server sends one message per row).
async fn stream(transaction: &Transaction<'_>, copy: &str, thread: &ScriptThread) -> Result<(), ReplicaError> {
    let failed = |error| classify("read changed rows", error);
    let rows = transaction.copy_out(copy).await.map_err(failed)?;
    let mut rows = std::pin::pin!(rows);
    let mut block: Vec<Bytes> = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        bytes += row.len();
        block.push(row);
        if bytes >= BLOCK_BYTES {
            bytes = 0;
            if !thread.send(Work::Data(std::mem::take(&mut block))).await {
                // the thread has failed; its error shows when it is joined
                return Ok(());
            }
        }
    }
    if !block.is_empty() {
        thread.send(Work::Data(block)).await;
    }
    Ok(())
}

/// Leads the planner to one index look-up per sorted key; the default plan reads the whole table.
const SORTED_LOOKUPS: &str = "set local enable_seqscan = off; set local enable_hashjoin = off;
    set local enable_mergejoin = off; set local enable_hashagg = off; set local max_parallel_workers_per_gather = 0; set local jit = off";

const PLANNERS_CHOICE: &str = "set local enable_seqscan = on; set local enable_hashjoin = on;
    set local enable_mergejoin = on; set local enable_hashagg = on; set local max_parallel_workers_per_gather = 0; set local jit = off";
