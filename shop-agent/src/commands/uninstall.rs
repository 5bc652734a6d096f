//! `shop-agent uninstall`: takes everything of ours out of the shop's database.

use std::process::ExitCode;

use installation::said;
use replica::ReplicaError;
use replica::database::{Database, DatabaseUrl};
use replica::shop::Removed;

use super::{CommandError, open};
use crate::cli::UninstallArgs;
use crate::exit::PROTECTED;
use crate::rpc::chain;
use crate::service::StateDir;
use crate::settings::Settings;

pub(super) async fn uninstall(args: UninstallArgs) -> Result<ExitCode, CommandError> {
    let settings = Settings::resolve(args.node)?;
    if !Database::is_there(&settings.database) {
        said::line(format_args!("nothing is installed: there is no private database"));
        return Ok(ExitCode::SUCCESS);
    }
    // an agent that runs would bring everything back
    let _state = StateDir::take(&settings.state_dir)?;
    let database = open::database(&settings).await?;
    let removed = replica::shop::uninstall(&database, args.force).await;
    database.close().await?;
    match removed {
        Ok(None) => said::line(format_args!("nothing is installed in the database of branch {}", settings.branch)),
        Ok(Some(removed)) => print(&settings, &removed),
        Err(error @ ReplicaError::Protected(_)) => {
            said::talk(format_args!("error: nothing was removed: {}", chain(&error)));
            return Ok(ExitCode::from(PROTECTED));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(settings: &Settings, removed: &Removed) {
    let role = removed.role.as_ref().map(|role| format!(", role {role}")).unwrap_or_default();
    said::line(format_args!(
        "removed from the database of branch {}: the triggers of {} tables, schema sync{role}",
        settings.branch, removed.tables
    ));
    said::line(format_args!("the shop's own tables, their rows and their sequences are as they were"));
    if let Some((role, reason)) = &removed.role_left {
        said::line(format_args!("role {role} is left: {reason}; when nothing needs it any more: drop role {role}"));
    }
    if removed.changes > 0 {
        said::line(format_args!("forgotten by force: {} changes that an office had not acknowledged", removed.changes));
    }
    if removed.rows_aside > 0 {
        said::line(format_args!("forgotten by force: {} rows that the last clean had put aside", removed.rows_aside));
    }
    said::line(format_args!("what is left to do:"));
    if let DatabaseUrl::Embedded(dir) = &settings.database {
        said::line(format_args!(
            "  {} is the private database, with the shop's tables: nothing there was removed",
            dir.display()
        ));
    }
    said::line(format_args!(
        "  {} has credentials, certificate and sessions: remove it when the office needs this shop no more",
        settings.state_dir.display()
    ));
    said::line(format_args!(
        "  the program itself: sudo apt remove shop-agent, or ./install --remove from its archive"
    ));
    said::line(format_args!("  at the office: office-client branch retire {}", settings.branch));
}
