//! What was promised: who wrote what, and so what has to be where in the end. It knows nothing of sessions, watermarks or
//! rules, and sees only what applications committed, what crashes and restores took, and what is in the tables.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use protocol::merge::Image;

use super::store::{KeptConflict, Key, Write};

/// Where something was written: the office, or a shop by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Node {
    Office,
    Shop(usize),
}

/// A value of a column: a text, or that there is no row.
type Cell = (Key, String);

/// A value that was written into a cell, and what stood there.
#[derive(Debug)]
struct Value {
    commit: usize,
    cell: Cell,
    value: String,
    over: Option<String>,
}

/// A commit of an application.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) node: Node,
    /// Whether the node's database still has it.
    pub(super) is_there: bool,
    /// Whether the office has taken it in (of a shop's).
    pub(super) is_taken: bool,
    pub(super) writes: Vec<Write>,
    /// Its place among all commits: who began earlier may commit later.
    place: usize,
}

/// Everything that was written.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) commits: Vec<Commit>,
    /// Commits so far.
    places: usize,
    values: Vec<Value>,
    /// Values that a kept conflict shows.
    recorded: HashMap<Cell, BTreeSet<String>>,
    /// Rows with a kept conflict about their being there.
    recorded_gone: BTreeSet<Key>,
    /// Rows that a node's applications, or a settled conflict, have touched.
    touched: BTreeMap<Key, BTreeSet<Node>>,
    /// What the office's own tables were when a stream was frozen, as fingerprints.
    frozen: HashSet<u64>,
    /// What each watermark of a shop covers, as it was issued.
    covered: HashMap<(usize, i64), Vec<usize>>,
    /// The watermark last stored for each shop.
    newest: HashMap<usize, i64>,
}

/// A deletion, told from others by its commit.
fn tombstone(commit: usize) -> String {
    format!("\u{2020}{commit}")
}

fn is_tombstone(value: &str) -> bool {
    value.starts_with('\u{2020}')
}

impl Model {
    /// A number for a transaction that begins.
    pub(super) fn begin(&mut self, node: Node) -> usize {
        self.commits.push(Commit { node, is_there: false, is_taken: false, writes: Vec::new(), place: 0 });
        self.commits.len() - 1
    }

    /// A transaction was committed over these rows.
    pub(super) fn committed(&mut self, number: usize, writes: &[Write], before: &BTreeMap<Key, Image>) {
        let node = self.commits[number].node;
        for write in writes {
            let key = write.key();
            let now = before.get(&key);
            let set: Image = match (write, now) {
                (Write::Insert(_, row), None) => row.clone(),
                (Write::Set(_, set), Some(_)) => set.clone(),
                (Write::Delete(_), Some(row)) => {
                    row.keys().map(|name| (name.clone(), Some(tombstone(number)))).collect()
                }
                (Write::Add(..), Some(_)) => Image::new(),
                _ => continue,
            };
            for (name, value) in set {
                let over = now.and_then(|row| row.get(&name)).cloned().flatten();
                let value = value.unwrap_or_default();
                self.values.push(Value { commit: number, cell: (key, name), value, over });
            }
            self.touched.entry(key).or_default().insert(node);
            self.commits[number].writes.push(write.clone());
        }
        self.commits[number].is_there = true;
        self.commits[number].place = self.places;
        self.places += 1;
    }

    /// Commits that a crash or a restore took from their node.
    pub(super) fn lost(&mut self, numbers: &[usize]) {
        for number in numbers {
            self.commits[*number].is_there = false;
        }
    }

    /// The office took these commits of shops in.
    pub(super) fn taken(&mut self, numbers: impl Iterator<Item = usize>) {
        for number in numbers {
            self.commits[number].is_taken = true;
        }
    }

    /// A shop issued a watermark that covers these commits.
    pub(super) fn covers(&mut self, shop: usize, micros: i64, numbers: Vec<usize>) {
        self.covered.insert((shop, micros), numbers);
    }

    /// The office took in what a watermark covers that the shop itself has lost since.
    pub(super) fn taken_from_the_past(&mut self, shop: usize, micros: i64) {
        for number in self.covered.get(&(shop, micros)).into_iter().flatten() {
            self.commits[*number].is_taken = true;
        }
    }

