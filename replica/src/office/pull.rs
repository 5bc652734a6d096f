//! What comes from a branch: a diff, applied together with its watermark.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use protocol::session::ledger::{self, Verdict};
use tokio_postgres::Transaction;

use super::{Branch, Office, State};
use crate::ReplicaError;
use crate::apply::{self, Applied, ApplyOrder, Incoming, QuarantineRules};
use crate::error::classify;
use crate::killpoint;
use crate::retention;
use crate::safety::SafetyStop;
use crate::spool::FrozenStream;
use crate::subset;
use crate::watermark::Snapshot;

/// Most bytes that a diff may have when inflated.
const INFLATED_BYTES_MAX: u64 = 1 << 40;

/// What a pull would do, and what an update would send behind it.
#[derive(Debug)]
pub struct Rehearsed {
    /// What was applied and taken back.
    pub applied: Applied,
    /// What would be pushed, of all groups; whoever has it removes it from the spool.
    pub push: Option<FrozenStream>,
}

/// Most bytes that one row of a shop may have.
const ROW_BYTES_MAX: usize = 256 << 20;

impl Office {
    /// Applies a pulled diff (compressed, as received) and stores its watermark in the same transaction: exactly once.
    ///
    /// Without `watermark`, the line at the end of the script gives it. It runs to its end even when the future is dropped.
    pub async fn apply_pull(
        &self,
        branch: &Branch,
        watermark: Option<&str>,
        input: Box<dyn Read + Send>,
    ) -> Result<Applied, ReplicaError> {
        self.apply_pull_within(branch, watermark, input, None).await
    }

    /// The same with a bound on what it may delete or change without asking.
    ///
    /// # Errors
    /// [`ReplicaError::Protected`] when the safety stop refuses it; nothing was applied.
    pub async fn apply_pull_within(
        &self,
        branch: &Branch,
        watermark: Option<&str>,
        input: Box<dyn Read + Send>,
        stop: Option<SafetyStop>,
    ) -> Result<Applied, ReplicaError> {
        let office = self.clone();
        let branch = branch.clone();
        let watermark = watermark.map(str::to_owned);
        let task = tokio::spawn(async move { office.apply_pulled(&branch, watermark, input, stop).await });
        task.await.map_err(|_| ReplicaError::Stopped)?
    }

    async fn apply_pulled(
        &self,
        branch: &Branch,
        watermark: Option<String>,
        input: Box<dyn Read + Send>,
        stop: Option<SafetyStop>,
    ) -> Result<Applied, ReplicaError> {
        let failed = |error| classify("apply a pull", error);
        let state = self.state().await?;
        let peer = self.peer_of(branch).await?;
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let (stored, agreed) = agreed(&transaction, branch, "for update").await?;
        if ledger::pull(stored.as_deref(), watermark.as_deref()) == Verdict::Repeated {
            return Ok(Applied { watermark, repeated: true, ..Applied::default() });
        }
        let order = Self::pull_order(&state, branch, peer, agreed, stop)?;
        let applied = apply::apply(&transaction, &order, input).await?;
        let Some(timestamp) = watermark.or_else(|| applied.watermark.clone()) else {
            return Err(ReplicaError::Invalid(
                "the diff has no '-- watermark:' line at its end, so the next one could not begin where it ended"
                    .into(),
            ));
        };
        transaction
            .execute(
                "update sync.branch_synchronization set \"timestamp\" = $2, pulled_at = clock_timestamp() where branch_id = $1",
                &[&branch.id, &timestamp],
            )
            .await
            .map_err(failed)?;
        killpoint::reach("office.pull.before-commit");
        transaction.commit().await.map_err(failed)?;
        killpoint::reach("office.pull.after-commit");
        Ok(Applied { watermark: Some(timestamp), ..applied })
    }

