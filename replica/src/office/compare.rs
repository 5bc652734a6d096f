//! Fingerprints of the office's tables, as one branch should have them.

use std::sync::Arc;

use protocol::methods::TableDigest;
use protocol::names::TableName;
use protocol::policy::{Direction, ResolvedPolicy, TablePolicy};
use tokio_postgres::{Client, IsolationLevel, Transaction};

use super::{Branch, Office, RepairBase, State};
use crate::ReplicaError;
use crate::catalogue::Table;
use crate::digest::{self, RowDigest};
use crate::drift::{self, LeftOut};
use crate::error::classify;
use crate::subset;

/// Which ids tell a shop's rows apart that flow from it, for the shop's side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// Ids above this.
    pub low: Option<i64>,
    /// Ids up to this.
    pub high: Option<i64>,
}

/// A table as the office sees it for one branch.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Its rows and fingerprint.
    pub digest: TableDigest,
    /// Which way it flows.
    pub direction: Direction,
}

/// A branch's tables and how its rows are told apart.
pub(super) struct View {
    pub(super) state: Arc<State>,
    pub(super) rules: Arc<ResolvedPolicy>,
    /// Which ids may be the branch's: its ranges; of a shop that was adopted, all that no other branch was given.
    ranges: Vec<(i64, i64)>,
    /// What the shop does not have is not compared.
    left_out: LeftOut,
    /// Whether the shop had rows before it had a range. Then row filters tell its rows apart; without one, rows of others
    /// that have come in before they had ranges either are looked at too, and are no difference where it lacks them.
    pub(super) adopted: bool,
}

/// A table of a comparison, or those of its rows that are the branch's.
pub(super) struct Part<'a> {
    pub(super) table: Table,
    /// Condition on alias `x`.
    pub(super) condition: Option<String>,
    pub(super) rules: &'a TablePolicy,
}

impl View {
    /// The tables whose rows of the branch can be told apart, of those that are wanted, parents before children.
    pub(super) fn parts(
        &self,
        branch: &Branch,
        wanted: impl Fn(&TablePolicy) -> bool,
    ) -> Result<Vec<Part<'_>>, ReplicaError> {
        let names = self.rules.tables.iter().filter(|(_, rules)| wanted(rules)).map(|(name, _)| name.clone()).collect();
        let mut parts = Vec::new();
        for name in self.state.catalogue.parents_first(&names) {
            if let (Some((table, condition)), Some(rules)) = (self.table(branch, &name)?, self.rules.get(&name)) {
                parts.push(Part { table, condition, rules });
            }
        }
        Ok(parts)
    }

    /// As [`Office::digests`], from a transaction's snapshot.
    pub(super) async fn digests(
        &self,
        transaction: &Transaction<'_>,
        branch: &Branch,
    ) -> Result<Vec<Compared>, ReplicaError> {
        let mut compared = Vec::new();
        for Part { table, condition, rules } in self.parts(branch, |_| true)? {
            let digest = digest::digest(transaction, &table, condition.as_deref(), &digest::summed(rules)).await?;
            compared.push(Compared { digest, direction: rules.direction });
        }
        Ok(compared)
    }

    /// The table with the condition for the branch's rows; none when they cannot be told apart.
    fn table(&self, branch: &Branch, name: &TableName) -> Result<Option<(Table, Option<String>)>, ReplicaError> {
        let (Some(table), Some(rules)) = (self.state.catalogue.get(name), self.rules.get(name)) else {
            return Ok(None);
        };
        let table = drift::reduced(table, &self.left_out);
        let subset = subset::condition(&self.state.catalogue, &self.rules, name, branch.id)?;
        Ok(match rules.direction {
            Direction::FromSource | Direction::Both => Some((table, subset)),
            Direction::FromTarget if self.adopted => {
                let own = || digest::own_rows(&self.state.catalogue, &self.rules, &self.ranges).remove(name);
                Some((table, subset.or_else(own)))
            }
            // what the office has of the branch from before its clone is not at the shop
            Direction::FromTarget => {
                let own = digest::own_rows(&self.state.catalogue, &self.rules, &self.ranges).remove(name);
                match (own, subset) {
                    (Some(own), Some(subset)) => Some((table, Some(format!("{own} and ({subset})")))),
                    (None, None) => None,
                    (one, other) => Some((table, one.or(other))),
                }
            }
            Direction::Initial | Direction::Local => None,
        })
    }
}

/// The ranges of the other branches, lowest first. Those of a branch that was removed may be this very shop's.
const OTHERS: &str = "select s.low, s.high from sync.id_slot s join sync.branch_synchronization b using (branch_id)
    where s.branch_id <> $1 and not s.removed order by s.low";

