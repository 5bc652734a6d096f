//! Regular work: general watermarks, pruning of the change logs, sweeping the spool, freshness.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio_postgres::Transaction;

use super::Shop;
use super::state::State;
use crate::ReplicaError;
use crate::error::classify;
use crate::retention::{self, Retention};

/// How long a frozen diff lives without being asked for.
const FROZEN_IDLE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

impl Shop {
    /// How long changes are kept for offices.
    pub fn retention(&self) -> Retention {
        self.inner.retention
    }

    /// Regular work, about once a minute: a general watermark, pruning, sweeping the spool.
    pub async fn tick(&self) -> Result<(), ReplicaError> {
        let state = self.state().await?;
        let mut client = self.inner.pool.get().await?;
        retention::tick(&mut client, &state.incarnation, &self.inner.retention).await?;
        drop(client);
        let released = self.retry_waiting().await?;
        if released > 0 {
            tracing::info!(rows = released, "rows were released from quarantine");
        }
        self.prune(&state).await?;
        self.forget_settled().await?;
        self.sweep()
    }

    /// Forgets what the last clean put aside once an office has named a watermark that was issued after the clone: then it
    /// has recorded the clone, and has compared it.
    async fn forget_settled(&self) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        let sql = "select exists (select from sync.aside) and not (select awaiting_clone from sync.node)
                   and exists (select from sync.watermark where peer <> 0 and acknowledged_at is not null)";
        let settled: bool =
            client.query_one(sql, &[]).await.map_err(|error| classify("look what is kept aside", error))?.get(0);
        drop(client);
        if !settled {
            return Ok(());
        }
        // whoever brings it back, cleans or clones at this moment comes first; the next tick looks again
        let Ok(_turn) = self.inner.applying.try_lock() else { return Ok(()) };
        self.forget_aside().await?;
        tracing::info!("what the last clean had put aside is gone: the clone is recorded");
        Ok(())
    }

    /// Drops log entries that every office acknowledged longer ago than they are kept at least, and all that are older than
    /// they are kept at most: an office that was not heard of for so long holds nothing back.
    async fn prune(&self, state: &State) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        let row = client
            .query_opt(
                "with heard as (
                     select peer, max(greatest(issued, acknowledged_at)) as at from sync.watermark
                     where peer <> 0 and incarnation = $1 group by peer),
                 held as (
                     select (select pg_snapshot_xmin(w.snapshot) from sync.watermark w
                             where w.peer = heard.peer and w.incarnation = $1
                               and w.acknowledged_at < clock_timestamp() - $2 * interval '1 second'
                             order by w.issued desc limit 1) as xmin
                     from heard where at >= clock_timestamp() - $3 * interval '1 second'),
                 oldest as (
                     select pg_snapshot_xmin(snapshot) as xmin from sync.watermark
                     where peer = 0 and incarnation = $1 and issued < clock_timestamp() - $3 * interval '1 second'
                     order by issued desc limit 1),
                 waiting as (
                     select pg_snapshot_xmin(agreed) as xmin from sync.quarantine
                     where agreed is not null and since >= clock_timestamp() - $3 * interval '1 second'),
                 acknowledged as (
                     select xmin from held where not exists (select from held where xmin is null) order by xmin limit 1)
                 select least(greatest((table acknowledged), (table oldest)),
                              (select xmin from waiting order by xmin limit 1))::text",
                &[
                    &state.incarnation.number,
                    &self.inner.retention.min.as_secs_f64(),
                    &self.inner.retention.max.as_secs_f64(),
                ],
            )
            .await
            .map_err(|error| classify("look what may be pruned", error))?;
        let bound = row.and_then(|row| row.get::<_, Option<String>>(0)).and_then(|text| text.parse::<u64>().ok());
        retention::prune(&client, state.captured.values(), bound).await?;
        Ok(())
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

    /// Notes that the office has nothing for the shop: all tables that it fills are as fresh as this moment, unless the shop
    /// waits for its first copy.
    ///
    /// # Errors
    /// If the database does not allow it.
    pub async fn fresh(&self) -> Result<(), ReplicaError> {
        let failed = |error| classify("note the freshness", error);
        let state = self.state().await?;
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        // whoever reads it may as well see it after a crash as before: nothing rests on it
        transaction.batch_execute("set local synchronous_commit = off").await.map_err(failed)?;
        let row = transaction.query_one("select awaiting_clone from sync.node", &[]).await.map_err(failed)?;
        if !row.get::<_, bool>(0) {
            self.note_freshness(&transaction, &state, &state.policy.groups()).await?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// Notes that tables of the office are as fresh as the session that is being applied, which brings these groups.
    pub(super) async fn note_freshness(
        &self,
        transaction: &Transaction<'_>,
        state: &State,
        groups: &BTreeSet<u8>,
    ) -> Result<(), ReplicaError> {
        let from_office = state
            .policy
            .tables
            .iter()
            .filter(|(_, table)| table.direction.flows_to_shop() && groups.contains(&table.group));
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
