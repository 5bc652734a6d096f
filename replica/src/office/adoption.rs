//! Taking in a shop that has its data already.

use super::{Branch, Office, RepairBase};
use crate::ReplicaError;
use crate::error::classify;
use crate::killpoint;
use crate::watermark::current_snapshot;

/// In place of the first slot whose ids are at the shop: it has had rows before it had any slot.
pub(super) const ADOPTED: i32 = 0;

impl Office {
    /// Whether the branch was adopted, not cloned, when it was last taken in.
    pub async fn is_adopted(&self, branch: &Branch) -> Result<bool, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let row = client
            .query_one(
                "select compared_from is not distinct from $2 and \"timestamp\" is not null
                 from sync.branch_synchronization where branch_id = $1",
                &[&branch.id, &ADOPTED],
            )
            .await
            .map_err(|error| classify("look up the branch", error))?;
        Ok(row.get(0))
    }

    /// Where the adoption of a branch begins: all that is committed later is in the change log. From here on its rows are
    /// compared as those of a shop that had rows before it had a range.
    pub async fn begin_adoption(&self, branch: &Branch) -> Result<RepairBase, ReplicaError> {
        self.state().await?;
        let client = self.inner.pool.get().await?;
        let snapshot = current_snapshot(&*client).await?;
        client
            .execute(
                "update sync.branch_synchronization set compared_from = $2 where branch_id = $1",
                &[&branch.id, &ADOPTED],
            )
            .await
            .map_err(|error| classify("begin an adoption", error))?;
        Ok(RepairBase::new(snapshot))
    }

    /// Records an adoption: updates go on from its snapshot and its watermark, as after a clone.
    pub async fn record_adoption(
        &self,
        branch: &Branch,
        base: &RepairBase,
        watermark: &str,
        incarnation: &str,
    ) -> Result<(), ReplicaError> {
        let failed = |error| classify("record the adoption", error);
        let state = self.state().await?;
        let peer = self.peer_of(branch).await?;
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        // what both have agreed on is the office's; what the shop adds from here on is counted anew
        transaction.execute("delete from sync.total where peer = $1", &[&peer]).await.map_err(failed)?;
        transaction.execute(super::groups::FORGET_GROUPS, &[&branch.id]).await.map_err(failed)?;
        transaction
            .execute(
                "update sync.branch_synchronization
                 set \"timestamp\" = $2, incarnation = $3, pushed_snapshot = $4::text::pg_snapshot, pushed_incarnation = $5,
                     retired_at = null, cloned_at = clock_timestamp(), pulled_at = clock_timestamp(), pushed_at = clock_timestamp(),
                     outgoing_key = null, outgoing_kind = null, outgoing_stream = null, outgoing_snapshot = null
                 where branch_id = $1",
                &[&branch.id, &watermark, &incarnation, &base.snapshot().as_str(), &state.incarnation.number],
            )
            .await
            .map_err(failed)?;
        killpoint::reach("office.record.before");
        transaction.commit().await.map_err(failed)?;
        killpoint::reach("office.record.after");
        self.inner.witness.remember(&state.incarnation, base.snapshot(), None)
    }
}
