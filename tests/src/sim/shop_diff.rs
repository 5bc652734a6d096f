//! The rest of what a shop is asked: diffs, clean, id ranges, and its upkeep.

use std::time::Duration;

use protocol::fault::{Fault as Told, FaultCode};
use protocol::session::agent::{Ending, Fingerprint};
use protocol::session::ledger::{self, Recorded, Verdict};
use protocol::snapshot::Snapshot;
use protocol::watermark::select::{self, InForce, Knowledge, Meaning, Renewal, renewal};
use protocol::watermark::{Since, Watermark};

use super::call::{Piece, Reply};
use super::context::Context;
use super::model::Node;
use super::sabotage::Sabotage;
use super::shop::{Broken, Mark, OFFICE_PEER, Served, SessionRow, Shop, fault};
use super::stream::{self, Stream, Window};

/// What tells a piece from another.
pub(super) fn fingerprint(piece: &Piece) -> Fingerprint {
    let name = piece.stream.bytes().fold(17_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let place = u32::try_from(piece.offset & 0xffff_ffff).unwrap_or(0);
    Fingerprint { bytes: piece.length, crc: name ^ place.wrapping_mul(0x9e37_79b9) }
}

pub(super) fn answered(answer: Option<Result<(), Told>>) -> Served<Reply> {
    match answer {
        Some(Err(told)) => Err(Broken::Fault(told)),
        _ => Ok(Reply::Nil),
    }
}

/// By how much clocks may differ.
const SKEW: Duration = Duration::from_secs(300);

impl Shop {
    /// What the office has of our changes: the watermark the session rests on, or else the newest it acknowledged. One
    /// that is named and no longer known is no reason to take another: conflicts would go unseen.
    pub(super) fn agreed(&self, ctx: &Context, row: &SessionRow) -> Served<Snapshot> {
        let records = &self.db.now.records;
        if let Some(since) = row.base.as_deref().and_then(|base| Since::parse(base).ok()) {
            match self.select(since) {
                Ok((snapshot, _)) => return Ok(snapshot),
                Err(_) if ctx.is_sabotaged(Sabotage::AnyBase) => {}
                Err(broken) => return Err(broken),
            }
        }
        let newest =
            records.marks.iter().rev().find(|((peer, _), mark)| *peer == OFFICE_PEER && mark.acknowledged.is_some());
        Ok(newest.map_or_else(|| records.base.clone(), |(_, mark)| mark.snapshot.clone()))
    }

    /// What a `since` stands for, and the time of the watermark it acknowledges.
    pub(super) fn select(&self, since: Since) -> Served<(Snapshot, Option<i64>)> {
        let records = &self.db.now.records;
        let own = since.watermark().and_then(|watermark| records.marks.get(&(OFFICE_PEER, watermark.micros)));
        let incarnation = self.db.now.incarnation();
        let in_force = InForce { number: incarnation.number, tag: incarnation.tag };
        let (snapshot, exact) = match select::meaning(since, own.map(|mark| mark.incarnation), in_force, SKEW) {
            Meaning::Everything => (records.base.clone(), None),
            Meaning::Stored { acknowledges } => {
                let Some(mark) = own else { return Err(fault(FaultCode::UnknownWatermark)) };
                (mark.snapshot.clone(), acknowledges.map(|watermark| watermark.micros))
            }
            Meaning::UpTo { micros } => {
                let newest = records
                    .marks
                    .iter()
                    .filter(|((_, issued), mark)| *issued <= micros && mark.incarnation == in_force.number)
                    .max_by_key(|((_, issued), _)| *issued);
                (newest.map_or_else(|| records.base.clone(), |(_, mark)| mark.snapshot.clone()), None)
            }
            Meaning::OtherIncarnation => return Err(fault(FaultCode::Restored)),
            Meaning::Unknown => return Err(fault(FaultCode::UnknownWatermark)),
        };
        if select::is_kept(&snapshot, records.pruned_below) {
            Ok((snapshot, exact))
        } else {
            Err(fault(FaultCode::SinceTooOld))
        }
    }

    /// Stores a watermark, strictly later than all before, durably.
    fn issue(&mut self, ctx: &Context, peer: u32, snapshot: Snapshot, acknowledged: Option<u64>) -> Watermark {
        let incarnation = self.db.now.incarnation();
        let newest = self.db.now.records.marks.keys().map(|(_, issued)| *issued).max().unwrap_or(0);
        let issued = (ctx.now() + self.db.clock).max(newest + 1);
        let mark = Mark {
            snapshot,
            incarnation: incarnation.number,
            acknowledged,
            newest: self.db.now.log.iter().map(|entry| entry.at).max().unwrap_or(0),
        };
        if ctx.is_sabotaged(Sabotage::LazyWatermark) {
            self.db.now.records.marks.insert((peer, issued), mark);
        } else {
            self.db.product(|content, _, _| content.records.marks.insert((peer, issued), mark));
        }
        Watermark::new(issued, Some(incarnation.tag))
    }

    /// `sync.diff_open` and `diff`.
    pub(super) fn diff(&mut self, ctx: &mut Context, since: &str) -> Served<Stream> {
        let Ok(since) = Since::parse(since) else { return Err(fault(FaultCode::WrongParameters)) };
        let selected = self.select(since);
        if (selected.is_err() || since.watermark().is_none()) && !ctx.is_sabotaged(Sabotage::KeepAcknowledged) {
            // a watermark from before the last clean: what the office was told later it has lost
            let micros = since.watermark().map_or(i64::MIN, |watermark| watermark.micros);
            self.db.product(|content, _, _| {
                let later = content.records.marks.iter_mut();
                let later = later.filter(|((peer, at), _)| *peer == OFFICE_PEER && *at > micros);
                later.for_each(|(_, mark)| mark.acknowledged = None);
            });
        }
        let (selected, exact) = selected?;
        if let Some(issued) = exact {
            let step = ctx.step;
            let is_believed = !ctx.is_sabotaged(Sabotage::KeepAcknowledged);
            self.db.product(|content, _, _| {
                // an office that names an older one than before was restored: it has got what this one covers, and no more
                let later = content.records.marks.range_mut((OFFICE_PEER, issued + 1)..=(OFFICE_PEER, i64::MAX));
                later.filter(|_| is_believed).for_each(|(_, mark)| mark.acknowledged = None);
                if let Some(mark) = content.records.marks.get_mut(&(OFFICE_PEER, issued)) {
                    mark.acknowledged = mark.acknowledged.or(Some(step));
                }
            });
            let named = since.to_string();
            let pushes = self.pushes();
            let lives = |stream: &&Stream| stream.since.as_ref() == Some(&named) && stream.pushes == pushes;
            if let Some(stream) = self.spool.iter().find(lives) {
                return Ok(stream.clone());
            }
        }
        self.spool.clear();
        self.point(ctx, "shop.diff.selected")?;
        let snapshot = self.db.snapshot();
        let newest = since.watermark().and_then(|mark| self.db.now.records.marks.get(&(OFFICE_PEER, mark.micros)));
        let since_time = newest.map_or(i64::MIN, |mark| mark.newest);
        let window =
            Window { since: &selected, known: exact.is_some(), peer: OFFICE_PEER, sabotage: ctx.sabotage, since_time };
        let is_empty = window.entries(&self.db.now).is_empty();
        let lines = stream::changes(&self.db.now, &self.db.schema, &window);
        let exact = exact.and_then(|_| since.watermark());
        let is_renewed = is_empty || (ctx.is_sabotaged(Sabotage::LateRepoint) && lines.len() < 2);
        if let Renewal::Repoint(watermark) = renewal(exact, is_renewed) {
            self.db.product(|content, _, _| {
                if let Some(mark) = content.records.marks.get_mut(&(OFFICE_PEER, watermark.micros)) {
                    mark.snapshot = snapshot.clone();
                }
            });
            return Ok(Stream::new(String::new(), Vec::new(), snapshot, Some(watermark.to_string()), None));
        }
        let acknowledged = ctx.is_sabotaged(Sabotage::EarlyAcknowledge).then_some(ctx.step);
        let issued = self.issue(ctx, OFFICE_PEER, snapshot.clone(), acknowledged);
        let covered = self.db.now.commits.iter().filter(|(xid, _)| snapshot.sees(*xid)).map(|(_, number)| *number);
        ctx.model.covers(self.index, issued.micros, covered.collect());
        let knows = Knowledge { xmax: snapshot.xmax(), issued_micros: issued.micros, ..Knowledge::default() };
        self.remember(knows);
        self.point(ctx, "shop.diff.issued")?;
        let id = if lines.is_empty() { String::new() } else { format!("diff-{}-{}", self.index, ctx.unique()) };
        let named = exact.map(|watermark| watermark.to_string());
        let mut stream = Stream::new(id, lines, snapshot, Some(issued.to_string()), named);
        stream.pushes = self.pushes();
        if !stream.lines.is_empty() {
            super::judge::no_echo(ctx, Node::Shop(self.index), &stream);
            self.spool.push(stream.clone());
        }
        self.point(ctx, "shop.diff.frozen")?;
        Ok(stream)
    }

    fn pushes(&self) -> usize {
        self.db.now.records.sessions.values().filter(|row| row.recorded == Recorded::Applied).count()
    }

    /// `clean`.
    pub(super) fn clean(&mut self, ctx: &mut Context, force: bool, begins: Option<&str>) -> Served<Reply> {
        self.point(ctx, "clean.before")?;
        let records = &self.db.now.records;
        let named = begins.filter(|_| !ctx.is_sabotaged(Sabotage::LateClean));
        match ledger::clean(named, Some(&records.base.to_string()), records.awaiting_clone) {
            Verdict::Apply => {}
            Verdict::Repeated => return Ok(Reply::Nil),
            Verdict::Over => return Err(fault(FaultCode::CleanRefused)),
        }
        if !self.db.open.is_empty() || !self.running.is_empty() || self.ghost.is_some() {
            // the locks are waited for
            return Err(fault(FaultCode::Busy));
        }
        let newest = self.db.now.records.marks.iter().filter(|(_, mark)| mark.acknowledged.is_some());
        let newest = newest.max_by_key(|((_, issued), _)| *issued).map(|(_, mark)| mark.snapshot.clone());
        let since = newest.unwrap_or_else(|| self.db.now.records.base.clone());
        let waiting = self.db.now.log.iter().any(|entry| entry.origin.is_none() && !since.sees(entry.xid));
        if waiting && !force {
            return Err(fault(FaultCode::CleanRefused));
        }
        super::judge::before_clean(ctx, self, force);
        self.db.product(|content, schema, xid| {
            content.rows.retain(|key, _| !schema.direction(key.0).synchronised());
            content.log.clear();
            content.totals.clear();
            // the newest watermark stays, for nobody in particular
            let newest = content.records.marks.iter().max_by_key(|((_, issued), _)| *issued);
            let newest = newest.map(|((_, issued), mark)| (*issued, Mark { acknowledged: None, ..mark.clone() }));
            content.records.marks = newest.into_iter().map(|(issued, mark)| ((0, issued), mark)).collect();
            for row in content.records.sessions.values_mut().filter(|row| row.recorded == Recorded::Open) {
                row.recorded = Recorded::Ended;
                row.ending = Some(Ending::Aborted);
            }
            content.records.base = Snapshot::new(xid, xid + 1, Vec::new());
            content.records.pruned_below = 0;
            content.records.awaiting_clone = true;
        });
        self.spool.clear();
        ctx.say(|| format!("  shop {} is cleaned", self.index));
        self.point(ctx, "clean.after")?;
        Ok(Reply::Nil)
    }

    /// `setidstart`.
    pub(super) fn set_id_start(&mut self, ctx: &mut Context, low: i64) -> Served<Reply> {
        self.point(ctx, "setidstart.before")?;
        let high = low + super::world::SPAN;
        let used = self.db.now.rows.keys().map(|(_, id)| *id).filter(|id| *id > low && *id <= high).max();
        self.db.product(|content, _, _| {
            let records = &mut content.records;
            let handed_out = records.next_id - 1;
            let handed_out = if handed_out > low && handed_out <= high { handed_out } else { low };
            records.range = Some(low);
            records.next_id = handed_out.max(used.unwrap_or(low)) + 1;
        });
        self.point(ctx, "setidstart.after")?;
        Ok(Reply::Nil)
    }

    /// About once a minute: a general watermark, pruning, files that nobody can ask for any more.
    pub(super) fn tick(&mut self, ctx: &mut Context, retention: u64) {
        let snapshot = self.db.snapshot();
        self.issue(ctx, 0, snapshot, None);
        let marks = &self.db.now.records.marks;
        let old = marks.iter().rev().find(|((peer, _), mark)| {
            *peer == OFFICE_PEER && mark.acknowledged.is_some_and(|step| step + retention < ctx.step)
        });
        if let Some(bound) = old.map(|(_, mark)| mark.snapshot.xmin()) {
            self.db.product(|content, _, _| {
                content.records.pruned_below = content.records.pruned_below.max(bound);
                content.log.retain(|entry| entry.xid >= bound);
            });
        }
        let sessions = &self.db.now.records.sessions;
        self.logs.retain(|sid, _| sessions.get(sid).is_some_and(|row| row.recorded == Recorded::Open));
    }
}
