//! Why a command ended without doing what it was asked to, and what its caller can do about it.

use std::error::Error as StdError;

use protocol::address::AddressError;
use replica::ReplicaError;

use crate::driver::DriveError;
use crate::link::LinkError;

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The command line or the configuration cannot work.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The work failed.
    #[error("{message}")]
    Failed {
        /// What happened.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The office's database refused or could not be reached.
    #[error("{}{}", whose(.0), Plain(.0))]
    Replica(#[source] ReplicaError),
    /// The peer refused or could not be reached.
    #[error(transparent)]
    Link(LinkError),
    /// A run of one branch ended early.
    #[error("branch `{branch}`: {error}")]
    Drive {
        /// The branch.
        branch: String,
        /// Why.
        #[source]
        error: DriveError,
    },
    /// The user stopped the work.
    #[error("interrupted; nothing is half done, and the same command goes on where it stopped")]
    Interrupted,
}

/// Whose fault an error is, where its text does not say so itself.
pub(crate) fn whose(error: &ReplicaError) -> &'static str {
    if matches!(error, ReplicaError::FileRefused(_)) { "" } else { "the office's database: " }
}

/// The text of a [`ReplicaError`] without repeating it in the chain of causes.
struct Plain<'a>(&'a ReplicaError);

impl std::fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl CommandError {
    /// Wrong usage or configuration.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// A failure without a hint.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: None }
    }

    /// Adds what to do, where the error has room for it.
    pub(crate) fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Usage { hint, .. } | Self::Failed { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } | Self::Failed { hint, .. } => hint.clone(),
            Self::Replica(error) => replica_hint(error),
            Self::Link(error) => error.hint(),
            Self::Drive { branch, error } => error.hint(branch),
            Self::Interrupted => None,
        }
    }

    /// The error and its causes in one line.
    pub(crate) fn chain(&self) -> String {
        match self {
            // these two write their own first cause out already
            Self::Replica(error) => format!("{}{}", whose(error), chain(error)),
            Self::Drive { branch, error } => format!("branch `{branch}`: {}", chain(error)),
            other => chain(other),
        }
    }
}

impl From<ReplicaError> for CommandError {
    fn from(error: ReplicaError) -> Self {
        Self::Replica(error)
    }
}

impl From<AddressError> for CommandError {
    fn from(error: AddressError) -> Self {
        Self::Link(error.into())
    }
}

impl From<LinkError> for CommandError {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

/// What to do about an error of the office's database.
pub(crate) fn replica_hint(error: &ReplicaError) -> Option<String> {
    if let Some(hint) = full_disk_hint(error) {
        return Some(hint);
    }
    Some(match error {
        ReplicaError::Unavailable(_) => {
            "check `--database`, and that the server runs; a private cluster is `embedded:DIR`".to_owned()
        }
        ReplicaError::Protected(_) => {
            "if it is meant, repeat the update with --force; `branch set NAME --stop-deletes 50%` (or off) moves the bound".to_owned()
        }
        ReplicaError::Busy(_) => "try again when the other run has ended".to_owned(),
        _ => return None,
    })
}

/// A disk of ours that has run full, under files or under the database.
pub(crate) fn full_disk_hint(error: &(dyn StdError + 'static)) -> Option<String> {
    // the system's words, which a server on this machine repeats
    const FULL: &str = "No space left on device";
    chain(error).contains(FULL).then(|| {
        "a disk at the office is full: make room (state directory, database); nothing is lost, and the same command goes on"
            .to_owned()
    })
}

/// An error and its causes in one line; a cause that its error repeats already is left out.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !next.is_empty() && !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_cause_once() {
        let source = std::io::Error::other("disk full");
        let error = ReplicaError::Spool { what: "cannot write /spool/1".into(), source };
        assert_eq!(chain(&error), "cannot write /spool/1: disk full");
        assert_eq!(replica_hint(&error), None);
        assert_eq!(CommandError::from(error).chain(), "the office's database: cannot write /spool/1: disk full");
    }
    #[test]
    fn a_full_disk_says_what_to_do() {
        let source = std::io::Error::from_raw_os_error(28);
        let error = ReplicaError::Spool { what: "cannot write /spool/1".into(), source };
        assert!(replica_hint(&error).is_some_and(|hint| hint.contains("make room")));
    }
}