    /// What the office has taken in, to be put back when it is restored.
    pub(super) fn all_taken(&self) -> BTreeSet<usize> {
        (0..self.commits.len()).filter(|number| self.commits[*number].is_taken).collect()
    }

    /// The office knows of shops' commits only these.
    pub(super) fn only_taken(&mut self, taken: &BTreeSet<usize>) {
        for (number, commit) in self.commits.iter_mut().enumerate() {
            commit.is_taken &= taken.contains(&number);
        }
    }

    /// A conflict was kept.
    pub(super) fn kept(&mut self, node: Node, conflict: &KeptConflict) {
        self.touched.entry(conflict.key).or_default().insert(node);
        if conflict.kind.is_about_existence() {
            self.recorded_gone.insert(conflict.key);
        }
        for image in [&conflict.ours, &conflict.theirs].into_iter().flatten() {
            for (name, value) in image {
                if let Some(value) = value {
                    self.recorded.entry((conflict.key, name.clone())).or_default().insert(value.clone());
                }
            }
        }
    }

    /// Whether an application there has ever written that row.
    pub(super) fn has_touched(&self, node: Node, key: Key) -> bool {
        self.touched.get(&key).is_some_and(|nodes| nodes.contains(&node))
    }

    /// Whether anybody but that node has.
    pub(super) fn is_touched_by_another_than(&self, node: Node, key: Key) -> bool {
        self.touched.get(&key).is_some_and(|nodes| nodes.iter().any(|other| *other != node))
    }

    /// A stream of the office was frozen over these rows of its own tables.
    pub(super) fn frozen(&mut self, rows: u64) {
        self.frozen.insert(rows);
    }

    /// Whether one was.
    pub(super) fn was_frozen(&self, rows: u64) -> bool {
        self.frozen.contains(&rows)
    }

    /// Whether a shop's stored watermark moves back by becoming this one.
    pub(super) fn moved_back(&mut self, shop: usize, micros: i64) -> bool {
        let newest = self.newest.entry(shop).or_insert(micros);
        let is_back = micros < *newest;
        *newest = micros;
        is_back
    }

    /// The history of watermarks of a shop begins anew.
    pub(super) fn forget_watermark(&mut self, shop: usize) {
        self.newest.remove(&shop);
    }

    /// Commits that a restore brought back.
    pub(super) fn regained(&mut self, numbers: impl Iterator<Item = usize>) {
        for number in numbers {
            self.commits[number].is_there = true;
        }
    }

    fn must_be(&self, number: usize) -> bool {
        let commit = &self.commits[number];
        commit.is_there || commit.is_taken
    }

    /// I1, I9: the office's rows of a shop's own tables. `n` grows with every write of a row.
    pub(super) fn missing_at_office(&self, rows: &BTreeMap<Key, Image>, is_own: impl Fn(u8) -> bool) -> Vec<String> {
        let mut newest: BTreeMap<Key, (u64, bool)> = BTreeMap::new();
        for number in (0..self.commits.len()).filter(|number| self.must_be(*number)) {
            if self.commits[number].node == Node::Office {
                continue;
            }
            for write in &self.commits[number].writes {
                let (key, n, gone) = match write {
                    Write::Insert(key, row) | Write::Set(key, row) => (*key, number_in(row), false),
                    Write::Delete(key) => (*key, u64::MAX, true),
                    Write::Add(..) => continue,
                };
                if is_own(key.0) {
                    let entry = newest.entry(key).or_insert((n, gone));
                    *entry = (*entry).max((n, gone));
                }
            }
        }
        let mut missing = Vec::new();
        for (key, (n, gone)) in newest {
            match rows.get(&key) {
                None if !gone => missing.push(format!("I1: row {key:?} of a shop, version {n}, is not at the office")),
                Some(_) if gone => {
                    missing.push(format!("I9: row {key:?} was deleted at its shop and is at the office"))
                }
                Some(row) if !gone && number_in(row) < n => missing.push(format!(
                    "I1: row {key:?} is at the office in version {}, the shop committed {n}",
                    number_in(row)
                )),
                _ => {}
            }
        }
        missing
    }

