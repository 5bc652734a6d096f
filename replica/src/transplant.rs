//! A database that was restored on a server with fewer transactions behind it: the transaction ids it brought along lie in
//! that server's future, and say nothing of what is to come there.

use tokio_postgres::GenericClient;

use crate::ReplicaError;
use crate::error::classify;

/// Brings transaction ids of a future that never was into the present, as part of the transaction that begins the new
/// incarnation. Changes that carried one count as made now: what nobody is known to have is protected, and travels.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn bring_to_present(client: &impl GenericClient) -> Result<(), ReplicaError> {
    let failed = |error| classify("bring transaction ids to the present", error);
    let logs = client
        .query("select number from sync.captured_table where to_regclass('sync.log_' || number) is not null", &[])
        .await
        .map_err(failed)?;
    let tables = logs.iter().map(|row| format!("sync.log_{}", row.get::<_, i32>(0)));
    let known = ["sync.conflict", "sync.quarantine", "sync.tombstone"].map(str::to_owned);
    for table in tables.chain(known) {
        client
            .batch_execute(&format!("update {table} set xid = pg_current_xact_id() where xid > pg_current_xact_id()"))
            .await
            .map_err(failed)?;
    }
    client
        .batch_execute(
            // the newest watermark stays, for nobody in particular: what is issued next is later, and the witness sees
            // that this database knows all it has told
            "update sync.node set base_snapshot = pg_current_snapshot(), base_at = clock_timestamp()
                 where pg_snapshot_xmax(base_snapshot) > pg_current_xact_id();
             update sync.node set pruned_below = '0' where pruned_below > pg_current_xact_id();
             update sync.quarantine set agreed = pg_current_snapshot() where pg_snapshot_xmax(agreed) > pg_current_xact_id();
             delete from sync.watermark w where pg_snapshot_xmax(snapshot) > pg_current_xact_id()
                 and exists (select from sync.watermark o where (o.issued, o.peer) > (w.issued, w.peer));
             update sync.watermark set peer = 0, acknowledged_at = null, snapshot = pg_current_snapshot()
                 where pg_snapshot_xmax(snapshot) > pg_current_xact_id()",
        )
        .await
        .map_err(failed)
}
