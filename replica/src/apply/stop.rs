//! The safety stop of an apply: staged rows are counted before any of them is merged.

use super::Apply;
use super::staging::Staging;
use super::target::ShapeKind;
use crate::ReplicaError;
use crate::error::classify;
use crate::subset;

impl Apply<'_> {
    /// Refuses staged rows that would delete or change too large a part of what the sender's tables hold here.
    pub(super) async fn check_stop(&mut self, segments: &[Staging]) -> Result<(), ReplicaError> {
        let failed = |error| classify("count what would be changed", error);
        let Some(rules) = self.order.quarantine.clone() else { return Ok(()) };
        let Some(stop) = rules.stop else { return Ok(()) };
        for staging in segments.iter().filter(|staging| !staging.shape.table.key.is_empty()) {
            let table = &staging.shape.table;
            let delete = staging.shape.kind == ShapeKind::Delete;
            let staged: i64 = self
                .transaction
                .query_one(&format!("select count(*) from {}", staging.name()), &[])
                .await
                .map_err(failed)?
                .get(0);
            let sums = self.counted.entry(table.name.clone()).or_default();
            *(if delete { &mut sums.0 } else { &mut sums.1 }) += staged;
            let (deletes, changes) = *sums;
            if !stop.concerns(deletes, changes) {
                continue;
            }
            // rows that are not here are neither deleted nor changed
            let name = staging.name();
            let here: i64 = self
                .transaction
                .query_one(
                    &format!(
                        "select count(*) from {} t where exists (select from {name} s where {})",
                        table.target(),
                        table.same_key("s.", "t.")
                    ),
                    &[],
                )
                .await
                .map_err(failed)?
                .get(0);
            let source = subset::source(table, rules.rows.get(&table.name).map(String::as_str));
            let all: i64 = self
                .transaction
                .query_one(&format!("select count(*) from {source} x"), &[])
                .await
                .map_err(failed)?
                .get(0);
            // those of earlier segments may have been there or not: they count as they were staged
            if delete {
                stop.check_deletes(&table.name, deletes - staged + here, all)?;
            } else {
                stop.check_changes(&table.name, changes - staged + here, all)?;
            }
        }
        Ok(())
    }
}
