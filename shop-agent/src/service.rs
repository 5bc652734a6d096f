//! The service's life: signals, the state directory.

use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The directories of the state, made where they are missing, and held by this process alone.
#[derive(Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
    _lock: File,
}

impl StateDir {
    /// Takes the directory; another agent on the same one is an error.
    pub(crate) fn take(root: &Path) -> io::Result<Self> {
        make_state_dir(root)?;
        for dir in ["sessions", "incoming", "control"] {
            make_dir(&root.join(dir))?;
        }
        let lock = File::options().create(true).truncate(false).write(true).open(root.join("agent.lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another agent runs on {}; stop it first", root.display());
                return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Self { root: root.to_owned(), _lock: lock })
    }

    /// Chunk logs.
    pub(crate) fn sessions(&self) -> PathBuf {
        self.root.join("sessions")
    }

    /// Blobs of requests that are still arriving; nameless, so nothing stays behind.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }
}

/// From now on, new files are for this user alone.
pub(crate) fn close_new_files() {
    // SAFETY: umask has no preconditions and cannot fail
    unsafe { libc::umask(0o077) };
}

/// Makes the state directory, with what is above it. Nobody else may list it; where this is root, others may pass
/// through, since a private cluster below it runs as another user. What is in it is closed by itself.
pub(crate) fn make_state_dir(dir: &Path) -> io::Result<()> {
    // SAFETY: geteuid has no preconditions and cannot fail
    let mode = if unsafe { libc::geteuid() } == 0 { 0o711 } else { 0o700 };
    let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).collect();
    make_dir(dir)?;
    for made in missing {
        std::fs::set_permissions(made, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Makes a directory for this user alone.
fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot make the directory {}: {error}", dir.display())))
}

/// Asks to stop at the first SIGTERM or SIGINT; ends the process at the second.
pub(crate) fn stop_on_signals(stop: CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for is_first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_first {
                tracing::info!("stopping");
                stop.cancel();
            } else {
                tracing::warn!("stopped at once");
                std::process::exit(130);
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_has_one_agent() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().join("deep/state");
        let first = StateDir::take(&root)?;
        assert!(first.sessions().is_dir());
        assert_eq!(StateDir::take(&root).map(|_| ()).map_err(|e| e.kind()), Err(io::ErrorKind::WouldBlock));
        drop(first);
        StateDir::take(&root).map(|_| ())
    }
}
