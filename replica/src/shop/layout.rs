//! What the shop's tables look like to an office.

use protocol::layout::TableLayout;

use super::Shop;
use crate::ReplicaError;
use crate::error::classify;
use crate::{drift, node};

impl Shop {
    /// The tables that rows go from or to; `theirs` are the office's, if it wants them noted: what it does not have is
    /// left out of what it is sent.
    pub async fn exchange_layout(
        &self,
        office: &str,
        theirs: Option<Vec<TableLayout>>,
    ) -> Result<Vec<TableLayout>, ReplicaError> {
        let state = self.state().await?;
        if let Some(theirs) = theirs {
            let failed = |error| classify("store what the tables of the office look like", error);
            let mut client = self.inner.pool.get().await?;
            let peer = node::peer(&*client, office).await?;
            let transaction = client.transaction().await.map_err(failed)?;
            drift::remember(&transaction, peer, &theirs, &state.catalogue, &state.captured).await?;
            transaction.commit().await.map_err(failed)?;
        }
        Ok(drift::layout(&state.catalogue, &state.policy))
    }
}
