//! Groups of tables that travel to a branch one after the other (`group` in the policy), each in a stream of its own.
//!
//! The first group goes by the branch's own record. Of the tables in later ones it is remembered one by one what the
//! branch has, so that a table may change its group at any time: nothing of it is forgotten, and what is sent twice does
//! no harm, for only the office changes these tables.

use std::collections::{BTreeMap, BTreeSet};

use protocol::names::TableName;
use protocol::policy::{Direction, GROUP_FIRST, ResolvedPolicy};
use protocol::session::ledger;
use tokio_postgres::GenericClient;

use super::{Branch, Office, Outgoing, State};
use crate::ReplicaError;
use crate::capture;
use crate::error::classify;
use crate::spool::FrozenStream;
use crate::watermark::Snapshot;

/// Tables that travel together, and what the branch has of them.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// The branch has what this snapshot sees.
    pub(super) since: Snapshot,
    /// The tables.
    pub(super) tables: BTreeSet<TableName>,
}

/// A stream of a later group that an earlier run has left.
pub(super) struct PendingGroup {
    pub(super) outgoing: Outgoing,
    /// The tables that it brings up to its snapshot.
    pub(super) tables: BTreeSet<TableName>,
}

/// The windows of all groups; that of the first one is always there.
pub(super) type Windows = BTreeMap<u8, Window>;

