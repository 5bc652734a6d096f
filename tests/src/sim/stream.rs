//! Frozen streams: what changed between two snapshots, or all rows; and taking them in.
//!
//! Imitated here is the SQL of `replica::diff` and `replica::apply` (the net effect of a window, which rows are
//! contended, upserts); who wins is decided by `protocol::merge`, the amounts by `protocol::merge::amounts`.

use std::collections::{BTreeMap, BTreeSet};

use protocol::merge::{self, Changed, Contender, Image, Side, Stamp, Version, amounts};
use protocol::policy::ConflictRule;
use protocol::snapshot::Snapshot;

use super::sabotage::Sabotage;
use super::schema::{Depth, Role, Schema};
use super::store::{Content, Entry, KeptConflict, Key, Op};

/// What a stream says about a row.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// The row as it is.
    Put { row: Image },
    /// Columns that changed, and what they were.
    Set { set: Image, was: Image },
    /// The row is gone; what it was, where that is known.
    Delete { was: Option<Image> },
}

/// A line of a stream.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) key: Key,
    pub(super) change: Change,
    /// Running totals of the amounts.
    pub(super) totals: BTreeMap<String, String>,
    pub(super) stamp: Option<Stamp>,
}

/// A frozen stream.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    pub(super) id: String,
    pub(super) lines: Vec<Line>,
    pub(super) bytes: u64,
    pub(super) watermark: Option<String>,
    /// The watermark it follows, where that was named exactly.
    pub(super) since: Option<String>,
    /// The snapshot it ends at.
    pub(super) snapshot: Snapshot,
    /// Sessions that the shop had applied when it was frozen.
    pub(super) pushes: usize,
}

impl Stream {
    pub(super) fn new(
        id: String,
        lines: Vec<Line>,
        snapshot: Snapshot,
        watermark: Option<String>,
        since: Option<String>,
    ) -> Self {
        let bytes = 7 + lines.len() as u64 * 11;
        Self { id, lines, bytes, watermark, since, snapshot, pushes: 0 }
    }
}

impl Stream {
    /// What it says, for a trace.
    pub(super) fn told(&self) -> String {
        let line = |line: &Line| format!("\n        {:?} {:?} {:?}", line.key, line.change, line.totals);
        self.lines.iter().map(line).collect()
    }
}

/// A window of a change log: everything that one snapshot does not see and that did not come from a peer.
pub(super) struct Window<'a> {
    pub(super) since: &'a Snapshot,
    /// The receiver has the rows as they were then: changed columns are enough.
    pub(super) known: bool,
    pub(super) peer: u32,
    pub(super) sabotage: Option<Sabotage>,
    /// The newest time in the log when `since` was taken, for those who believe in clocks.
    pub(super) since_time: i64,
}

impl Window<'_> {
    fn holds(&self, entry: &Entry) -> bool {
        let is_new = match self.sabotage {
            Some(Sabotage::XidCursor) => entry.xid >= self.since.xmax(),
            Some(Sabotage::TimestampCursor) => !self.since.sees(entry.xid) && entry.xid + 6 >= self.since.xmax(),
            Some(Sabotage::ClockDecides) => entry.at >= self.since_time,
            _ => !self.since.sees(entry.xid),
        };
        is_new && (entry.origin != Some(self.peer) || self.sabotage == Some(Sabotage::Echo))
    }

    /// Per key, its entries in the order in which they were made.
    pub(super) fn entries<'c, R>(&self, content: &'c Content<R>) -> BTreeMap<Key, Vec<&'c Entry>> {
        let mut by_key: BTreeMap<Key, Vec<&Entry>> = BTreeMap::new();
        for entry in content.log.iter().filter(|entry| self.holds(entry)) {
            by_key.entry(entry.key).or_default().push(entry);
        }
        by_key
    }
}

