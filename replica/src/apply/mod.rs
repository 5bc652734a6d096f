//! Apply: a script of the dialect into the tables, inside one transaction of the caller.
//!
//! Set-based: a thread reads the script and hands over blocks of rows per table and kind of statement; they are copied
//! into staging tables and merged. In bulk mode (a clone) rows of an empty table are copied straight into it, indexes
//! and foreign keys last. Nothing of the script is ever run as SQL: names are looked up in the catalogue, values travel
//! as COPY data.

mod amounts;
mod bulk;
mod conflicts;
mod culprits;
mod exchange;
mod failure;
mod feed;
mod gather;
mod kept_keys;
mod misfits;
mod orphans;
mod pieces;
mod quarantine;
mod references;
mod release;
mod revive;
mod staging;
mod stop;
mod target;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt as _;
use protocol::names::TableName;
use protocol::policy::ResolvedPolicy;
use tokio_postgres::{CopyInSink, Transaction};

use crate::ReplicaError;
use crate::binary_copy;
use crate::capture::CapturedTable;
use crate::catalogue::Catalogue;
use crate::error::classify;
use crate::node::ApplyRights;
use crate::safety::SafetyStop;
use crate::watermark::Snapshot;
use bulk::BulkLoad;
use feed::{Block, Feed, Message, without_numbers};
use gather::Gathered;
use references::References;
use staging::{Merged, Staging};
use target::{Shape, ShapeKind};

pub use amounts::{begin as begin_amounts, begin_new as begin_new_amounts, begin_of as begin_amounts_of};
pub(crate) use failure::of_statement as refused;
pub use target::Incoming;
pub(crate) use told::{conflicts as told_conflicts, missing as told_missing};

/// What an apply did.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// Rows that were inserted, changed or deleted.
    pub rows: i64,
    /// Rows of the script that wait in quarantine.
    pub quarantined: i64,
    /// Rows that had been waiting and have been merged or have become needless.
    pub released: i64,
    /// Conflicts it recorded.
    pub conflicts: i64,
    /// Rows per table.
    pub tables: Vec<(TableName, i64)>,
    /// The watermark line at the end of the script, if it had one.
    pub watermark: Option<String>,
    /// Whether it had been applied before, and nothing was done now.
    pub repeated: bool,
}

/// What to apply to, and under which rules.
#[derive(Clone)]
pub struct ApplyOrder {
    /// The tables.
    pub catalogue: Arc<Catalogue>,
    /// Their directions.
    pub policy: Arc<ResolvedPolicy>,
    /// Tables under capture.
    pub captured: Arc<BTreeMap<TableName, CapturedTable>>,
    /// How rows are written.
    pub rights: ApplyRights,
    /// Peer that the changes come from.
    pub origin: i32,
    /// What the peer has of our own changes: those after it are contended. None where nothing can be.
    pub agreed: Option<Snapshot>,
    /// Which way they come.
    pub incoming: Incoming,
    /// Rows of empty tables are loaded in bulk, as a clone wants it.
    pub bulk: bool,
    /// Sequences are left alone (`setval` in a script never moves one out of its range).
    pub keep_sequences: bool,
    /// Most bytes that the script may have when inflated.
    pub inflated_bytes_max: u64,
    /// Most bytes that a row of the script may have.
    pub row_bytes_max: usize,
    /// Rows that fail wait, and the others are applied; without it a failing row fails everything.
    pub quarantine: Option<Arc<QuarantineRules>>,
}

/// Which rows wait besides those that the database refuses.
#[derive(Debug, Clone, Default)]
pub struct QuarantineRules {
    /// Conditions on alias `x` that incoming rows must fulfil: the row filter of the branch that sends them.
    pub rows: BTreeMap<TableName, String>,
    /// How much may be deleted or changed without asking; none: as much as comes.
    pub stop: Option<SafetyStop>,
}

/// Applies a compressed script. Nothing is committed; after an error the transaction must be rolled back.
pub async fn apply(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    input: Box<dyn Read + Send>,
) -> Result<Applied, ReplicaError> {
    prepare(transaction, order).await?;
    if order.bulk {
        bulk::lock(transaction, order).await?;
        bulk::check_layout(transaction, order).await?;
    }
    let feed = Feed::start(order.clone(), input)?;
    let mut apply = Apply::new(transaction, order);
    let outcome = apply.run(feed).await;
    // an abandoned COPY fails on the server, and the transaction is rolled back anyway
    apply.open = None;
    outcome?;
    apply.applied().await
}