/// What lies between disjoint ranges that come in ascending order.
fn between(ranges: impl Iterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    let (mut free, mut from) = (Vec::new(), i64::MIN);
    for (low, high) in ranges {
        if from < low {
            free.push((from, low));
        }
        from = from.max(high);
    }
    free.push((from, i64::MAX));
    free
}

impl Office {
    pub(super) async fn view(&self, branch: &Branch) -> Result<View, ReplicaError> {
        let state = self.state().await?;
        let rules = Self::rules(&state, branch)?;
        let client = self.inner.pool.get().await?;
        let failed = |error| classify("look up the id ranges", error);
        let from: Option<i32> = client
            .query_one("select compared_from from sync.branch_synchronization where branch_id = $1", &[&branch.id])
            .await
            .map_err(failed)?
            .get(0);
        let rows = client
            .query(
                "select low, high from sync.id_slot where branch_id = $1 and not removed
                   and slot >= coalesce($2, (select max(slot) from sync.id_slot where branch_id = $1 and not removed))
                 order by slot",
                &[&branch.id, &from],
            )
            .await
            .map_err(failed)?;
        let left_out = drift::left_out(&*client, Some(self.peer_of(branch).await?), &state.catalogue).await?;
        let adopted = from == Some(super::adoption::ADOPTED);
        let ranges = if adopted {
            let others = client.query(OTHERS, &[&branch.id]).await.map_err(failed)?;
            between(others.iter().map(|row| (row.get(0), row.get(1))))
        } else {
            rows.iter().map(|row| (row.get(0), row.get(1))).collect()
        };
        Ok(View { state, rules, ranges, left_out, adopted })
    }

    /// Which ids the shop is to compare.
    pub async fn scope(&self, branch: &Branch) -> Result<Scope, ReplicaError> {
        let view = self.view(branch).await?;
        if view.adopted {
            return Ok(Scope { low: Some(i64::MIN), high: Some(i64::MAX) });
        }
        Ok(Scope {
            low: view.ranges.iter().map(|range| range.0).min(),
            high: view.ranges.iter().map(|range| range.1).max(),
        })
    }

    /// Counts and fingerprints of the branch's tables as the office sees them, from one snapshot, parents before children:
    /// tables that belong to all in full or by their row filter, from-target tables restricted to the branch's own rows.
    /// A table whose rows of the branch cannot be told apart is absent.
    pub async fn digests(&self, branch: &Branch) -> Result<Vec<Compared>, ReplicaError> {
        let view = self.view(branch).await?;
        let mut client = self.inner.pool.get().await?;
        let transaction = reading(&mut client).await?;
        view.digests(&transaction, branch).await
    }

    /// The tables that are compared with a branch, parents before children.
    pub async fn compared_tables(&self, branch: &Branch) -> Result<Vec<String>, ReplicaError> {
        let view = self.view(branch).await?;
        Ok(view.parts(branch, |_| true)?.iter().map(|part| part.table.name.to_string()).collect())
    }

    /// A fingerprint per bucket of one table.
    pub async fn bucket_digest(&self, branch: &Branch, table: &str, buckets: i64) -> Result<TableDigest, ReplicaError> {
        let view = self.view(branch).await?;
        let client = self.inner.pool.get().await?;
        let (table, condition) = known(&view, branch, table)?;
        digest::buckets(&*client, &table, condition.as_deref(), buckets).await
    }

    /// The rows of some buckets, and those remembered as deleted there.
    pub async fn row_digests(
        &self,
        branch: &Branch,
        table: &str,
        buckets: i64,
        wanted: &[i64],
        since: Option<&RepairBase>,
    ) -> Result<Vec<RowDigest>, ReplicaError> {
        let view = self.view(branch).await?;
        let client = self.inner.pool.get().await?;
        let (table, condition) = known(&view, branch, table)?;
        let captured = view.state.captured.get(&table.name);
        let since = since.map(RepairBase::snapshot);
        // buckets of few rows, and no more of them than the shop could answer for
        digest::rows(&*client, &table, condition.as_deref(), captured, buckets, wanted, since, usize::MAX).await
    }

    /// Whole rows, as JSON objects of texts.
    pub async fn rows(&self, table: &str, keys: &[String]) -> Result<Vec<String>, ReplicaError> {
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        let Some(table) = state.catalogue.get(&digest::table_name(table)) else {
            return Err(ReplicaError::Schema(format!("table {table} is gone")));
        };
        digest::images(&*client, table, keys, usize::MAX).await
    }
}

fn known(view: &View, branch: &Branch, table: &str) -> Result<(Table, Option<String>), ReplicaError> {
    view.table(branch, &digest::table_name(table))?
        .ok_or_else(|| ReplicaError::Schema(format!("table {table} is not compared")))
}

pub(super) async fn reading(client: &mut Client) -> Result<Transaction<'_>, ReplicaError> {
    client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(|error| classify("fingerprint the tables", error))
}
