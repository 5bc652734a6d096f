//! The extensions as typed calls. Wire names of struct members are the field names; unknown members are ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::base::since;
use super::call::{Call, ReplyError, nothing, param, typed};
use crate::layout::TableLayout;
use crate::xmlrpc::{Blob, Value};

/// `sql_status(sid)`: what a resuming client asks first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlStatus {
    /// The session.
    pub sid: i64,
}

/// The state of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionStatus {
    /// The session.
    pub sid: i64,
    /// `open`, `applying`, `applied`, `refused`, `aborted` or `expired`.
    pub state: String,
    /// The seq of the next chunk expected.
    pub next_seq: i64,
    /// Bytes of all chunks received, as they came.
    pub bytes: i64,
    /// Seconds since it was opened.
    pub age_s: i64,
    /// Rows applied.
    pub rows: i64,
    /// Rows that wait in quarantine.
    pub quarantined: i64,
    /// Conflicts that it met.
    pub conflicts: i64,
    /// Why it was refused.
    pub error: Option<String>,
}

impl Call for SqlStatus {
    const METHOD: &'static str = "sql_status";
    type Reply = SessionStatus;

    fn params(&self) -> Vec<Value> {
        vec![Value::integer(self.sid)]
    }

    fn reply(value: Value) -> Result<SessionStatus, ReplyError> {
        typed::<Self>(value)
    }
}

/// `sql_abort(sid)`: drops the session and its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlAbort {
    /// The session.
    pub sid: i64,
}

impl Call for SqlAbort {
    const METHOD: &'static str = "sql_abort";
    type Reply = ();

    fn params(&self) -> Vec<Value> {
        vec![Value::integer(self.sid)]
    }

    fn reply(value: Value) -> Result<(), ReplyError> {
        nothing(value)
    }
}

/// `sync.hello(struct)`: what both ends must agree on before data moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello(pub HelloRequest);

/// What the caller says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HelloRequest {
    /// Version of the protocol.
    pub protocol: i32,
    /// Version of the software.
    pub version: String,
    /// Incarnation of the caller's database.
    pub office: String,
    /// Name of the policy.
    pub policy: String,
    /// Digest of the policy's meaning.
    pub policy_digest: String,
    /// The caller's clock, ISO 8601 in UTC.
    pub clock: String,
    /// The branch that the caller believes to talk to.
    pub branch: String,
    /// Number of the caller's last contact; none from one that compares no histories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact: Option<i64>,
    /// Token that was agreed at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Token that the caller proposes now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// What to do with the proposal: `look` stores nothing, `renew` begins a common history anew; else it is agreed on
    /// where the histories are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
}

/// What the agent says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HelloReply {
    /// Version of the protocol.
    pub protocol: i32,
    /// Version of the software.
    pub version: String,
    /// The agent's branch.
    pub branch: String,
    /// Incarnation of the agent's database.
    pub incarnation: String,
    /// Name of the policy.
    pub policy: String,
    /// Digest of the policy's meaning.
    pub policy_digest: String,
    /// The agent's clock, ISO 8601 in UTC.
    pub clock: String,
    /// Digest of the synchronised tables' layout.
    pub schema_digest: String,
    /// Whether the agent's database has no tables yet: the first `clean` makes them.
    pub no_tables: bool,
    /// Version of the database server.
    pub database_version: String,
    /// Lower bound of the branch's id range, when one is set.
    pub id_low: Option<i64>,
    /// Upper bound of the branch's id range, when one is set.
    pub id_high: Option<i64>,
    /// The watermark last issued to this office.
    pub last_watermark: Option<String>,
    /// Where the shop's changes begin: the value that `clean` takes. Every clean changes it.
    pub begins: Option<String>,
    /// Extensions that the agent offers, as in `system.getCapabilities`.
    pub capabilities: Vec<String>,
    /// The largest chunk accepted, in bytes before base64.
    pub chunk_bytes_max: i64,
    /// Rows of offices that wait in quarantine at the shop.
    pub quarantined: i64,
    /// Number of the last contact, when the caller asked for it.
    pub contact: Option<i64>,
    /// How the histories lie to each other: `same`, `caller-older`, `agent-older`, `forked`.
    pub history: Option<String>,
    /// Ids handed out by the sequence that has come furthest in its range.
    pub ids_used: Option<i64>,
    /// Bytes left on the disk of the agent's state directory.
    pub disk_free: Option<i64>,
}

impl Call for Hello {
    const METHOD: &'static str = "sync.hello";
    type Reply = HelloReply;

    fn params(&self) -> Vec<Value> {
        vec![param(&self.0)]
    }

    fn reply(value: Value) -> Result<HelloReply, ReplyError> {
        typed::<Self>(value)
    }
}

/// `sync.fresh()`: the caller has nothing more for the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fresh;

impl Call for Fresh {
    const METHOD: &'static str = "sync.fresh";
    type Reply = ();

    fn params(&self) -> Vec<Value> {
        Vec::new()
    }

    fn reply(value: Value) -> Result<(), ReplyError> {
        nothing(value)
    }
}