    /// I3, I11: every value that somebody wrote stands, was overwritten by somebody who saw it, or is kept in a conflict.
    pub(super) fn silently_lost(&self, rows: &BTreeMap<Key, Image>, is_both: impl Fn(u8) -> bool) -> Vec<String> {
        let mut over: HashMap<(&Cell, &str), Vec<usize>> = HashMap::new();
        for (index, value) in self.values.iter().enumerate() {
            if let Some(before) = &value.over {
                over.entry((&value.cell, before)).or_default().push(index);
            }
        }
        let mut lost = Vec::new();
        for (index, value) in self.values.iter().enumerate() {
            if !is_both(value.cell.0.0) || !self.must_be(value.commit) {
                continue;
            }
            let mut reached = BTreeSet::from([index]);
            let mut open = vec![index];
            let mut is_accounted = false;
            while let Some(next) = open.pop() {
                let value = &self.values[next];
                if self.is_accounted(rows, value) {
                    is_accounted = true;
                    break;
                }
                for follower in over.get(&(&value.cell, value.value.as_str())).into_iter().flatten() {
                    if reached.insert(*follower) {
                        open.push(*follower);
                    }
                }
            }
            if !is_accounted {
                lost.push(format!(
                    "I11: {:?} of {:?}, column {}, written at {:?}, is gone without a trace",
                    value.value, value.cell.0, value.cell.1, self.commits[value.commit].node
                ));
            }
        }
        lost
    }

    fn is_accounted(&self, rows: &BTreeMap<Key, Image>, value: &Value) -> bool {
        let (key, name) = &value.cell;
        match rows.get(key) {
            None if is_tombstone(&value.value) => return true,
            Some(row) if row.get(name).cloned().flatten().as_ref() == Some(&value.value) => return true,
            _ => {}
        }
        if is_tombstone(&value.value) {
            // who inserts a row has seen that it was gone
            let place = self.commits[value.commit].place;
            let is_back = |later: &Commit| {
                later.place > place
                    && later.writes.iter().any(|write| matches!(write, Write::Insert(of, _) if of == key))
            };
            return self.recorded_gone.contains(key) || self.commits.iter().any(is_back);
        }
        self.recorded.get(&value.cell).is_some_and(|values| values.contains(&value.value))
    }

    /// I2, I19: amounts are the sum of what was added, each once.
    pub(super) fn wrong_amounts(&self, rows: &BTreeMap<Key, Image>, begin: &BTreeMap<Key, Image>) -> Vec<String> {
        let mut sure: BTreeMap<Key, i64> = BTreeMap::new();
        let mut perhaps: BTreeMap<Key, Vec<i64>> = BTreeMap::new();
        for number in 0..self.commits.len() {
            for write in &self.commits[number].writes {
                if let Write::Add(key, _, by) = write {
                    if self.must_be(number) {
                        *sure.entry(*key).or_default() += by;
                    } else {
                        perhaps.entry(*key).or_default().push(*by);
                    }
                }
            }
        }
        let points = |row: &Image| {
            row.get("points").cloned().flatten().and_then(|text| text.parse::<i64>().ok()).unwrap_or(i64::MIN)
        };
        let mut wrong = Vec::new();
        for (key, row) in begin.iter().filter(|(_, row)| row.contains_key("points")) {
            let mut allowed = BTreeSet::from([points(row) + sure.get(key).copied().unwrap_or(0)]);
            for by in perhaps.get(key).into_iter().flatten().take(12) {
                allowed.extend(allowed.clone().iter().map(|sum| sum + by));
            }
            let is_known = perhaps.get(key).is_none_or(|list| list.len() <= 12);
            let now = rows.get(key).map_or(i64::MIN, points);
            if is_known && !allowed.contains(&now) {
                wrong.push(format!("I2, I19: the amount of {key:?} is {now}, and must be one of {allowed:?}"));
            }
        }
        wrong
    }
}

/// The version of a row.
pub(super) fn number_in(row: &Image) -> u64 {
    row.get("n").cloned().flatten().and_then(|text| text.parse().ok()).unwrap_or(0)
}
