//! Why a private cluster cannot be used.

use std::path::PathBuf;

/// A private cluster could not be found, made, started or stopped. The data in its directory is untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No usable server programs.
    #[error(
        "no PostgreSQL {wanted} server programs found ({tried}): install the package postgresql, \
         or name their directory with --pg-bindir or PG_BINDIR"
    )]
    NoBinaries {
        /// Version that is needed, as in `15` or `13 or newer`.
        wanted: String,
        /// Where they were looked for, and what was wrong there.
        tried: String,
    },
    /// The directory cannot serve as one of a cluster.
    #[error("{}: {reason}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// A file or a process could not be handled.
    #[error("{what}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// `initdb` or `postgres` ended with an error.
    #[error("{what}: {output}")]
    Program {
        /// Which program, and how it ended.
        what: String,
        /// The last lines it wrote.
        output: String,
    },
    /// The server does not answer in time.
    #[error("the server of {} does not answer: {reason}", dir.display())]
    NoAnswer {
        /// The directory of the cluster.
        dir: PathBuf,
        /// What is known about it.
        reason: String,
    },
    /// The server runs, but refuses a statement.
    #[error("{what}")]
    Query {
        /// What was tried.
        what: String,
        /// PostgreSQL's answer.
        #[source]
        source: tokio_postgres::Error,
    },
}

impl EmbeddedError {
    /// For `map_err`: names what was tried.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
