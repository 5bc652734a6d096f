//! Rows of branches that wait at the office.

use std::collections::BTreeMap;

use protocol::names::TableName;

use super::{Branch, Office};
use crate::ReplicaError;
use crate::apply::{self, Applied};
use crate::error::classify;
use crate::quarantine::{self, Entry};
use crate::watermark::Snapshot;

impl Office {
    /// Rows that wait, oldest first: of one branch, or of all; those with a number above that one, or from the oldest on; at
    /// most `limit`.
    pub async fn quarantine(
        &self,
        branch: Option<&str>,
        above: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Entry>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        quarantine::entries(&*client, branch, above, limit).await
    }

    /// One row that waits.
    ///
    /// # Errors
    /// [`ReplicaError::Invalid`] when no row of that number waits.
    pub async fn quarantined(&self, id: i64) -> Result<Entry, ReplicaError> {
        let client = self.inner.pool.get().await?;
        quarantine::find(&*client, id).await?.ok_or_else(|| {
            ReplicaError::Invalid(format!(
                "no row {id} waits in quarantine: it may have been released; 'office-client quarantine list' lists those that wait"
            ))
        })
    }

    /// The same; none when no row of that number waits any more.
    pub async fn still_quarantined(&self, id: i64) -> Result<Option<Entry>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        quarantine::find(&*client, id).await
    }

    /// How many rows wait, by branch; branches without any are left out.
    pub async fn quarantine_counts(&self) -> Result<BTreeMap<String, i64>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let sql = "select b.branch, count(*) from sync.quarantine q join sync.branch_synchronization b on b.peer = q.peer group by 1";
        let rows = client.query(sql, &[]).await.map_err(|error| classify("count the quarantine", error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// How many rows of the office waited at the shops when they were last called; branches without any are left out.
    pub async fn shop_quarantine_counts(&self) -> Result<BTreeMap<String, i64>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let sql = "select branch, shop_quarantined from sync.branch_synchronization where shop_quarantined > 0";
        let rows = client.query(sql, &[]).await.map_err(|error| classify("count the quarantine", error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Notes how many rows of the office wait at a shop.
    pub async fn note_shop_quarantine(&self, branch: &Branch, rows: i64) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        let sql = "update sync.branch_synchronization set shop_quarantined = $2 where branch_id = $1 and shop_quarantined <> $2";
        client
            .execute(sql, &[&branch.id, &rows])
            .await
            .map_err(|error| classify("note the shop's quarantine", error))?;
        Ok(())
    }

    /// How many rows of a branch wait, by table: they explain differences.
    pub async fn quarantine_of(&self, branch: &Branch) -> Result<BTreeMap<TableName, i64>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let sql = "select q.schema_name, q.table_name, count(*) from sync.quarantine q
                   join sync.branch_synchronization b on b.peer = q.peer where b.branch_id = $1 group by 1, 2";
        let rows = client.query(sql, &[&branch.id]).await.map_err(|error| classify("count the quarantine", error))?;
        let count = |row: &tokio_postgres::Row| {
            (TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)), row.get::<_, i64>(2))
        };
        Ok(rows.iter().map(count).collect())
    }

    /// Tries the rows of a branch that wait again, that one first; what depends on it comes in with it.
    ///
    /// # Errors
    /// [`ReplicaError::Invalid`] when no row of that number waits, or its branch has been removed.
    pub async fn retry_quarantined(&self, id: i64) -> Result<Applied, ReplicaError> {
        let entry = self.quarantined(id).await?;
        let Some(branch) = entry.branch else {
            return Err(ReplicaError::Invalid(format!(
                "row {id} came from a branch that has been removed: it can only be dropped"
            )));
        };
        let branch = self.branch(&branch).await?;
        let client = self.inner.pool.get().await?;
        client
            .execute("update sync.quarantine set tried_at = null where entry = $1", &[&id])
            .await
            .map_err(|error| classify("try the quarantine again", error))?;
        drop(client);
        self.retry_waiting(&branch, None).await
    }

    /// Takes a row out of the quarantine for good; its change is lost at the office. Returns what it was.
    ///
    /// # Errors
    /// [`ReplicaError::Invalid`] when no row of that number waits.
    pub async fn drop_quarantined(&self, id: i64) -> Result<Entry, ReplicaError> {
        let entry = self.quarantined(id).await?;
        let client = self.inner.pool.get().await?;
        client
            .execute("delete from sync.quarantine where entry = $1", &[&id])
            .await
            .map_err(|error| classify("drop a row in quarantine", error))?;
        Ok(entry)
    }

    /// Tries what waits of a branch again, and stores a newer watermark of the shop with it.
    pub(super) async fn retry_waiting(
        &self,
        branch: &Branch,
        watermark: Option<&str>,
    ) -> Result<Applied, ReplicaError> {
        let failed = |error| classify("try the quarantine again", error);
        let state = self.state().await?;
        let peer = self.peer_of(branch).await?;
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let row = transaction
            .query_one(
                "select case when outgoing_kind = 'clone' then outgoing_snapshot else pushed_snapshot end::text,
                        exists (select from sync.quarantine q where q.peer = b.peer)
                 from sync.branch_synchronization b where branch_id = $1 for update",
                &[&branch.id],
            )
            .await
            .map_err(failed)?;
        let agreed = row.get::<_, Option<String>>(0).map(|text| Snapshot::parse(&text)).transpose()?;
        let mut applied = Applied::default();
        if row.get(1) {
            let order = Self::pull_order(&state, branch, peer, agreed, None)?;
            applied = apply::retry(&transaction, &order).await?;
        }
        if let Some(watermark) = watermark {
            transaction
                .execute(
                    "update sync.branch_synchronization set \"timestamp\" = $2, pulled_at = clock_timestamp() where branch_id = $1",
                    &[&branch.id, &watermark],
                )
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(applied)
    }
}
