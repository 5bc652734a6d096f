//! The file they are in: JSON, for its owner only, replaced as a whole.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::HashError;

/// The file or a password could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// It is not what [`save`] writes.
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
    Hash(HashError),
    /// Others may read it.
    #[error("{path} may be read by others; run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the file; one that is missing holds nobody.
///
/// # Errors
/// When it cannot be read, may be read by others, or is damaged.
pub fn load<T: DeserializeOwned + Default>(path: &Path) -> Result<T, CredentialsError> {
    let failed = |source| CredentialsError::File { path: path.to_owned(), source };
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
        Err(error) => return Err(failed(error)),
    };
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(CredentialsError::Exposed { path: path.to_owned() });
    }
    serde_json::from_slice(&text).map_err(|source| CredentialsError::Damaged { path: path.to_owned(), source })
}

/// Writes the file as a whole, or leaves it as it was.
///
/// # Errors
/// When it cannot be written.
pub fn save<T: Serialize>(path: &Path, users: &T) -> Result<(), CredentialsError> {
    let write = || -> io::Result<()> {
        let temporary = path.with_extension("json.new");
        let _ = std::fs::remove_file(&temporary);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(users)?)?;
        give_to_owner_of_directory(&file, path)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        match path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| CredentialsError::File { path: path.to_owned(), source })
}

/// A file that root replaces is read by the service at once: it has to be the service's from the start.
fn give_to_owner_of_directory(file: &File, path: &Path) -> io::Result<()> {
    let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) else { return Ok(()) };
    let (owner, ours) = (std::fs::metadata(dir)?, file.metadata()?);
    if ours.uid() == 0 && owner.uid() != 0 {
        std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_damaged_is_no_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.json");
        assert_eq!(load::<Vec<String>>(&path).unwrap(), Vec::<String>::new());
        save(&path, &vec!["ana".to_owned()]).unwrap();
        assert_eq!(load::<Vec<String>>(&path).unwrap(), ["ana"]);
        std::fs::write(&path, "[").unwrap();
        assert!(matches!(load::<Vec<String>>(&path), Err(CredentialsError::Damaged { .. })));
    }
}
