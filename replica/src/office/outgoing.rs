//! What goes to a branch: frozen clones and pushes, remembered until the shop has applied them.
//!
//! The record of an outgoing stream (its key at the shop, the snapshot it ends at) is committed before the first byte is
//! sent, so whatever happens afterwards the outcome can be asked for by the key.

use std::collections::{BTreeMap, BTreeSet};

use protocol::carried::SessionKey;
use protocol::chunk::level_for;
use protocol::names::TableName;
use protocol::policy::{Deletes, ResolvedPolicy};
use protocol::session::ledger;
use tokio_postgres::{IsolationLevel, Transaction};

use super::{Backlog, Branch, Office, Outgoing, State};
use crate::ReplicaError;
use crate::diff::{
    CopyPlan, Extraction, Followed, TablePlan, WindowCount, any_notes, count_window, extract_changes, extract_copy,
};
use crate::drift;
use crate::error::classify;
use crate::killpoint;
use crate::node;
use crate::retention;
use crate::spool::FrozenStream;
use crate::subset;
use crate::watermark::{Snapshot, current_snapshot};

/// What a branch's record says about its outgoing stream and the office's own watermark.
struct Record {
    peer: i32,
    pushed: Option<(Snapshot, i32)>,
    outgoing: Option<(String, String, String)>,
    base: Option<String>,
}

