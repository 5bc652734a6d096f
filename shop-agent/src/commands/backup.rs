//! `shop-agent backup` and `restore`: the private database as one file, and back.

use std::path::Path;
use std::process::ExitCode;

use installation::said;
use replica::database::Database;

use super::{CommandError, open};
use crate::cli::{BackupArgs, RestoreArgs};
use crate::service::StateDir;
use crate::settings::Settings;

pub(super) async fn backup(args: BackupArgs) -> Result<ExitCode, CommandError> {
    let settings = Settings::resolve(args.node)?;
    let file = std::path::absolute(&args.file)?;
    let database = open::database(&settings).await?;
    let written = database.backup(&file).await;
    database.close().await?;
    said::line(format_args!("{}: {} bytes", file.display(), written?));
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn restore(args: RestoreArgs) -> Result<ExitCode, CommandError> {
    let settings = Settings::resolve(args.node)?;
    // nobody else may use the database meanwhile
    let _state = StateDir::take(&settings.state_dir)?;
    let file = std::path::absolute(&args.file)?;
    let before = put_back(&settings, &file, args.force).await?;
    let database = open::database(&settings).await?;
    let incarnation = replica::renewal::after_restore(&database).await;
    database.close().await?;
    said::line(format_args!("{} is restored; a new history begins ({})", file.display(), incarnation?.id));
    if let Some(before) = before {
        said::line(format_args!("the database that was there is kept in {}", before.display()));
    }
    said::line(format_args!(
        "start the agent; the office has to run 'office-client verify {} --repair'",
        settings.branch
    ));
    Ok(ExitCode::SUCCESS)
}

async fn put_back(
    settings: &Settings,
    file: &Path,
    force: bool,
) -> Result<Option<std::path::PathBuf>, replica::ReplicaError> {
    Database::restore(&settings.database, settings.pg_bindir.clone(), file, force).await
}
