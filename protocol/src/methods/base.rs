//! The base methods as typed calls. `sql_create` has none: its data is streamed, see
//! [`call_envelope`](crate::xmlrpc::call_envelope).

use serde::{Deserialize, Serialize};

use super::call::{Call, ReplyError, nothing, param};
use crate::xmlrpc::{Blob, Struct, Value};

/// `clean()`: empties the synchronised tables at the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clean;

impl Call for Clean {
    const METHOD: &'static str = "clean";
    type Reply = ();

    fn params(&self) -> Vec<Value> {
        Vec::new()
    }

    fn reply(value: Value) -> Result<(), ReplyError> {
        nothing(value)
    }
}

/// `clean(options)`, an extension: with `force`, changes that no office has acknowledged do not stop it; with `begins`, one
/// that arrives twice or late empties nothing (see [`crate::session::ledger::clean`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanWith {
    /// Whether to go on although changes would be lost.
    pub force: bool,
    /// Where the shop's changes begin, as `sync.hello` told it.
    pub begins: Option<String>,
}

impl Call for CleanWith {
    const METHOD: &'static str = "clean";
    type Reply = ();

    fn params(&self) -> Vec<Value> {
        let mut options = Struct::new();
        options.insert("force", self.force);
        if let Some(begins) = &self.begins {
            options.insert("begins", begins.as_str());
        }
        vec![Value::Struct(options)]
    }

    fn reply(value: Value) -> Result<(), ReplyError> {
        nothing(value)
    }
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionKind {
    /// A first full copy.
    Clone,
    /// Changes since the last update.
    Update,
    /// One table, whole.
    Table,
}

/// The options of `sql_prepare`, an extension; all of them optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrepareOptions {
    /// Idempotency key: the same key returns the same sid.
    pub key: Option<String>,
    /// What the session is for.
    pub kind: Option<SessionKind>,
    /// The watermark that conflicts are judged against; in a dry run it may also be the id of the previewed diff.
    pub base: Option<String>,
    /// Whether failing rows wait instead of failing the session.
    pub quarantine: Option<bool>,
    /// Whether everything is applied and rolled back.
    pub dry_run: Option<bool>,
}

/// `sql_prepare()` or `sql_prepare(options)`: opens a session; returns its sid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SqlPrepare {
    /// Only for a peer that announces the extension.
    pub options: Option<PrepareOptions>,
}

impl Call for SqlPrepare {
    const METHOD: &'static str = "sql_prepare";
    type Reply = i64;

    fn params(&self) -> Vec<Value> {
        self.options.iter().map(param).collect()
    }

    fn reply(value: Value) -> Result<i64, ReplyError> {
        let sid = value.as_long().filter(|&sid| sid > 0);
        sid.ok_or_else(|| ReplyError::wrong_type::<Self>(&value, "a positive int"))
    }
}

/// `sql_finish(sid)`: applies the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlFinish {
    /// The session.
    pub sid: i64,
}

impl Call for SqlFinish {
    const METHOD: &'static str = "sql_finish";
    type Reply = ();

    fn params(&self) -> Vec<Value> {
        vec![Value::integer(self.sid)]
    }

    fn reply(value: Value) -> Result<(), ReplyError> {
        nothing(value)
    }
}

/// `setidstart(id)`: the next row of each id sequence gets `id + 1`.
///
/// An id beyond 32 bits travels as `i8`: no plain type of XML-RPC holds it but a string, which strict servers refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetIdStart {
    /// The id before the first one of the range.
    pub id: i64,
}

impl Call for SetIdStart {
    const METHOD: &'static str = "setidstart";
    type Reply = ();

    fn params(&self) -> Vec<Value> {
        vec![Value::integer(self.id)]
    }

    fn reply(value: Value) -> Result<(), ReplyError> {
        nothing(value)
    }
}

/// `diff(since)`: the changes since a watermark as gzip-compressed SQL; `None` when there is nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diff {
    /// A watermark as the agent issued it, or `0` for everything (which travels as an int).
    pub since: String,
}

impl Call for Diff {
    const METHOD: &'static str = "diff";
    type Reply = Option<Blob>;

    fn params(&self) -> Vec<Value> {
        vec![since(&self.since)]
    }

    fn reply(value: Value) -> Result<Option<Blob>, ReplyError> {
        match value {
            Value::Base64(blob) if !blob.is_empty() => Ok(Some(blob)),
            Value::Bool(false) => Ok(None), // what some servers send that have no nil
            nil if nil.is_nil_like() => Ok(None),
            other => Err(ReplyError::wrong_type::<Self>(&other, "base64 or nil")),
        }
    }
}

/// A watermark as a parameter.
pub(super) fn since(text: &str) -> Value {
    match text {
        "0" => Value::Int(0),
        watermark => Value::from(watermark),
    }
}
