//! Id ranges of branches, from a table of slots; none is ever given out twice.

use super::{Branch, Office};
use crate::ReplicaError;
use crate::error::classify;

/// Ranges left out after a restore of the office: it may have given some out that it no longer remembers, and that no
/// shop has told it yet. Fewer where they would use up more than this share of what is left.
const GAP_RANGES: i64 = 1000;
const GAP_SHARE: i64 = 100;

impl Office {
    /// Gives the branch its id range `(low, high]` (a fresh one when `fresh`), durably.
    ///
    /// Slot 0, the ids up to the span, is the office's own.
    pub async fn id_range(&self, branch: &Branch, fresh: bool) -> Result<(i64, i64), ReplicaError> {
        let failed = |error| classify("give out an id range", error);
        let state = self.state().await?;
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        transaction.batch_execute("lock table sync.id_slot in exclusive mode").await.map_err(failed)?;
        let current = transaction
            .query_opt(
                "select low, high from sync.id_slot where branch_id = $1 and not removed order by slot desc limit 1",
                &[&branch.id],
            )
            .await
            .map_err(failed)?;
        if let Some(row) = current.filter(|_| !fresh) {
            return Ok((row.get(0), row.get(1)));
        }
        let row = transaction
            .query_one(
                "select coalesce(max(slot), 0) + 1, coalesce(max(high), 0),
                        exists (select from sync.branch_synchronization where history = 'caller-older')
                          or $1 > 1 and not exists (select from sync.id_slot where incarnation = $1)
                 from sync.id_slot",
                &[&state.incarnation.number],
            )
            .await
            .map_err(failed)?;
        let (slot, end, forgetful): (i32, i64, bool) = (row.get(0), row.get(1), row.get(2));
        let span = self.inner.id_span;
        let mut low = end.max(span).max(self.inner.witness.ids_end());
        if forgetful {
            let gap = GAP_RANGES.min((i64::MAX - low) / span.max(1) / GAP_SHARE);
            low = low.saturating_add(gap.saturating_mul(span));
        }
        let high = low.checked_add(span).ok_or_else(|| {
            ReplicaError::IdRange("no id range is left: all of bigint has been given out; use a smaller id-span".into())
        })?;
        transaction
            .execute(
                "insert into sync.id_slot(slot, branch_id, low, high, incarnation) values ($1, $2, $3, $4, $5)",
                &[&slot, &branch.id, &low, &high, &state.incarnation.number],
            )
            .await
            .map_err(failed)?;
        // until a clone is recorded, the shop's rows are those of the range before
        transaction
            .execute(
                "update sync.branch_synchronization set compared_from = coalesce(compared_from,
                     (select max(slot) from sync.id_slot s where s.branch_id = $1 and s.slot < $2 and not s.removed))
                 where branch_id = $1",
                &[&branch.id, &slot],
            )
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        self.inner.witness.remember_ids(&state.incarnation, high)?;
        Ok((low, high))
    }
}
