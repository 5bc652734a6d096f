//! `shop-agent import`, `shop-agent export`: a frozen stream by file instead of by line.

use std::process::ExitCode;

use protocol::carried::CarriedKind;
use replica::ReplicaError;
use replica::carried::CarriedFile;
use replica::shop::Shop;

use super::{CommandError, PROTECTED, open};
use crate::cli::{ExportArgs, ImportArgs, NodeArgs};
use crate::rpc::chain;
use crate::settings::Settings;

pub(super) async fn import(args: ImportArgs) -> Result<ExitCode, CommandError> {
    let path = args.file;
    let file = tokio::task::spawn_blocking(move || CarriedFile::open(&path)).await?;
    let file = match file {
        Ok(file) => file,
        Err(error) => return refused(error),
    };
    let (office, force) = (args.office, args.force);
    let imported = with_shop(args.node, async |shop| shop.import_file(&office, &file, force).await).await?;
    let imported = match imported {
        Ok(imported) => imported,
        Err(error) => return refused(error),
    };
    let what = match imported.kind {
        CarriedKind::Clone => "the clone",
        CarriedKind::Update | CarriedKind::Diff => "the update",
    };
    match (imported.applied.repeated, imported.applied.rows) {
        (true, _) => println!("{what} had been applied already: nothing was to be done"),
        (false, 1) => println!("{what} was applied: 1 row changed"),
        (false, rows) => println!("{what} was applied: {rows} rows changed"),
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn export(args: ExportArgs) -> Result<ExitCode, CommandError> {
    let (office, path) = (args.office, args.file);
    match with_shop(args.node, async |shop| shop.export_file(&office, &path).await).await? {
        Ok(written) => {
            println!("{} rows, {} bytes: take the file to the office", written.rows, written.bytes);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => refused(error),
    }
}

/// Opens the shop beside the agent, which may run: both take turns in the database.
async fn with_shop<T>(
    args: NodeArgs,
    work: impl AsyncFnOnce(&Shop) -> Result<T, ReplicaError>,
) -> Result<Result<T, ReplicaError>, CommandError> {
    let settings = Settings::resolve(args)?;
    crate::service::make_state_dir(&settings.state_dir)?;
    let database = open::database(&settings).await?;
    let shop = open::shop(&settings, database.clone()).await;
    let result = match &shop {
        Ok(shop) => Ok(work(shop).await),
        Err(_) => Err(()),
    };
    let opened = shop.map(drop);
    database.close().await?;
    match result {
        Ok(result) => Ok(result),
        Err(()) => Err(opened.map_or_else(CommandError::from, |()| "the shop was not opened".into())),
    }
}

/// Says why nothing was done; what was refused to protect data has its own exit code.
fn refused(error: ReplicaError) -> Result<ExitCode, CommandError> {
    match error {
        ReplicaError::FileRefused(_)
        | ReplicaError::CleanRefused(_)
        | ReplicaError::Restored(_)
        | ReplicaError::Schema(_) => {
            eprintln!("error: {}", chain(&error));
            Ok(ExitCode::from(PROTECTED))
        }
        error => Err(error.into()),
    }
}
