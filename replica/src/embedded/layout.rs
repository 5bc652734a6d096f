//! What lies where in the directory of a cluster.
//!
//! ```text
//! DIR/data             PGDATA
//! DIR/.s.PGSQL.5432    the socket (in /tmp/sync-HASH where its path would be too long)
//! DIR/owner.lock       exclusively locked by the process that runs the server
//! DIR/users.lock       locked in shared mode by every process that uses the cluster
//! DIR/server.log       what the server says
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::EmbeddedError;
use super::account::Account;

/// Port in the socket's name; nothing listens on TCP.
pub(super) const PORT: u16 = 5432;

/// Longest path of a unix socket: `sun_path` has 108 bytes, one of them the final zero.
const SOCKET_PATH_MAX: usize = 107;

/// The server's log is put aside when it is larger than this at a start.
const LOG_BYTES_MAX: u64 = 10 << 20;

/// The paths of one cluster.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) dir: PathBuf,
    pub(super) socket_dir: PathBuf,
}

impl Layout {
    /// `dir` exists and is canonical, so that all processes arrive at the same socket.
    pub(super) fn new(dir: PathBuf) -> Self {
        let socket_dir = if socket_in(&dir).as_os_str().len() <= SOCKET_PATH_MAX {
            dir.clone()
        } else {
            let hash = Sha256::digest(dir.as_os_str().as_encoded_bytes());
            let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            PathBuf::from(format!("/tmp/sync-{hex}"))
        };
        Self { dir, socket_dir }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(super) fn owner_lock(&self) -> PathBuf {
        self.dir.join("owner.lock")
    }

    pub(super) fn users_lock(&self) -> PathBuf {
        self.dir.join("users.lock")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// Major version of the existing cluster, if there is one.
    pub(super) fn major(&self) -> Option<u32> {
        fs::read_to_string(self.data().join("PG_VERSION")).ok()?.trim().parse().ok()
    }

    /// Whether the socket lies elsewhere because its path in the directory would be too long.
    pub(super) fn socket_is_elsewhere(&self) -> bool {
        self.socket_dir != self.dir
    }

    /// Makes the socket's directory. One in /tmp must be ours alone: somebody else could otherwise pose as the server.
    pub(super) fn prepare_socket_dir(&self, account: &Account) -> Result<(), EmbeddedError> {
        if !self.socket_is_elsewhere() {
            return Ok(());
        }
        if let Ok(meta) = fs::symlink_metadata(&self.socket_dir) {
            if !meta.is_dir() || meta.uid() != account.uid.as_raw() || meta.mode() & 0o077 != 0 {
                return Err(EmbeddedError::Directory {
                    dir: self.socket_dir.clone(),
                    reason: "somebody else's, or open to others, and so unfit for the socket: remove it".into(),
                });
            }
            return Ok(());
        }
        account.make_private(&self.socket_dir)
    }

    /// The log, opened for appending.
    pub(super) fn open_log(&self, account: &Account) -> Result<File, EmbeddedError> {
        let path = self.log();
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
            // a log that cannot be put aside is still a log
            let _ = fs::rename(&path, self.dir.join("server.log.old"));
        }
        open_owned(OpenOptions::new().append(true), &path, account)
    }

    /// What the server wrote since its log had `from` bytes, at most the last 2 KiB.
    pub(super) fn log_since(&self, from: u64) -> String {
        let read = || -> io::Result<String> {
            let mut log = File::open(self.log())?;
            let end = log.metadata()?.len();
            log.seek(SeekFrom::Start(from.min(end).max(end.saturating_sub(2048))))?;
            let mut bytes = Vec::new();
            log.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        match read() {
            Ok(text) if !text.is_empty() => text,
            _ => format!("see {}", self.log().display()),
        }
    }
}

/// Opens a file of the cluster, making it if needed. Links are not followed: the directory belongs to the server's user,
/// and we may be root.
fn open_owned(options: &mut OpenOptions, path: &Path, account: &Account) -> Result<File, EmbeddedError> {
    options
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .and_then(|file| account.own(&file).map(|()| file))
        .map_err(EmbeddedError::io(format!("cannot open {}", path.display())))
}

fn socket_in(dir: &Path) -> PathBuf {
    dir.join(format!(".s.PGSQL.{PORT}"))
}

/// A lock file. The kernel lets go of the lock when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    pub(super) fn open(path: PathBuf, account: &Account) -> Result<Self, EmbeddedError> {
        let file = open_owned(OpenOptions::new().read(true).write(true), &path, account)?;
        Ok(Self { file, path })
    }

    /// Takes the lock for itself alone if nobody holds it.
    pub(super) fn try_exclusive(&self) -> Result<bool, EmbeddedError> {
        self.attempt(self.file.try_lock())
    }

    /// Takes the lock together with others if nobody holds it alone.
    pub(super) fn try_shared(&self) -> Result<bool, EmbeddedError> {
        self.attempt(self.file.try_lock_shared())
    }

    fn attempt(&self, result: Result<(), TryLockError>) -> Result<bool, EmbeddedError> {
        match result {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(source)) => {
                Err(EmbeddedError::Io { what: format!("cannot lock {}", self.path.display()), source })
            }
        }
    }

    pub(super) fn unlock(&self) {
        // closing the file unlocks it in any case
        let _ = self.file.unlock();
    }

    /// Notes a number in the file, for those who find it later.
    pub(super) fn note(&mut self, number: i32) {
        let write = |file: &mut File| -> io::Result<()> {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{number}")
        };
        if let Err(error) = write(&mut self.file) {
            tracing::warn!(path = %self.path.display(), error = %error, "cannot note the server's process id");
        }
    }

    /// The number noted last.
    pub(super) fn noted(&mut self) -> Option<i32> {
        let mut text = String::new();
        self.file.seek(SeekFrom::Start(0)).ok()?;
        self.file.read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_moves_to_tmp_exactly_when_its_path_would_be_too_long() {
        let name = "/.s.PGSQL.5432".len();
        let fits = PathBuf::from(format!("/{}", "d".repeat(SOCKET_PATH_MAX - name - 1)));
        assert_eq!(Layout::new(fits.clone()).socket_dir, fits);
        let long = PathBuf::from(format!("/{}", "d".repeat(SOCKET_PATH_MAX - name)));
        let layout = Layout::new(long.clone());
        assert!(layout.socket_is_elsewhere());
        assert_eq!(layout.socket_dir, Layout::new(long).socket_dir, "all processes arrive at the same place");
        assert!(socket_in(&layout.socket_dir).as_os_str().len() <= SOCKET_PATH_MAX);
    }
}
