//! An apply whose failing rows wait: everything is staged first, then merged in passes.
//!
//! A pass merges all staged rows under a savepoint, as an apply without quarantine does. When rows cannot be merged, or lack
//! what they refer to, it goes on to find all of them and is thrown away; they become entries of the quarantine, and
//! the next pass does without them. The pass that stands is one in which nothing failed.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::TryStreamExt;
use protocol::names::TableName;
use tokio_postgres::Transaction;

use super::culprits::search;
use super::failure;
use super::feed::Block;
use super::orphans;
use super::quarantine::{self, create_culprits, culprits, key_object, store};
use super::references::References;
use super::release;
use super::staging::{Attempt, Staging};
use super::target::{Shape, ShapeKind};
use super::{Apply, ApplyOrder, OpenCopy, misfits, pieces};
use crate::ReplicaError;
use crate::catalogue::{Table, column_list, quote_literal};
use crate::diff::LineBuffer;
use crate::error::{Failure, classify};
use crate::killpoint;
use crate::spool::spool_error;

/// Staged text that is kept until its COPY has been taken, to find what does not fit.
const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Segments after which what is staged is merged before more is taken in: a script that changes between tables row by row
/// would otherwise need a staging table for each.
const SEGMENTS_MAX: usize = 128;

/// Passes after which an apply is given up; each makes at least one row wait.
const PASSES_MAX: usize = 500;

/// What is staged and not yet merged.
#[derive(Default)]
pub(super) struct Gathered {
    /// Rows of one shape each, in the order of the script; behind `releases` those of the quarantine.
    segments: Vec<Staging>,
    /// Segments so far: staging tables are numbered.
    count: usize,
}

/// What one pass did.
#[derive(Default)]
struct Pass {
    rows: Vec<(TableName, i64)>,
    conflicts: i64,
    culprits: bool,
}

