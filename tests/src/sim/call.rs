//! What an office asks of a shop, and what it is answered.

use protocol::fault::Fault as Told;
use protocol::session::agent::State;

use super::stream::Stream;

/// A piece of a stream, by its place: the bytes themselves do not matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) stream: String,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// A call.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Hello,
    Prepare { key: Option<String>, is_clone: Option<bool>, base: Option<String> },
    Chunk { sid: i32, seq: Option<u64>, piece: Piece },
    Status { sid: i32 },
    Finish { sid: i32 },
    Abort { sid: i32 },
    Clean { force: bool, begins: Option<String> },
    SetIdStart { low: i64 },
    DiffOpen { since: String },
    DiffRead { id: String },
    Diff { since: String },
}

impl Request {
    /// The place of its faults.
    pub(super) fn place(&self) -> &'static str {
        match self {
            Self::Hello => "call.hello",
            Self::Prepare { .. } => "call.prepare",
            Self::Chunk { .. } => "call.chunk",
            Self::Status { .. } => "call.status",
            Self::Finish { .. } => "call.finish",
            Self::Abort { .. } => "call.abort",
            Self::Clean { .. } => "call.clean",
            Self::SetIdStart { .. } => "call.setidstart",
            Self::DiffOpen { .. } => "call.diff-open",
            Self::DiffRead { .. } => "call.diff-read",
            Self::Diff { .. } => "call.diff",
        }
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Nil,
    Hello {
        incarnation: String,
        begins: String,
    },
    Sid(i32),
    Status {
        state: State,
    },
    Diff(Box<Stream>),
    /// The slice is there.
    Slice,
    Fault(Told),
}
