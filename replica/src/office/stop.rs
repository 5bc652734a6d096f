//! The safety stop of a push: the office looks at its own frozen stream before the first byte is sent.

use std::collections::BTreeMap;

use super::{Branch, Office};
use crate::ReplicaError;
use crate::diff::DELETES;
use crate::digest::table_name;
use crate::error::classify;
use crate::safety::SafetyStop;
use crate::spool::FrozenStream;
use crate::subset;

impl Office {
    /// Refuses a frozen push that would delete or change too large a part of what the branch has of a table. The shop has
    /// about the rows that the office has of it, and those that are deleted.
    ///
    /// # Errors
    /// [`ReplicaError::Protected`] names the table and the figures; [`ReplicaError::Invalid`] when the branch's settings
    /// cannot be read.
    pub async fn check_push(&self, branch: &Branch, stream: &FrozenStream) -> Result<(), ReplicaError> {
        let stop = SafetyStop::of(&branch.settings)?;
        let deletes: BTreeMap<String, i64> =
            stream.labels.get(DELETES).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let mut written: BTreeMap<String, i64> = BTreeMap::new();
        for (table, rows) in &stream.tables {
            *written.entry(table.to_string()).or_default() += i64::try_from(*rows).unwrap_or(i64::MAX);
        }
        let state = self.state().await?;
        let rules = Self::rules(&state, branch)?;
        let client = self.inner.pool.get().await?;
        let names: std::collections::BTreeSet<&String> = deletes.keys().chain(written.keys()).collect();
        for name in names {
            let gone = deletes.get(name).copied().unwrap_or(0);
            // a stream counts deletes among the rows of its tables
            let changed = written.get(name).map_or(0, |rows| rows.saturating_sub(gone));
            let name = table_name(name);
            let Some(table) = state.catalogue.get(&name).filter(|_| stop.concerns(gone, changed)) else { continue };
            let condition = subset::condition(&state.catalogue, &rules, &name, branch.id)?;
            let sql = format!("select count(*) from {} x", subset::source(table, condition.as_deref()));
            let left: i64 =
                client.query_one(&sql, &[]).await.map_err(|error| classify("count the rows of a table", error))?.get(0);
            stop.check_deletes(&name, gone, left.saturating_add(gone))?;
            stop.check_changes(&name, changed, left)?;
        }
        Ok(())
    }
}
