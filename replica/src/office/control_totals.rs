//! Control totals of a branch, counted at the end of a session: the office's half, and what is kept of both.

use std::collections::{BTreeMap, BTreeSet};

use protocol::control_totals::{Circumstances, Verdict, compare};
use protocol::methods::TableDigest;
use protocol::names::TableName;
use protocol::policy::{Deletes, Direction};
use serde::{Deserialize, Serialize};
use tokio_postgres::Transaction;

use super::compare::{Part, View, reading};
use super::groups::Windows;
use super::{Branch, Office};
use crate::ReplicaError;
use crate::control_totals::{Since, count};
use crate::diff::count_window;

/// The office's totals of a table, and what may explain that the shop's are others.
#[derive(Debug, Clone)]
pub struct OfficeTotals {
    /// Rows and sums.
    pub digest: TableDigest,
    /// What may explain a difference.
    pub circumstances: Circumstances,
}

/// The totals of a table at both ends, as the history keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlTotal {
    /// The table.
    pub table: String,
    /// Rows at the office.
    pub office_rows: i64,
    /// Rows at the shop.
    pub shop_rows: i64,
    /// Sums of the columns that are money, by name.
    pub sums: BTreeMap<String, SumOfBoth>,
    /// How they compare.
    pub verdict: Verdict,
}

/// The sums of a column, decimal numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SumOfBoth {
    /// At the office.
    pub office: String,
    /// At the shop.
    pub shop: Option<String>,
}

impl ControlTotal {
    /// Holds what the two ends have counted against each other.
    pub fn of(ours: &OfficeTotals, theirs: &TableDigest) -> Self {
        let (verdict, office, shop) = compare(&ours.digest, theirs, ours.circumstances);
        let at_shop = |column: &str| shop.sums.iter().find(|sum| sum.column == column).map(|sum| sum.sum.clone());
        let sums = office
            .sums
            .iter()
            .map(|sum| (sum.column.clone(), SumOfBoth { office: sum.sum.clone(), shop: at_shop(&sum.column) }));
        Self {
            table: ours.digest.table.clone(),
            office_rows: office.rows,
            shop_rows: shop.rows,
            sums: sums.collect(),
            verdict,
        }
    }

    /// Whether the ends differ and nothing explains it.
    pub fn differs(&self) -> bool {
        self.verdict == Verdict::Differs
    }
}

impl Office {
    /// Counts the rows and adds up the money of the branch's tables that declare `money`, from one snapshot, parents first.
    /// A table whose rows of the branch cannot be told apart is absent. Nothing is read where no table declares any.
    pub async fn control_totals(&self, branch: &Branch) -> Result<Vec<OfficeTotals>, ReplicaError> {
        let view = self.view(branch).await?;
        let parts = view.parts(branch, |rules| !rules.money.is_empty())?;
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let (peer, windows) = self.sent(&view.state, &view.rules, branch).await?;
        let quarantine = self.quarantine_of(branch).await?;
        let at_shop = self.shop_quarantine_counts().await?.get(&branch.name).copied().unwrap_or(0);
        let mut client = self.inner.pool.get().await?;
        let transaction = reading(&mut client).await?;
        let mut totals = Vec::new();
        for Part { table, condition, rules } in &parts {
            let name = &table.name;
            let window = windows.values().find(|window| window.tables.contains(name));
            let since = match (view.state.captured.get(name), window) {
                (Some(captured), Some(window)) => Some(Since { captured, snapshot: &window.since, peer }),
                _ => None,
            };
            let mut digest = count(&transaction, table, condition.as_deref(), &rules.money, since).await?;
            let moving = self.moving(&transaction, &view, name, (peer, &windows)).await?;
            if let Some(settled) = &mut digest.settled {
                settled.changed += moving;
            }
            let keeps = rules.deletes == Deletes::Ignore;
            // of an adopted shop the office may have rows from before it had a range
            let more = rules.direction == Direction::FromTarget && view.adopted;
            totals.push(OfficeTotals {
                digest,
                circumstances: Circumstances {
                    office_keeps: more || (keeps && rules.direction.flows_to_office()),
                    shop_keeps: keeps && rules.direction.flows_to_shop(),
                    waiting: at_shop + quarantine.get(name).copied().unwrap_or(0),
                },
            });
        }
        Ok(totals)
    }

    /// Changes of the rows by which those of a table are told to belong to the branch (`rows = "via parent"`): they may have
    /// come or gone with them.
    async fn moving(
        &self,
        transaction: &Transaction<'_>,
        view: &View,
        name: &TableName,
        (peer, windows): (i32, &Windows),
    ) -> Result<i64, ReplicaError> {
        let mut parents = BTreeSet::new();
        let mut current = name.clone();
        while let Some(parent) = view.rules.get(&current).and_then(|rules| rules.rows.as_ref()?.parent()) {
            if !parents.insert(parent.clone()) {
                break;
            }
            current = parent;
        }
        let since = |name: &TableName| windows.values().find(|window| window.tables.contains(name));
        let logs = parents.iter().filter_map(|name| Some((view.state.captured.get(name)?, &since(name)?.since)));
        let counts = count_window(transaction, logs, peer).await?;
        Ok(counts.iter().map(|count| count.keys).sum())
    }
}
