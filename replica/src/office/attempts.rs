//! What is known of each branch's last run, so that schedules can tell what is due; and which process begins it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::Office;
use crate::ReplicaError;
use crate::error::classify;

/// The last run of a branch, as far as schedules mind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempt {
    /// When a schedule last began one.
    pub claimed_at: Option<SystemTime>,
    /// Whether the history knows of no run since then: it came to nothing, or is still at work.
    pub unrecorded: bool,
    /// When the newest run of the history began, and its result.
    pub last: Option<(SystemTime, String)>,
    /// How many runs have failed since the last one that was done.
    pub failures: i64,
    /// Number of the newest run of the history; 0 when there is none.
    pub newest: i64,
}

impl Office {
    /// The last run of every branch by its number, and what time it is: the database's clock is the same for all processes.
    pub async fn attempts(&self) -> Result<(SystemTime, BTreeMap<i64, Attempt>), ReplicaError> {
        let mut failures = self.failures_in_a_row().await?;
        let failed = |error| classify("look which runs there were", error);
        let client = self.inner.pool.get().await?;
        let now = client.query_one("select clock_timestamp()", &[]).await.map_err(failed)?.get(0);
        let sql = "select b.branch_id, b.scheduled_at, b.scheduled_at is not null and coalesce(r.run, 0) <= b.scheduled_after,
                          r.started_at, r.result, coalesce(r.run, 0)
                   from sync.branch_synchronization b left join lateral (
                       select run, started_at, result from sync.run r where r.branch_id = b.branch_id order by run desc limit 1
                   ) r on true";
        let rows = client.query(sql, &[]).await.map_err(failed)?;
        let attempts = rows.iter().map(|row| {
            let branch: i64 = row.get(0);
            let (began, result): (Option<SystemTime>, Option<String>) = (row.get(3), row.get(4));
            let attempt = Attempt {
                claimed_at: row.get(1),
                unrecorded: row.get(2),
                last: began.zip(result),
                failures: failures.remove(&branch).unwrap_or(0),
                newest: row.get(5),
            };
            (branch, attempt)
        });
        Ok((now, attempts.collect()))
    }

    /// Whether this process may begin the run that is due after that attempt: of several, one may (I15). None may when a run
    /// was recorded meanwhile.
    pub async fn claim_run(&self, branch: i64, seen: &Attempt) -> Result<bool, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let claimed = client
            .execute(
                "update sync.branch_synchronization set scheduled_at = clock_timestamp(), scheduled_after = $3
                 where branch_id = $1 and scheduled_at is not distinct from $2
                   and not exists (select from sync.run r where r.branch_id = $1 and r.run > $3)",
                &[&branch, &seen.claimed_at, &seen.newest],
            )
            .await
            .map_err(|error| classify("begin a run that is due", error))?;
        Ok(claimed == 1)
    }
}