/// `sync.layout(struct)`: what the tables of the caller look like, answered with those of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExchangeLayout(pub Layout);

/// The tables of one end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layout {
    /// The tables that rows go from or to under the policy.
    pub tables: Vec<TableLayout>,
    /// Whether the agent shall leave columns out, from now on, that the caller does not have.
    pub remember: bool,
}

impl Call for ExchangeLayout {
    const METHOD: &'static str = "sync.layout";
    type Reply = Layout;

    fn params(&self) -> Vec<Value> {
        vec![param(&self.0)]
    }

    fn reply(value: Value) -> Result<Layout, ReplyError> {
        typed::<Self>(value)
    }
}

/// The options of `sync.diff_open`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiffOptions {
    /// Only the figures are wanted: nothing is frozen, issued or acknowledged.
    pub dry_run: bool,
    /// Bytes per second that the line carries from the shop, as the office has measured it: the slower, the harder the
    /// diff is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<i64>,
}

/// `sync.diff_open(since, options)`: freezes the changes since a watermark in the agent's spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffOpen {
    /// A watermark, or `0` for everything.
    pub since: String,
    /// Options, if any.
    pub options: Option<DiffOptions>,
}

/// A frozen diff.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenDiff {
    /// Its name in `sync.diff_read`; empty when nothing changed.
    pub id: String,
    /// The watermark to store once it has been applied; acknowledges also when nothing changed.
    pub watermark: String,
    /// Its length, compressed.
    #[serde(default)]
    pub bytes: i64,
    /// Rows in it.
    #[serde(default)]
    pub rows: i64,
    /// SHA-256 of its bytes, in hexadecimal.
    #[serde(default)]
    pub sha256: String,
    /// Rows by table, in a dry run.
    #[serde(default)]
    pub tables: BTreeMap<String, i64>,
    /// Of these the ones that the office has already, in a dry run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub updates: BTreeMap<String, i64>,
    /// Of these the ones that go, in a dry run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub deletes: BTreeMap<String, i64>,
}

impl Call for DiffOpen {
    const METHOD: &'static str = "sync.diff_open";
    type Reply = FrozenDiff;

    fn params(&self) -> Vec<Value> {
        let mut params = vec![since(&self.since)];
        params.extend(self.options.iter().map(param));
        params
    }

    fn reply(value: Value) -> Result<FrozenDiff, ReplyError> {
        typed::<Self>(value)
    }
}

/// `sync.diff_read(id, offset, length)`: a slice of a frozen diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffRead {
    /// The frozen diff.
    pub id: String,
    /// Where the slice begins, in bytes.
    pub offset: i64,
    /// How many bytes at most.
    pub length: i64,
}

impl Call for DiffRead {
    const METHOD: &'static str = "sync.diff_read";
    type Reply = Blob;

    fn params(&self) -> Vec<Value> {
        vec![self.id.as_str().into(), Value::integer(self.offset), Value::integer(self.length)]
    }

    fn reply(value: Value) -> Result<Blob, ReplyError> {
        match value {
            Value::Base64(blob) => Ok(blob),
            other => Err(ReplyError::wrong_type::<Self>(&other, "base64")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::{Digest, DigestRequest};
    use super::*;
    use crate::xmlrpc::{Limits, Struct, parse_call, write_call, write_response};

    #[test]
    fn typed_calls_survive_the_wire() {
        let request = DigestRequest {
            tables: vec!["sale".into(), "till.shift".into()],
            low: Some(5_000_000_000),
            ..DigestRequest::default()
        };
        let bytes = write_call(Digest::METHOD, &Digest(request.clone()).params()).unwrap();
        let mut call = parse_call(&bytes, &Limits::default()).unwrap();
        assert_eq!(call.method, "sync.digest");
        assert_eq!(crate::xmlrpc::from_value(call.params.remove(0)), Ok(request));

        let hello = HelloReply {
            branch: "7".into(),
            id_low: Some(1),
            capabilities: vec!["sync.diff".into()],
            ..Default::default()
        };
        let value = crate::xmlrpc::to_value(&hello).unwrap();
        write_response(&value).unwrap();
        assert_eq!(Hello::reply(value), Ok(hello));
    }

    #[test]
    fn an_older_peer_and_a_newer_one_are_both_understood() {
        let mut members = Struct::new();
        members.insert("branch", "7");
        members.insert("something_new", vec![Value::Nil]);
        members.insert("id_low", Value::Nil);
        members.insert("chunk_bytes_max", "1000000");
        let want = HelloReply { branch: "7".into(), chunk_bytes_max: 1_000_000, ..Default::default() };
        assert_eq!(Hello::reply(members.into()), Ok(want));
    }

    #[test]
    fn a_reply_of_another_type_names_the_method() {
        let error = DiffRead::reply(Value::Nil).unwrap_err();
        assert!(error.to_string().starts_with("sync.diff_read returned nil"), "{error}");
        let error = DiffOpen::reply(Value::Struct(Struct::new())).unwrap_err();
        assert!(error.to_string().contains("id"), "{error}");
    }
}
