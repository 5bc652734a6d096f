//! The history of runs.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio_postgres::Row;

use super::{Branch, Office, RunRecord};
use crate::ReplicaError;
use crate::error::classify;

/// A run of the history.
#[derive(Debug, Clone)]
pub struct PastRun {
    /// Its number: later runs have higher ones.
    pub number: i64,
    /// Name of the branch.
    pub branch: String,
    /// What was recorded.
    pub run: RunRecord,
}

/// Which runs of the history are wanted; what is not set wants all.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Those of one branch.
    pub branch: Option<String>,
    /// Those with one result, as `failed`.
    pub result: Option<String>,
    /// Those that began then or later.
    pub since: Option<SystemTime>,
    /// Those with a number below this one: the next page of a list.
    pub below: Option<i64>,
}

const COLUMNS: &str =
    "branch, kind, result, pulled_rows, pushed_rows, sent_bytes, received_bytes, started_at, seconds, error,
    redials, chunk_bytes, send_rate, receive_rate, quarantined, run, started_by, pulled_digest, totals::text";

fn past_run(row: &Row) -> PastRun {
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
        redials: row.get(10),
        chunk_bytes: row.get(11),
        send_rate: row.get(12),
        receive_rate: row.get(13),
        quarantined: row.get(14),
        started_by: row.get(16),
        pulled_digest: row.get(17),
        // what a later version has written is for that version
        totals: row.get::<_, Option<&str>>(18).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
    };
    PastRun { number: row.get(15), branch: row.get(0), run }
}

impl Office {
    /// Appends a run to the history, and returns its number there.
    pub async fn record_run(&self, branch: &Branch, run: &RunRecord) -> Result<i64, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let totals = (!run.totals.is_empty()).then(|| serde_json::json!(run.totals).to_string());
        let row = client
            .query_one(
                "insert into sync.run(branch_id, branch, kind, result, pulled_rows, pushed_rows, sent_bytes, received_bytes, started_at, seconds, error,
                                      redials, chunk_bytes, send_rate, receive_rate, quarantined, started_by, pulled_digest, totals)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19::text::jsonb)
                 returning run",
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
                    &run.redials,
                    &run.chunk_bytes,
                    &run.send_rate,
                    &run.receive_rate,
                    &run.quarantined,
                    &run.started_by,
                    &run.pulled_digest,
                    &totals,
                ],
            )
            .await
            .map_err(|error| classify("record the run", error))?;
        Ok(row.get(0))
    }

    /// The newest runs, of one branch or of all, with the branch's name.
    pub async fn history(&self, branch: Option<&str>, limit: i64) -> Result<Vec<(String, RunRecord)>, ReplicaError> {
        let wanted = RunFilter { branch: branch.map(str::to_owned), ..RunFilter::default() };
        Ok(self.runs(&wanted, limit).await?.into_iter().map(|past| (past.branch, past.run)).collect())
    }

    /// The newest runs that fit, at most `limit`.
    pub async fn runs(&self, wanted: &RunFilter, limit: i64) -> Result<Vec<PastRun>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query(
                &format!(
                    "select {COLUMNS} from sync.run
                     where ($1::text is null or branch = $1) and ($2::text is null or result = $2)
                       and ($3::timestamptz is null or started_at >= $3) and ($4::bigint is null or run < $4)
                     order by run desc limit $5"
                ),
                &[&wanted.branch, &wanted.result, &wanted.since, &wanted.below, &limit],
            )
            .await
            .map_err(|error| classify("read the history", error))?;
        Ok(rows.iter().map(past_run).collect())
    }

    /// A run by its number; none when there is no such run.
    pub async fn run(&self, number: i64) -> Result<Option<PastRun>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let row = client
            .query_opt(&format!("select {COLUMNS} from sync.run where run = $1"), &[&number])
            .await
            .map_err(|error| classify("read the history", error))?;
        Ok(row.as_ref().map(past_run))
    }

    /// How the last run of each branch ended, by the branch's number; branches without any are left out.
    pub async fn last_results(&self) -> Result<BTreeMap<i64, String>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let sql = "select b.branch_id, r.result from sync.branch_synchronization b
                   cross join lateral (select result from sync.run where branch_id = b.branch_id order by run desc limit 1) r";
        let rows = client.query(sql, &[]).await.map_err(|error| classify("read the history", error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// How many runs of each branch have failed since the last one that was done, by the branch's number; branches without
    /// any are left out.
    pub async fn failures_in_a_row(&self) -> Result<BTreeMap<i64, i64>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let sql = "select r.branch_id, count(*) from sync.run r
                   where r.result in ('failed', 'refused', 'unreachable') and r.run > coalesce(
                       (select max(d.run) from sync.run d where d.branch_id = r.branch_id and d.result = 'done'), 0)
                   group by 1";
        let rows = client.query(sql, &[]).await.map_err(|error| classify("read the history", error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Bytes per second that the branch's line has carried to it and from it, each as of the newest run that measured it.
    pub async fn measured_rates(&self, branch: &Branch) -> Result<(Option<i64>, Option<i64>), ReplicaError> {
        let client = self.inner.pool.get().await?;
        let newest = |column: &str| {
            format!(
                "(select {column} from sync.run where branch_id = $1 and {column} is not null order by run desc limit 1)"
            )
        };
        let sql = format!("select {}, {}", newest("send_rate"), newest("receive_rate"));
        let row = client.query_one(&sql, &[&branch.id]).await.map_err(|error| classify("read the history", error))?;
        Ok((row.get(0), row.get(1)))
    }

    /// Bytes that runs of the branch have moved over its line since a moment, both ways together.
    pub async fn bytes_since(&self, branch: &Branch, since: std::time::SystemTime) -> Result<u64, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let row = client
            .query_one(
                "select coalesce(sum(sent_bytes + received_bytes), 0)::bigint from sync.run
                 where branch_id = $1 and started_at >= $2 and kind <> 'import'",
                &[&branch.id, &since],
            )
            .await
            .map_err(|error| classify("read the history", error))?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
    }
}
