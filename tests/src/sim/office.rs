//! The office's database and files. Which stream is resumed, whether its own watermark still counts, whether a diff was
//! applied before: `protocol::session::ledger` decides. The rest imitates `replica/src/office`.

use std::collections::{BTreeMap, BTreeSet};

use protocol::session::ledger::{self, Verdict};
use protocol::snapshot::Snapshot;
use protocol::watermark::select::Knowledge;

use super::context::Context;
use super::model::Node;
use super::sabotage::Sabotage;
use super::store::{Backup, Content, Database};
use super::stream::{self, Order, Stream, Window};

/// A stream that is, or may have been, sent.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) key: String,
    pub(super) kind: &'static str,
    pub(super) stream: String,
    pub(super) snapshot: Snapshot,
    pub(super) base: Option<String>,
}

/// A branch's record: its BranchSynchronization.
#[derive(Debug, Clone, Default)]
pub(super) struct Branch {
    pub(super) timestamp: Option<String>,
    pub(super) pushed: Option<(Snapshot, i32)>,
    pub(super) incarnation: Option<String>,
    pub(super) outgoing: Option<Recorded>,
    /// The clone for which amounts began anew.
    pub(super) amounts_key: Option<String>,
    pub(super) cloned: u32,
    /// The clone that stood when another one was begun.
    pub(super) begun: Option<u32>,
    pub(super) range: Option<i64>,
}

/// The product's own records at the office.
#[derive(Debug, Clone)]
pub(super) struct Records {
    pub(super) branches: Vec<Branch>,
    pub(super) slots: i64,
    /// The incarnation in which the last slot was given out.
    pub(super) slots_of: i32,
}

/// Ranges left out after a restore.
const GAP: i64 = 10;

/// A stream to be sent.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) key: String,
    pub(super) stream: Stream,
    pub(super) base: Option<String>,
    pub(super) resumed: bool,
}

/// The office's database cannot go on with a branch: it was restored.
#[derive(Debug)]
pub(super) struct WasRestored;

/// A backup of the office, with what it had taken in by then.
#[derive(Debug, Clone)]
pub(super) struct OfficeBackup {
    pub(super) backup: Backup<Records>,
    pub(super) taken: BTreeSet<usize>,
}

/// The office.
#[derive(Debug)]
pub(super) struct Office {
    pub(super) db: Database<Records>,
    pub(super) spool: Vec<Stream>,
    /// Parts of diffs, by branch and diff: how much is there, and whether it is what was sent.
    pub(super) parts: BTreeMap<(usize, String), (u64, bool)>,
    witness: Option<(String, Knowledge)>,
    /// The last slot that the witness has seen given out: it outlives a restore.
    slots_witnessed: i64,
    pub(super) backups: Vec<OfficeBackup>,
}

/// The number under which the office's database knows a branch.
pub(super) fn peer(branch: usize) -> u32 {
    u32::try_from(branch).unwrap_or(0) + 1
}

impl Office {
    pub(super) fn new(db: Database<Records>) -> Self {
        Self { db, spool: Vec::new(), parts: BTreeMap::new(), witness: None, slots_witnessed: 0, backups: Vec::new() }
    }

    pub(super) fn branch(&self, branch: usize) -> &Branch {
        &self.db.now.records.branches[branch]
    }

    fn change<T>(&mut self, branch: usize, work: impl FnOnce(&mut Branch) -> T) -> T {
        self.db.product(|content, _, _| work(&mut content.records.branches[branch]))
    }

    /// The database server dies and recovers.
    pub(super) fn database_dies(&mut self, ctx: &mut Context) {
        let mut chance = ctx.chance("office-recovery");
        let lost = self.db.crash(&mut chance);
        ctx.model.lost(&lost);
        ctx.say(|| format!("  the office recovers, {} commits taken back", lost.len()));
    }

    /// The machine dies: what was received and not yet applied may be damaged.
    pub(super) fn power_cut(&mut self, ctx: &mut Context) {
        self.database_dies(ctx);
        let mut chance = ctx.chance("office-files");
        for (length, is_sound) in self.parts.values_mut() {
            match chance.below(3) {
                0 => *length /= 2,
                1 => *is_sound = false,
                _ => {}
            }
        }
    }

