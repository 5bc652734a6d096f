//! What goes to a branch: frozen pushes (and clones, see `copying`), remembered until the shop has applied them.
//!
//! The record of an outgoing stream (its key at the shop, the snapshot it ends at) is committed before the first byte is
//! sent, so whatever happens afterwards the outcome can be asked for by the key.

use std::collections::{BTreeMap, BTreeSet};

use protocol::carried::SessionKey;
use protocol::chunk::level_for;
use protocol::names::TableName;
use protocol::policy::{Deletes, GROUP_FIRST, ResolvedPolicy};
use protocol::session::ledger;
use tokio_postgres::{IsolationLevel, Transaction};

use super::groups::{FORGET_GROUPS, Windows};
use super::{Backlog, Branch, Office, Outgoing, State};
use crate::ReplicaError;
use crate::capture::CapturedTable;
use crate::diff::{Extraction, Followed, TablePlan, WindowCount, any_notes, count_window, extract_changes};
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
    /// Freezes what the branch does not have yet of the first group of tables that has something for it, or finds the push
    /// an interrupted run left. None when there is nothing.
    pub async fn freeze_push(&self, branch: &Branch) -> Result<Option<Outgoing>, ReplicaError> {
        self.freeze_push_from(branch, GROUP_FIRST).await
    }

    /// Whether some tables of the branch travel after others.
    pub async fn has_later_groups(&self, branch: &Branch) -> Result<bool, ReplicaError> {
        let state = self.state().await?;
        Ok(Self::rules(&state, branch)?.groups().len() > 1)
    }

    /// The same from a group on: what was recorded last was of the one before.
    pub async fn freeze_push_from(&self, branch: &Branch, group: u8) -> Result<Option<Outgoing>, ReplicaError> {
        let state = self.state().await?;
        let rules = Self::rules(&state, branch)?;
        if group <= GROUP_FIRST {
            if let Some(outgoing) = self.pending(branch, "push").await? {
                return Ok(Some(outgoing));
            }
            self.settle_groups(&state, branch, &rules).await?;
            let (stream, snapshot) = self.freeze(&state, branch, |group| group == GROUP_FIRST).await?;
            if let Some(stream) = stream {
                return Ok(Some(self.remember(branch, "push", stream, &snapshot, false).await?));
            }
            // nothing happened in between: the newer snapshot stands for the same, and saves the next scan
            self.store_pushed(branch, &snapshot, &state).await?;
            self.sweep_streams(branch, None).await?;
        }
        let record = self.record(branch).await?;
        let windows = self.windows(&state, &rules, branch, &self.pushed(&state, branch, &record)?).await?;
        let mut pending = self.pending_groups(branch).await?;
        let later: BTreeSet<u8> = windows.keys().chain(pending.keys()).copied().collect();
        for group in later.into_iter().filter(|later| *later >= group && *later != GROUP_FIRST) {
            let window = windows.get(&group);
            // also of another group, when a table of it has come to this one: what is newer must not go before it
            let concerns = |other: u8, tables: &BTreeSet<TableName>| {
                other == group || window.is_some_and(|window| !window.tables.is_disjoint(tables))
            };
            let waits = pending.iter().find(|(other, pending)| concerns(**other, &pending.tables));
            if let Some(pending) = waits.map(|(other, _)| *other).and_then(|other| pending.remove(&other)) {
                return Ok(Some(Outgoing { next_group: group, ..pending.outgoing }));
            }
            let Some(window) = window else { continue };
            let (stream, snapshot) = self.freeze(&state, branch, |other| other == group).await?;
            let incarnation = &state.incarnation;
            let Some(stream) = stream else {
                self.note_group(branch, window, &snapshot, incarnation.number).await?;
                continue;
            };
            let key = self.next_key(branch).await?;
            killpoint::reach("office.freeze.before-record");
            let outgoing =
                self.remember_group(branch, (group, window), (key, stream), &snapshot, incarnation.number).await?;
            killpoint::reach("office.freeze.recorded");
            self.inner.witness.remember(incarnation, &snapshot, None)?;
            return Ok(Some(outgoing));
        }
        Ok(None)
    }

    /// Freezes everything that the branch is not known to have, of all groups, in place of what may be on its way.
    pub(super) async fn freeze_all(&self, state: &State, branch: &Branch) -> Result<Option<Outgoing>, ReplicaError> {
        let (stream, snapshot) = self.freeze(state, branch, |_| true).await?;
        let Some(stream) = stream else { return Ok(None) };
        // an older stream of a group must not come behind it
        self.forget_group_streams(branch, None).await?;
        Ok(Some(self.remember(branch, "push", stream, &snapshot, true).await?))
    }

    /// What the branch is not known to have of some groups, as a stream, and the snapshot at which it ends.
    async fn freeze(
        &self,
        state: &State,
        branch: &Branch,
        wanted: impl Fn(u8) -> bool,
    ) -> Result<(Option<FrozenStream>, Snapshot), ReplicaError> {
        let record = self.record(branch).await?;
        let rules = Self::rules(state, branch)?;
        let mut windows = self.windows(state, &rules, branch, &self.pushed(state, branch, &record)?).await?;
        windows.retain(|group, _| wanted(*group));
        let mut client = self.inner.pool.get().await?;
        let transaction = frozen_transaction(&mut client).await?;
        let snapshot = current_snapshot(&transaction).await?;
        for window in windows.values() {
            retention::refuse_gap(&transaction, &window.since).await?;
        }
        let stream = self.extract(&transaction, state, branch, &windows, record.peer).await?;
        transaction.commit().await.map_err(|error| classify("freeze a push", error))?;
        Ok((stream, snapshot))
    }

    /// As [`Office::freeze_push`], but remembers nothing: what would be sent, for a dry run. The stream is removed again.
    pub async fn preview_push(&self, branch: &Branch) -> Result<Option<FrozenStream>, ReplicaError> {
        let state = self.state().await?;
        let (stream, _) = self.freeze(&state, branch, |_| true).await?;
        if let Some(stream) = &stream {
            self.inner.spool.remove(&stream.id)?;
        }
        Ok(stream)
    }

    /// Rows and bytes of the pushes that interrupted runs have left; none where there are none.
    pub async fn pending_push(&self, branch: &Branch) -> Result<Option<(u64, u64)>, ReplicaError> {
        let first = self.pending(branch, "push").await?;
        let later = self.pending_groups(branch).await?;
        let streams =
            first.iter().chain(later.values().map(|pending| &pending.outgoing)).map(|outgoing| &outgoing.stream);
        Ok(streams.map(|stream| (stream.rows, stream.bytes)).reduce(|sum, next| (sum.0 + next.0, sum.1 + next.1)))
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
        let mut client = self.inner.pool.get().await?;
        killpoint::reach("office.record.before");
        let transaction = client.transaction().await.map_err(|error| classify("record the clone", error))?;
        let recorded = transaction
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
        if recorded > 0 {
            // the clone brought the tables of all groups
            let forgotten = transaction.execute(FORGET_GROUPS, &[&branch.id]).await;
            forgotten.map_err(|error| classify("record the clone", error))?;
        }
        transaction.commit().await.map_err(|error| classify("record the clone", error))?;
        killpoint::reach("office.record.after");
        self.inner.spool.remove(&outgoing.stream.id)
    }

    /// Records that the shop has applied a push.
    pub async fn record_push(&self, branch: &Branch, outgoing: &Outgoing) -> Result<(), ReplicaError> {
        let failed = |error| classify("record the push", error);
        let mut client = self.inner.pool.get().await?;
        killpoint::reach("office.record.before");
        if outgoing.group != GROUP_FIRST {
            self.record_group(branch, outgoing).await?;
            killpoint::reach("office.record.after");
            return self.inner.spool.remove(&outgoing.stream.id);
        }
        let transaction = client.transaction().await.map_err(failed)?;
        transaction
            .execute(
                "update sync.pushed_table p set snapshot = b.outgoing_snapshot
                 from sync.branch_synchronization b
                 where b.branch_id = $1 and b.outgoing_key = $2 and b.outgoing_all and p.branch_id = b.branch_id",
                &[&branch.id, &outgoing.key],
            )
            .await
            .map_err(failed)?;
        transaction
            .execute(
                "update sync.branch_synchronization
                 set pushed_snapshot = outgoing_snapshot, pushed_at = clock_timestamp(),
                     outgoing_key = null, outgoing_kind = null, outgoing_stream = null, outgoing_snapshot = null
                 where branch_id = $1 and outgoing_key = $2",
                &[&branch.id, &outgoing.key],
            )
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        killpoint::reach("office.record.after");
        self.inner.spool.remove(&outgoing.stream.id)
    }

    /// Gives up an outgoing stream (the shop refused it): the next run freezes anew.
    pub async fn drop_outgoing(&self, branch: &Branch, outgoing: &Outgoing) -> Result<(), ReplicaError> {
        if outgoing.group != GROUP_FIRST {
            self.forget_group_streams(branch, Some(&outgoing.key)).await?;
            return self.inner.spool.remove(&outgoing.stream.id);
        }
        self.drop_stream(branch, &outgoing.key, &outgoing.stream.id).await
    }

    /// The same of a stream of the first group, or of all of them, by its key and its name.
    pub(super) async fn drop_stream(&self, branch: &Branch, key: &str, stream: &str) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        client
            .execute(
                "update sync.branch_synchronization
                 set outgoing_key = null, outgoing_kind = null, outgoing_stream = null, outgoing_snapshot = null
                 where branch_id = $1 and outgoing_key = $2",
                &[&branch.id, &key],
            )
            .await
            .map_err(|error| classify("give up an outgoing stream", error))?;
        self.inner.spool.remove(stream)
    }

    /// The branch's number, and what it has of the office's tables.
    pub(super) async fn sent(
        &self,
        state: &State,
        rules: &ResolvedPolicy,
        branch: &Branch,
    ) -> Result<(i32, Windows), ReplicaError> {
        let record = self.record(branch).await?;
        let windows = self.windows(state, rules, branch, &self.pushed(state, branch, &record)?).await?;
        Ok((record.peer, windows))
    }

    /// Rows waiting to go to the branch.
    pub async fn backlog(&self, branch: &Branch) -> Result<Backlog, ReplicaError> {
        let state = self.state().await?;
        let record = self.record(branch).await?;
        if record.pushed.is_none() {
            return Ok(Backlog::default());
        }
        let rules = Self::rules(&state, branch)?;
        let windows = self.windows(&state, &rules, branch, &self.pushed(&state, branch, &record)?).await?;
        let client = self.inner.pool.get().await?;
        let counts = count_window(&*client, in_windows(&state, &windows), record.peer).await?;
        Ok(Backlog { rows: counts.iter().map(|count| count.keys).sum() })
    }

    pub(super) async fn extract(
        &self,
        transaction: &Transaction<'_>,
        state: &State,
        branch: &Branch,
        windows: &Windows,
        peer: i32,
    ) -> Result<Option<FrozenStream>, ReplicaError> {
        let rules = Self::rules(state, branch)?;
        let mut counts = count_window(transaction, in_windows(state, windows), peer).await?;
        let first = windows.get(&GROUP_FIRST);
        let notes: Vec<_> =
            first.map(|first| ("missing", crate::apply::told_missing(&first.since, peer))).into_iter().collect();
        if counts.is_empty() && !any_notes(transaction, &notes).await? {
            return Ok(None);
        }
        let left_out = drift::left_out(transaction, Some(peer), &state.catalogue).await?;
        let mut plans: Vec<TablePlan> = Vec::new();
        let all = windows.values().flat_map(|window| window.tables.iter().cloned()).collect();
        for name in state.catalogue.parents_first(&all) {
            let (Some(table), Some(captured), Some(table_rules), Some(window)) = (
                state.catalogue.get(&name),
                state.captured.get(&name),
                rules.get(&name),
                windows.values().find(|window| window.tables.contains(&name)),
            ) else {
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
                since: window.since.clone(),
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
        let stream = extract_changes(transaction, plans, &counts, peer, extraction).await?;
        if stream.rows == 0 {
            self.inner.spool.remove(&stream.id)?;
            return Ok(None);
        }
        Ok(Some(stream))
    }

    /// How hard streams for a branch are compressed.
    pub(super) async fn level(&self, branch: &Branch) -> Result<u32, ReplicaError> {
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
        Ok(stream.map(|stream| Outgoing {
            key,
            stream,
            base,
            resumed: true,
            group: GROUP_FIRST,
            next_group: GROUP_FIRST,
        }))
    }

    pub(super) async fn remember(
        &self,
        branch: &Branch,
        kind: &str,
        stream: FrozenStream,
        snapshot: &Snapshot,
        all_groups: bool,
    ) -> Result<Outgoing, ReplicaError> {
        let (key, base) = self.remember_stream(branch, kind, &stream.id, snapshot, all_groups).await?;
        Ok(Outgoing { key, stream, base, resumed: false, group: GROUP_FIRST, next_group: GROUP_FIRST + 1 })
    }

    /// Records what is about to be sent: its key, and the shop's watermark that it rests on.
    pub(super) async fn remember_stream(
        &self,
        branch: &Branch,
        kind: &str,
        stream: &str,
        snapshot: &Snapshot,
        all_groups: bool,
    ) -> Result<(String, Option<String>), ReplicaError> {
        let incarnation = self.state().await?.incarnation.clone();
        let key = self.next_key(branch).await?;
        let client = self.inner.pool.get().await?;
        killpoint::reach("office.freeze.before-record");
        let row = client
            .query_one(
                "update sync.branch_synchronization
                 set outgoing_key = $2, outgoing_kind = $3, outgoing_stream = $4, outgoing_snapshot = $5::text::pg_snapshot,
                     outgoing_all = $6, outgoing_base = \"timestamp\"
                 where branch_id = $1 returning outgoing_base",
                &[&branch.id, &key, &kind, &stream, &snapshot.as_str(), &all_groups],
            )
            .await
            .map_err(|error| classify("record an outgoing stream", error))?;
        killpoint::reach("office.freeze.recorded");
        self.inner.witness.remember(&incarnation, snapshot, None)?;
        self.sweep_streams(branch, Some(stream)).await?;
        Ok((key, row.get(0)))
    }

    /// The key of the branch's next session.
    async fn next_key(&self, branch: &Branch) -> Result<String, ReplicaError> {
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
        Ok(SessionKey::new(number, &incarnation.id, rand::random::<u64>()).as_str().to_owned())
    }

    /// Removes the branch's streams but the one that is recorded: what an earlier run replaced, had sent, or froze before
    /// it died. Whoever calls holds the branch, so nobody writes one of them now.
    async fn sweep_streams(&self, branch: &Branch, recorded: Option<&str>) -> Result<(), ReplicaError> {
        let of_groups = self.group_streams(branch).await?;
        for stream in self.inner.spool.list()? {
            let is_recorded = Some(stream.id.as_str()) == recorded || of_groups.contains(&stream.id);
            if stream.labels.get("branch") == Some(&branch.name) && !is_recorded {
                self.inner.spool.remove(&stream.id)?;
            }
        }
        self.inner.spool.sweep()
    }

    /// The same but the one that is recorded now.
    pub(super) async fn sweep_unrecorded(&self, branch: &Branch) -> Result<(), ReplicaError> {
        let recorded = self.record(branch).await?.outgoing.map(|(_, _, stream)| stream);
        self.sweep_streams(branch, recorded.as_deref()).await
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

/// The captured tables of some groups, and where their windows begin.
fn in_windows<'a>(state: &'a State, windows: &'a Windows) -> impl Iterator<Item = (&'a CapturedTable, &'a Snapshot)> {
    windows
        .values()
        .flat_map(|window| window.tables.iter().filter_map(|name| Some((state.captured.get(name)?, &window.since))))
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

pub(super) async fn frozen_transaction(client: &mut tokio_postgres::Client) -> Result<Transaction<'_>, ReplicaError> {
    client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(|error| classify("freeze", error))
}
