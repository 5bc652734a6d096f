//! Rows that wait in quarantine, for those who look at them.

use std::time::SystemTime;

use protocol::names::TableName;
use tokio_postgres::{GenericClient, Row};

use crate::ReplicaError;
use crate::error::classify;

pub use protocol::merge::Image;

/// A row that waits.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// The branch that sent it; none at a shop, or when the branch has been removed.
    pub branch: Option<String>,
    /// The table.
    pub table: TableName,
    /// The row's key.
    pub key: Image,
    /// What is to be done: `insert`, `insert-ignore`, `upsert`, `update`, `guarded-update` or `delete`.
    pub operation: String,
    /// The row, or the columns that an update sets; none for a delete.
    pub image: Option<Image>,
    /// What the columns of an update, or the deleted row, were before.
    pub base: Option<Image>,
    /// Why it waits, in plain words.
    pub reason: String,
    /// The constraint it breaks.
    pub constraint: Option<String>,
    /// The column it is about.
    pub column: Option<String>,
    /// The table of the row that is missing, or that still refers to it.
    pub other_table: Option<String>,
    /// Since when.
    pub since: SystemTime,
    /// How often it was tried again in vain.
    pub tries: i32,
    /// When that was last.
    pub tried_at: Option<SystemTime>,
}

const COLUMNS: &str =
    "q.entry, b.branch, q.schema_name, q.table_name, q.key::text, q.operation, q.image::text, q.base::text, q.reason,
    q.constraint_name, q.column_name, q.other_table, q.since, q.tries, q.tried_at";
const FROM: &str = "sync.quarantine q left join sync.branch_synchronization b on b.peer = q.peer";

/// The rows that wait, oldest first: of one branch, or of all; at most `limit`.
pub(crate) async fn entries(
    client: &impl GenericClient,
    branch: Option<&str>,
    above: Option<i64>,
    limit: i64,
) -> Result<Vec<Entry>, ReplicaError> {
    let sql = format!(
        "select {COLUMNS} from {FROM} where ($1::text is null or b.branch = $1) and ($2::bigint is null or q.entry > $2)
         order by q.entry limit $3"
    );
    let rows =
        client.query(&sql, &[&branch, &above, &limit]).await.map_err(|error| classify("list the quarantine", error))?;
    rows.iter().map(entry).collect()
}

/// One row that waits, by its number; none when no such row does.
pub(crate) async fn find(client: &impl GenericClient, id: i64) -> Result<Option<Entry>, ReplicaError> {
    let sql = format!("select {COLUMNS} from {FROM} where q.entry = $1");
    let row = client.query_opt(&sql, &[&id]).await.map_err(|error| classify("read the quarantine", error))?;
    row.as_ref().map(entry).transpose()
}

fn entry(row: &Row) -> Result<Entry, ReplicaError> {
    let id: i64 = row.get(0);
    let image = |index: usize| {
        row.get::<_, Option<String>>(index)
            .map(|text| serde_json::from_str::<Image>(&text))
            .transpose()
            .map_err(|_| ReplicaError::Schema(format!("row {id} in quarantine: its stored image cannot be read")))
    };
    Ok(Entry {
        id,
        branch: row.get(1),
        table: TableName::new(row.get::<_, String>(2), row.get::<_, String>(3)),
        key: image(4)?.unwrap_or_default(),
        operation: row.get(5),
        image: image(6)?,
        base: image(7)?,
        reason: row.get(8),
        constraint: row.get(9),
        column: row.get(10),
        other_table: row.get(11),
        since: row.get(12),
        tries: row.get(13),
        tried_at: row.get(14),
    })
}
