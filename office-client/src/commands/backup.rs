//! `office-client backup` and `restore`: the private database as one file, and back.

use std::path::{Path, PathBuf};

use replica::database::Database;

use super::{Outcome, close, open_database};
use crate::cli::{BackupArgs, RestoreArgs};
use crate::error::CommandError;
use crate::output::Printer;
use crate::settings::Settings;
use crate::units;

/// Writes the file.
pub(crate) async fn backup(args: &BackupArgs, settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    let file = absolute(&args.file)?;
    let database = open_database(settings).await?;
    let written = database.backup(&file).await;
    close(database).await;
    let bytes = written?;
    printer.object(&serde_json::json!({ "file": file.display().to_string(), "bytes": bytes }));
    printer.line(&format!("{}: {}", file.display(), units::bytes(bytes)));
    Ok(Outcome::Done)
}

/// Puts it back.
pub(crate) async fn restore(
    args: &RestoreArgs,
    settings: &Settings,
    printer: &Printer,
) -> Result<Outcome, CommandError> {
    let file = absolute(&args.file)?;
    let before = Database::restore(&settings.database, settings.pg_bindir.clone(), &file, args.force).await?;
    let database = open_database(settings).await?;
    let incarnation = replica::renewal::after_restore(&database).await;
    close(database).await;
    let incarnation = incarnation?;
    let kept = before.map(|before| before.display().to_string());
    printer.object(
        &serde_json::json!({ "file": file.display().to_string(), "incarnation": incarnation.id, "kept": kept }),
    );
    printer.line(&format!("{} is restored; a new history begins", file.display()));
    if let Some(kept) = kept {
        printer.line(&format!("the database that was there is kept in {kept}"));
    }
    printer.line("next: `office-client verify --all --repair`");
    Ok(Outcome::Done)
}

fn absolute(file: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(file).map_err(|error| CommandError::usage(format!("{}: {error}", file.display())))
}
