//! Regular work: general watermarks, pruning of the change logs, sweeping the spool, freshness.

use std::time::{Duration, SystemTime};

use protocol::policy::Direction;
use tokio_postgres::Transaction;

use super::Shop;
use super::state::State;
use crate::ReplicaError;
use crate::error::classify;
use crate::watermark::{self, TICK};

/// How long a frozen diff lives without being asked for.
const FROZEN_IDLE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

impl Shop {
    /// Regular work, about once a minute: a general watermark, pruning, sweeping the spool.
    pub async fn tick(&self) -> Result<(), ReplicaError> {
        let state = self.state().await?;
        let failed = |error| classify("regular work", error);
        let mut client = self.inner.pool.get().await?;
        let snapshot = watermark::current_snapshot(&*client).await?;
        watermark::issue(&mut client, TICK, &snapshot, &state.incarnation).await?;
        client
            .execute(
                "delete from sync.watermark where peer = 0 and issued < clock_timestamp() - $1 * interval '1 second'",
                &[&self.inner.retention_min.as_secs_f64()],
            )
            .await
            .map_err(failed)?;
        drop(client);
        let released = self.retry_waiting().await?;
        if released > 0 {
            tracing::info!(rows = released, "rows were released from quarantine");
        }
        self.prune(&state).await?;
        self.sweep()
    }

    /// Drops log entries that every office acknowledged longer ago than the retention.
    async fn prune(&self, state: &State) -> Result<(), ReplicaError> {
        let failed = |error| classify("prune the change logs", error);
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let row = transaction
            .query_opt(
                "select min(pg_snapshot_xmin(w.snapshot))::text from sync.watermark w
                 join (select peer, max(issued) as issued from sync.watermark
                       where acknowledged_at < clock_timestamp() - $1 * interval '1 second' group by peer) a using (peer, issued)
                 where not exists (select from sync.watermark o where o.peer <> 0 and o.peer not in
                       (select peer from sync.watermark where acknowledged_at is not null))",
                &[&self.inner.retention_min.as_secs_f64()],
            )
            .await
            .map_err(failed)?;
        let Some(bound) = row.and_then(|row| row.get::<_, Option<String>>(0)) else { return Ok(()) };
        let Ok(bound) = bound.parse::<u64>() else { return Ok(()) };
        transaction
            .batch_execute(&format!("update sync.node set pruned_below = greatest(pruned_below, '{bound}'::xid8)"))
            .await
            .map_err(failed)?;
        for captured in state.captured.values() {
            transaction
                .batch_execute(&format!("delete from {} where xid < '{bound}'::xid8", captured.log()))
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    fn sweep(&self) -> Result<(), ReplicaError> {
        self.inner.spool.sweep()?;
        for stream in self.inner.spool.list()? {
            let modified = std::fs::metadata(self.inner.spool.data_path(&stream.id)).and_then(|data| data.modified());
            let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
            if age.is_some_and(|age| age > FROZEN_IDLE_MAX) {
                self.inner.spool.remove(&stream.id)?;
            }
        }
        Ok(())
    }

    /// Notes that tables of the office are as fresh as the session that is being applied.
    pub(super) async fn note_freshness(
        &self,
        transaction: &Transaction<'_>,
        state: &State,
    ) -> Result<(), ReplicaError> {
        let from_office = state
            .policy
            .tables
            .iter()
            .filter(|(_, table)| matches!(table.direction, Direction::FromSource | Direction::Both));
        let (mut schemas, mut names, mut ages) = (Vec::new(), Vec::new(), Vec::new());
        for (name, table) in from_office {
            schemas.push(name.schema.as_str());
            names.push(name.name.as_str());
            ages.push(table.max_age.map(|age| age.as_secs_f64()));
        }
        transaction
            .execute(
                "insert into sync.table_freshness(schema_name, table_name, as_of, max_age)
                 select s, t, clock_timestamp(), a * interval '1 second' from unnest($1::text[], $2::text[], $3::float8[]) x(s, t, a)
                 on conflict (schema_name, table_name) do update set as_of = excluded.as_of, max_age = excluded.max_age",
                &[&schemas, &names, &ages],
            )
            .await
            .map_err(|error| classify("note the freshness", error))?;
        Ok(())
    }
}
