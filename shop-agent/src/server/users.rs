//! The file of credentials: `STATE_DIR/users.json`, mode 0600, argon2id hashes.

use std::path::{Path, PathBuf};

use credentials::CredentialsError;
use serde::{Deserialize, Serialize};

/// One credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct User {
    /// Name at the login.
    pub(crate) name: String,
    /// Office it speaks for.
    pub(crate) office: String,
    /// Argon2id, as a PHC string.
    pub(crate) hash: String,
    /// Its client cannot take nil: it gets an empty string instead.
    #[serde(default)]
    pub(crate) no_nil: bool,
}

/// All credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Users {
    /// In the order they were added.
    pub(crate) users: Vec<User>,
}

/// Where the credentials of a state directory are.
pub(crate) fn users_path(state_dir: &Path) -> PathBuf {
    state_dir.join("users.json")
}

impl Users {
    /// Reads the file; one that is missing holds nobody.
    pub(crate) fn load(path: &Path) -> Result<Self, CredentialsError> {
        credentials::load(path)
    }

    /// Writes the file as a whole, or leaves it as it was.
    pub(crate) fn save(&self, path: &Path) -> Result<(), CredentialsError> {
        credentials::save(path, self)
    }

    /// The credential of that name.
    pub(crate) fn find(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// Adds a credential, or replaces the one of that name.
    pub(crate) fn put(&mut self, user: User) {
        match self.users.iter_mut().find(|known| known.name == user.name) {
            Some(known) => *known = user,
            None => self.users.push(user),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_others_may_read_is_refused() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let path = users_path(dir.path());
        let mut users = Users::default();
        users.put(User { name: "a".into(), office: "o".into(), hash: "h".into(), no_nil: false });
        users.put(User { name: "a".into(), office: "p".into(), hash: "h".into(), no_nil: false });
        users.save(&path)?;
        assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
        assert_eq!(Users::load(&path)?.users.len(), 1);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640))?;
        assert!(matches!(Users::load(&path), Err(CredentialsError::Exposed { .. })));
        Ok(())
    }
}
