//! What the office's tables look like to a branch.

use protocol::layout::{Comparison, TableLayout, compare};

use super::{Branch, Office};
use crate::ReplicaError;
use crate::drift;
use crate::error::classify;

/// The office's tables as a branch has to know them.
#[derive(Debug, Clone)]
pub struct OfficeLayout {
    /// The tables.
    pub tables: Vec<TableLayout>,
    /// Their digest, to be compared with the shop's.
    pub digest: String,
    /// Whether the branch's tables were different when they were last compared.
    pub peer_differed: bool,
}

impl Office {
    /// The tables that rows of the branch go from or to.
    pub async fn layout(&self, branch: &Branch) -> Result<OfficeLayout, ReplicaError> {
        let state = self.state().await?;
        let rules = Self::rules(&state, branch)?;
        let peer = self.peer_of(branch).await?;
        let client = self.inner.pool.get().await?;
        let synchronised = rules.tables.iter().filter(|(_, rules)| rules.direction.synchronised());
        Ok(OfficeLayout {
            tables: drift::layout(&state.catalogue, &rules),
            digest: state.catalogue.layout_digest(synchronised.map(|(name, _)| name)),
            peer_differed: drift::has_told(&*client, peer).await?,
        })
    }

    /// Names of the tables that a clean at the shop empties, as they are spelled on the wire.
    pub async fn synchronised_tables(&self, branch: &Branch) -> Result<Vec<String>, ReplicaError> {
        let state = self.state().await?;
        let rules = Self::rules(&state, branch)?;
        let synchronised = rules.tables.iter().filter(|(_, rules)| rules.direction.synchronised());
        Ok(synchronised.map(|(name, _)| name.to_string()).collect())
    }

    /// Holds a shop's tables against the office's; with `remember`, notes what the shop does not have.
    pub async fn compare_layout(
        &self,
        branch: &Branch,
        theirs: &[TableLayout],
        remember: bool,
    ) -> Result<Comparison, ReplicaError> {
        let state = self.state().await?;
        let rules = Self::rules(&state, branch)?;
        let found = compare(&rules, &drift::layout(&state.catalogue, &rules), theirs);
        if remember && found.problems.is_empty() {
            let failed = |error| classify("store what the tables of a shop look like", error);
            let peer = self.peer_of(branch).await?;
            let mut client = self.inner.pool.get().await?;
            let transaction = client.transaction().await.map_err(failed)?;
            drift::remember(&transaction, peer, theirs, &state.catalogue, &state.captured).await?;
            if found.left_out.is_empty() {
                drift::forget(&transaction, peer).await?;
            }
            transaction.commit().await.map_err(failed)?;
        }
        Ok(found)
    }
}
