//! The full copy of a clone: frozen whole, or sent while it is being written.

use std::collections::{BTreeMap, BTreeSet};

use protocol::names::TableName;
use protocol::policy::GROUP_FIRST;
use tokio::sync::{oneshot, watch};
use tokio_postgres::Transaction;
use tokio_util::task::AbortOnDropHandle;

use super::outgoing::frozen_transaction;
use super::{Branch, Compared, Office, Outgoing, State};
use crate::ReplicaError;
use crate::diff::{CopyPlan, Extraction, extract_copy};
use crate::drift;
use crate::error::classify;
use crate::spool::FrozenStream;
use crate::subset;
use crate::watermark::{Snapshot, current_snapshot};

/// A copy that has been begun.
struct Begun {
    stream: String,
    snapshot: Snapshot,
    readable: watch::Receiver<u64>,
}

/// The copy of a clone that is written while it is sent. It is dropped with this, unless it is whole.
#[derive(Debug)]
pub struct Copying {
    key: String,
    base: Option<String>,
    stream: String,
    readable: watch::Receiver<u64>,
    written: oneshot::Receiver<FrozenStream>,
    work: CopyWork,
}

/// Writes a copy, then fingerprints what it was taken from.
type CopyWork = AbortOnDropHandle<Result<Vec<Compared>, ReplicaError>>;

/// Fingerprints of the branch's tables as they were in the snapshot that a copy was taken from: made while the copy is
/// still on its way, and in place of reading all tables once more when it has arrived.
#[derive(Debug)]
pub struct CopyFingerprints(CopyWork);

impl CopyFingerprints {
    /// Waits for them.
    ///
    /// # Errors
    /// What kept the office from making them.
    pub async fn wait(self) -> Result<Vec<Compared>, ReplicaError> {
        self.0.await.map_err(|_| ReplicaError::Stopped)?
    }
}

/// The copy of a clone.
#[derive(Debug)]
pub enum CloneCopy {
    /// It is whole.
    Whole(Outgoing),
    /// It is being written.
    Copying(Copying),
}

impl Copying {
    /// Idempotency key of its session at the shop.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Its name in the spool.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Whether nothing more is being written.
    pub fn is_written(&self) -> bool {
        // the writer goes when it has finished, or failed
        self.readable.has_changed().is_err()
    }

    /// Waits until `wanted` bytes can be read; false when it has ended with fewer.
    pub async fn reaches(&mut self, wanted: u64) -> bool {
        self.readable.wait_for(|readable| *readable >= wanted).await.is_ok()
    }

    /// Waits until it is whole.
    ///
    /// # Errors
    /// What kept the office from making it.
    pub async fn finish(self) -> Result<(Outgoing, CopyFingerprints), ReplicaError> {
        let Self { key, base, written, work, .. } = self;
        let Ok(stream) = written.await else { return Err(failure(work).await) };
        let outgoing = Outgoing { key, stream, base, resumed: false, group: GROUP_FIRST, next_group: GROUP_FIRST + 1 };
        Ok((outgoing, CopyFingerprints(work)))
    }
}

/// Why nothing came of it.
async fn failure(work: CopyWork) -> ReplicaError {
    match work.await {
        Ok(Err(error)) => error,
        Ok(Ok(_)) | Err(_) => ReplicaError::Stopped,
    }
}

impl Office {
    /// Begins a full copy for a clone, or finds the one an interrupted clone left. Its record is there, so that what is
    /// read of it can be sent; what cannot be copied at all is found out before.
    ///
    /// # Errors
    /// If the copy cannot be begun.
    pub async fn begin_clone(&self, branch: &Branch) -> Result<CloneCopy, ReplicaError> {
        if let Some(outgoing) = self.pending(branch, "clone").await? {
            return Ok(CloneCopy::Whole(outgoing));
        }
        let ((tell_begun, begun), (tell_written, written)) = (oneshot::channel(), oneshot::channel());
        let (office, of_task) = (self.clone(), branch.clone());
        let failed = |error| classify("freeze a clone", error);
        let work = AbortOnDropHandle::new(tokio::spawn(async move {
            let state = office.state().await?;
            let mut client = office.inner.pool.get().await?;
            client.set_at_work(true);
            let transaction = frozen_transaction(&mut client).await?;
            // nobody who listens has gone away: the task goes with him
            let begun = |begun| drop(tell_begun.send(begun));
            let (stream, _) = office.copy_within(&transaction, &state, &of_task, begun).await?;
            let _ = tell_written.send(stream);
            // beside the shop's work, maybe on the same machine: it is not waited for
            transaction.batch_execute("set local max_parallel_workers_per_gather = 0").await.map_err(failed)?;
            let compared = office.view(&of_task).await?.digests(&transaction, &of_task).await?;
            transaction.commit().await.map_err(failed)?;
            client.set_at_work(false);
            Ok(compared)
        }));
        let Ok(Begun { stream, snapshot, readable }) = begun.await else { return Err(failure(work).await) };
        let (key, base) = self.remember_stream(branch, "clone", &stream, &snapshot, false).await?;
        Ok(CloneCopy::Copying(Copying { key, base, stream, readable, written, work }))
    }

