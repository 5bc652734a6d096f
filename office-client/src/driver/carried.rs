//! The way by file instead of by line: what is written for a branch, and what comes back from it.

use std::path::Path;

use protocol::session::office::Task;
use replica::carried::CarriedFile;
use replica::office::{Branch, Exported, Imported, Office};

use super::unfinished::{mark_clone, unmark_clone};
use super::{DriveError, check_settled};

/// Writes a file for a branch. The lease keeps a run over the line away meanwhile.
pub(crate) async fn export(
    office: &Office,
    branch: &Branch,
    task: Task,
    force: bool,
    path: &Path,
) -> Result<Exported, DriveError> {
    let _lease = office.lease(branch).await?;
    // what counts is how it stands now that nobody else has it
    let mut branch = office.branch(&branch.name).await?;
    match task {
        Task::Update => {
            check_settled(&branch, force)?;
            Ok(office.export_update(&branch, path).await?)
        }
        Task::Clone => {
            if branch.paused && !force {
                return Err(DriveError::Paused);
            }
            // in the order of a clone over the line: no update may run from here on, and the ids are the shop's own
            mark_clone(office, &mut branch).await?;
            branch.id_range = Some(office.id_range(&branch, branch.cloned_at.is_some()).await?);
            Ok(office.export_clone(&branch, path).await?)
        }
    }
}

/// Takes in a shop's file.
pub(crate) async fn import(office: &Office, branch: &Branch, file: &CarriedFile) -> Result<Imported, DriveError> {
    let _lease = office.lease(branch).await?;
    let mut branch = office.branch(&branch.name).await?;
    let imported = office.import_diff(&branch, file).await?;
    if imported.cloned {
        unmark_clone(office, &mut branch).await?;
    }
    Ok(imported)
}
