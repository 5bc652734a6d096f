//! What has been delivered to one receiver, row by row, and whether it could have been.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use protocol::chunk::{InflateLimits, Inflater};
use protocol::dialect::{Event, Reader, ReaderLimits, WriteKind};

use crate::workload::{Journal, Key, OFFICE_TABLES, SHOP_TABLES, Tables, mark};

/// One row of a diff: an image with its version, or a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) key: Key,
    pub(crate) version: Option<i64>,
    pub(crate) writer: i32,
}

/// Everything a receiver has been given.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    rows: BTreeMap<Key, i64>,
    times: BTreeMap<(Key, Option<i64>), u32>,
    sums: BTreeMap<i32, u64>,
    /// (writer, sum of its rows) after each diff that held some of them.
    seen: Vec<(i32, u64)>,
    orphans: Vec<Key>,
    pub(crate) diffs: usize,
    pub(crate) empty: usize,
    pub(crate) repeats: usize,
    pub(crate) delivered: usize,
}

/// Writers have ids of their own.
fn writer_of(id: i64) -> i32 {
    i32::try_from(id / 1_000_000).unwrap_or(-1)
}

/// Reads a frozen stream of the spool.
pub(crate) fn read(path: &Path) -> Vec<Delivery> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = BufReader::new(Inflater::new(BufReader::new(file), InflateLimits::default()));
    let mut reader = Reader::new(text, ReaderLimits::default());
    let mut deliveries = Vec::new();
    let mut head = None;
    while let Some(event) = reader.next().unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
        match event {
            Event::Statement(statement) => {
                let at = |name: &str| statement.columns.iter().position(|column| column == name);
                let table =
                    [SHOP_TABLES.parent, SHOP_TABLES.child, OFFICE_TABLES.parent, OFFICE_TABLES.child, "member"]
                        .into_iter()
                        .find(|table| *table == statement.table.name)
                        .unwrap_or_else(|| panic!("table {} in a diff", statement.table));
                let id = at("id").unwrap_or_else(|| panic!("no key: {statement:?}"));
                let version = match statement.kind {
                    WriteKind::Delete => None,
                    WriteKind::Upsert | WriteKind::Update => Some(at("version").expect("every change has its version")),
                    other => panic!("{other:?} in a diff"),
                };
                head = Some((table, id, at("line"), version));
            }
            Event::Row(line) => {
                let (table, id, line_at, version) = head.expect("a row belongs to a statement");
                let fields: Vec<&[u8]> = line.split(|&byte| byte == b'\t').collect();
                let number = |index: usize| -> i64 {
                    std::str::from_utf8(fields[index]).ok().and_then(|text| text.parse().ok()).expect("a number")
                };
                let line = line_at.map_or(0, |index| i32::try_from(number(index)).unwrap_or(-1));
                let id = number(id);
                deliveries.push(Delivery {
                    key: (table, id, line),
                    version: version.map(number),
                    writer: writer_of(id),
                });
            }
            Event::Note { .. } | Event::Watermark(_) => {}
            Event::SetVal { .. } => panic!("a sequence in a diff"),
        }
    }
    deliveries
}

fn parent_of(key: &Key) -> Option<Key> {
    [SHOP_TABLES, OFFICE_TABLES]
        .iter()
        .find(|tables| tables.child == key.0)
        .map(|tables: &Tables| (tables.parent, key.1, 0))
}

impl Ledger {
    /// Books a diff in the order of its script.
    pub(crate) fn book(&mut self, deliveries: &[Delivery]) {
        self.diffs += 1;
        self.delivered += deliveries.len();
        let mut touched = BTreeSet::new();
        for Delivery { key, version, writer } in deliveries {
            *self.times.entry((*key, *version)).or_default() += 1;
            touched.insert(*writer);
            let sum = self.sums.entry(*writer).or_default();
            let before = match version {
                Some(version) => {
                    if parent_of(key).is_some_and(|parent| !self.rows.contains_key(&parent)) {
                        self.orphans.push(*key);
                    }
                    *sum = sum.wrapping_add(mark(key, *version));
                    self.rows.insert(*key, *version)
                }
                None => {
                    let family = [SHOP_TABLES, OFFICE_TABLES].into_iter().find(|tables| tables.parent == key.0);
                    let has_children = |tables: Tables| {
                        let lines = (tables.child, key.1, i32::MIN)..=(tables.child, key.1, i32::MAX);
                        self.rows.range(lines).next().is_some()
                    };
                    if family.is_some_and(has_children) {
                        self.orphans.push(*key);
                    }
                    self.rows.remove(key)
                }
            };
            if let Some(version) = before {
                *sum = sum.wrapping_sub(mark(key, version));
            }
        }
        self.seen.extend(touched.into_iter().map(|writer| (writer, self.sums[&writer])));
    }

    /// Asserts that nothing was missing, doubled, invented, torn or orphaned in what was delivered.
    pub(crate) fn assert_sound(&self, journals: &[Journal]) {
        assert!(self.orphans.is_empty(), "rows without their parent in a diff: {:?}", self.orphans);
        let doubled: Vec<_> = self.times.iter().filter(|(_, times)| **times > 1).take(5).collect();
        assert!(doubled.is_empty(), "delivered more than once: {doubled:?}");
        for journal in journals {
            let rows = self.rows.iter().filter(|(key, _)| writer_of(key.1) == journal.writer);
            let rows: BTreeMap<Key, i64> = rows.map(|(key, version)| (*key, *version)).collect();
            assert_eq!(&rows, journal.now(), "writer {}: delivered is not committed", journal.writer);
            // each diff is a cut: it shows the rows of a writer as some commit of his left them, never going back
            let mut states = journal.states.iter().map(crate::workload::sum);
            for (_, sum) in self.seen.iter().filter(|(writer, _)| *writer == journal.writer) {
                assert!(
                    states.any(|state| state == *sum),
                    "writer {}: a diff showed a state that no commit left, or an older one than before",
                    journal.writer
                );
            }
        }
    }
}
