//! What was changed here and no office has yet: how many rows wait for whom.

use tokio_postgres::GenericClient;

use super::Shop;
use crate::ReplicaError;
use crate::capture::CapturedTable;
use crate::diff;
use crate::error::classify;
use crate::watermark::{Snapshot, TICK};

/// The office that a shop is taken to have before any has called: the one of a credential that names none.
const ANY_OFFICE: &str = "default";

/// What waits for one office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// Its name.
    pub office: String,
    /// Rows that were changed here and that it has not acknowledged; a row counts once for each statement that changed it.
    pub changes: i64,
}

impl Shop {
    /// What waits for each office. It reads the part of the change logs that is not acknowledged.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn backlog(&self) -> Result<Vec<Backlog>, ReplicaError> {
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        let captured: Vec<CapturedTable> = state.captured.values().cloned().collect();
        of_offices(&*client, state.incarnation.number, &captured).await
    }
}

/// The same with a connection of the caller's.
pub(super) async fn of_offices(
    client: &impl GenericClient,
    incarnation: i32,
    captured: &[CapturedTable],
) -> Result<Vec<Backlog>, ReplicaError> {
    let begins = client
        .query_opt("select base_snapshot::text from sync.node where base_snapshot is not null", &[])
        .await
        .map_err(|error| classify("look where the changes begin", error))?;
    let begins = begins.map(|row| Snapshot::parse(row.get(0))).transpose()?;
    let mut backlog = Vec::new();
    for (office, acknowledged) in acknowledged(client, incarnation).await? {
        let changes = match acknowledged.as_ref().or(begins.as_ref()) {
            Some(since) => diff::count_local(client, captured.iter(), since).await?,
            None => 0,
        };
        backlog.push(Backlog { office, changes });
    }
    Ok(backlog)
}

/// Every office that was ever served, with the snapshot up to which it has acknowledged.
pub(super) async fn acknowledged(
    client: &impl GenericClient,
    incarnation: i32,
) -> Result<Vec<(String, Option<Snapshot>)>, ReplicaError> {
    let rows = client
        .query(
            "select p.name, (select w.snapshot::text from sync.watermark w
                             where w.peer = p.peer and w.incarnation = $1 and w.acknowledged_at is not null order by w.issued desc limit 1)
             from sync.peer p where p.peer <> $2 order by p.name",
            &[&incarnation, &TICK],
        )
        .await
        .map_err(|error| classify("look at the watermarks", error))?;
    let mut offices = Vec::new();
    for row in rows {
        let snapshot = row.get::<_, Option<String>>(1).map(|text| Snapshot::parse(&text)).transpose()?;
        offices.push((row.get(0), snapshot));
    }
    if offices.is_empty() {
        offices.push((ANY_OFFICE.to_owned(), None));
    }
    Ok(offices)
}