/// Tries rows of the peer that wait again, without a script. Nothing is committed.
pub async fn retry(transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<Applied, ReplicaError> {
    prepare(transaction, order).await?;
    let mut apply = Apply::new(transaction, order);
    apply.merge_gathered(true).await?;
    apply.applied().await
}

async fn prepare(transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<(), ReplicaError> {
    let failed = |error| classify("prepare the apply", error);
    let origin = order.origin.to_string();
    transaction.execute("select set_config('sync.origin', $1, true)", &[&origin]).await.map_err(failed)?;
    // staged rows are looked at by key alone: a small sample is enough
    transaction.batch_execute("set local default_statistics_target = 10").await.map_err(failed)?;
    if order.rights.quiet {
        transaction.batch_execute("set local session_replication_role = replica").await.map_err(failed)?;
    }
    Ok(())
}

/// Where rows of a COPY go, and how they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To a staging table, as text.
    Staged,
    /// Straight into their table, as text.
    Text,
    /// The same in binary.
    Binary,
}

/// A COPY that is under way.
struct OpenCopy {
    shape: usize,
    sink: std::pin::Pin<Box<CopyInSink<Bytes>>>,
    way: Way,
    lines: failure::LineMap,
    /// The segment it fills, where rows that fail wait.
    number: usize,
    /// What has been sent, as long as it may have to be sent again.
    kept: Vec<Bytes>,
    kept_bytes: usize,
}

impl OpenCopy {
    fn gathering(shape: Arc<Shape>, number: usize, sink: std::pin::Pin<Box<CopyInSink<Bytes>>>) -> Self {
        let lines = failure::LineMap::new(shape.clone());
        Self { shape: shape.id, sink, way: Way::Staged, lines, number, kept: Vec::new(), kept_bytes: 0 }
    }
}

struct Apply<'a> {
    transaction: &'a Transaction<'a>,
    order: &'a ApplyOrder,
    open: Option<OpenCopy>,
    gathered: Gathered,
    released: i64,
    /// Staged deletes and other rows so far, by table.
    counted: BTreeMap<TableName, (i64, i64)>,
    staging: BTreeMap<usize, Staging>,
    held: Vec<Staging>,
    bulk: BulkLoad,
    references: References,
    rows: BTreeMap<TableName, i64>,
    conflicts: i64,
    watermark: Option<String>,
    sequences: Vec<(TableName, i64, bool)>,
}

impl<'a> Apply<'a> {
    fn new(transaction: &'a Transaction<'a>, order: &'a ApplyOrder) -> Self {
        Self {
            transaction,
            order,
            open: None,
            gathered: Gathered::default(),
            released: 0,
            counted: BTreeMap::new(),
            staging: BTreeMap::new(),
            held: Vec::new(),
            bulk: BulkLoad::default(),
            references: References::default(),
            rows: BTreeMap::new(),
            conflicts: 0,
            watermark: None,
            sequences: Vec::new(),
        }
    }

    async fn applied(self) -> Result<Applied, ReplicaError> {
        let mut applied = Applied {
            tables: self.rows.into_iter().filter(|(_, rows)| *rows > 0).collect(),
            watermark: self.watermark,
            conflicts: self.conflicts,
            released: self.released,
            ..Applied::default()
        };
        applied.rows = applied.tables.iter().map(|(_, rows)| rows).sum();
        if self.order.quarantine.is_some() {
            let sql = "select count(*) from sync.quarantine where peer = $1 and xid = pg_current_xact_id()";
            let counted = self.transaction.query_one(sql, &[&self.order.origin]).await;
            applied.quarantined = counted.map_err(|error| classify("count what waits", error))?.get(0);
        }
        Ok(applied)
    }

