//! A database as PostgreSQL behaves, in memory: transactions with ids, snapshots with their running ones, a change log
//! written by capture, commits that are durable and commits that a crash may take back, backups.
//!
//! It imitates the database and the triggers of capture, and no rule of the product: what a `since` selects, what is
//! acknowledged, who wins, what was applied before, is asked of `protocol`.

use std::collections::{BTreeMap, BTreeSet};

use protocol::merge::Image;
use protocol::snapshot::Snapshot;

use super::chance::Chance;
use super::schema::{Depth, Schema};

/// A row: number of its table, and its id.
pub(super) type Key = (u8, i64);

/// What a logged statement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Insert,
    Update,
    Delete,
    /// Nothing: the row is to travel whole.
    Whole,
}

/// An entry of a change log.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) xid: u64,
    /// The peer whose change it was; none for a change made here.
    pub(super) origin: Option<u32>,
    pub(super) op: Op,
    pub(super) key: Key,
    /// Old values: of the changed columns, or all of a deleted row. Empty where the log holds keys alone.
    pub(super) old: Image,
    /// By the database's clock.
    pub(super) at: i64,
}

/// A statement of an application.
#[derive(Debug, Clone)]
pub(super) enum Write {
    Insert(Key, Image),
    Set(Key, Image),
    Add(Key, &'static str, i64),
    Delete(Key),
}

impl Write {
    /// The row it writes.
    pub(super) fn key(&self) -> Key {
        match self {
            Self::Insert(key, _) | Self::Set(key, _) | Self::Add(key, _, _) | Self::Delete(key) => *key,
        }
    }
}

/// A conflict, as kept.
#[derive(Debug, Clone)]
pub(super) struct KeptConflict {
    pub(super) key: Key,
    pub(super) kind: protocol::merge::ConflictKind,
    pub(super) ours: Option<Image>,
    pub(super) theirs: Option<Image>,
}

/// Identity of the database's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incarnation {
    pub(super) number: i32,
    pub(super) id: String,
    pub(super) tag: u16,
}

/// What is in the database. `R` are the product's own records in the node's role.
#[derive(Debug, Clone)]
pub(super) struct Content<R> {
    pub(super) rows: BTreeMap<Key, Image>,
    pub(super) log: Vec<Entry>,
    pub(super) next_xid: u64,
    /// Commits of applications, by the numbers the model gave them.
    pub(super) commits: Vec<(u64, usize)>,
    pub(super) totals: BTreeMap<(u32, Key, String), String>,
    pub(super) conflicts: Vec<KeptConflict>,
    pub(super) incarnations: Vec<Incarnation>,
    pub(super) records: R,
}

impl<R> Content<R> {
    /// The incarnation in force.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.incarnations.last().cloned().unwrap_or(Incarnation { number: 0, id: String::new(), tag: 0 })
    }

    /// Whether there has been such an incarnation: a database put back to before it does not know it.
    pub(super) fn knew(&self, id: &str) -> bool {
        self.incarnations.iter().any(|incarnation| incarnation.id == id)
    }

    /// Puts a row (or none) where it belongs, and logs it as capture does; says whether it changed anything.
    pub(super) fn put(
        &mut self,
        schema: &Schema,
        xid: u64,
        origin: Option<u32>,
        (key, new): (Key, Option<Image>),
        at: i64,
    ) -> bool {
        let before = match new.clone() {
            Some(row) => self.rows.insert(key, row),
            None => self.rows.remove(&key),
        };
        if before == new {
            return false;
        }
        let depth = schema.depth(key.0);
        let (op, old) = match (before, new) {
            (None, _) => (Op::Insert, Image::new()),
            (Some(before), None) => (Op::Delete, before),
            (Some(before), Some(new)) => {
                (Op::Update, before.into_iter().filter(|(name, value)| new.get(name) != Some(value)).collect())
            }
        };
        match depth {
            Depth::None => {}
            // of the old values only the names count in tables that flow one way
            Depth::Keys | Depth::OldValues => self.log.push(Entry { xid, origin, op, key, old, at }),
        }
        true
    }

    /// A row image as a statement leaves it; none when the statement finds nothing to do.
    fn after(&self, write: &Write) -> Option<(Key, Option<Image>)> {
        let now = self.rows.get(&write.key());
        match (write, now) {
            (Write::Insert(key, row), None) => Some((*key, Some(row.clone()))),
            (Write::Set(key, set), Some(row)) => {
                let mut row = row.clone();
                row.extend(set.clone());
                Some((*key, Some(row)))
            }
            (Write::Add(key, column, by), Some(row)) => {
                let mut row = row.clone();
                let value: i64 = row.get(*column).cloned().flatten().and_then(|text| text.parse().ok()).unwrap_or(0);
                row.insert((*column).to_owned(), Some((value + by).to_string()));
                Some((*key, Some(row)))
            }
            (Write::Delete(key), Some(_)) => Some((*key, None)),
            _ => None,
        }
    }
}

/// A transaction that has not ended.
#[derive(Debug, Clone)]
pub(super) struct Transaction {
    pub(super) xid: u64,
    pub(super) writes: Vec<Write>,
    /// Its number in the model.
    pub(super) number: usize,
}