impl Apply<'_> {
    /// Stages a block.
    pub(super) async fn gather(&mut self, block: Block) -> Result<(), ReplicaError> {
        let number = self.segment(&block.shape).await?;
        if self.open.as_ref().is_some_and(|open| open.number != number || open.kept_bytes > KEPT_BYTES_MAX) {
            self.settle_copy().await?;
        }
        if self.open.is_none() {
            let Some(staging) = self.gathered.segments.get(number) else { return Err(ReplicaError::Stopped) };
            let table = staging.shape.table.name.clone();
            self.transaction.batch_execute("savepoint copy").await.map_err(|error| classify("stage rows", error))?;
            let sink = self
                .transaction
                .copy_in::<_, Bytes>(&staging.copy_statement())
                .await
                .map_err(|error| failure::of_statement(error, &table, None))?;
            self.open = Some(OpenCopy::gathering(block.shape.clone(), number, Box::pin(sink)));
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        let text = Bytes::from(block.text);
        open.kept_bytes += text.len();
        open.kept.push(text.clone());
        open.lines.extend(&block.statements, block.rows);
        let table = &block.shape.table.name;
        pieces::feed(open.sink.as_mut(), text).await.map_err(|error| failure::of_statement(error, table, None))
    }

    /// The segment that rows of the shape go to: the last one of their table, or a new one where its shape is another.
    async fn segment(&mut self, shape: &std::sync::Arc<Shape>) -> Result<usize, ReplicaError> {
        let quiet = self.order.rights.quiet;
        let last = self
            .gathered
            .segments
            .iter()
            .rposition(|staging| !quiet || staging.shape.table.name == shape.table.name)
            .filter(|&number| self.gathered.segments[number].shape.id == shape.id);
        if let Some(number) = last {
            return Ok(number);
        }
        self.settle_copy().await?;
        if self.gathered.segments.len() >= SEGMENTS_MAX {
            self.merge_gathered(false).await?;
        }
        let staging = Staging::create(self.transaction, self.order, shape.clone(), Some(self.gathered.count)).await?;
        self.gathered.count += 1;
        self.gathered.segments.push(staging);
        Ok(self.gathered.segments.len() - 1)
    }

    /// Ends the COPY under way; when a value did not fit, its rows are staged again one by one.
    pub(super) async fn settle_copy(&mut self) -> Result<(), ReplicaError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let failed = |error| classify("stage rows", error);
        match open.sink.as_mut().finish().await {
            Ok(_) => self.transaction.batch_execute("release savepoint copy").await.map_err(failed),
            Err(error) if failure::is_of_a_row(&error) => {
                self.transaction
                    .batch_execute("rollback to savepoint copy; release savepoint copy")
                    .await
                    .map_err(failed)?;
                let Some(staging) = self.gathered.segments.get(open.number) else { return Err(ReplicaError::Stopped) };
                for text in open.kept {
                    misfits::stage(self.transaction, self.order, staging, text).await?;
                }
                Ok(())
            }
            Err(error) => {
                let shape = open.lines.shape().clone();
                Err(failure::of_copy(error, &shape, &open.lines))
            }
        }
    }

    /// Merges what has been gathered. The `last` time the quarantine is tried again with it.
    pub(super) async fn merge_gathered(&mut self, last: bool) -> Result<(), ReplicaError> {
        let failed = |error| classify("merge rows", error);
        let mut segments = std::mem::take(&mut self.gathered.segments);
        self.check_stop(&segments).await?;
        self.take_in_waiting(&segments).await?;
        let releases = segments.len();
        let mut again = self.order.clone();
        let retries = last && release::anything_waits(self.transaction, self.order).await?;
        if retries {
            let staged = release::stage(self.transaction, self.order).await?;
            segments.extend(staged.segments);
            // what is released is compared with all that we have changed since the oldest entry came
            again.agreed = staged.agreed.or(again.agreed);
        }
        if segments.is_empty() {
            return Ok(());
        }
        for staging in &segments {
            staging.analyze(self.transaction).await?;
        }
        let tables: BTreeSet<TableName> = segments.iter().map(|staging| staging.shape.table.name.clone()).collect();
        let keyed: Vec<Table> = tables
            .iter()
            .filter_map(|name| self.order.catalogue.get(name))
            .filter(|table| !table.key.is_empty())
            .cloned()
            .collect();
        for table in &keyed {
            // not truncated: that would make new files, and nearly always there is nothing in it
            let sql = create_culprits(self.order, table) + &format!("delete from {}", culprits(table));
            self.transaction.batch_execute(&sql).await.map_err(failed)?;
        }
        let mut passes = 0;
        let pass = loop {
            self.transaction.batch_execute("savepoint pass").await.map_err(failed)?;
            let pass = self.pass(&segments, releases, &again, passes > 0).await?;
            if !pass.culprits {
                break pass;
            }
            passes += 1;
            let carried = take_out(self.transaction, &keyed).await?;
            self.transaction
                .batch_execute("rollback to savepoint pass; release savepoint pass")
                .await
                .map_err(failed)?;
            let excluded = self.exclude(carried, &segments, releases).await?;
            if (excluded == 0 && passes > 1) || passes >= PASSES_MAX {
                return Err(entangled(&keyed));
            }
        };
        self.transaction.batch_execute("release savepoint pass").await.map_err(failed)?;
        for (table, rows) in pass.rows {
            *self.rows.entry(table).or_default() += rows;
        }
        self.conflicts += pass.conflicts;
        if retries {
            self.released = release::settle(self.transaction, self.order).await?;
        }
        killpoint::reach("apply.quarantine.settled");
        Ok(())
    }

    /// Rows whose key waits already: what came now is merged into the entry, which is tried as a whole.
    async fn take_in_waiting(&self, segments: &[Staging]) -> Result<(), ReplicaError> {
        let failed = |error| classify("look for rows that wait", error);
        let rows = self
            .transaction
            .query(
                "select distinct schema_name, table_name from sync.quarantine where peer = $1",
                &[&self.order.origin],
            )
            .await
            .map_err(failed)?;
        let waiting: BTreeSet<TableName> =
            rows.iter().map(|row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))).collect();
        for staging in segments.iter().filter(|staging| waiting.contains(&staging.shape.table.name)) {
            let table = &staging.shape.table;
            if table.key.is_empty() {
                continue;
            }
            let keys = column_list(table.key_columns().map(|column| column.name.as_str()));
            let found = self
                .transaction
                .execute(
                    &format!(
                        "create temp table waiting on commit drop as select distinct {keys}, {} from {} s where {} in (
                             select q.key from sync.quarantine q where q.peer = {} and q.schema_name = {} and q.table_name = {})",
                        quarantine::CULPRIT_COLUMNS,
                        staging.name(),
                        key_object(table, "s."),
                        self.order.origin,
                        quote_literal(&table.name.schema),
                        quote_literal(&table.name.name)
                    ),
                    &[],
                )
                .await
                .map_err(failed)?;
            if found > 0 {
                let same = table.same_key("w.", "s.");
                let rows = format!("{} s join pg_temp.waiting w on {same}", staging.name());
                store(self.transaction, self.order, staging, &rows).await?;
                let sql = format!("delete from {} s using pg_temp.waiting w where {same}", staging.name());
                self.transaction.batch_execute(&sql).await.map_err(failed)?;
            }
            self.transaction.batch_execute("drop table pg_temp.waiting").await.map_err(failed)?;
        }
        Ok(())
    }

    async fn pass(
        &self,
        segments: &[Staging],
        releases: usize,
        again: &ApplyOrder,
        thorough: bool,
    ) -> Result<Pass, ReplicaError> {
        let mut pass = Pass::default();
        let mut noted = References::default();
        let mut held: Vec<usize> = Vec::new();
        let failed = |error| classify("merge rows", error);
        for number in self.in_turn(segments) {
            let staging = &segments[number];
            let table = &staging.shape.table;
            let order = if number < releases { self.order } else { again };
            // what the quarantine releases is a change of our own: it travels to everybody
            let origin = if number < releases { self.order.origin.to_string() } else { String::new() };
            self.transaction.execute("select set_config('sync.origin', $1, true)", &[&origin]).await.map_err(failed)?;
            if staging.shape.kind == ShapeKind::Delete {
                for other in
                    held.iter().map(|&number| &segments[number]).filter(|other| other.shape.table.name == table.name)
                {
                    other.forget_deleted(self.transaction, staging).await?;
                }
            }
            if orphans::of_another_branch(self.transaction, order, staging).await? > 0 {
                pass.culprits = true;
            }
            if orphans::of_missing_rows(self.transaction, order, staging).await? > 0 {
                pass.culprits = true;
            }
            noted.note(self.transaction, order, staging).await?;
            if thorough && !table.key.is_empty() {
                orphans::note_kept(self.transaction, staging).await?;
            }
            pass.conflicts += staging.settle(self.transaction, order).await?;
            self.attempt(&mut pass, order, staging, Some((number, &mut held))).await?;
        }
        let tables: BTreeSet<TableName> =
            held.iter().map(|&number| segments[number].shape.table.name.clone()).collect();
        let order = self.order.catalogue.parents_first(&tables);
        held.sort_by_key(|&number| order.iter().position(|name| *name == segments[number].shape.table.name));
        for number in held {
            let order = if number < releases { self.order } else { again };
            self.attempt(&mut pass, order, &segments[number], None).await?;
        }
        let found = orphans::find(self.transaction, self.order, &noted, thorough).await?;
        pass.culprits |= found.culprits > 0;
        pass.conflicts += found.revived;
        Ok(pass)
    }

    /// Merges a segment; without `held` nothing is to come that could set a unique value free.
    async fn attempt(
        &self,
        pass: &mut Pass,
        order: &ApplyOrder,
        staging: &Staging,
        held: Option<(usize, &mut Vec<usize>)>,
    ) -> Result<(), ReplicaError> {
        let table = &staging.shape.table;
        let may_hold = held.is_some() && staging.shape.kind != ShapeKind::Delete;
        match staging.attempt(self.transaction, order, may_hold).await? {
            Attempt::Rows(rows) => pass.rows.push((table.name.clone(), rows)),
            Attempt::Held => {
                if let Some((number, held)) = held {
                    held.push(number);
                }
            }
            Attempt::Refused(error) => {
                let named = table.key_columns().all(|column| staging.shape.columns.contains(&column.name));
                if table.key.is_empty() || !named || !failure::is_of_a_row(&error) {
                    return Err(failure::of_statement(error, &table.name, None));
                }
                if search(self.transaction, order, staging).await? > 0 {
                    pass.culprits = true;
                }
            }
        }
        Ok(())
    }

    /// Writes in the order of the tables, parents first, those of one table in the order of the script; then what is only
    /// deleted, children first. Where the application's triggers fire all in the order of the script.
    fn in_turn(&self, segments: &[Staging]) -> Vec<usize> {
        let all = 0..segments.len();
        if !self.order.rights.quiet {
            return all.collect();
        }
        let name = |number: usize| &segments[number].shape.table.name;
        let is_delete = |number: usize| segments[number].shape.kind == ShapeKind::Delete;
        let (mut deletes, mut writes): (Vec<usize>, Vec<usize>) = all.partition(|&number| {
            // a delete that a write of the same table follows keeps its place
            (number..segments.len()).filter(|&later| name(later) == name(number)).all(is_delete)
        });
        let tables = segments.iter().map(|staging| staging.shape.table.name.clone()).collect();
        let order = self.order.catalogue.parents_first(&tables);
        let place = |number: usize| order.iter().position(|table| table == name(number));
        writes.sort_by_key(|&number| place(number));
        deletes.sort_by_key(|&number| std::cmp::Reverse(place(number)));
        writes.extend(deletes);
        writes
    }

    /// Takes the culprits out of what is staged; returns how many rows that were.
    async fn exclude(
        &self,
        carried: Vec<(Table, LineBuffer)>,
        segments: &[Staging],
        releases: usize,
    ) -> Result<i64, ReplicaError> {
        let failed = |error| classify("put rows into quarantine", error);
        let mut excluded = 0;
        for (table, lines) in carried {
            bring_back(self.transaction, &table, lines).await?;
            let mine = segments.iter().enumerate().filter(|(_, staging)| staging.shape.table.name == table.name);
            for (number, staging) in mine {
                let same = table.same_key("s.", "w.");
                let rows = format!("{} s join {} w on {same}", staging.name(), culprits(&table));
                let count: i64 = self
                    .transaction
                    .query_one(&format!("select count(*) from {rows}"), &[])
                    .await
                    .map_err(failed)?
                    .get(0);
                if count == 0 {
                    continue;
                }
                excluded += count;
                if number < releases {
                    store(self.transaction, self.order, staging, &rows).await?;
                    let sql = format!("delete from {} s using {} w where {same}", staging.name(), culprits(&table));
                    self.transaction.batch_execute(&sql).await.map_err(failed)?;
                } else {
                    let sql = release::fail_again(self.order, staging);
                    self.transaction.batch_execute(&sql).await.map_err(failed)?;
                }
            }
            let sql = format!("truncate {}", culprits(&table));
            self.transaction.batch_execute(&sql).await.map_err(failed)?;
        }
        Ok(excluded)
    }
}

