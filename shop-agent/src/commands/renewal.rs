//! `shop-agent after-restore` and `after-upgrade`: what a person says about the database's history.

use std::process::ExitCode;

use super::{CommandError, open};
use crate::cli::NodeArgs;
use crate::service::StateDir;
use crate::settings::Settings;
use installation::said;

pub(super) async fn after_restore(args: NodeArgs) -> Result<ExitCode, CommandError> {
    let settings = Settings::resolve(args)?;
    let _state = StateDir::take(&settings.state_dir)?;
    let database = open::database(&settings).await?;
    let incarnation = replica::renewal::after_restore(&database).await;
    database.close().await?;
    said::line(format_args!(
        "a new history begins ({}): the office has to run 'office-client verify {} --repair'",
        incarnation?.id, settings.branch
    ));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn after_upgrade(args: NodeArgs) -> Result<ExitCode, CommandError> {
    let settings = Settings::resolve(args)?;
    let _state = StateDir::take(&settings.state_dir)?;
    let database = open::database(&settings).await?;
    let incarnation = replica::renewal::after_upgrade(&database, &settings.state_dir).await;
    database.close().await?;
    said::line(format_args!("the history goes on ({})", incarnation?.id));
    Ok(ExitCode::SUCCESS)
}
