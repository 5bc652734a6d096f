//! The file of credentials: `STATE_DIR/users.json`, mode 0600, argon2id hashes.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
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

/// The file could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsersError {
    /// It cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// It is not what `user add` writes.
    #[error("{path} is damaged; remove it and add the users again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// No password can be hashed here.
    #[error("cannot hash a password: {0}")]
    Hash(argon2::password_hash::Error),
    /// Others may read it.
    #[error("{path} may be read by others; run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
}

/// Where the credentials of a state directory are.
pub(crate) fn users_path(state_dir: &Path) -> PathBuf {
    state_dir.join("users.json")
}

impl Users {
    /// Reads the file; one that is missing holds nobody.
    pub(crate) fn load(path: &Path) -> Result<Self, UsersError> {
        let failed = |source| UsersError::File { path: path.to_owned(), source };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(UsersError::Exposed { path: path.to_owned() });
        }
        serde_json::from_slice(&text).map_err(|source| UsersError::Damaged { path: path.to_owned(), source })
    }

    /// Writes the file as a whole, or leaves it as it was.
    pub(crate) fn save(&self, path: &Path) -> Result<(), UsersError> {
        let write = || -> io::Result<()> {
            let temporary = path.with_extension("json.new");
            let _ = std::fs::remove_file(&temporary);
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            std::fs::rename(&temporary, path)?;
            match path.parent() {
                Some(dir) => File::open(dir)?.sync_all(),
                None => Ok(()),
            }
        };
        write().map_err(|source| UsersError::File { path: path.to_owned(), source })
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

/// Argon2id with OWASP's parameters: 19 MiB, two passes.
fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

/// The hash of a password, with a salt of its own.
pub(crate) fn hash_password(password: &str) -> Result<String, argon2::password_hash::Error> {
    let hash: argon2::password_hash::phc::PasswordHash = argon2().hash_password(password.as_bytes())?;
    Ok(hash.to_string())
}

/// Whether a password fits a hash. Takes about 20 ms and 19 MiB.
pub(crate) fn verify_password(password: &[u8], hash: &str) -> bool {
    PasswordVerifier::<str>::verify_password(&argon2(), password, hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_password_only() -> Result<(), Box<dyn std::error::Error>> {
        let hash = hash_password("correct horse").map_err(|error| error.to_string())?;
        assert!(hash.starts_with("$argon2id$"));
        assert!(verify_password(b"correct horse", &hash));
        assert!(!verify_password(b"correct horsf", &hash));
        assert!(!verify_password(b"", "not a hash"));
        Ok(())
    }

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
        assert!(matches!(Users::load(&path), Err(UsersError::Exposed { .. })));
        Ok(())
    }
}
