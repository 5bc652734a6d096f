//! Comparing two ends row by row, and asking for rows to travel again: `sync.digest` and what a repair needs besides.

use serde::{Deserialize, Serialize};

use super::call::{Call, ReplyError, nothing, param, typed};
use crate::xmlrpc::Value;

/// `sync.digest(struct)`: fingerprints of the rows of tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(pub DigestRequest);

/// Which rows to fingerprint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DigestRequest {
    /// The tables, as `product` or `schema.table`.
    pub tables: Vec<String>,
    /// Only rows with an id above this, in tables whose rows the agent's ids tell apart.
    pub low: Option<i64>,
    /// Only rows with an id up to this.
    pub high: Option<i64>,
    /// Into how many buckets of hashed keys the rows are divided, a power of two; none asks for the whole alone.
    pub buckets: Option<i64>,
    /// Asks for control totals instead of fingerprints (of the columns that are money): a watermark issued to the caller. Counts and sums are told twice,
    /// of all rows and of those that were not changed after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// The fingerprint of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDigest {
    /// The table.
    pub table: String,
    /// Rows counted.
    pub rows: i64,
    /// Fingerprint of their contents; equal rows give equal ones, in whatever order they lie.
    pub digest: String,
    /// Sums of the columns that the policy declares as money or as amounts, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sums: Vec<ColumnSum>,
    /// A fingerprint per bucket, 16 hexadecimal digits each, where buckets were asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub buckets: String,
    /// Of control totals: the rows without those that were changed after the watermark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settled>,
}

/// Rows that nobody has changed since a watermark.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settled {
    /// About how many rows were changed; one that was changed twice counts twice.
    pub changed: i64,
    /// The others.
    pub rows: i64,
    /// Their sums.
    pub sums: Vec<ColumnSum>,
}

/// The sum of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSum {
    /// The column.
    pub column: String,
    /// Its sum, a decimal number.
    pub sum: String,
}

impl Call for Digest {
    const METHOD: &'static str = "sync.digest";
    type Reply = Vec<TableDigest>;

    fn params(&self) -> Vec<Value> {
        vec![param(&self.0)]
    }

    fn reply(value: Value) -> Result<Vec<TableDigest>, ReplyError> {
        typed::<Self>(value)
    }
}

/// `sync.digest_rows(struct)`: the rows of some buckets, a line each: 16 hexadecimal digits of the row's fingerprint (`-`
/// for a row that is remembered as deleted), a tab, the key as a JSON object of texts; of rows that were changed after
/// `since`, a tab and `changed` besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestRows(pub DigestRowsRequest);

/// Which rows to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DigestRowsRequest {
    /// The table.
    pub table: String,
    /// As in [`DigestRequest`].
    pub low: Option<i64>,
    /// As in [`DigestRequest`].
    pub high: Option<i64>,
    /// Into how many buckets the rows are divided.
    pub buckets: i64,
    /// The buckets that are asked for.
    pub wanted: Vec<i64>,
    /// A watermark issued to the caller: rows that were changed after it are marked as such.
    pub since: Option<String>,
}

impl Call for DigestRows {
    const METHOD: &'static str = "sync.digest_rows";
    type Reply = String;

    fn params(&self) -> Vec<Value> {
        vec![param(&self.0)]
    }

    fn reply(value: Value) -> Result<String, ReplyError> {
        text::<Self>(value)
    }
}

/// `sync.rows(table, keys)`: whole rows, a line each: a JSON object of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The table.
    pub table: String,
    /// Keys, as JSON objects of texts.
    pub keys: Vec<String>,
}

impl Call for Rows {
    const METHOD: &'static str = "sync.rows";
    type Reply = String;

    fn params(&self) -> Vec<Value> {
        vec![self.table.as_str().into(), strings(&self.keys)]
    }

    fn reply(value: Value) -> Result<String, ReplyError> {
        text::<Self>(value)
    }
}

/// `sync.mark(table, keys)`: these rows travel to the caller with its next diff, whole, or as deletes where they are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The table.
    pub table: String,
    /// Keys, as JSON objects of texts.
    pub keys: Vec<String>,
}

impl Call for Mark {
    const METHOD: &'static str = "sync.mark";
    type Reply = ();

    fn params(&self) -> Vec<Value> {
        vec![self.table.as_str().into(), strings(&self.keys)]
    }

    fn reply(value: Value) -> Result<(), ReplyError> {
        nothing(value)
    }
}

/// `sync.baseline(options)`: a watermark of this moment, for a repair: what differs from here on is found by comparing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline(pub BaselineOptions);

/// How a repair begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BaselineOptions {
    /// The agent's database knows less than it had told: a new history of it begins.
    pub restored: bool,
    /// The caller takes in a shop that has its data already: amounts towards it begin anew.
    pub adopted: bool,
}

/// Where a repair begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineReply {
    /// The watermark to store once the repair is recorded.
    pub watermark: String,
    /// Incarnation of the agent's database.
    pub incarnation: String,
}

impl Call for Baseline {
    const METHOD: &'static str = "sync.baseline";
    type Reply = BaselineReply;

    fn params(&self) -> Vec<Value> {
        vec![param(&self.0)]
    }

    fn reply(value: Value) -> Result<BaselineReply, ReplyError> {
        typed::<Self>(value)
    }
}

fn strings(texts: &[String]) -> Value {
    Value::Array(texts.iter().map(|text| text.as_str().into()).collect())
}

fn text<C: Call>(value: Value) -> Result<String, ReplyError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(ReplyError::wrong_type::<C>(&other, "string")),
    }
}