impl Office {
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
        self.remember(branch, "clone", stream, &snapshot).await
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
        let mut client = self.inner.pool.get().await?;
        let transaction = frozen_transaction(&mut client).await?;
        let snapshot = current_snapshot(&transaction).await?;
        let level = self.level(branch).await?;
        let id = format!("clone-{}-{:016x}", branch.id, rand::random::<u64>());
        let extraction = Extraction {
            writer: self.inner.spool.create(&id, level)?,
            watermark: None,
            labels: BTreeMap::from([("branch".to_owned(), branch.name.clone())]),
            notes: Vec::new(),
        };
        let stream = extract_copy(&transaction, plans, extraction).await?;
        transaction.commit().await.map_err(|error| classify("freeze a clone", error))?;
        Ok((stream, snapshot))
    }

    /// Freezes what the branch does not have yet, or finds the push an interrupted run left. None when there is nothing.
    pub async fn freeze_push(&self, branch: &Branch) -> Result<Option<Outgoing>, ReplicaError> {
        let state = self.state().await?;
        if let Some(outgoing) = self.pending(branch, "push").await? {
            return Ok(Some(outgoing));
        }
        let (outgoing, snapshot) = self.freeze_anew(&state, branch).await?;
        if outgoing.is_none() {
            // nothing happened in between: the newer snapshot stands for the same, and saves the next scan
            self.store_pushed(branch, &snapshot, &state).await?;
            self.sweep_streams(branch, None)?;
        }
        Ok(outgoing)
    }

    /// Freezes everything that the branch is not known to have, in place of what may be on its way; and the snapshot.
    pub(super) async fn freeze_anew(
        &self,
        state: &State,
        branch: &Branch,
    ) -> Result<(Option<Outgoing>, Snapshot), ReplicaError> {
        let record = self.record(branch).await?;
        let since = self.pushed(state, branch, &record)?;
        let mut client = self.inner.pool.get().await?;
        let transaction = frozen_transaction(&mut client).await?;
        let snapshot = current_snapshot(&transaction).await?;
        retention::refuse_gap(&transaction, &since).await?;
        let stream = self.extract(&transaction, state, branch, &since, record.peer).await?;
        transaction.commit().await.map_err(|error| classify("freeze a push", error))?;
        let Some(stream) = stream else { return Ok((None, snapshot)) };
        Ok((Some(self.remember(branch, "push", stream, &snapshot).await?), snapshot))
    }

    /// As [`Office::freeze_push`], but remembers nothing: what would be sent, for a dry run. The stream is removed again.
    pub async fn preview_push(&self, branch: &Branch) -> Result<Option<FrozenStream>, ReplicaError> {
        let state = self.state().await?;
        let record = self.record(branch).await?;
        let since = self.pushed(&state, branch, &record)?;
        let mut client = self.inner.pool.get().await?;
        let transaction = frozen_transaction(&mut client).await?;
        retention::refuse_gap(&transaction, &since).await?;
        let stream = self.extract(&transaction, &state, branch, &since, record.peer).await?;
        if let Some(stream) = &stream {
            self.inner.spool.remove(&stream.id)?;
        }
        Ok(stream)
    }

    /// The push that an interrupted run has left, if there is one.
    pub async fn pending_push(&self, branch: &Branch) -> Result<Option<FrozenStream>, ReplicaError> {
        Ok(self.pending(branch, "push").await?.map(|outgoing| outgoing.stream))
    }

    /// Records a finished clone: BranchSynchronization with the shop's first watermark, the office's own watermark.
    pub async fn record_clone(
        &self,
        branch: &Branch,
        outgoing: &Outgoing,
        timestamp: &str,
        incarnation: Option<&str>,
    ) -> Result<(), ReplicaError> {
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        killpoint::reach("office.record.before");
        client
            .execute(
                "update sync.branch_synchronization
                 set \"timestamp\" = $3, incarnation = $4, pushed_snapshot = outgoing_snapshot, pushed_incarnation = $5,
                     compared_from = null, retired_at = null,
                     cloned_at = clock_timestamp(), pulled_at = clock_timestamp(), pushed_at = clock_timestamp(),
                     outgoing_key = null, outgoing_kind = null, outgoing_stream = null, outgoing_snapshot = null
                 where branch_id = $1 and outgoing_key = $2",
                &[&branch.id, &outgoing.key, &timestamp, &incarnation, &state.incarnation.number],
            )
            .await
            .map_err(|error| classify("record the clone", error))?;
        killpoint::reach("office.record.after");
        self.inner.spool.remove(&outgoing.stream.id)
    }

    /// Records that the shop has applied a push.
    pub async fn record_push(&self, branch: &Branch, outgoing: &Outgoing) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        killpoint::reach("office.record.before");
        client
            .execute(
                "update sync.branch_synchronization
                 set pushed_snapshot = outgoing_snapshot, pushed_at = clock_timestamp(),
                     outgoing_key = null, outgoing_kind = null, outgoing_stream = null, outgoing_snapshot = null
                 where branch_id = $1 and outgoing_key = $2",
                &[&branch.id, &outgoing.key],
            )
            .await
            .map_err(|error| classify("record the push", error))?;
        killpoint::reach("office.record.after");
        self.inner.spool.remove(&outgoing.stream.id)
    }

    /// Gives up an outgoing stream (the shop refused it): the next run freezes anew.
    pub async fn drop_outgoing(&self, branch: &Branch, outgoing: &Outgoing) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        client
            .execute(
                "update sync.branch_synchronization
                 set outgoing_key = null, outgoing_kind = null, outgoing_stream = null, outgoing_snapshot = null
                 where branch_id = $1 and outgoing_key = $2",
                &[&branch.id, &outgoing.key],
            )
            .await
            .map_err(|error| classify("give up an outgoing stream", error))?;
        self.inner.spool.remove(&outgoing.stream.id)
    }

    /// Rows waiting to go to the branch.
    pub async fn backlog(&self, branch: &Branch) -> Result<Backlog, ReplicaError> {
        let state = self.state().await?;
        let record = self.record(branch).await?;
        if record.pushed.is_none() {
            return Ok(Backlog::default());
        }
        let since = self.pushed(&state, branch, &record)?;
        let rules = Self::rules(&state, branch)?;
        let client = self.inner.pool.get().await?;
        let captured = state
            .captured
            .values()
            .filter(|table| rules.get(&table.name).is_some_and(|rules| rules.direction.flows_to_shop()));
        let counts = count_window(&*client, captured, &since, record.peer).await?;
        Ok(Backlog { rows: counts.iter().map(|count| count.keys).sum() })
    }

    async fn extract(
        &self,
        transaction: &Transaction<'_>,
        state: &State,
        branch: &Branch,
        since: &Snapshot,
        peer: i32,
    ) -> Result<Option<FrozenStream>, ReplicaError> {
        let rules = Self::rules(state, branch)?;
        let flows = |name: &TableName| rules.get(name).is_some_and(|rules| rules.direction.flows_to_shop());
        let captured = state.captured.values().filter(|table| flows(&table.name));
        let mut counts = count_window(transaction, captured, since, peer).await?;
        let notes = vec![("missing", crate::apply::told_missing(since, peer))];
        if counts.is_empty() && !any_notes(transaction, &notes).await? {
            return Ok(None);
        }
        let left_out = drift::left_out(transaction, Some(peer), &state.catalogue).await?;
        let mut plans: Vec<TablePlan> = Vec::new();
        let all = state.captured.keys().filter(|name| flows(name)).cloned().collect();
        for name in state.catalogue.parents_first(&all) {
            let (Some(table), Some(captured), Some(table_rules)) =
                (state.catalogue.get(&name), state.captured.get(&name), rules.get(&name))
            else {
                continue;
            };
            let follows = follows(state, &rules, &name)?;
            let own = counts.iter().any(|count| count.table == name);
            // children of a parent that changed may have to come or go with it
            let with_parent: i64 = follows
                .iter()
                .filter_map(|followed| counts.iter().find(|count| count.table == followed.parent.name))
                .map(|count| count.keys)
                .sum();
            if !own && with_parent == 0 {
                continue;
            }
            if !own {
                counts.push(WindowCount { table: name.clone(), keys: with_parent });
            }
            plans.push(TablePlan {
                table: drift::reduced(table, &left_out),
                captured: captured.clone(),
                deletes: table_rules.deletes == Deletes::Send,
                delta: table_rules.delta.clone(),
                subset: subset::condition(&state.catalogue, &rules, &name, branch.id)?,
                follows,
                known: true,
            });
        }
        let level = self.level(branch).await?;
        let id = format!("push-{}-{:016x}", branch.id, rand::random::<u64>());
        let extraction = Extraction {
            writer: self.inner.spool.create(&id, level)?,
            watermark: None,
            labels: BTreeMap::from([("branch".to_owned(), branch.name.clone())]),
            notes,
        };
        let stream = extract_changes(transaction, plans, &counts, since, peer, extraction).await?;
        if stream.rows == 0 {
            self.inner.spool.remove(&stream.id)?;
            return Ok(None);
        }
        Ok(Some(stream))
    }

    /// How hard streams for a branch are compressed.
    async fn level(&self, branch: &Branch) -> Result<u32, ReplicaError> {
        let (rate, _) = self.measured_rates(branch).await?;
        Ok(level_for(rate.and_then(|rate| u64::try_from(rate).ok())))
    }

    /// The office's own watermark of a branch; it counts only in the incarnation in which it was taken.
    fn pushed(&self, state: &State, branch: &Branch, record: &Record) -> Result<Snapshot, ReplicaError> {
        match &record.pushed {
            Some((snapshot, incarnation)) if ledger::counts(*incarnation, state.incarnation.number) => {
                Ok(snapshot.clone())
            }
            Some(_) => Err(ReplicaError::Restored(format!(
                "the office's database was restored since branch {:?} was last synchronised: verify it with --repair, or clone it again",
                branch.name
            ))),
            None => Err(ReplicaError::Invalid(format!(
                "branch {0:?} has not been cloned yet: run 'office-client clone {0}'",
                branch.name
            ))),
        }
    }

    async fn record(&self, branch: &Branch) -> Result<Record, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let row = client
            .query_opt(
                "select peer, pushed_snapshot::text, pushed_incarnation, outgoing_key, outgoing_kind, outgoing_stream, outgoing_base
                 from sync.branch_synchronization where branch_id = $1",
                &[&branch.id],
            )
            .await
            .map_err(|error| classify("read the branch", error))?;
        let Some(row) = row else {
            return Err(ReplicaError::Invalid(format!("branch {:?} is gone", branch.name)));
        };
        let pushed = match (row.get::<_, Option<String>>(1), row.get::<_, Option<i32>>(2)) {
            (Some(snapshot), Some(incarnation)) => Some((Snapshot::parse(&snapshot)?, incarnation)),
            _ => None,
        };
        let outgoing = match (row.get(3), row.get(4), row.get(5)) {
            (Some(key), Some(kind), Some(stream)) => Some((key, kind, stream)),
            _ => None,
        };
        Ok(Record { peer: row.get(0), pushed, outgoing, base: row.get(6) })
    }

    /// The outgoing stream of that kind that an earlier run left, if its file is whole.
    pub(super) async fn pending(&self, branch: &Branch, kind: &str) -> Result<Option<Outgoing>, ReplicaError> {
        let Record { outgoing, base, .. } = self.record(branch).await?;
        let Some((key, found, stream)) = outgoing else { return Ok(None) };
        let stream = self.inner.spool.find(&stream)?;
        if !ledger::is_resumed(&found, kind, stream.is_some()) {
            return Ok(None);
        }
        Ok(stream.map(|stream| Outgoing { key, stream, base, resumed: true }))
    }

    async fn remember(
        &self,
        branch: &Branch,
        kind: &str,
        stream: FrozenStream,
        snapshot: &Snapshot,
    ) -> Result<Outgoing, ReplicaError> {
        let incarnation = self.state().await?.incarnation.clone();
        let client = self.inner.pool.get().await?;
        let number: i64 = client
            .query_one(
                "update sync.branch_synchronization set outgoing_number = outgoing_number + 1 where branch_id = $1 returning outgoing_number",
                &[&branch.id],
            )
            .await
            .map_err(|error| classify("count an outgoing stream", error))?
            .get(0);
        let key = SessionKey::new(number, &incarnation.id, rand::random::<u64>()).as_str().to_owned();
        killpoint::reach("office.freeze.before-record");
        let row = client
            .query_one(
                // the amounts of a clone begin anew: nothing of them was contributed by the shop
                "with forgotten as (
                     delete from sync.total where $3 = 'clone'
                       and peer = (select peer from sync.branch_synchronization where branch_id = $1))
                 update sync.branch_synchronization
                 set outgoing_key = $2, outgoing_kind = $3, outgoing_stream = $4, outgoing_snapshot = $5::text::pg_snapshot,
                     outgoing_base = \"timestamp\"
                 where branch_id = $1 returning outgoing_base",
                &[&branch.id, &key, &kind, &stream.id, &snapshot.as_str()],
            )
            .await
            .map_err(|error| classify("record an outgoing stream", error))?;
        killpoint::reach("office.freeze.recorded");
        self.inner.witness.remember(&incarnation, snapshot, None)?;
        self.sweep_streams(branch, Some(&stream.id))?;
        Ok(Outgoing { key, stream, base: row.get(0), resumed: false })
    }

    /// Removes the branch's streams but the one that is recorded: what an earlier run replaced, had sent, or froze before
    /// it died. Whoever calls holds the branch, so nobody writes one of them now.
    fn sweep_streams(&self, branch: &Branch, recorded: Option<&str>) -> Result<(), ReplicaError> {
        for stream in self.inner.spool.list()? {
            if stream.labels.get("branch") == Some(&branch.name) && Some(stream.id.as_str()) != recorded {
                self.inner.spool.remove(&stream.id)?;
            }
        }
        self.inner.spool.sweep()
    }

    async fn store_pushed(&self, branch: &Branch, snapshot: &Snapshot, state: &State) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        client
            .execute(
                "update sync.branch_synchronization
                 set pushed_snapshot = $2::text::pg_snapshot, pushed_incarnation = $3, pushed_at = clock_timestamp()
                 where branch_id = $1",
                &[&branch.id, &snapshot.as_str(), &state.incarnation.number],
            )
            .await
            .map_err(|error| classify("store the office's watermark", error))?;
        Ok(())
    }

    /// The peer number of a branch.
    pub(super) async fn peer_of(&self, branch: &Branch) -> Result<i32, ReplicaError> {
        let client = self.inner.pool.get().await?;
        node::peer(&*client, &format!("branch {}", branch.name)).await
    }
}

/// The parents by which a table's rows are told to belong to a branch, nearest first.
fn follows(state: &State, rules: &ResolvedPolicy, table: &TableName) -> Result<Vec<Followed>, ReplicaError> {
    let mut followed: Vec<Followed> = Vec::new();
    let mut current = table.clone();
    while let Some(filter) = rules.get(&current).and_then(|rules| rules.rows.as_ref())
        && filter.parent().is_some()
        && followed.len() < state.catalogue.tables.len()
    {
        let key = subset::via(&state.catalogue, &current, filter)?.clone();
        let (Some(parent), Some(captured)) = (state.catalogue.get(&key.parent), state.captured.get(&key.parent)) else {
            break;
        };
        current = key.parent.clone();
        followed.push(Followed { parent: parent.clone(), captured: captured.clone(), key });
    }
    Ok(followed)
}

async fn frozen_transaction(client: &mut tokio_postgres::Client) -> Result<Transaction<'_>, ReplicaError> {
    client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(|error| classify("freeze", error))
}