    async fn run(&mut self, mut feed: Feed) -> Result<(), ReplicaError> {
        loop {
            let message = match feed.next().await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    self.close_copy().await?;
                    return Err(error);
                }
            };
            match message {
                Message::Block(block) => self.block(block).await?,
                Message::SetVal { sequence, value, called } => self.sequences.push((sequence, value, called)),
                Message::Watermark(text) => self.watermark = Some(text),
                Message::Missing(told) => {
                    self.pause_copy().await?;
                    told.request(self.transaction, self.order).await?;
                }
                Message::Conflict(told) if self.order.incoming == Incoming::FromShop => {
                    self.pause_copy().await?;
                    self.conflicts += i64::from(told.record(self.transaction, self.order).await?);
                }
                Message::Conflict(_) => {}
            }
        }
        self.finish().await
    }

    /// No other statement gets through while a COPY is open.
    async fn pause_copy(&mut self) -> Result<(), ReplicaError> {
        match self.order.quarantine {
            Some(_) => self.settle_copy().await,
            None => self.close_copy().await,
        }
    }

    async fn block(&mut self, block: Block) -> Result<(), ReplicaError> {
        if self.order.quarantine.is_some() {
            return self.gather(block).await;
        }
        let straight = if block.binary.is_some() { Way::Binary } else { Way::Text };
        let goes_on = |open: &OpenCopy| open.shape == block.shape.id && [Way::Staged, straight].contains(&open.way);
        if self.open.as_ref().is_some_and(|open| !goes_on(open)) {
            self.close_copy().await?;
        }
        self.merge_before(&block.shape).await?;
        if self.open.is_none() {
            self.open_copy(&block.shape, straight).await?;
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        open.lines.extend(&block.statements, block.rows);
        if open.way != Way::Staged {
            *self.rows.entry(block.shape.table.name.clone()).or_default() += i64::try_from(block.rows).unwrap_or(0);
        }
        let rows = match (open.way, block.binary) {
            (Way::Staged, _) => block.text,
            (Way::Binary, Some(binary)) => binary,
            (Way::Text | Way::Binary, _) => without_numbers(block.text),
        };
        if let Err(error) = pieces::feed(open.sink.as_mut(), Bytes::from(rows)).await {
            let failure = failure::of_copy(error, &block.shape, &open.lines);
            self.open = None;
            return Err(failure);
        }
        Ok(())
    }

    /// Keeps the order of statements on one table; where triggers are not quiet, of all statements.
    async fn merge_before(&mut self, shape: &Shape) -> Result<(), ReplicaError> {
        let due: Vec<usize> = self
            .staging
            .values()
            .filter(|staging| staging.filled && staging.shape.id != shape.id)
            .filter(|staging| !self.order.rights.quiet || staging.shape.table.name == shape.table.name)
            .map(|staging| staging.shape.id)
            .collect();
        if !due.is_empty() {
            self.close_copy().await?;
        }
        for id in due {
            // what clashes now may be set free by a later change or delete of another row
            self.merge(id, true).await?;
        }
        Ok(())
    }

    async fn open_copy(&mut self, shape: &Arc<Shape>, straight: Way) -> Result<(), ReplicaError> {
        let direct = self.order.bulk
            && shape.kind == ShapeKind::Insert
            && self.bulk.takes(self.transaction, self.order, &shape.table).await?;
        let statement = if direct {
            self.bulk.copy_statement(&shape.table, &shape.columns, straight == Way::Binary)
        } else {
            if !self.staging.contains_key(&shape.id) {
                let staging = Staging::create(self.transaction, self.order, shape.clone(), None).await?;
                self.staging.insert(shape.id, staging);
            }
            let staging = self.staging.get_mut(&shape.id).ok_or(ReplicaError::Stopped)?;
            staging.filled = true;
            staging.copy_statement()
        };
        let failed = |error| failure::of_statement(error, &shape.table.name, None);
        let mut sink = Box::pin(self.transaction.copy_in::<_, Bytes>(&statement).await.map_err(failed)?);
        let way = if direct { straight } else { Way::Staged };
        if way == Way::Binary {
            sink.as_mut().feed(Bytes::from_static(binary_copy::HEADER)).await.map_err(failed)?;
        }
        self.open = Some(OpenCopy {
            shape: shape.id,
            sink,
            way,
            lines: failure::LineMap::new(shape.clone()),
            number: 0,
            kept: Vec::new(),
            kept_bytes: 0,
        });
        Ok(())
    }

    async fn close_copy(&mut self) -> Result<(), ReplicaError> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if open.way == Way::Binary {
            // what went wrong is told when it is finished
            let _ = open.sink.as_mut().feed(Bytes::from_static(binary_copy::TRAILER)).await;
        }
        match open.sink.as_mut().finish().await {
            Ok(_) => Ok(()),
            Err(error) => {
                let shape = open.lines.shape().clone();
                Err(failure::of_copy(error, &shape, &open.lines))
            }
        }
    }

    async fn merge(&mut self, id: usize, may_hold: bool) -> Result<(), ReplicaError> {
        let Some(mut staging) = self.staging.remove(&id) else { return Ok(()) };
        if staging.shape.kind == ShapeKind::Delete {
            for held in self.held.iter().filter(|other| other.shape.table.name == staging.shape.table.name) {
                held.forget_deleted(self.transaction, &staging).await?;
            }
        }
        staging.analyze(self.transaction).await?;
        self.references.note(self.transaction, self.order, &staging).await?;
        self.conflicts += staging.settle(self.transaction, self.order).await?;
        match staging.merge(self.transaction, self.order, may_hold).await? {
            Merged::Rows(rows) => {
                *self.rows.entry(staging.shape.table.name.clone()).or_default() += rows;
                self.staging.insert(id, staging);
            }
            Merged::Held => {
                staging.put_aside(self.transaction, self.held.len()).await?;
                self.held.push(staging);
            }
        }
        Ok(())
    }

    /// Merges what was put aside: all changes and deletes that could set a unique value free have been made.
    async fn merge_held(&mut self) -> Result<(), ReplicaError> {
        let tables: BTreeSet<TableName> = self.held.iter().map(|held| held.shape.table.name.clone()).collect();
        let order = self.order.catalogue.parents_first(&tables);
        let mut held = std::mem::take(&mut self.held);
        held.sort_by_key(|staging| order.iter().position(|name| *name == staging.shape.table.name));
        for mut staging in held {
            if let Merged::Rows(rows) = staging.merge(self.transaction, self.order, false).await? {
                *self.rows.entry(staging.shape.table.name.clone()).or_default() += rows;
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), ReplicaError> {
        if self.order.quarantine.is_some() {
            self.settle_copy().await?;
            self.merge_gathered(true).await?;
            return if self.order.keep_sequences { Ok(()) } else { self.set_sequences().await };
        }
        self.close_copy().await?;
        let filled: Vec<usize> =
            self.staging.values().filter(|staging| staging.filled).map(|staging| staging.shape.id).collect();
        let (deletes, writes): (Vec<usize>, Vec<usize>) =
            filled.into_iter().partition(|id| self.staging[id].shape.kind == ShapeKind::Delete);
        for id in self.in_order(&writes, false) {
            self.merge(id, true).await?;
        }
        for id in self.in_order(&deletes, true) {
            self.merge(id, false).await?;
        }
        self.merge_held().await?;
        self.conflicts += self.references.check(self.transaction, self.order, &self.bulk).await?;
        self.bulk.finish(self.transaction, self.order).await?;
        if !self.order.keep_sequences {
            self.set_sequences().await?;
        }
        Ok(())
    }

    /// Parents first, or children first.
    fn in_order(&self, ids: &[usize], children_first: bool) -> Vec<usize> {
        let tables: BTreeSet<TableName> = ids.iter().map(|id| self.staging[id].shape.table.name.clone()).collect();
        let mut order = self.order.catalogue.parents_first(&tables);
        if children_first {
            order.reverse();
        }
        let mut sorted = ids.to_vec();
        sorted.sort_by_key(|id| order.iter().position(|name| *name == self.staging[id].shape.table.name));
        sorted
    }

    async fn set_sequences(&mut self) -> Result<(), ReplicaError> {
        for (sequence, value, called) in std::mem::take(&mut self.sequences) {
            let known = self
                .order
                .policy
                .tables
                .keys()
                .filter_map(|name| self.order.catalogue.get(name))
                .any(|table| table.columns.iter().any(|column| column.sequence.as_ref() == Some(&sequence)));
            if known {
                self.transaction
                    .execute("select setval($1::text::regclass, $2, $3)", &[&sequence.quoted(), &value, &called])
                    .await
                    .map_err(|error| classify("set a sequence", error))?;
            }
        }
        Ok(())
    }
}
