//! Bringing a branch together with the office again after one of the two databases was restored.
//!
//! A repair begins with a snapshot here and a watermark at the shop. What changes from then on is in the change logs and
//! travels as usual; what differs without having changed is found by comparing, and marked in the change log of the side
//! that has it, for this one peer. Then the snapshot and the watermark are recorded, and an update carries it all:
//! exactly once, and resumable like every update.

use protocol::names::quote_identifier;

use super::{Branch, Office};
use crate::ReplicaError;
use crate::catalogue::{Table, quote_literal};
use crate::digest;
use crate::error::classify;
use crate::watermark::{Snapshot, current_snapshot};

/// Where a repair begins at the office.
#[derive(Debug, Clone)]
pub struct RepairBase {
    snapshot: Snapshot,
    /// Whether the office's database knows less than it had told.
    pub office_restored: bool,
}

impl RepairBase {
    /// At the start of an adoption: the office's database is what counts.
    pub(super) fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, office_restored: false }
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// A row that one side loses in a repair, kept for review.
#[derive(Debug, Clone)]
pub struct Loser {
    /// Its key: a JSON object of texts.
    pub key: String,
    /// The office's row.
    pub ours: Option<String>,
    /// The shop's row.
    pub theirs: Option<String>,
}

impl Office {
    /// Where the repair of a branch begins: all that is committed later is in the change log.
    pub async fn begin_repair(&self, branch: &Branch) -> Result<RepairBase, ReplicaError> {
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        let snapshot = current_snapshot(&*client).await?;
        let row = client
            .query_one(
                // a shop that gets a fresh range still has the rows of the one before
                "update sync.branch_synchronization set compared_from = coalesce(compared_from,
                     (select max(slot) from sync.id_slot s where s.branch_id = $1 and not s.removed))
                 where branch_id = $1
                 returning coalesce(history = 'caller-older', false) or coalesce(pushed_incarnation <> $2, false)",
                &[&branch.id, &state.incarnation.number],
            )
            .await
            .map_err(|error| classify("begin a repair", error))?;
        Ok(RepairBase { snapshot, office_restored: row.get(0) })
    }

    /// Makes rows travel to that branch with the next push, or their deletes where they are gone.
    pub async fn mark(&self, branch: &Branch, table: &str, keys: &[String]) -> Result<(), ReplicaError> {
        let state = self.state().await?;
        let peer = self.peer_of(branch).await?;
        let name = digest::table_name(table);
        let (Some(table), Some(captured)) = (state.catalogue.get(&name), state.captured.get(&name)) else {
            return Err(ReplicaError::Schema(format!("table {name} is not under capture")));
        };
        let client = self.inner.pool.get().await?;
        digest::mark(&*client, table, captured, peer, keys).await
    }

    /// Keeps what one side loses: reviewed and reversed like the loser of a conflict.
    pub async fn keep_losers(
        &self,
        branch: &Branch,
        table: &str,
        winner: super::Side,
        losers: &[Loser],
    ) -> Result<(), ReplicaError> {
        if losers.is_empty() {
            return Ok(());
        }
        let peer = self.peer_of(branch).await?;
        let name = digest::table_name(table);
        let client = self.inner.pool.get().await?;
        let keys: Vec<&str> = losers.iter().map(|loser| loser.key.as_str()).collect();
        let ours: Vec<Option<&str>> = losers.iter().map(|loser| loser.ours.as_deref()).collect();
        let theirs: Vec<Option<&str>> = losers.iter().map(|loser| loser.theirs.as_deref()).collect();
        client
            .execute(
                "insert into sync.conflict(schema_name, table_name, key, kind, rule, columns, ours, theirs, winner, peer)
                 select $1, $2, k::jsonb, case when o is null or t is null then 'update-delete' else 'columns' end, 'repair',
                     coalesce((select array_agg(j.key order by j.key) from jsonb_each_text(o::jsonb) j
                               where j.value is distinct from t::jsonb ->> j.key), '{}'),
                     o::jsonb, t::jsonb, $3, $4
                 from unnest($5::text[], $6::text[], $7::text[]) u(k, o, t)
                 where not exists (select from sync.conflict c where c.schema_name = $1 and c.table_name = $2
                     and c.key = k::jsonb and c.rule = 'repair' and c.resolved_at is null
                     and c.ours is not distinct from o::jsonb and c.theirs is not distinct from t::jsonb)",
                &[&name.schema, &name.name, &winner.as_str(), &peer, &keys, &ours, &theirs],
            )
            .await
            .map_err(|error| classify("keep what a repair replaces", error))?;
        Ok(())
    }

    /// Takes rows of the office's own back from a shop: a restored office has lost them. They are changes like any other,
    /// and reach the other shops too.
    pub async fn take_back(&self, table: &str, images: &[String]) -> Result<(), ReplicaError> {
        let state = self.state().await?;
        let failed = |error| classify("take rows back", error);
        let Some(table) = state.catalogue.get(&digest::table_name(table)) else {
            return Err(ReplicaError::Schema(format!("table {table} is gone")));
        };
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        if state.rights.quiet {
            transaction.batch_execute("set local session_replication_role = replica").await.map_err(failed)?;
        }
        transaction.execute(&insert_images(table), &[&images]).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)
    }

    /// Records a repair: from here on updates go on from its snapshot and its watermark.
    pub async fn record_repair(
        &self,
        branch: &Branch,
        base: &RepairBase,
        watermark: &str,
        incarnation: &str,
        shop_restored: bool,
    ) -> Result<(), ReplicaError> {
        let failed = |error| classify("record the repair", error);
        let state = self.state().await?;
        let peer = self.peer_of(branch).await?;
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        if shop_restored {
            // the shop counts its increments anew; what it had contributed is the office's from now on
            transaction.execute("delete from sync.total where peer = $1", &[&peer]).await.map_err(failed)?;
        }
        transaction.execute(super::groups::FORGET_GROUPS, &[&branch.id]).await.map_err(failed)?;
        transaction
            .execute(
                "update sync.branch_synchronization
                 set \"timestamp\" = $2, incarnation = $3, pushed_snapshot = $4::text::pg_snapshot, pushed_incarnation = $5,
                     retired_at = null, outgoing_key = null, outgoing_kind = null, outgoing_stream = null, outgoing_snapshot = null
                 where branch_id = $1",
                &[&branch.id, &watermark, &incarnation, &base.snapshot.as_str(), &state.incarnation.number],
            )
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        self.inner.witness.remember(&state.incarnation, &base.snapshot, None)
    }
}

/// Inserts rows given as JSON objects of texts; those that are there stay as they are.
fn insert_images(table: &Table) -> String {
    let names: Vec<String> = table.written_columns().map(|column| quote_identifier(&column.name)).collect();
    let values: Vec<String> = table
        .written_columns()
        .map(|column| format!("(j::jsonb ->> {})::{}", quote_literal(&column.name), column.type_name))
        .collect();
    format!(
        "insert into {} ({}) overriding system value select {} from unnest($1::text[]) j on conflict do nothing",
        table.name.quoted(),
        names.join(", "),
        values.join(", ")
    )
}
