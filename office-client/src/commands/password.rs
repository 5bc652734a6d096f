//! Asking for a password at a terminal, without echo.

use std::io::IsTerminal as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use replica::office::Branch;

use crate::error::CommandError;
use crate::limits::PASSWORD_CHARS_MIN;
use crate::link::{Credentials, read_password};
use crate::settings::is_root;

/// Asks for the password of a branch that has a user and no password file; none when the branch needs no question.
pub(crate) fn ask_for(branch: &Branch) -> Result<Option<String>, CommandError> {
    match (&branch.user, &branch.password_file) {
        (Some(user), None) => ask(&format!("password of `{user}` at branch `{}`: ", branch.name)).map(Some),
        _ => Ok(None),
    }
}

/// What a command line says about user and password: the password comes from a file, or is asked for.
pub(crate) fn credentials(user: Option<&str>, file: Option<&Path>) -> Result<Option<Credentials>, CommandError> {
    Ok(match (user, file) {
        (Some(user), Some(file)) => Some(Credentials::new(user, &read_password(file)?)),
        (Some(user), None) => Some(Credentials::new(user, &ask(&format!("password of `{user}`: "))?)),
        (None, _) => None,
    })
}

/// Keeps the password of a branch where only this program's user reads it, and gives the file.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn keep(state_dir: &Path, branch: i64, password: &str) -> std::io::Result<PathBuf> {
    use std::io::Write as _;
    let dir = state_dir.join("passwords");
    std::fs::create_dir_all(&dir)?;
    let path = dir.join(format!("branch-{branch}"));
    let mut options = std::fs::File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(password.as_bytes())?;
    file.sync_all()?;
    std::path::absolute(&path)
}

/// A file of root's is closed to the service, which updates the branch by schedule: where root speaks for a service, the
/// password is taken out of the file and kept in the state directory. None where the file itself will do.
pub(crate) fn keep_for_service(
    state_dir: &Path,
    branch: i64,
    file: Option<&Path>,
) -> Result<Option<PathBuf>, CommandError> {
    let is_a_service_s = || std::fs::metadata(state_dir).is_ok_and(|dir| dir.uid() != 0);
    match file.filter(|file| !file.as_os_str().is_empty() && is_root() && is_a_service_s()) {
        None => Ok(None),
        Some(file) => {
            let kept = keep(state_dir, branch, &read_password(file)?);
            kept.map(Some).map_err(|error| {
                CommandError::failed(format!("the password cannot be kept in {}: {error}", state_dir.display()))
            })
        }
    }
}

/// A password for somebody new: from a file, or typed twice.
pub(crate) fn new_password(name: &str, file: Option<&Path>) -> Result<String, CommandError> {
    let password = match file {
        Some(file) => read_password(file)?,
        None => {
            let first = ask(&format!("password for `{name}`: "))?;
            if ask("the same again: ")? != first {
                return Err(CommandError::usage("the two passwords are not the same"));
            }
            first
        }
    };
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(CommandError::usage(format!("a password has at least {PASSWORD_CHARS_MIN} characters")));
    }
    Ok(password)
}

/// Asks a question and reads one line without echo.
pub(crate) fn ask(question: &str) -> Result<String, CommandError> {
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::usage("there is no password file, and no terminal to ask at")
            .with_hint("give one with --password-file; it must be readable by you alone"));
    }
    installation::ask_hidden(question)
        .map_err(|error| CommandError::failed(format!("the password cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn boundary_of_password_chars_min() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        // characters count, not bytes
        for (chars, is_taken) in
            [(PASSWORD_CHARS_MIN - 1, false), (PASSWORD_CHARS_MIN, true), (PASSWORD_CHARS_MIN + 1, true)]
        {
            std::fs::write(&file, "ü".repeat(chars)).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(new_password("ana", Some(&file)).is_ok(), is_taken, "{chars}");
        }
    }
}
