//! `office-client after-restore` and `after-upgrade`: what a person says about the database's history.

use super::{Outcome, close, open_database};
use crate::error::CommandError;
use crate::output::Printer;
use crate::settings::Settings;

/// The database was restored.
pub(crate) async fn after_restore(settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    let database = open_database(settings).await?;
    let incarnation = replica::renewal::after_restore(&database).await;
    close(database).await;
    let incarnation = incarnation?;
    printer.object(&serde_json::json!({ "incarnation": incarnation.id }));
    printer.line("a new history begins: run `office-client verify --all --repair`");
    Ok(Outcome::Done)
}

/// The database was moved whole.
pub(crate) async fn after_upgrade(settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    let database = open_database(settings).await?;
    let incarnation = replica::renewal::after_upgrade(&database, &settings.state_dir).await;
    close(database).await;
    let incarnation = incarnation?;
    printer.object(&serde_json::json!({ "incarnation": incarnation.id }));
    printer.line("the history goes on");
    Ok(Outcome::Done)
}
