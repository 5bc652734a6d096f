//! `sync.diff_open(since, options)`: freezes the changes since a watermark.

use protocol::fault::Fault;
use protocol::methods::{DiffOptions, FrozenDiff};
use protocol::xmlrpc::Value;

use super::dispatch::Agent;
use super::parameters::Parameters;
use super::sql_status::spelled;
use crate::backend::Backend;
use crate::server::{Caller, Reply};

impl<B: Backend> Agent<B> {
    pub(super) async fn diff_open(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let mut params = Parameters::new("sync.diff_open", params, 1, 2)?;
        let stream = self.freeze(caller, &mut params).await?;
        let _options: DiffOptions = params.options("options")?;
        let watermark = stream.watermark.unwrap_or_default();
        let long = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let frozen = match stream.rows {
            0 => FrozenDiff { watermark, ..FrozenDiff::default() },
            rows => FrozenDiff {
                id: stream.id,
                watermark,
                bytes: long(stream.bytes),
                rows: long(rows),
                sha256: stream.sha256,
            },
        };
        spelled(&frozen)
    }
}