/// What a row was before its entries: the first old value of each column.
fn before(entries: &[&Entry]) -> Image {
    let mut was = Image::new();
    for entry in entries {
        for (name, value) in &entry.old {
            was.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    was
}

fn stamp(entries: &[&Entry]) -> Option<Stamp> {
    let at = entries.iter().map(|entry| entry.at).max()?;
    Some(Stamp { at, by: "till".into(), application: String::new() })
}

/// The net effect of a window, row by row.
pub(super) fn changes<R>(content: &Content<R>, schema: &Schema, window: &Window<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (key, entries) in window.entries(content) {
        if !schema.flows_out(key.0) {
            continue;
        }
        let row = content.rows.get(&key);
        let is_update = entries.first().is_some_and(|entry| entry.op == Op::Update)
            && entries.iter().all(|entry| entry.op != Op::Whole)
            && (entries.iter().all(|entry| entry.op != Op::Insert) || window.sabotage == Some(Sabotage::ForgetRebirth));
        let change = match (row, schema.depth(key.0)) {
            (None, _) if !schema.sends_deletes(key.0) => continue,
            (None, _) if window.sabotage == Some(Sabotage::ForgetDeletes) => continue,
            (None, Depth::OldValues) => Change::Delete { was: Some(before(&entries)) },
            (None, _) => Change::Delete { was: None },
            (Some(row), Depth::OldValues) if is_update => {
                let was = before(&entries);
                let set: Image = row
                    .iter()
                    .filter(|(name, _)| was.contains_key(*name))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect();
                if set.is_empty() {
                    continue;
                }
                Change::Set { set, was }
            }
            (Some(row), Depth::Keys) if is_update && window.known => {
                let changed = before(&entries);
                let set = row.iter().filter(|(name, _)| changed.contains_key(*name));
                Change::Set { set: set.map(|(name, value)| (name.clone(), value.clone())).collect(), was: Image::new() }
            }
            (Some(row), _) => Change::Put { row: row.clone() },
        };
        let told = match &change {
            Change::Put { row } | Change::Set { set: row, .. } => Some(row),
            Change::Delete { .. } => None,
        };
        let mut totals = BTreeMap::new();
        for name in schema.amounts(key.0) {
            let Some(value) = told.and_then(|told| told.get(name)).cloned().flatten() else { continue };
            let received = content.totals.get(&(window.peer, key, name.clone()));
            if let Some(total) = amounts::total(&value, received.map(String::as_str)) {
                totals.insert(name.clone(), total);
            }
        }
        let stamp = stamp(&entries);
        lines.push(Line { key, change, totals, stamp });
    }
    lines
}

/// All rows that a clone brings.
pub(super) fn copy<R>(content: &Content<R>, schema: &Schema) -> Vec<Line> {
    content
        .rows
        .iter()
        .filter(|(key, _)| schema.direction(key.0).cloned())
        .map(|(key, row)| Line {
            key: *key,
            change: Change::Put { row: row.clone() },
            totals: BTreeMap::new(),
            stamp: None,
        })
        .collect()
}

/// How a stream is taken in.
pub(super) struct Order<'a> {
    pub(super) schema: &'a Schema,
    pub(super) xid: u64,
    pub(super) peer: u32,
    /// What the peer has of our changes; none where nothing can be contended.
    pub(super) agreed: Option<Snapshot>,
    pub(super) at: i64,
    pub(super) sabotage: Option<Sabotage>,
}

/// What taking it in did.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) rows: usize,
    pub(super) conflicts: Vec<KeptConflict>,
}

/// Takes a stream in, in the transaction of the caller.
pub(super) fn apply<R>(content: &mut Content<R>, order: &Order<'_>, lines: &[Line]) -> Applied {
    let mut applied = Applied::default();
    let schema = order.schema;
    let contended: BTreeMap<Key, (Image, bool, Option<Stamp>)> = match &order.agreed {
        Some(agreed) => {
            let window = Window { since: agreed, known: true, peer: order.peer, sabotage: None, since_time: 0 };
            let entries = window.entries(content).into_iter();
            entries
                .filter(|(key, _)| schema.depth(key.0) == Depth::OldValues)
                .map(|(key, entries)| {
                    let whole = entries[0].op == Op::Insert || entries.iter().any(|entry| entry.op == Op::Whole);
                    (key, (before(&entries), whole, stamp(&entries)))
                })
                .collect()
        }
        None => BTreeMap::new(),
    };
    for line in lines {
        let mine = contended.get(&line.key).filter(|_| order.sabotage != Some(Sabotage::LastWriterWins));
        let ours = content.rows.get(&line.key).cloned();
        let late_update = matches!(line.change, Change::Set { .. }) && ours.is_none();
        let is_decided = schema.depth(line.key.0) == Depth::OldValues && (mine.is_some() || late_update);
        let mut row = if is_decided {
            match decided(content, order, line, mine, ours.clone(), &mut applied) {
                Some(row) => row,
                None => continue,
            }
        } else {
            match &line.change {
                Change::Put { row } => Some(row.clone()),
                // of a row that is not here nothing but these columns would be: the judge sees a row that nobody has written
                Change::Set { set, .. } => {
                    let mut row = ours.clone().unwrap_or_default();
                    row.extend(set.clone());
                    Some(row)
                }
                Change::Delete { .. } => None,
            }
        };
        if let Some(row) = &mut row {
            add_up(content, order, line, ours.as_ref(), row);
        }
        if content.put(schema, order.xid, Some(order.peer), (line.key, row), order.at) {
            applied.rows += 1;
        }
    }
    applied
}