    /// Applies a diff as [`Office::apply_pull_within`] would (without one, tries again what waits, as
    /// [`Office::advance_timestamp`] does), freezes what would be pushed then, and takes everything back: what it did is what
    /// would happen. What stays is gaps in the numbers that the engine gives to its own entries, and the stream.
    ///
    /// # Errors
    /// Those of a real one, [`ReplicaError::Protected`] among them.
    pub async fn rehearse_pull(
        &self,
        branch: &Branch,
        input: Option<Box<dyn Read + Send>>,
        stop: Option<SafetyStop>,
    ) -> Result<Rehearsed, ReplicaError> {
        let failed = |error| classify("rehearse a pull", error);
        let state = self.state().await?;
        let rules = Self::rules(&state, branch)?;
        let (peer, windows) = self.sent(&state, &rules, branch).await?;
        // what a dry run left that was killed
        self.sweep_unrecorded(branch).await?;
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let agreed = agreed(&transaction, branch, "").await?.1;
        let mut order = Self::pull_order(&state, branch, peer, agreed, stop)?;
        order.policy = Arc::new(order.policy.quiet());
        let rehearsed = async {
            for window in windows.values() {
                retention::refuse_gap(&transaction, &window.since).await?;
            }
            let applied = match input {
                Some(input) => apply::apply(&transaction, &order, input).await,
                None => apply::retry(&transaction, &order).await,
            }?;
            let push = self.extract(&transaction, &state, branch, &windows, peer).await?;
            Ok(Rehearsed { applied, push })
        };
        let rehearsed = rehearsed.await;
        transaction.rollback().await.map_err(failed)?;
        rehearsed
    }

    /// How changes of a branch are applied: rows that fail, or are not the branch's own, wait.
    pub(super) fn pull_order(
        state: &State,
        branch: &Branch,
        peer: i32,
        agreed: Option<Snapshot>,
        stop: Option<SafetyStop>,
    ) -> Result<ApplyOrder, ReplicaError> {
        let policy = Self::rules(state, branch)?;
        let mut rows = BTreeMap::new();
        for name in policy.tables.iter().filter(|(_, rules)| rules.direction.flows_to_office()).map(|(name, _)| name) {
            if let Some(condition) = subset::condition(&state.catalogue, &policy, name, branch.id)? {
                rows.insert(name.clone(), condition);
            }
        }
        Ok(ApplyOrder {
            catalogue: state.catalogue.clone(),
            policy,
            captured: state.captured.clone(),
            rights: state.rights.clone(),
            origin: peer,
            agreed,
            incoming: Incoming::FromShop,
            bulk: false,
            keep_sequences: true,
            inflated_bytes_max: INFLATED_BYTES_MAX,
            row_bytes_max: ROW_BYTES_MAX,
            quarantine: Some(Arc::new(QuarantineRules { rows, stop })),
        })
    }

    /// Stores a newer watermark of a shop where nothing had changed.
    ///
    /// What waits of the branch is tried again, as with every pull: it may be the office's row that was in the way.
    pub async fn advance_timestamp(&self, branch: &Branch, watermark: &str) -> Result<Applied, ReplicaError> {
        self.retry_waiting(branch, Some(watermark)).await
    }
}

/// The timestamp of a branch, and what it has of the office's own changes.
async fn agreed(
    transaction: &Transaction<'_>,
    branch: &Branch,
    lock: &str,
) -> Result<(Option<String>, Option<Snapshot>), ReplicaError> {
    let sql = format!(
        "select \"timestamp\",
                case when outgoing_kind = 'clone' then outgoing_snapshot else pushed_snapshot end::text
         from sync.branch_synchronization where branch_id = $1 {lock}"
    );
    let row = transaction.query_one(&sql, &[&branch.id]).await.map_err(|error| classify("apply a pull", error))?;
    let agreed = row.get::<_, Option<String>>(1).map(|text| Snapshot::parse(&text)).transpose()?;
    Ok((row.get(0), agreed))
}
