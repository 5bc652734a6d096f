//! The product's own schema `sync`: numbered steps, applied in order under a lock, never edited once released.

use tokio_postgres::Client;

use crate::ReplicaError;
use crate::error::classify;

/// The steps, oldest first. Step n brings schema version n-1 to n.
const STEPS: &[&str] = &[
    include_str!("0001_foundation.sql"),
    include_str!("0002_outgoing_number.sql"),
    include_str!("0003_conflicts.sql"),
    include_str!("0004_peer_layout.sql"),
    include_str!("0005_run_figures.sql"),
    include_str!("0006_quarantine.sql"),
    include_str!("0007_audit.sql"),
    include_str!("0008_histories.sql"),
    include_str!("0009_retention.sql"),
    include_str!("0010_run_audit.sql"),
    include_str!("0011_changed_columns.sql"),
    include_str!("0012_schedules.sql"),
    include_str!("0013_groups.sql"),
    include_str!("0014_removed_ranges.sql"),
    include_str!("0015_shop_vitals.sql"),
    include_str!("0016_control_totals.sql"),
    include_str!("0017_amounts_of_clone.sql"),
    include_str!("0018_session_conflicts.sql"),
    include_str!("0019_origin.sql"),
];

/// Version of the schema that this program works with.
pub const VERSION: i32 = STEPS.len() as i32;

/// Advisory lock under which schema changes of the product happen ("sync" in ASCII).
pub const LOCK: i64 = 0x7379_6e63;

/// Brings schema `sync` to [`VERSION`], one transaction per step. Refuses a schema newer than this program.
pub async fn migrate(client: &mut Client) -> Result<(), ReplicaError> {
    let failed = |error| classify("migrate schema sync", error);
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(failed)?;
    let found = version(transaction.client()).await?;
    if found > VERSION {
        return Err(ReplicaError::Schema(format!(
            "schema sync of this database is version {found}, this program knows version {VERSION}: install the newer program"
        )));
    }
    for (index, step) in STEPS.iter().enumerate().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.batch_execute(step).await.map_err(failed)?;
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        transaction.execute("insert into sync.migration(number) values ($1)", &[&number]).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

/// Version of schema `sync` in the database; 0 when it is not there.
pub async fn version(client: &Client) -> Result<i32, ReplicaError> {
    let failed = |error| classify("read the version of schema sync", error);
    let there: bool =
        client.query_one("select to_regclass('sync.migration') is not null", &[]).await.map_err(failed)?.get(0);
    if !there {
        return Ok(0);
    }
    Ok(client.query_one("select coalesce(max(number), 0) from sync.migration", &[]).await.map_err(failed)?.get(0))
}
