//! What a person says about a database's history: it was restored, or it was moved whole.

use std::path::Path;

use crate::ReplicaError;
use crate::database::Database;
use crate::migrate;
use crate::node::{self, Incarnation};
use crate::witness::Witness;

/// The database was restored: a new incarnation begins, whatever has been noticed. Peers stop until a repair.
///
/// # Errors
/// When the product was never installed in it, or it does not answer.
pub async fn after_restore(database: &Database) -> Result<Incarnation, ReplicaError> {
    let client = installed(database).await?;
    node::begin_incarnation(&client, "after-restore").await?;
    node::incarnation(&client).await
}

/// The database was moved whole (`pg_upgrade`, a move of the data directory): its incarnation goes on, if the witness in
/// the state directory vouches that nothing is missing.
///
/// # Errors
/// `Restored` when it does not; also when the product was never installed in it, or it does not answer.
pub async fn after_upgrade(database: &Database, state_dir: &Path) -> Result<Incarnation, ReplicaError> {
    let mut client = installed(database).await?;
    node::resume_incarnation(&mut client, &Witness::new(state_dir)).await
}

async fn installed(database: &Database) -> Result<tokio_postgres::Client, ReplicaError> {
    let mut client = database.connect("renewal").await?;
    if migrate::version(&client).await? == 0 {
        return Err(ReplicaError::Schema(
            "this database has never been synchronised: there is no history to renew".into(),
        ));
    }
    migrate::migrate(&mut client).await?;
    Ok(client)
}
