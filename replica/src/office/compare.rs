//! Fingerprints of the office's tables, as one branch should have them.

use std::collections::BTreeMap;

use protocol::methods::TableDigest;
use protocol::policy::Direction;

use super::{Branch, Office};
use crate::ReplicaError;
use crate::digest::{digest, own_rows};
use crate::drift;
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
        let left_out = drift::left_out(&transaction, Some(self.peer_of(branch).await?), &state.catalogue).await?;
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
            digests.push(digest(&transaction, &drift::reduced(table, &left_out), condition.as_deref()).await?);
        }
        transaction.commit().await.map_err(failed)?;
        Ok(digests)
    }
}
