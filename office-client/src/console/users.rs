//! Who may log in: `STATE_DIR/console-users.json`, mode 0600, argon2id hashes.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use credentials::{CredentialsError, hash_password, verify_password};
use serde::{Deserialize, Serialize};

use crate::error::CommandError;

/// What somebody may do. Each may do all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// See everything, change nothing
    Look,
    /// Also update and verify branches, and stop that
    Sync,
    /// Also decide conflicts and quarantine, clone, add and change branches
    Decide,
}

impl Role {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Sync => "sync",
            Self::Decide => "decide",
        }
    }
}

/// Somebody who may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct User {
    /// Name at the login.
    pub(crate) name: String,
    /// What they may do.
    pub(crate) role: Role,
    /// Argon2id, as a PHC string.
    hash: String,
}

/// Everybody who may.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Users {
    /// In the order they were added.
    pub(crate) users: Vec<User>,
}

/// Where they are kept.
pub(crate) fn users_path(state_dir: &Path) -> PathBuf {
    state_dir.join("console-users.json")
}

impl User {
    /// With the hash of a password, which has a salt of its own.
    pub(crate) fn new(name: &str, role: Role, password: &str) -> Result<Self, CommandError> {
        if name.is_empty() || name.chars().count() > 64 || name.contains(':') || name.chars().any(char::is_control) {
            return Err(CommandError::usage(format!("{name:?} is no name: use up to 64 characters and no colon")));
        }
        let hash = hash_password(password)
            .map_err(|error| CommandError::failed(format!("the password cannot be hashed: {error}")))?;
        Ok(Self { name: name.to_owned(), role, hash })
    }

    /// The hash of their password: another one after a change, also to the same password.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether it is their password. Takes about 20 ms and 19 MiB.
    pub(super) fn fits(&self, password: &str) -> bool {
        verify_password(password.as_bytes(), &self.hash)
    }

    /// Nobody, for names that nobody has: guessing a name must take as long as guessing a password.
    pub(super) fn nobody() -> Option<&'static Self> {
        static NOBODY: LazyLock<Option<User>> =
            LazyLock::new(|| User::new("nobody", Role::Look, &format!("{:x}", rand::random::<u128>())).ok());
        NOBODY.as_ref()
    }
}

impl Users {
    /// Reads the file; one that is missing holds nobody.
    pub(crate) fn load(path: &Path) -> Result<Self, CommandError> {
        credentials::load(path).map_err(|error| match &error {
            CredentialsError::File { source, .. } => {
                CommandError::failed(format!("cannot read {}: {source}", path.display()))
            }
            CredentialsError::Exposed { .. } => {
                CommandError::usage(format!("{} may be read by others", path.display()))
                    .with_hint(format!("run: chmod 600 {}", path.display()))
            }
            CredentialsError::Hash(_) => CommandError::failed(error.to_string()),
            CredentialsError::Damaged { source, .. } => {
                CommandError::usage(format!("{} is damaged: {source}", path.display()))
                    .with_hint("remove it and add the users again")
            }
        })
    }

    /// Writes the file as a whole, or leaves it as it was.
    pub(crate) fn save(&self, path: &Path) -> Result<(), CommandError> {
        let failed =
            |error: &dyn std::fmt::Display| CommandError::failed(format!("cannot write {}: {error}", path.display()));
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(|error| failed(&error))?;
        }
        credentials::save(path, self).map_err(|error| match &error {
            CredentialsError::File { source, .. } => failed(source),
            other => failed(other),
        })
    }

    /// Adds somebody, or replaces the one of that name.
    pub(crate) fn put(&mut self, user: User) {
        match self.users.iter_mut().find(|known| known.name == user.name) {
            Some(known) => *known = user,
            None => self.users.push(user),
        }
    }

    /// The one of that name.
    pub(super) fn find(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_password_fits_its_user_only_and_nobody_fits_none() {
        let ana = User::new("ana", Role::Sync, "correct horse").unwrap();
        assert!(ana.fits("correct horse") && !ana.fits("correct horsf") && !ana.fits(""));
        assert!(User::nobody().is_some_and(|nobody| !nobody.fits("") && !nobody.fits("password")));
        assert!(User::new("a:b", Role::Look, "x").is_err());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = users_path(dir.path());
        let mut users = Users::default();
        users.put(User { name: "a".into(), role: Role::Look, hash: "h".into() });
        users.put(User { name: "a".into(), role: Role::Decide, hash: "h".into() });
        users.save(&path).unwrap();
        assert_eq!(Users::load(&path).unwrap(), users);
        assert_eq!(users.users.len(), 1);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Users::load(&path).is_err());
    }

    #[test]
    fn each_role_may_do_what_those_before_it_may() {
        assert!(Role::Look < Role::Sync && Role::Sync < Role::Decide);
    }
}
