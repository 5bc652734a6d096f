//! What the office keeps for its branches, and when it stops.

use super::{Branch, Office};
use crate::ReplicaError;
use crate::error::classify;
use crate::retention;

/// How often it is looked whether something may go.
const EVERY: &str = "1 hour";

impl Office {
    /// Regular work, after a run: changes that all branches have, and that are old enough, are no longer kept. Branches
    /// that were not heard of for too long hold nothing back; they need a new clone, or a repair.
    pub async fn upkeep(&self) -> Result<u64, ReplicaError> {
        let failed = |error| classify("look what may be pruned", error);
        let state = self.state().await?;
        let kept = self.inner.retention;
        let mut client = self.inner.pool.get().await?;
        let sql = format!(
            "select exists (select from sync.watermark where peer = 0 and issued > clock_timestamp() - interval '{EVERY}')"
        );
        if client.query_one(&sql, &[]).await.map_err(failed)?.get(0) {
            return Ok(0);
        }
        retention::tick(&mut client, &state.incarnation, &kept).await?;
        let row = client
            .query_opt(
                "with held as (
                     select case when pushed_incarnation = $1 then pg_snapshot_xmin(pushed_snapshot) end as xmin
                     from sync.branch_synchronization
                     where pushed_snapshot is not null and retired_at is null
                       and greatest(cloned_at, pulled_at, pushed_at) >= clock_timestamp() - $3 * interval '1 second'
                     union all
                     select case when p.incarnation = $1 then pg_snapshot_xmin(p.snapshot) end
                     from sync.pushed_table p join sync.branch_synchronization b using (branch_id)
                     where b.pushed_snapshot is not null and b.retired_at is null
                       and greatest(b.cloned_at, b.pulled_at, b.pushed_at) >= clock_timestamp() - $3 * interval '1 second'),
                 tick as (
                     select pg_snapshot_xmin(snapshot) as xmin from sync.watermark
                     where peer = 0 and incarnation = $1 and issued < clock_timestamp() - $2 * interval '1 second'
                     order by issued desc limit 1),
                 waiting as (
                     select pg_snapshot_xmin(agreed) as xmin from sync.quarantine
                     where agreed is not null and since >= clock_timestamp() - $3 * interval '1 second')
                 select xmin::text from (table held union all table tick union all table waiting) x
                 where exists (table tick) and not exists (select from held where xmin is null)
                 order by x.xmin limit 1",
                &[&state.incarnation.number, &kept.min.as_secs_f64(), &kept.max.as_secs_f64()],
            )
            .await
            .map_err(failed)?;
        let bound = row.and_then(|row| row.get::<_, String>(0).parse::<u64>().ok());
        let gone = retention::prune(&client, state.captured.values(), bound).await?;
        if let Some(bound) = bound {
            client
                .execute(
                    &format!(
                        "delete from sync.tombstone where xid < '{bound}'::xid8 and deleted_at < clock_timestamp() - $1 * interval '1 second'"
                    ),
                    &[&kept.max.as_secs_f64()],
                )
                .await
                .map_err(failed)?;
        }
        if gone > 0 {
            tracing::info!(entries = gone, "changes that nobody needs any more are gone");
        }
        Ok(gone)
    }

    /// Takes a branch out for good: nothing is kept for it any more, and only a repair or a clone brings it back. Its
    /// record, and its id range, stay.
    pub async fn retire_branch(&self, branch: &Branch) -> Result<(), ReplicaError> {
        let lease = self.lease(branch).await?;
        let client = self.inner.pool.get().await?;
        let forgotten = client.execute(super::groups::FORGET_GROUPS, &[&branch.id]).await;
        forgotten.map_err(|error| classify("retire the branch", error))?;
        let row = client
            .query_one(
                "update sync.branch_synchronization b
                 set retired_at = coalesce(b.retired_at, clock_timestamp()), pushed_snapshot = null, pushed_incarnation = null,
                     outgoing_key = null, outgoing_kind = null, outgoing_stream = null, outgoing_snapshot = null
                 from sync.branch_synchronization old
                 where old.branch_id = b.branch_id and b.branch_id = $1 returning old.outgoing_stream",
                &[&branch.id],
            )
            .await
            .map_err(|error| classify("retire the branch", error))?;
        lease.release().await;
        match row.get::<_, Option<String>>(0) {
            Some(stream) => self.inner.spool.remove(&stream),
            None => Ok(()),
        }
    }
}
