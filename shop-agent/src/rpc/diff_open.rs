//! `sync.diff_open(since, options)`: freezes the changes since a watermark.

use std::collections::BTreeMap;

use protocol::fault::Fault;
use protocol::methods::{DiffOptions, FrozenDiff};
use protocol::xmlrpc::Value;

use replica::diff::{TableChanges, table_changes};

use super::dispatch::Agent;
use super::fault::of_replica;
use super::parameters::Parameters;
use super::sql_status::spelled;
use crate::backend::Backend;
use crate::server::{Caller, Reply};

impl<B: Backend> Agent<B> {
    pub(super) async fn diff_open(&self, caller: &Caller, params: Vec<Value>) -> Result<Reply, Fault> {
        let mut params = Parameters::new("sync.diff_open", params, 1, 2)?;
        let since = params.since(&self.options.time_zone)?;
        let options: DiffOptions = params.options("options")?;
        let rate = options.rate.and_then(|rate| u64::try_from(rate).ok());
        let stream = if options.dry_run {
            self.backend.preview_diff(&caller.office, since, rate).await.map_err(|error| of_replica(&error))?
        } else {
            self.freeze(caller, since, rate).await?
        };
        let long = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        // figures for people: over a slow line they cost, so only who asks for them gets them
        let tables = if options.dry_run { table_changes(&stream) } else { Vec::new() };
        let figures = |of: fn(&TableChanges, u64) -> u64| -> BTreeMap<String, i64> {
            let count = |changes: &TableChanges| of(changes, changes.inserts + changes.updates + changes.deletes);
            let counts = tables.iter().map(|(table, changes)| (table.to_string(), long(count(changes))));
            counts.filter(|(_, rows)| *rows > 0).collect()
        };
        let watermark = stream.watermark.unwrap_or_default();
        let frozen = match stream.rows {
            0 => FrozenDiff { watermark, ..FrozenDiff::default() },
            rows => FrozenDiff {
                id: stream.id,
                watermark,
                bytes: long(stream.bytes),
                rows: long(rows),
                sha256: stream.sha256,
                tables: figures(|_, rows| rows),
                updates: figures(|changes, _| changes.updates),
                deletes: figures(|changes, _| changes.deletes),
            },
        };
        spelled(&frozen)
    }
}
