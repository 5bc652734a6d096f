//! The account that a service runs as: what root sets up is given to it, and the rest of the set-up is done as it, so that
//! everything is tried with the rights that the service will have.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use nix::unistd::{Gid, Uid, User, chown, geteuid, initgroups, setgid, setuid};

/// An account of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    name: String,
    uid: Uid,
    gid: Gid,
}

/// Something could not be given to an account, or the account not be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the user {name}: {source}")]
pub struct AccountError {
    what: String,
    name: String,
    source: io::Error,
}

impl Account {
    /// The account of a service, where this is root and there is one: then files are to be its own.
    pub fn of_service(name: &str) -> Option<Self> {
        if !geteuid().is_root() {
            return None;
        }
        let user = User::from_name(name).ok().flatten()?;
        Some(Self { name: name.to_owned(), uid: user.uid, gid: user.gid })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets its group read a file of root's.
    ///
    /// # Errors
    /// If the file cannot be given.
    pub fn may_read(&self, file: &Path) -> Result<(), AccountError> {
        chown(file, None, Some(self.gid))
            .map_err(|error| self.failed(format!("give {} to", file.display()), error.into()))
    }

    /// Makes a directory for it alone. One that is there is taken over while it is empty; one that somebody else uses is an
    /// error.
    ///
    /// # Errors
    /// If it cannot be made, or holds somebody else's files.
    pub fn own_dir(&self, dir: &Path) -> Result<(), AccountError> {
        let failed = |error| self.failed(format!("make {} for", dir.display()), error);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let owner = std::fs::metadata(dir).map_err(failed)?.uid();
        if owner == self.uid.as_raw() {
            return Ok(());
        }
        if std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
            let other = User::from_uid(Uid::from_raw(owner)).ok().flatten().map_or(owner.to_string(), |user| user.name);
            return Err(failed(io::Error::other(format!(
                "it holds files of {other}; run: chown -R {}: {}",
                self.name,
                dir.display()
            ))));
        }
        chown(dir, Some(self.uid), Some(self.gid)).map_err(|error| failed(error.into()))
    }

    /// From now on this process is that account, for good, and works in the root directory: it may not be allowed into the
    /// one it was started in.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn take(&self) -> Result<(), AccountError> {
        let failed = |error: nix::errno::Errno| self.failed("become".to_owned(), error.into());
        let name = std::ffi::CString::new(self.name.as_str()).map_err(|_| failed(nix::errno::Errno::EINVAL))?;
        initgroups(&name, self.gid).map_err(failed)?;
        setgid(self.gid).map_err(failed)?;
        setuid(self.uid).map_err(failed)?;
        std::env::set_current_dir("/").map_err(|error| self.failed("leave the directory as".to_owned(), error))
    }

    fn failed(&self, what: String, source: io::Error) -> AccountError {
        AccountError { what, name: self.name.clone(), source }
    }
}