/// The outcome of a contended row; none where everything stays as it is, else the row or its absence.
fn decided<R>(
    content: &mut Content<R>,
    order: &Order<'_>,
    line: &Line,
    mine: Option<&(Image, bool, Option<Stamp>)>,
    ours: Option<Image>,
    applied: &mut Applied,
) -> Option<Option<Image>> {
    let us = if order.schema.role == Role::Office { Side::Office } else { Side::Shop };
    let tombstone = || {
        let last = content.log.iter().rev().find(|entry| entry.key == line.key && entry.op == Op::Delete);
        last.map(|entry| entry.old.clone())
    };
    let our_version = match (&ours, mine) {
        (Some(row), Some((was, false, _))) => {
            Version::Present { row: row.clone(), changed: Changed::Columns(was.clone()) }
        }
        (Some(row), _) => Version::Present { row: row.clone(), changed: Changed::Whole },
        (None, Some((was, _, _))) => Version::Deleted { was: Some(was.clone()) },
        (None, None) => Version::Deleted { was: tombstone() },
    };
    let their_version = match &line.change {
        Change::Put { row } => Version::Present { row: row.clone(), changed: Changed::Whole },
        Change::Set { set, was } => Version::Present { row: set.clone(), changed: Changed::Columns(was.clone()) },
        Change::Delete { was } => Version::Deleted { was: was.clone() },
    };
    let our_stamp = mine.and_then(|(_, _, stamp)| stamp.clone());
    let mine = Contender { version: our_version, stamp: our_stamp };
    let theirs = Contender { version: their_version, stamp: line.stamp.clone() };
    let (office, shop) = if us == Side::Office { (&mine, &theirs) } else { (&theirs, &mine) };
    let mut rule = order.schema.rule(line.key.0);
    if order.sabotage == Some(Sabotage::Asymmetric) && us == Side::Shop && rule == ConflictRule::OfficeWins {
        rule = ConflictRule::ShopWins;
    }
    let amounts: &BTreeSet<String> = order.schema.amounts(line.key.0);
    let verdict = merge::decide(rule, amounts, office, shop);
    if let Some(found) = &verdict.conflict {
        let told = |change: &Change| match change {
            Change::Put { row } | Change::Set { set: row, .. } => Some(row.clone()),
            Change::Delete { .. } => None,
        };
        let kept = KeptConflict { key: line.key, kind: found.kind, ours: ours.clone(), theirs: told(&line.change) };
        if order.sabotage != Some(Sabotage::ForgetLoser) {
            content.conflicts.push(kept.clone());
        }
        applied.conflicts.push(kept);
    }
    if verdict.travels_whole(us) {
        let (xid, key, at) = (order.xid, line.key, order.at);
        content.log.push(Entry { xid, origin: None, op: Op::Whole, key, old: Image::new(), at });
    }
    match verdict.row {
        Some(columns) => {
            let mut row = ours.unwrap_or_default();
            row.extend(columns);
            Some(Some(row))
        }
        None if ours.is_none() => None,
        None => Some(None),
    }
}

/// Adds the growth of the peer's totals to ours.
fn add_up<R>(content: &mut Content<R>, order: &Order<'_>, line: &Line, ours: Option<&Image>, row: &mut Image) {
    for name in order.schema.amounts(line.key.0) {
        let place = (order.peer, line.key, name.clone());
        let own = ours.and_then(|ours| ours.get(name)).cloned().flatten();
        match (line.totals.get(name), own) {
            (Some(total), Some(own)) => {
                let stored = content.totals.get(&place).map(String::as_str);
                let stored = if order.sabotage == Some(Sabotage::LostIsFailed) { Some("0") } else { stored };
                if let Some(value) = amounts::receive(&own, total, stored) {
                    row.insert(name.clone(), Some(value));
                }
                content.totals.insert(place, total.clone());
            }
            (Some(total), None) => {
                content.totals.insert(place, total.clone());
            }
            (None, Some(own)) if !matches!(line.change, Change::Put { .. }) => {
                row.insert(name.clone(), Some(own));
            }
            (None, _) => {}
        }
    }
}

/// After a clone: what the rows hold is the office's contribution.
pub(super) fn begin_totals<R>(content: &mut Content<R>, schema: &Schema, peer: u32) {
    let mut begun = Vec::new();
    for (key, row) in &content.rows {
        for name in schema.amounts(key.0) {
            if let Some(Some(value)) = row.get(name) {
                begun.push(((peer, *key, name.clone()), value.clone()));
            }
        }
    }
    content.totals.extend(begun);
}