impl Office {
    /// What travels to a branch in which group, and from where on. `pushed` is the branch's own record.
    pub(super) async fn windows(
        &self,
        state: &State,
        rules: &ResolvedPolicy,
        branch: &Branch,
        pushed: &Snapshot,
    ) -> Result<Windows, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query(
                // the oldest first
                "select schema_name, table_name, snapshot::text, incarnation from sync.pushed_table where branch_id = $1
                 order by pg_snapshot_xmax(snapshot), pg_snapshot_xmin(snapshot), octet_length(snapshot::text) desc",
                &[&branch.id],
            )
            .await
            .map_err(|error| classify("look up what the branch has of the later groups", error))?;
        let first = Window { since: pushed.clone(), tables: BTreeSet::new() };
        let mut windows = Windows::from([(GROUP_FIRST, first)]);
        let flows = |name: &TableName| rules.get(name).filter(|rules| rules.direction.flows_to_shop());
        let mut placed = BTreeSet::new();
        for row in rows {
            let name = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            let Some(rules) = flows(&name).filter(|_| ledger::counts(row.get(3), state.incarnation.number)) else {
                continue;
            };
            // a table that has come back to the first group is sent behind it once more, to catch up
            let group = rules.group.max(GROUP_FIRST + 1);
            let since = Snapshot::parse(row.get(2))?;
            windows.entry(group).or_insert(Window { since, tables: BTreeSet::new() }).tables.insert(name.clone());
            placed.insert(name);
        }
        for name in state.captured.keys().filter(|name| !placed.contains(*name)) {
            let Some(rules) = flows(name) else { continue };
            let window = match windows.get_mut(&rules.group) {
                Some(window) => window,
                None => windows.entry(rules.group).or_insert(Window { since: pushed.clone(), tables: BTreeSet::new() }),
            };
            // nobody has noted yet what the branch has of the table: what it has of the first group
            if rules.group != GROUP_FIRST && is_older(pushed, &window.since) {
                window.since = pushed.clone();
            }
            window.tables.insert(name.clone());
        }
        Ok(windows)
    }

    /// Notes what the branch has of tables that are new in a later group, before the record of the first one moves on;
    /// and forgets tables that are no longer sent. Of a table that shops change too from now on everything is sent anew:
    /// what a shop's change rests on is told by the record of the first group alone.
    pub(super) async fn settle_groups(
        &self,
        state: &State,
        branch: &Branch,
        rules: &ResolvedPolicy,
    ) -> Result<(), ReplicaError> {
        let failed = |error| classify("note the groups of tables", error);
        let sent = rules.tables.iter().filter(|(_, rules)| rules.direction.flows_to_shop());
        let (later, names): (Vec<bool>, Vec<&TableName>) =
            sent.map(|(name, rules)| (rules.group != GROUP_FIRST, name)).unzip();
        let (schemas, tables): (Vec<&str>, Vec<&str>) =
            names.iter().map(|name| (name.schema.as_str(), name.name.as_str())).unzip();
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        for (name, _) in rules.in_direction(Direction::Both) {
            let (Some(table), Some(captured)) = (state.catalogue.get(name), state.captured.get(name)) else { continue };
            let noted = transaction
                .execute(
                    "delete from sync.pushed_table where branch_id = $1 and schema_name = $2 and table_name = $3",
                    &[&branch.id, &name.schema, &name.name],
                )
                .await
                .map_err(failed)?;
            if noted > 0 {
                capture::request(&transaction, table, captured, "true").await?;
                // an older stream must not come behind it
                transaction
                    .execute(
                        "delete from sync.outgoing_group where branch_id = $1
                           and exists (select from unnest(schemas, tables) x(s, t) where (s, t) = ($2, $3))",
                        &[&branch.id, &name.schema, &name.name],
                    )
                    .await
                    .map_err(failed)?;
            }
        }
        transaction
            .execute(
                "with sent as (select * from unnest($2::text[], $3::text[], $4::boolean[]) x(s, t, later)),
                 gone as (delete from sync.pushed_table p where branch_id = $1
                     and not exists (select from sent where (s, t) = (p.schema_name, p.table_name)))
                 insert into sync.pushed_table(branch_id, schema_name, table_name, snapshot, incarnation)
                 select b.branch_id, s, t, b.pushed_snapshot, b.pushed_incarnation
                 from sync.branch_synchronization b, sent
                 where b.branch_id = $1 and sent.later and b.pushed_snapshot is not null and b.pushed_incarnation is not null
                 on conflict do nothing",
                &[&branch.id, &schemas, &tables, &later],
            )
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// The streams of later groups that earlier runs have left, if their files are whole.
    pub(super) async fn pending_groups(&self, branch: &Branch) -> Result<BTreeMap<u8, PendingGroup>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query(
                "select \"group\", key, stream, base, schemas, tables from sync.outgoing_group where branch_id = $1",
                &[&branch.id],
            )
            .await
            .map_err(|error| classify("look for streams of the later groups", error))?;
        let mut pending = BTreeMap::new();
        for row in rows {
            let group = u8::try_from(row.get::<_, i32>(0)).unwrap_or(u8::MAX);
            let Some(stream) = self.inner.spool.find(row.get(2))? else { continue };
            let (schemas, names): (Vec<String>, Vec<String>) = (row.get(4), row.get(5));
            let tables = schemas.into_iter().zip(names).map(|(schema, name)| TableName::new(schema, name)).collect();
            let (key, base) = (row.get(1), row.get(3));
            let outgoing = Outgoing { key, stream, base, resumed: true, group, next_group: group };
            pending.insert(group, PendingGroup { outgoing, tables });
        }
        Ok(pending)
    }

    /// Remembers a frozen stream of a later group before it is sent.
    pub(super) async fn remember_group(
        &self,
        branch: &Branch,
        (group, window): (u8, &Window),
        (key, stream): (String, FrozenStream),
        snapshot: &Snapshot,
        incarnation: i32,
    ) -> Result<Outgoing, ReplicaError> {
        let (schemas, tables) = lists(&window.tables);
        let client = self.inner.pool.get().await?;
        let row = client
            .query_one(
                "insert into sync.outgoing_group as o (branch_id, \"group\", key, stream, snapshot, incarnation, base, schemas, tables)
                 select branch_id, $2, $3, $4, $5::text::pg_snapshot, $6, \"timestamp\", $7, $8
                 from sync.branch_synchronization where branch_id = $1
                 on conflict (branch_id, \"group\") do update set key = excluded.key, stream = excluded.stream,
                     snapshot = excluded.snapshot, incarnation = excluded.incarnation, base = excluded.base,
                     schemas = excluded.schemas, tables = excluded.tables
                 returning base",
                &[
                    &branch.id,
                    &i32::from(group),
                    &key,
                    &stream.id,
                    &snapshot.as_str(),
                    &incarnation,
                    &schemas,
                    &tables,
                ],
            )
            .await
            .map_err(|error| classify("record an outgoing stream", error))?;
        Ok(Outgoing { key, stream, base: row.get(0), resumed: false, group, next_group: group.saturating_add(1) })
    }

    /// Notes that the branch has everything of a window's tables up to a snapshot.
    pub(super) async fn note_group(
        &self,
        branch: &Branch,
        window: &Window,
        snapshot: &Snapshot,
        incarnation: i32,
    ) -> Result<(), ReplicaError> {
        let (schemas, tables) = lists(&window.tables);
        let client = self.inner.pool.get().await?;
        client
            .execute(
                "insert into sync.pushed_table(branch_id, schema_name, table_name, snapshot, incarnation)
                 select $1, s, t, $4::text::pg_snapshot, $5 from unnest($2::text[], $3::text[]) x(s, t)
                 on conflict (branch_id, schema_name, table_name) do update
                     set snapshot = excluded.snapshot, incarnation = excluded.incarnation",
                &[&branch.id, &schemas, &tables, &snapshot.as_str(), &incarnation],
            )
            .await
            .map_err(|error| classify("note what the branch has of a group", error))?;
        self.rejoin(&*client, branch).await
    }

    /// Records that the shop has applied the stream of a later group.
    pub(super) async fn record_group(&self, branch: &Branch, outgoing: &Outgoing) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        client
            .execute(
                "with applied as (
                     delete from sync.outgoing_group where branch_id = $1 and key = $2
                     returning branch_id, schemas, tables, snapshot, incarnation)
                 insert into sync.pushed_table(branch_id, schema_name, table_name, snapshot, incarnation)
                 select a.branch_id, s, t, a.snapshot, a.incarnation from applied a, unnest(a.schemas, a.tables) x(s, t)
                 on conflict (branch_id, schema_name, table_name) do update
                     set snapshot = excluded.snapshot, incarnation = excluded.incarnation",
                &[&branch.id, &outgoing.key],
            )
            .await
            .map_err(|error| classify("record the push of a group", error))?;
        self.rejoin(&*client, branch).await
    }

    /// Tables that have come back to the first group go with it again: the branch has at least as much of them, since they
    /// were sent behind it.
    async fn rejoin(&self, client: &impl GenericClient, branch: &Branch) -> Result<(), ReplicaError> {
        let state = self.state().await?;
        let rules = Self::rules(&state, branch)?;
        let first: BTreeSet<TableName> =
            rules.tables.iter().filter(|(_, rules)| rules.group == GROUP_FIRST).map(|(name, _)| name.clone()).collect();
        let (schemas, tables) = lists(&first);
        client
            .execute(
                "delete from sync.pushed_table p using sync.branch_synchronization b
                 where p.branch_id = $1 and b.branch_id = $1 and p.incarnation = b.pushed_incarnation
                   and (p.schema_name, p.table_name) in (select * from unnest($2::text[], $3::text[]))
                   and pg_snapshot_xmin(p.snapshot) >= pg_snapshot_xmax(b.pushed_snapshot)",
                &[&branch.id, &schemas, &tables],
            )
            .await
            .map_err(|error| classify("note the groups of tables", error))?;
        Ok(())
    }

    /// Forgets the streams of later groups: what replaces them holds all that they held.
    pub(super) async fn forget_group_streams(&self, branch: &Branch, key: Option<&str>) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        client
            .execute(
                "delete from sync.outgoing_group where branch_id = $1 and key = coalesce($2, key)",
                &[&branch.id, &key],
            )
            .await
            .map_err(|error| classify("give up an outgoing stream", error))?;
        Ok(())
    }

    /// The streams of later groups that are recorded.
    pub(super) async fn group_streams(&self, branch: &Branch) -> Result<BTreeSet<String>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query("select stream from sync.outgoing_group where branch_id = $1", &[&branch.id])
            .await
            .map_err(|error| classify("look for streams of the later groups", error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

/// SQL that forgets what was noted of a branch's later groups, behind what makes it needless.
pub(super) const FORGET_GROUPS: &str = "with forgotten as (delete from sync.outgoing_group where branch_id = $1) delete from sync.pushed_table where branch_id = $1";

fn lists(tables: &BTreeSet<TableName>) -> (Vec<&str>, Vec<&str>) {
    tables.iter().map(|name| (name.schema.as_str(), name.name.as_str())).unzip()
}

/// Whether the one snapshot sees less than the other, both of one database.
fn is_older(one: &Snapshot, other: &Snapshot) -> bool {
    let order = |snapshot: &Snapshot| {
        let bounds = &snapshot.bounds;
        (bounds.xmax(), bounds.xmin(), std::cmp::Reverse(bounds.in_progress().len()))
    };
    order(one) < order(other)
}
