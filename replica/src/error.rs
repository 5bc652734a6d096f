//! What can go wrong in a replica, and what the caller may do about it.

use protocol::fault::FaultCode;
use protocol::names::TableName;

/// An operation on the database failed. Business tables are as they were before it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The database cannot be reached, is starting or is shutting down: try again later.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another apply holds the branch, or the database asks to try again (deadlock, serialisation, lock timeout).
    #[error("busy: {0}")]
    Busy(String),
    /// The dialect's reader refused the script.
    #[error("statement {statement}: {message}; nothing was applied: docs/PROTOCOL.md tells what SQL is taken")]
    Refused {
        /// 1-based number of the statement.
        statement: u64,
        /// What is refused and why; holds no row values.
        message: String,
    },
    /// PostgreSQL refused a row or a statement.
    #[error(
        "{0}; nothing was applied: mend the row where it comes from, or the table that refuses it, and send it again"
    )]
    Failed(Box<Failure>),
    /// The compressed stream is damaged or truncated.
    #[error("damaged chunk: {0}")]
    Damaged(String),
    /// The stream exceeds a limit.
    #[error("too large: {0}")]
    TooLarge(String),
    /// `clean` would destroy changes nobody has acknowledged.
    #[error("{0}")]
    CleanRefused(String),
    /// An update would delete or change an uncommonly large part of a table, or something else would lose data.
    #[error("{0}")]
    Protected(String),
    /// The watermark is older than what is retained.
    #[error("{0}")]
    SinceTooOld(String),
    /// The watermark belongs to another incarnation, or was never issued to this office.
    #[error("{0}")]
    UnknownWatermark(String),
    /// The database knows less than it has already told its peers.
    #[error("{0}")]
    Restored(String),
    /// The schema of the database is not what the policy or the peer expects.
    #[error("{0}")]
    Schema(String),
    /// An id range cannot be set.
    #[error("{0}")]
    IdRange(String),
    /// A file that was carried here does not fit.
    #[error("{0}")]
    FileRefused(String),
    /// The session does not exist.
    #[error("{0}")]
    UnknownSession(String),
    /// Too many sessions are open.
    #[error("{0}")]
    TooManySessions(String),
    /// The configuration or the request cannot work.
    #[error("{0}")]
    Invalid(String),
    /// A file of the spool cannot be read or written.
    #[error("{what}")]
    Spool {
        /// Which file, and what was tried.
        what: String,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A query of the product itself failed: a bug or a damaged installation.
    #[error("{what}")]
    Query {
        /// What was tried.
        what: &'static str,
        /// PostgreSQL's answer.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The caller stopped the work.
    #[error("stopped")]
    Stopped,
}

/// A row or statement that PostgreSQL refused. Carries no row values.
#[derive(Debug, Clone)]
pub struct Failure {
    /// 1-based number of the statement in the script, when one can be named.
    pub statement: Option<u64>,
    /// Table the statement wrote to.
    pub table: Option<TableName>,
    /// Column, when PostgreSQL names one.
    pub column: Option<String>,
    /// Constraint, when PostgreSQL names one.
    pub constraint: Option<String>,
    /// SQLSTATE.
    pub state: String,
    /// The reason in plain words, without values.
    pub reason: String,
    /// The statement with every value as `?`, when one can be named.
    pub redacted: Option<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(statement) = self.statement {
            write!(f, "statement {statement}: ")?;
        }
        if let Some(table) = &self.table {
            write!(f, "table {table}: ")?;
        }
        f.write_str(&self.reason)?;
        if let Some(column) = &self.column {
            write!(f, " (column {column})")?;
        }
        if let Some(constraint) = &self.constraint {
            write!(f, " (constraint {constraint})")?;
        }
        if let Some(redacted) = &self.redacted {
            write!(f, " in {redacted}")?;
        }
        write!(f, " [SQLSTATE {}]", self.state)
    }
}

impl ReplicaError {
    /// The fault that a caller on the wire gets for it.
    pub fn fault_code(&self) -> FaultCode {
        match self {
            Self::Unavailable(_) => FaultCode::DatabaseUnavailable,
            Self::Busy(_) => FaultCode::Busy,
            Self::Refused { .. } => FaultCode::StatementRefused,
            Self::Failed(_) => FaultCode::StatementFailed,
            Self::Damaged(_) => FaultCode::DamagedChunk,
            Self::TooLarge(_) => FaultCode::ChunkTooLarge,
            Self::CleanRefused(_) => FaultCode::CleanRefused,
            Self::SinceTooOld(_) => FaultCode::SinceTooOld,
            Self::UnknownWatermark(_) => FaultCode::UnknownWatermark,
            Self::Restored(_) => FaultCode::Restored,
            Self::Schema(_) => FaultCode::SchemaMismatch,
            Self::IdRange(_) => FaultCode::IdRange,
            Self::FileRefused(_) => FaultCode::WrongParameters,
            Self::UnknownSession(_) => FaultCode::UnknownSession,
            Self::TooManySessions(_) => FaultCode::TooManySessions,
            Self::Invalid(_) | Self::Protected(_) => FaultCode::WrongParameters,
            Self::Spool { .. } => FaultCode::System,
            Self::Query { .. } => FaultCode::Internal,
            Self::Stopped => FaultCode::Busy,
        }
    }

    /// Whether the same request may succeed later without anybody acting: the session stays open.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy(_) | Self::Stopped)
    }
}

impl From<tokio_postgres::Error> for ReplicaError {
    fn from(source: tokio_postgres::Error) -> Self {
        classify("query", source)
    }
}

/// Sorts an error of the database by what the caller may do about it.
pub(crate) fn classify(what: &'static str, source: tokio_postgres::Error) -> ReplicaError {
    use tokio_postgres::error::SqlState as S;
    if source.is_closed() {
        return ReplicaError::Unavailable(Box::new(source));
    }
    let Some(state) = source.code().cloned() else {
        // no SQLSTATE: the connection, not a statement
        return ReplicaError::Unavailable(Box::new(source));
    };
    if [S::T_R_SERIALIZATION_FAILURE, S::T_R_DEADLOCK_DETECTED, S::LOCK_NOT_AVAILABLE].contains(&state) {
        return ReplicaError::Busy(format!("the database asks to try again [SQLSTATE {}]", state.code()));
    }
    let class = &state.code()[..2];
    if class == "08" || class == "57" || class == "53" {
        return ReplicaError::Unavailable(Box::new(source));
    }
    ReplicaError::Query { what, source }
}
