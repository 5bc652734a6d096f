//! `shop-agent user`: the credentials of offices. A running agent takes changes up by itself.

use std::path::Path;
use std::process::ExitCode;

use credentials::hash_password;
use installation::said;

use super::CommandError;
use super::password::password;
use crate::cli::UserCommand;
use crate::server::users::{User, Users, users_path};
use crate::service::make_state_dir;
use crate::settings::{SERVICE_STATE_DIR, state_dir};

pub(super) fn user(command: UserCommand) -> Result<ExitCode, CommandError> {
    match command {
        UserCommand::Add { name, office, password_file, no_nil, place } => {
            let dir = state_dir(&place)?;
            add(&dir, name, office, &password(password_file.as_deref())?, no_nil)
        }
        UserCommand::Remove { name, place } => remove(&state_dir(&place)?, &name),
        UserCommand::List { place } => {
            for user in Users::load(&users_path(&state_dir(&place)?))?.users {
                said::line(format_args!("{}\t{}", user.name, user.office));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Adds a credential, or gives it another password.
pub(super) fn put(dir: &Path, name: &str, office: &str, password: &str) -> Result<ExitCode, CommandError> {
    add(dir, name.to_owned(), office.to_owned(), password, false)
}

fn add(dir: &Path, name: String, office: String, password: &str, no_nil: bool) -> Result<ExitCode, CommandError> {
    if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) || office.trim().is_empty() {
        return Err("a name has at least one character and no colon, and an office has a name".into());
    }
    let hash = hash_password(password).map_err(|error| format!("cannot hash the password: {error}"))?;
    // before the first start of the service: what is made here is to be its own
    let is_to_come = dir == Path::new(SERVICE_STATE_DIR) && !dir.exists();
    match installation::Account::of_service("shop-agent").filter(|_| is_to_come) {
        Some(account) => account.own_dir(dir)?,
        None => make_state_dir(dir)?,
    }
    let path = users_path(dir);
    let mut users = Users::load(&path)?;
    said::talk(format_args!("{name} speaks for office {office}"));
    users.put(User { name, office, hash, no_nil });
    users.save(&path)?;
    Ok(ExitCode::SUCCESS)
}

fn remove(dir: &Path, name: &str) -> Result<ExitCode, CommandError> {
    let path = users_path(dir);
    let mut users = Users::load(&path)?;
    let before = users.users.len();
    users.users.retain(|user| user.name != name);
    if users.users.len() == before {
        return Err(format!("there is no user {name:?}").into());
    }
    users.save(&path)?;
    Ok(ExitCode::SUCCESS)
}