/// How to take an asynchronous commit back.
#[derive(Debug)]
struct Undo {
    rows: Vec<(Key, Option<Image>)>,
    log: usize,
    commits: usize,
    next_xid: u64,
}

/// A database and what of it is not on disk.
#[derive(Debug)]
pub(super) struct Database<R> {
    pub(super) now: Content<R>,
    pub(super) open: Vec<Transaction>,
    pub(super) schema: Schema,
    /// Commits since the last flush, in order: a crash keeps the first few of them.
    tail: Vec<Undo>,
    flushed_xid: u64,
    /// Microseconds by which its clock is off.
    pub(super) clock: i64,
}

/// A backup.
#[derive(Debug, Clone)]
pub(super) struct Backup<R> {
    pub(super) content: Content<R>,
    /// When it was taken, in steps.
    pub(super) step: u64,
}

impl<R: Clone> Database<R> {
    /// A database with these rows, nothing logged.
    pub(super) fn new(schema: Schema, rows: BTreeMap<Key, Image>, incarnation: Incarnation, records: R) -> Self {
        let now = Content {
            rows,
            log: Vec::new(),
            next_xid: 10,
            commits: Vec::new(),
            totals: BTreeMap::new(),
            conflicts: Vec::new(),
            incarnations: vec![incarnation],
            records,
        };
        Self { flushed_xid: now.next_xid, now, open: Vec::new(), schema, tail: Vec::new(), clock: 0 }
    }

    /// The snapshot of a reader that begins now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut running: Vec<u64> = self.open.iter().map(|transaction| transaction.xid).collect();
        running.sort_unstable();
        let xmin = running.first().copied().unwrap_or(self.now.next_xid);
        Snapshot::new(xmin, self.now.next_xid, running)
    }

    /// Begins a transaction of an application.
    pub(super) fn begin(&mut self, number: usize) -> u64 {
        let xid = self.now.next_xid;
        self.now.next_xid += 1;
        self.open.push(Transaction { xid, writes: Vec::new(), number });
        xid
    }

    /// Whether a running transaction has written that row: others wait for it.
    pub(super) fn is_locked(&self, key: Key) -> bool {
        self.open.iter().any(|transaction| transaction.writes.iter().any(|write| write.key() == key))
    }

    /// Ends a transaction. What it wrote was locked, so it is as it was when it was written.
    pub(super) fn commit(&mut self, index: usize, is_durable: bool, at: i64) -> Transaction {
        let transaction = self.open.remove(index);
        let mut undo = Undo {
            rows: Vec::new(),
            log: self.now.log.len(),
            commits: self.now.commits.len(),
            next_xid: self.now.next_xid,
        };
        for write in &transaction.writes {
            if let Some((key, new)) = self.now.after(write) {
                undo.rows.push((key, self.now.rows.get(&key).cloned()));
                self.now.put(&self.schema, transaction.xid, None, (key, new), at + self.clock);
            }
        }
        self.now.commits.push((transaction.xid, transaction.number));
        self.tail.push(undo);
        if is_durable {
            self.flush();
        }
        transaction
    }

    /// A transaction of the product: committed with `synchronous_commit = on`.
    pub(super) fn product<T>(&mut self, work: impl FnOnce(&mut Content<R>, &Schema, u64) -> T) -> T {
        let xid = self.now.next_xid;
        self.now.next_xid += 1;
        let result = work(&mut self.now, &self.schema, xid);
        self.flush();
        result
    }

    fn flush(&mut self) {
        self.tail.clear();
        self.flushed_xid = self.now.next_xid;
    }

    /// The server dies: what is running is gone, and of what was not flushed only a part is kept. Its xids are given out
    /// again. Returns the numbers of the commits that were taken back.
    pub(super) fn crash(&mut self, chance: &mut Chance) -> Vec<usize> {
        self.open.clear();
        let kept = chance.below(self.tail.len() + 1);
        let mut lost = Vec::new();
        self.now.next_xid = self.flushed_xid.max(kept.checked_sub(1).map_or(0, |last| self.tail[last].next_xid));
        for undo in self.tail.drain(kept..).rev() {
            for (key, row) in undo.rows.into_iter().rev() {
                match row {
                    Some(row) => self.now.rows.insert(key, row),
                    None => self.now.rows.remove(&key),
                };
            }
            self.now.log.truncate(undo.log);
            lost.extend(self.now.commits.drain(undo.commits..).map(|(_, number)| number));
        }
        self.flush();
        lost
    }

    /// Puts a backup in its place; returns the numbers of the commits that it does not have.
    pub(super) fn restore(&mut self, backup: &Backup<R>) -> Vec<usize> {
        self.open.clear();
        let kept: BTreeSet<usize> = backup.content.commits.iter().map(|(_, number)| *number).collect();
        let lost = self.now.commits.iter().map(|(_, number)| *number).filter(|number| !kept.contains(number)).collect();
        self.now = backup.content.clone();
        self.flush();
        lost
    }
}