    /// A run asks the witness when it starts.
    pub(super) fn question(&mut self, ctx: &mut Context) {
        let incarnation = self.db.now.incarnation();
        let Some((id, told)) = &self.witness else { return };
        if ctx.is_sabotaged(Sabotage::NoWitness) {
            return;
        }
        let knows = Knowledge { xmax: self.db.now.next_xid, issued_micros: 0, ..Knowledge::default() };
        let was_restored = if *id == incarnation.id { knows.was_restored(told) } else { !self.db.now.knew(id) };
        if was_restored {
            let next = super::world::next_incarnation(ctx, &incarnation);
            ctx.say(|| format!("  the office was restored: incarnation {}", next.id));
            self.db.product(|content, _, _| content.incarnations.push(next));
        }
    }

    fn pending(&self, branch: usize, kind: &str) -> Option<Outgoing> {
        let recorded = self.branch(branch).outgoing.as_ref()?;
        let stream = self.spool.iter().find(|stream| stream.id == recorded.stream);
        if !ledger::is_resumed(recorded.kind, kind, stream.is_some()) {
            return None;
        }
        let stream = stream?.clone();
        Some(Outgoing { key: recorded.key.clone(), stream, base: recorded.base.clone(), resumed: true })
    }

    fn remember(&mut self, ctx: &mut Context, branch: usize, kind: &'static str, stream: Stream) -> Outgoing {
        let key = format!("key-{}", ctx.unique());
        self.spool.push(stream.clone());
        let base = self.branch(branch).timestamp.clone();
        let recorded = Recorded {
            key: key.clone(),
            kind,
            stream: stream.id.clone(),
            snapshot: stream.snapshot.clone(),
            base: base.clone(),
        };
        self.db.product(|content, _, _| {
            content.records.branches[branch].outgoing = Some(recorded);
        });
        let knows = Knowledge { xmax: stream.snapshot.xmax(), issued_micros: 0, ..Knowledge::default() };
        self.witness = Some((self.db.now.incarnation().id, knows));
        self.sweep(branch);
        Outgoing { key, stream, base, resumed: false }
    }

    /// Removes the branch's streams but the one that is recorded.
    fn sweep(&mut self, branch: usize) {
        let kept = self.branch(branch).outgoing.as_ref().map(|recorded| recorded.stream.clone());
        let own = format!("-{branch}-");
        self.spool.retain(|stream| !stream.id.contains(&own) || Some(&stream.id) == kept.as_ref());
    }

    /// A full copy, or the one an interrupted clone left.
    pub(super) fn freeze_clone(&mut self, ctx: &mut Context, branch: usize) -> Outgoing {
        if let Some(outgoing) = self.pending(branch, "clone") {
            return outgoing;
        }
        let snapshot = self.db.snapshot();
        let lines = stream::copy(&self.db.now, &self.db.schema);
        ctx.model.frozen(super::judge::source_rows(&self.db.now.rows));
        let stream = Stream::new(format!("clone-{branch}-{}", ctx.unique()), lines, snapshot, None, None);
        self.remember(ctx, branch, "clone", stream)
    }

    /// What the branch does not have yet, or what an interrupted run left; none when there is nothing.
    pub(super) fn freeze_push(&mut self, ctx: &mut Context, branch: usize) -> Result<Option<Outgoing>, WasRestored> {
        if let Some(outgoing) = self.pending(branch, "push") {
            return Ok(Some(outgoing));
        }
        let in_force = self.db.now.incarnation().number;
        let since = match &self.branch(branch).pushed {
            Some((snapshot, taken_in)) if ledger::counts(*taken_in, in_force) => snapshot.clone(),
            _ => return Err(WasRestored),
        };
        let snapshot = self.db.snapshot();
        let window =
            Window { since: &since, known: true, peer: peer(branch), sabotage: ctx.sabotage, since_time: i64::MIN };
        let lines = stream::changes(&self.db.now, &self.db.schema, &window);
        ctx.model.frozen(super::judge::source_rows(&self.db.now.rows));
        if lines.is_empty() {
            self.change(branch, |record| record.pushed = Some((snapshot, in_force)));
            self.sweep(branch);
            return Ok(None);
        }
        let stream = Stream::new(format!("push-{branch}-{}", ctx.unique()), lines, snapshot, None, None);
        Ok(Some(self.remember(ctx, branch, "push", stream)))
    }

    /// The shop has the clone: what it adds from here on is counted anew, once for each clone.
    pub(super) fn forget_amounts(&mut self, branch: usize, key: &str) {
        self.db.product(|content, _, _| {
            let record = &mut content.records.branches[branch];
            if record.amounts_key.as_deref() != Some(key) {
                record.amounts_key = Some(key.to_owned());
                content.totals.retain(|(of, _, _), _| *of != peer(branch));
            }
        });
    }

