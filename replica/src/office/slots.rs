//! Id ranges of branches, from a table of slots; none is ever given out twice.

use super::{Branch, Office};
use crate::ReplicaError;
use crate::error::classify;

impl Office {
    /// Gives the branch its id range `(low, high]` (a fresh one when `fresh`), durably.
    ///
    /// Slot 0, the ids up to the span, is the office's own.
    pub async fn id_range(&self, branch: &Branch, fresh: bool) -> Result<(i64, i64), ReplicaError> {
        let failed = |error| classify("give out an id range", error);
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        transaction.batch_execute("lock table sync.id_slot in exclusive mode").await.map_err(failed)?;
        let current = transaction
            .query_opt(
                "select low, high from sync.id_slot where branch_id = $1 order by slot desc limit 1",
                &[&branch.id],
            )
            .await
            .map_err(failed)?;
        if let Some(row) = current.filter(|_| !fresh) {
            return Ok((row.get(0), row.get(1)));
        }
        let row = transaction
            .query_one("select coalesce(max(slot), 0) + 1, coalesce(max(high), 0) from sync.id_slot", &[])
            .await
            .map_err(failed)?;
        let (slot, end): (i32, i64) = (row.get(0), row.get(1));
        let low = end.max(self.inner.id_span);
        let high = low.checked_add(self.inner.id_span).ok_or_else(|| {
            ReplicaError::IdRange("no id range is left: all of bigint has been given out; use a smaller id-span".into())
        })?;
        transaction
            .execute(
                "insert into sync.id_slot(slot, branch_id, low, high) values ($1, $2, $3, $4)",
                &[&slot, &branch.id, &low, &high],
            )
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok((low, high))
    }
}
