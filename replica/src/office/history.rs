//! The history of runs.

use super::{Branch, Office, RunRecord};
use crate::ReplicaError;
use crate::error::classify;

impl Office {
    /// Appends a run to the history.
    pub async fn record_run(&self, branch: &Branch, run: &RunRecord) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        client
            .execute(
                "insert into sync.run(branch_id, branch, kind, result, pulled_rows, pushed_rows, sent_bytes, received_bytes, started_at, seconds, error)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                &[
                    &branch.id,
                    &branch.name,
                    &run.kind,
                    &run.result,
                    &run.pulled_rows,
                    &run.pushed_rows,
                    &run.sent_bytes,
                    &run.received_bytes,
                    &run.started_at,
                    &run.seconds,
                    &run.error,
                ],
            )
            .await
            .map_err(|error| classify("record the run", error))?;
        Ok(())
    }

    /// The newest runs, of one branch or of all, with the branch's name.
    pub async fn history(&self, branch: Option<&str>, limit: i64) -> Result<Vec<(String, RunRecord)>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query(
                "select branch, kind, result, pulled_rows, pushed_rows, sent_bytes, received_bytes, started_at, seconds, error
                 from sync.run where $1::text is null or branch = $1 order by run desc limit $2",
                &[&branch, &limit],
            )
            .await
            .map_err(|error| classify("read the history", error))?;
        Ok(rows
            .iter()
            .map(|row| {
                let run = RunRecord {
                    kind: row.get(1),
                    result: row.get(2),
                    pulled_rows: row.get(3),
                    pushed_rows: row.get(4),
                    sent_bytes: row.get(5),
                    received_bytes: row.get(6),
                    started_at: row.get(7),
                    seconds: row.get(8),
                    error: row.get(9),
                };
                (row.get(0), run)
            })
            .collect())
    }
}
