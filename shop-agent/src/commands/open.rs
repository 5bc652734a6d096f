//! Opening the shop's database, for the commands that need it.

use std::time::Duration;

use replica::ReplicaError;
use replica::database::Database;
use replica::shop::{Shop, ShopOptions};
use tokio_util::sync::CancellationToken;

use crate::settings::Settings;

/// How long a database may take to come up, as after a reboot.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens the database, as it is now.
pub(super) async fn database(settings: &Settings) -> Result<Database, ReplicaError> {
    Database::open(&settings.database, settings.pg_bindir.clone()).await
}

/// Opens the database; waits a while for one that is not there yet.
pub(super) async fn database_patiently(
    settings: &Settings,
    stop: &CancellationToken,
) -> Result<Database, ReplicaError> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    // a private cluster is started by this very process: waiting does not help, and leaving it half started neither
    let is_private = matches!(settings.database, replica::database::DatabaseUrl::Embedded(_));
    loop {
        let opened = tokio::select! {
            biased;
            // a server that does not answer at all must not hold up the end
            () = stop.cancelled(), if !is_private => return Err(ReplicaError::Stopped),
            opened = database(settings) => opened,
        };
        let error = match opened {
            Err(error @ ReplicaError::Unavailable(_)) => error,
            other => return other,
        };
        if is_private || tokio::time::Instant::now() >= deadline {
            return Err(error);
        }
        tracing::warn!(error = crate::rpc::chain(&error), "waiting for the database");
        tokio::select! {
            () = stop.cancelled() => return Err(ReplicaError::Stopped),
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
}

/// Opens the shop in it.
pub(super) async fn shop(settings: &Settings, database: Database) -> Result<Shop, ReplicaError> {
    Shop::open(options(settings, database)).await
}

/// How it is opened, or looked at.
pub(super) fn options(settings: &Settings, database: Database) -> ShopOptions {
    ShopOptions {
        database,
        branch: settings.branch.clone(),
        policy: settings.policy.clone(),
        schema_sql: settings.schema_sql.clone(),
        state_dir: settings.state_dir.clone(),
        id_span: settings.id_span,
        skew: settings.skew,
        retention: settings.retention,
        row_bytes_max: settings.sessions.row_bytes_max,
        open_sessions_max: i64::try_from(settings.sessions.sessions_per_office_max).unwrap_or(i64::MAX),
    }
}
