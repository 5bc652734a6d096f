//! The methods of the wire: a table for servers and introspection, and typed calls for clients.

mod base;
mod call;
mod changes;
mod compare;
mod extension;
mod system;
mod table;
mod validator;

pub use base::{Clean, CleanWith, Diff, PrepareOptions, SessionKind, SetIdStart, SqlFinish, SqlPrepare};
pub use call::{Call, ReplyError};
pub use changes::{CHANGES_BYTES_MAX, ChangesError, changes};
pub use compare::{
    Baseline, BaselineOptions, BaselineReply, ColumnSum, Digest, DigestRequest, DigestRows, DigestRowsRequest, Mark,
    Rows, Settled, TableDigest,
};
pub use extension::{
    DiffOpen, DiffOptions, DiffRead, ExchangeLayout, Fresh, FrozenDiff, Hello, HelloReply, HelloRequest, Layout,
    SessionStatus, SqlAbort, SqlStatus,
};
pub use system::{
    CAPABILITIES, Capability, GetCapabilities, ListMethods, MULTICALL_MAX, Multicall, introspect, multicall_answer,
    multicall_calls,
};
pub use table::{Group, Method, all, find};
pub use validator::validate;
