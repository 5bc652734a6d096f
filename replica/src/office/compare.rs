//! Fingerprints of the office's tables, as one branch should have them.

use std::collections::{BTreeMap, BTreeSet};

use protocol::methods::TableDigest;
use protocol::names::{TableName, quote_identifier};
use protocol::policy::{Direction, ResolvedPolicy};

use super::{Branch, Office};
use crate::ReplicaError;
use crate::catalogue::Catalogue;
use crate::digest::digest;
use crate::error::classify;
use crate::subset;

impl Office {
    /// Counts and fingerprints of the branch's tables as the office sees them: tables that belong to all in full,
    /// from-target tables restricted to the branch's own rows. A table that cannot be compared is absent.
    pub async fn digests(&self, branch: &Branch) -> Result<Vec<TableDigest>, ReplicaError> {
        let failed = |error| classify("fingerprint the tables", error);
        let state = self.state().await?;
        let rules = Self::rules(&state, branch)?;
        let own = branch.id_range.map_or_else(BTreeMap::new, |range| own_rows(&state.catalogue, &rules, range));
        let mut client = self.inner.pool.get().await?;
        let transaction = client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await
            .map_err(failed)?;
        let mut digests = Vec::new();
        for (name, table_rules) in &rules.tables {
            let Some(table) = state.catalogue.get(name) else { continue };
            let subset = subset::condition(&state.catalogue, &rules, name, branch.id)?;
            let condition = match table_rules.direction {
                Direction::FromSource | Direction::Both => subset,
                // what the office has of the branch from before its clone is not at the shop
                Direction::FromTarget => match (own.get(name), subset) {
                    (Some(own), Some(subset)) => Some(format!("{own} and {subset}")),
                    (Some(own), None) => Some(own.clone()),
                    (None, _) => continue,
                },
                Direction::Initial | Direction::Local => continue,
            };
            digests.push(digest(&transaction, table, condition.as_deref()).await?);
        }
        transaction.commit().await.map_err(failed)?;
        Ok(digests)
    }
}

/// Conditions on alias `x` that select a branch's own rows: by an id of its range, or through a foreign key to a table
/// whose rows are told apart by such an id.
fn own_rows(catalogue: &Catalogue, rules: &ResolvedPolicy, (low, high): (i64, i64)) -> BTreeMap<TableName, String> {
    let tables: BTreeSet<TableName> = rules.in_direction(Direction::FromTarget).map(|(name, _)| name.clone()).collect();
    let within = |column: &str| {
        let column = quote_identifier(column);
        format!("x.{column} > {low} and x.{column} <= {high}")
    };
    let mut ranged: BTreeMap<TableName, String> = BTreeMap::new();
    for name in &tables {
        let column = catalogue.get(name).and_then(|table| {
            table.key_columns().find(|column| column.sequence.is_some()).map(|column| column.name.clone())
        });
        if let Some(column) = column {
            ranged.insert(name.clone(), column);
        }
    }
    let mut conditions: BTreeMap<TableName, String> =
        ranged.iter().map(|(name, column)| (name.clone(), within(column))).collect();
    for name in &tables {
        if conditions.contains_key(name) {
            continue;
        }
        let through = catalogue.keys_of(name).find_map(|key| {
            let parent = ranged.get(&key.parent)?;
            let place = key.parent_columns.iter().position(|column| column == parent)?;
            key.columns.get(place).filter(|column| {
                catalogue.get(name).and_then(|table| table.column(column)).is_some_and(|column| column.not_null)
            })
        });
        if let Some(column) = through {
            conditions.insert(name.clone(), within(column));
        }
    }
    conditions
}