/// Reads the culprits of a pass that is about to be thrown away.
async fn take_out(transaction: &Transaction<'_>, tables: &[Table]) -> Result<Vec<(Table, LineBuffer)>, ReplicaError> {
    let failed = |error| classify("carry culprits over", error);
    let mut carried = Vec::new();
    for table in tables {
        let mut lines = LineBuffer::default();
        // one reason for each is enough: the first one found
        let sql = format!(
            "copy (select distinct on ({0}) {1} from {2} order by {0}, ctid) to stdout",
            table.key_list(""),
            orphans::copied_columns(table),
            culprits(table)
        );
        let mut stream = Box::pin(transaction.copy_out(&sql).await.map_err(failed)?);
        while let Some(data) = stream.try_next().await.map_err(failed)? {
            // the server sends a line in a message
            lines.push(data.strip_suffix(b"\n").unwrap_or(&data)).map_err(spooled)?;
        }
        if !lines.is_empty() {
            carried.push((table.clone(), lines));
        }
    }
    Ok(carried)
}

/// Fills the table of culprits again.
async fn bring_back(transaction: &Transaction<'_>, table: &Table, lines: LineBuffer) -> Result<(), ReplicaError> {
    let failed = |error| classify("carry culprits over", error);
    let name = culprits(table);
    let sink = transaction.copy_in::<_, Bytes>(&format!("copy {name} from stdin")).await.map_err(failed)?;
    let mut sink = Box::pin(sink);
    let mut rest = lines.into_blocks().map_err(spooled)?;
    while let Some(block) = rest.next_block().map_err(spooled)? {
        pieces::feed(sink.as_mut(), Bytes::from(block)).await.map_err(failed)?;
    }
    sink.as_mut().finish().await.map_err(failed)?;
    transaction.batch_execute(&format!("analyze {name}")).await.map_err(failed)
}

fn spooled(source: std::io::Error) -> ReplicaError {
    spool_error("write", std::path::Path::new("a temporary file"), source)
}

fn entangled(tables: &[Table]) -> ReplicaError {
    ReplicaError::Failed(Box::new(Failure {
        statement: None,
        table: tables.first().map(|table| table.name.clone()),
        column: None,
        constraint: None,
        state: "23000".into(),
        reason: "rows cannot be merged, and it cannot be told which of them are at fault".into(),
        redacted: None,
    }))
}