    /// Gives up a copy that is being written.
    ///
    /// # Errors
    /// If the database or the spool does not allow it.
    pub async fn drop_copying(&self, branch: &Branch, copying: Copying) -> Result<(), ReplicaError> {
        let Copying { key, stream, work, .. } = copying;
        work.abort();
        let _ = work.await;
        self.drop_stream(branch, &key, &stream).await
    }

    /// Freezes a full copy for a clone, or finds the one an interrupted clone left.
    pub async fn freeze_clone(&self, branch: &Branch) -> Result<Outgoing, ReplicaError> {
        let state = self.state().await?;
        if let Some(outgoing) = self.pending(branch, "clone").await? {
            return Ok(outgoing);
        }
        self.copy_anew(&state, branch).await
    }

    /// Freezes a full copy, in place of one that may be on its way.
    pub(super) async fn copy_anew(&self, state: &State, branch: &Branch) -> Result<Outgoing, ReplicaError> {
        let (stream, snapshot) = self.copy(state, branch).await?;
        self.remember(branch, "clone", stream, &snapshot, false).await
    }

    /// As [`Office::freeze_clone`], but remembers nothing: what would be sent, for a dry run. The stream is removed again.
    pub async fn preview_clone(&self, branch: &Branch) -> Result<FrozenStream, ReplicaError> {
        let state = self.state().await?;
        let (stream, _) = self.copy(&state, branch).await?;
        self.inner.spool.remove(&stream.id)?;
        Ok(stream)
    }

    /// A full copy for the branch, and the snapshot it was taken from.
    async fn copy(&self, state: &State, branch: &Branch) -> Result<(FrozenStream, Snapshot), ReplicaError> {
        let mut client = self.inner.pool.get().await?;
        let transaction = frozen_transaction(&mut client).await?;
        let copied = self.copy_within(&transaction, state, branch, |_| ()).await?;
        transaction.commit().await.map_err(|error| classify("freeze a clone", error))?;
        Ok(copied)
    }

    /// The same from a transaction's snapshot; `begun` is told when the first rows are about to be read.
    async fn copy_within(
        &self,
        transaction: &Transaction<'_>,
        state: &State,
        branch: &Branch,
        begun: impl FnOnce(Begun),
    ) -> Result<(FrozenStream, Snapshot), ReplicaError> {
        let rules = Self::rules(state, branch)?;
        let tables: BTreeSet<TableName> = rules
            .tables
            .iter()
            .filter(|(_, rules)| rules.direction.cloned() || rules.history.is_some())
            .map(|(name, _)| name.clone())
            .collect();
        let left_out = {
            let client = self.inner.pool.get().await?;
            drift::left_out(&*client, Some(self.peer_of(branch).await?), &state.catalogue).await?
        };
        let mut plans = Vec::new();
        for name in state.catalogue.parents_first(&tables) {
            if let Some(table) = state.catalogue.get(&name) {
                let own = rules.get(&name).is_some_and(|rules| !rules.direction.cloned());
                let subset = if own {
                    match subset::history(&state.catalogue, &rules, &name, branch.id)? {
                        Some(condition) => Some(condition),
                        None => continue,
                    }
                } else {
                    subset::condition(&state.catalogue, &rules, &name, branch.id)?
                };
                plans.push(CopyPlan { table: drift::reduced(table, &left_out), subset });
            }
        }
        let snapshot = current_snapshot(transaction).await?;
        let level = self.level(branch).await?;
        let id = format!("clone-{}-{:016x}", branch.id, rand::random::<u64>());
        let writer = self.inner.spool.create(&id, level)?;
        begun(Begun { stream: id, snapshot: snapshot.clone(), readable: writer.readable() });
        let extraction = Extraction {
            writer,
            watermark: None,
            labels: BTreeMap::from([("branch".to_owned(), branch.name.clone())]),
            notes: Vec::new(),
        };
        Ok((extract_copy(transaction, plans, extraction).await?, snapshot))
    }

    /// The shop has a clone: its amounts begin anew, and nothing of them was contributed by the shop. Done once for each
    /// clone, before the first changes made after it are taken in; not when the copy is frozen, for a shop may refuse it.
    pub async fn forget_amounts(&self, branch: &Branch, outgoing: &Outgoing) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        client
            .execute(
                "with cloned as (
                     update sync.branch_synchronization set amounts_key = outgoing_key
                     where branch_id = $1 and outgoing_key = $2 and outgoing_kind = 'clone'
                       and amounts_key is distinct from outgoing_key
                     returning peer)
                 delete from sync.total using cloned where sync.total.peer = cloned.peer",
                &[&branch.id, &outgoing.key],
            )
            .await
            .map_err(|error| classify("begin the amounts of a clone", error))?;
        Ok(())
    }
}