    /// Gives a stream up.
    pub(super) fn drop_outgoing(&mut self, branch: usize, outgoing: &Outgoing) {
        self.change(branch, |record| {
            if record.outgoing.as_ref().is_some_and(|recorded| recorded.key == outgoing.key) {
                record.outgoing = None;
            }
        });
        self.spool.retain(|stream| stream.id != outgoing.stream.id);
    }

    /// Notes that the shop's tables are about to be replaced.
    pub(super) fn mark_started(&mut self, branch: usize) {
        self.change(branch, |record| record.begun = Some(record.cloned));
    }

    /// Whether a clone was begun and not finished.
    pub(super) fn is_unfinished(&self, branch: usize) -> bool {
        let record = self.branch(branch);
        record.begun == Some(record.cloned)
    }

    /// The branch's id range: its last, or a new one.
    pub(super) fn give_range(&mut self, branch: usize, fresh: bool) -> i64 {
        let (in_force, witnessed) = (self.db.now.incarnation().number, self.slots_witnessed);
        let low = self.db.product(|content, _, _| {
            let records = &mut content.records;
            let record = &mut records.branches[branch];
            match record.range {
                Some(low) if !(fresh && record.cloned > 0) => low,
                _ => {
                    // a database that was put back may have given some out that it no longer remembers
                    let is_forgetful = in_force > 1 && records.slots_of != in_force;
                    records.slots = records.slots.max(witnessed) + if is_forgetful { GAP } else { 1 };
                    records.slots_of = in_force;
                    let low = records.slots * super::world::SPAN;
                    record.range = Some(low);
                    low
                }
            }
        });
        self.slots_witnessed = self.slots_witnessed.max(self.db.now.records.slots);
        low
    }

    /// Records a finished clone.
    pub(super) fn record_clone(&mut self, branch: usize, key: &str, timestamp: String, incarnation: String) {
        let in_force = self.db.now.incarnation().number;
        self.change(branch, |record| {
            let Some(recorded) = record.outgoing.take_if(|recorded| recorded.key == key) else { return };
            record.pushed = Some((recorded.snapshot, in_force));
            record.timestamp = Some(timestamp);
            record.incarnation = Some(incarnation);
            record.cloned += 1;
            record.begun = None;
        });
        self.sweep(branch);
    }

    /// Records that the shop has applied a push.
    pub(super) fn record_push(&mut self, branch: usize, key: &str) {
        self.change(branch, |record| {
            let Some(recorded) = record.outgoing.take_if(|recorded| recorded.key == key) else { return };
            if let Some((snapshot, _)) = &mut record.pushed {
                *snapshot = recorded.snapshot;
            }
        });
        self.sweep(branch);
    }

    /// Stores the watermark of a diff without rows.
    pub(super) fn advance(&mut self, branch: usize, watermark: &str) {
        self.change(branch, |record| record.timestamp = Some(watermark.to_owned()));
    }

    /// Applies a diff and stores its watermark, in one transaction; false where a till of the office holds a row of it.
    pub(super) fn apply_pull(
        &mut self,
        ctx: &mut Context,
        branch: usize,
        watermark: Option<&str>,
        diff: &Stream,
    ) -> Option<String> {
        let record = self.branch(branch);
        let arriving = if ctx.is_sabotaged(Sabotage::NoLedger) { None } else { watermark };
        if ledger::pull(record.timestamp.as_deref(), arriving) == Verdict::Repeated {
            return watermark.map(str::to_owned);
        }
        let agreed = match &record.outgoing {
            Some(recorded) if recorded.kind == "clone" => Some(recorded.snapshot.clone()),
            _ => record.pushed.as_ref().map(|(snapshot, _)| snapshot.clone()),
        };
        if diff.lines.iter().any(|line| self.db.is_locked(line.key)) {
            return None;
        }
        let timestamp = watermark.map_or_else(|| diff.watermark.clone().unwrap_or_default(), str::to_owned);
        let (at, sabotage) = (ctx.now() + self.db.clock, ctx.sabotage);
        let work = |content: &mut Content<Records>, schema: &super::schema::Schema, xid: u64| {
            let order = Order { schema, xid, peer: peer(branch), agreed, at, sabotage };
            let applied = stream::apply(content, &order, &diff.lines);
            content.records.branches[branch].timestamp = Some(timestamp.clone());
            applied
        };
        let applied = self.db.product(work);
        ctx.say(|| format!("  the office applied {} of shop {branch} ({} rows){}", diff.id, applied.rows, diff.told()));
        for conflict in &applied.conflicts {
            if !ctx.is_sabotaged(Sabotage::ForgetLoser) {
                ctx.model.kept(Node::Office, conflict);
            }
        }
        Some(timestamp)
    }
}
