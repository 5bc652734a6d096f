//! Rows of offices that wait at the shop.

use std::sync::Arc;

use protocol::names::TableName;

use super::sessions::{APPLY_LOCK, INFLATED_BYTES_MAX};
use super::{Shop, WaitingCount};
use crate::ReplicaError;
use crate::apply::{self, ApplyOrder, Incoming};
use crate::error::classify;
use crate::quarantine::{self, Entry};

impl Shop {
    /// Rows that wait, oldest first, at most `limit`.
    pub async fn quarantine(&self, limit: i64) -> Result<Vec<Entry>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        quarantine::entries(&*client, None, None, limit).await
    }

    /// How many rows wait, by table and reason.
    pub(super) async fn quarantine_counts(
        &self,
        client: &tokio_postgres::Client,
    ) -> Result<Vec<WaitingCount>, ReplicaError> {
        let rows = client
            .query(
                "select schema_name, table_name, reason, count(*) from sync.quarantine group by 1, 2, 3 order by 1, 2, 3",
                &[],
            )
            .await
            .map_err(|error| classify("count the quarantine", error))?;
        let count = |row: &tokio_postgres::Row| WaitingCount {
            table: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)).to_string(),
            reason: row.get(2),
            rows: row.get(3),
        };
        Ok(rows.iter().map(count).collect())
    }

    /// How many rows wait.
    pub async fn quarantine_count(&self) -> Result<i64, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let row = client.query_one("select count(*) from sync.quarantine", &[]).await;
        Ok(row.map_err(|error| classify("count the quarantine", error))?.get(0))
    }

    /// Tries what waits again; returns how many rows came in. Part of the regular work: what was in the way may have been
    /// changed at the shop.
    pub async fn retry_waiting(&self) -> Result<i64, ReplicaError> {
        let failed = |error| classify("try the quarantine again", error);
        if self.quarantine_count().await? == 0 {
            return Ok(0);
        }
        let _turn = self.inner.applying.lock().await;
        let state = self.state().await?;
        let mut client = self.inner.pool.get().await?;
        let peers = client.query("select distinct peer from sync.quarantine order by 1", &[]).await.map_err(failed)?;
        let mut released = 0;
        for peer in peers {
            let transaction = client.transaction().await.map_err(failed)?;
            transaction.execute("select pg_advisory_xact_lock($1)", &[&APPLY_LOCK]).await.map_err(failed)?;
            transaction.batch_execute("set local lock_timeout = '10s'").await.map_err(failed)?;
            let order = ApplyOrder {
                catalogue: state.catalogue.clone(),
                policy: state.policy.clone(),
                captured: state.captured.clone(),
                rights: state.rights.clone(),
                origin: peer.get(0),
                agreed: None,
                incoming: Incoming::FromOffice { initial: false, history: false },
                bulk: false,
                keep_sequences: true,
                inflated_bytes_max: INFLATED_BYTES_MAX,
                row_bytes_max: self.inner.row_bytes_max,
                quarantine: Some(Arc::default()),
            };
            released += apply::retry(&transaction, &order).await?.released;
            transaction.commit().await.map_err(failed)?;
        }
        Ok(released)
    }
}
