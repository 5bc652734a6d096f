//! An office, its shops and the line between them: a schedule of work and faults, then healing, then judgement.

use std::collections::BTreeMap;

use protocol::fault::FaultCode;
use protocol::merge::Image;
use protocol::session::office::Task;
use protocol::snapshot::Snapshot;
use protocol::watermark::incarnation_tag;

use super::chance::Chance;
use super::client::{Around, Drive, Ended, Late};
use super::context::Context;
use super::faults::{Fault, OF_HISTORY, OF_RUNS, OF_TIMES, Plan};
use super::judge;
use super::model::Node;
use super::office::{self, Office, OfficeBackup};
use super::sabotage::Sabotage;
use super::schema::{self, Role, Schema};
use super::shop::{self, Shop};
use super::store::{Backup, Database, Incarnation, Key};
use super::work;

/// Width of an id range.
pub(super) const SPAN: i64 = 1_000_000;
/// Steps for which changes are kept at least; backups are younger.
const RETENTION: u64 = 120;
/// Rounds of updates after which everything must have come to rest.
const ROUNDS_MAX: u32 = 16;
/// Steps that a single run may take when nothing goes wrong.
const RUN_STEPS_MAX: u32 = 2000;

/// A new identity of a database's history, with a tag that the one before does not have.
pub(super) fn next_incarnation(ctx: &mut Context, before: &Incarnation) -> Incarnation {
    let mut id = format!("incarnation-{}", ctx.unique());
    while incarnation_tag(&id) == before.tag {
        id = format!("incarnation-{}", ctx.unique());
    }
    Incarnation { number: before.number + 1, tag: incarnation_tag(&id), id }
}

/// Everything.
pub(super) struct World {
    pub(super) ctx: Context,
    pub(super) office: Office,
    pub(super) shops: Vec<Shop>,
    runs: Vec<Option<Drive>>,
    /// What is to be run next at each shop, and whether its clean may lose changes.
    next: Vec<(Task, bool)>,
    /// Whether the shop's changes cannot be pulled before it is cloned.
    is_blocked: Vec<bool>,
    is_plain: Vec<bool>,
    late: Vec<(u64, Late)>,
    begin: BTreeMap<Key, Image>,
}

impl World {
    /// The world of a seed.
    pub(super) fn new(seed: u64, plan: Plan, sabotage: Option<Sabotage>, trace: bool) -> Self {
        let mut ctx = Context::new(seed, plan, sabotage, trace);
        let mut chance = Chance::about(seed, "world", 0);
        let count = 1 + chance.below(5);
        let begin = work::begin();
        let first = Incarnation { number: 0, id: String::new(), tag: 0 };
        let incarnation = next_incarnation(&mut ctx, &first);
        let records = office::Records { branches: vec![office::Branch::default(); count], slots: 0, slots_of: 0 };
        let office = Office::new(Database::new(Schema::new(Role::Office), begin.clone(), incarnation, records));
        let mut shops = Vec::new();
        let mut is_plain = Vec::new();
        let wants_plain = match &ctx.faults.plan {
            Plan::Seeded { focus, .. } => ["call.diff", "ask-diff", "apply-answer"]
                .iter()
                .any(|step| focus.1.starts_with(step) && !focus.1.starts_with("call.diff-")),
            _ => false,
        };
        for index in 0..count {
            let incarnation = next_incarnation(&mut ctx, &first);
            let records = shop::Records {
                marks: BTreeMap::new(),
                sessions: BTreeMap::new(),
                base: Snapshot::new(10, 10, Vec::new()),
                pruned_below: 0,
                awaiting_clone: true,
                range: None,
                next_id: 1,
                mark: 0,
            };
            let db = Database::new(Schema::new(Role::Shop), BTreeMap::new(), incarnation, records);
            shops.push(Shop::new(index, db));
            is_plain.push((wants_plain && index == 0) || chance.permille(120));
        }
        Self {
            ctx,
            office,
            shops,
            runs: (0..count).map(|_| None).collect(),
            next: vec![(Task::Clone, false); count],
            is_blocked: vec![false; count],
            is_plain,
            late: Vec::new(),
            begin,
        }
    }

    /// The whole schedule.
    pub(super) fn play(&mut self) {
        let steps = 150 + Chance::about(self.ctx.seed, "steps", 0).below(200) as u64;
        while self.ctx.step < steps && self.ctx.violations.is_empty() {
            self.step();
        }
        if self.ctx.violations.is_empty() {
            self.heal();
        }
        if self.ctx.violations.is_empty() {
            judge::at_the_end(&mut self.ctx, &self.office, &self.shops, &self.begin);
        }
    }

    fn step(&mut self) {
        self.ctx.step += 1;
        let mut chance = self.ctx.chance("step");
        self.deliver();
        for index in 0..self.shops.len() {
            if !self.shops[index].running.is_empty() && chance.permille(150) {
                self.complete(index);
            }
            if self.shops[index].ghost.is_some() && chance.permille(200) {
                self.ghost(index);
            }
        }
        if chance.permille(600) {
            self.till(&mut chance);
        }
        for _ in 0..3 {
            let index = chance.below(self.shops.len());
            self.advance(index, &mut chance);
        }
        let index = chance.below(self.shops.len());
        self.disturb(index);
        if chance.permille(30) {
            self.backup(&mut chance);
        }
        if chance.permille(30) {
            self.shops[index].tick(&mut self.ctx, RETENTION);
        }
    }

    /// Calls that were under way arrive.
    fn deliver(&mut self) {
        let now = self.ctx.step;
        let (due, late): (Vec<_>, Vec<_>) = self.late.drain(..).partition(|(when, _)| *when <= now);
        self.late = late;
        for (_, (index, request)) in due {
            self.ctx.say(|| format!("  late, at shop {index}: {request:?}"));
            let _ = self.shops[index].serve(&mut self.ctx, &request);
        }
    }

    fn complete(&mut self, index: usize) {
        while let Some(sid) = self.shops[index].running.first().copied() {
            let _ = self.shops[index].complete(&mut self.ctx, sid);
        }
    }

    fn ghost(&mut self, index: usize) {
        if let Some(sid) = self.shops[index].ghost {
            // nobody is there to be told, and nothing can be in its way
            let _ = self.shops[index].apply(&mut self.ctx, sid);
            self.shops[index].ghost = None;
        }
    }

    /// An application works somewhere.
    fn till(&mut self, chance: &mut Chance) {
        let node = match chance.below(self.shops.len() + 1) {
            0 => Node::Office,
            index => Node::Shop(index - 1),
        };
        match node {
            Node::Office => work::at_work(&mut self.ctx, &mut self.office.db, node, 0, chance),
            Node::Shop(index) => {
                let shop = &mut self.shops[index];
                // before its first clone a shop is not open yet
                if shop.db.now.records.awaiting_clone || shop.db.now.records.range.is_none() {
                    return;
                }
                let next = shop.db.now.records.next_id;
                let before = shop.db.now.rows.len() + shop.db.open.len();
                work::at_work(&mut self.ctx, &mut shop.db, node, next, chance);
                if shop.db.now.rows.len() + shop.db.open.len() != before {
                    shop.db.now.records.next_id += 1;
                }
            }
        }
    }

    fn around(&mut self, index: usize) -> Around<'_> {
        Around { ctx: &mut self.ctx, office: &mut self.office, shop: &mut self.shops[index], late: &mut self.late }
    }

    /// A run of a shop goes on, or begins.
    fn advance(&mut self, index: usize, chance: &mut Chance) {
        if self.runs[index].is_none() {
            if chance.permille(250) {
                self.begin_run(index);
            }
            return;
        }
        self.step_run(index);
    }

    fn begin_run(&mut self, index: usize) {
        let (task, force) = self.next[index];
        let is_plain = self.is_plain[index];
        match Drive::begin(&mut self.around(index), task, force, is_plain) {
            Ok(drive) => self.runs[index] = Some(drive),
            Err(ended) => self.operate(index, task, force, &ended),
        }
    }

    fn step_run(&mut self, index: usize) -> Option<(Ended, usize)> {
        let mut drive = self.runs[index].take()?;
        let (task, force) = self.next[index];
        let ended = drive.step(&mut self.around(index));
        let Some(ended) = ended else {
            self.runs[index] = Some(drive);
            return None;
        };
        self.ctx.say(|| format!("run of shop {index} ended: {ended:?}"));
        self.operate(index, task, force, &ended);
        Some((ended, drive.moved))
    }

    /// What the person at the office does next.
    fn operate(&mut self, index: usize, task: Task, force: bool, ended: &Ended) {
        self.next[index] = match ended {
            Ended::Done => {
                self.is_blocked[index] = false;
                (Task::Update, false)
            }
            Ended::NeverCloned | Ended::CloneUnfinished | Ended::WasRestored => (Task::Clone, force),
            Ended::OtherIncarnation
            | Ended::Refused(FaultCode::Restored | FaultCode::UnknownWatermark | FaultCode::SinceTooOld) => {
                self.is_blocked[index] = true;
                (Task::Clone, false)
            }
            Ended::Refused(FaultCode::CleanRefused) => {
                // the changes are taken in first, where that can be done
                let record = self.office.branch(index);
                let can_pull = record.timestamp.is_some() && !self.office.is_unfinished(index);
                if can_pull && !self.is_blocked[index] { (Task::Update, false) } else { (Task::Clone, true) }
            }
            Ended::Refused(FaultCode::TooManySessions) => {
                self.shops[index].idle(&mut self.ctx);
                (task, force)
            }
            _ => (task, force),
        };
    }

    /// Something happens beside what is under way.
    fn disturb(&mut self, index: usize) {
        let phase = self.runs[index].as_ref().map_or("at rest", Drive::phase);
        let mut kinds = OF_TIMES.to_vec();
        kinds.extend(OF_HISTORY);
        if self.runs[index].is_some() {
            kinds.extend(OF_RUNS);
        }
        // with base methods alone nobody can ask whether a clone is still there: they have neither hello nor the state of a session
        let is_blind = phase == "while cloning" && self.runs[index].as_ref().is_some_and(|run| run.is_plain);
        let can = |kind: &Fault| match kind {
            Fault::ShopRestored => !self.shops[index].backups.is_empty() && !is_blind,
            Fault::OfficeRestored => !self.office.backups.is_empty(),
            _ => true,
        };
        kinds.retain(can);
        let mut chance = self.ctx.chance("disturb");
        match self.ctx.strike(phase, &kinds) {
            Some(Fault::LongTransaction) => {
                let is_office = chance.permille(300);
                if is_office {
                    work::long(&mut self.ctx, &mut self.office.db, Node::Office, 0, &mut chance);
                } else if !self.shops[index].db.now.records.awaiting_clone {
                    let shop = &mut self.shops[index];
                    let next = shop.db.now.records.next_id;
                    work::long(&mut self.ctx, &mut shop.db, Node::Shop(index), next, &mut chance);
                    shop.db.now.records.next_id += 1;
                }
            }
            Some(Fault::ShopClock) => self.shops[index].db.clock += jump(&mut chance),
            Some(Fault::OfficeClock) => self.office.db.clock += jump(&mut chance),
            Some(Fault::ShopDatabaseDies) => self.shops[index].database_dies(&mut self.ctx),
            Some(Fault::OfficeDatabaseDies) => {
                self.office.database_dies(&mut self.ctx);
                self.end_runs(&Ended::Lost);
            }
            Some(Fault::AgentDies) => self.shops[index].agent_dies(),
            Some(Fault::SecondRun) => {
                // the lease is held: it ends at once, and nothing of the first one changes
                self.ctx.say(|| format!("  a second run of shop {index} finds the branch taken"));
            }
            Some(Fault::ShopRestored) => self.restore_shop(index, &mut chance),
            Some(Fault::OfficeRestored) => self.restore_office(&mut chance),
            _ => {}
        }
    }

    fn end_runs(&mut self, ended: &Ended) {
        for index in 0..self.runs.len() {
            if self.runs[index].take().is_some() {
                let (task, force) = self.next[index];
                self.operate(index, task, force, ended);
            }
        }
    }

    fn backup(&mut self, chance: &mut Chance) {
        let step = self.ctx.step;
        let index = chance.below(self.shops.len() + 1);
        if index == 0 {
            let backup = Backup { content: self.office.db.now.clone(), step };
            self.office.backups.push(OfficeBackup { backup, taken: self.ctx.model.all_taken() });
        } else {
            let content = self.shops[index - 1].db.now.clone();
            self.shops[index - 1].backups.push(Backup { content, step });
        }
    }

    fn restore_shop(&mut self, index: usize, chance: &mut Chance) {
        let shop = &mut self.shops[index];
        let Some(backup) = chance.pick(&shop.backups).cloned() else { return };
        // backups of the history that ends now belong to it no longer
        shop.backups.retain(|other| other.step <= backup.step);
        self.ctx.say(|| format!("  shop {index} is put back to step {}", backup.step));
        let lost = shop.db.restore(&backup);
        self.ctx.model.lost(&lost);
        self.ctx.model.regained(backup.content.commits.iter().map(|(_, number)| *number));
        self.ctx.model.forget_watermark(index);
        shop.is_trusted = false;
        shop.ghost = None;
        shop.agent_dies();
    }

    fn restore_office(&mut self, chance: &mut Chance) {
        self.end_runs(&Ended::Lost);
        let young: Vec<&OfficeBackup> =
            self.office.backups.iter().filter(|backup| backup.backup.step + RETENTION > self.ctx.step).collect();
        let Some(backup) = chance.pick(&young).map(|backup| (*backup).clone()) else { return };
        self.office.backups.retain(|other| other.backup.step <= backup.backup.step);
        self.ctx.say(|| format!("  the office is put back to step {}", backup.backup.step));
        let lost = self.office.db.restore(&backup.backup);
        self.ctx.model.lost(&lost);
        self.ctx.model.only_taken(&backup.taken);
        for index in 0..self.shops.len() {
            self.ctx.model.forget_watermark(index);
            self.shops[index].is_trusted = false;
            // the person at the office begins with what is usual, or with a new clone
            let task = if chance.permille(500) { Task::Update } else { Task::Clone };
            self.next[index] = (task, false);
        }
    }

    /// No more faults: whatever is under way ends, and some rounds of updates bring everything to rest.
    fn heal(&mut self) {
        self.ctx.say(|| "healing".to_owned());
        self.ctx.faults.plan = Plan::None;
        self.end_runs(&Ended::Died);
        let mut chance = self.ctx.chance("heal");
        for index in 0..self.shops.len() {
            let shop = &mut self.shops[index];
            work::end_all(&mut self.ctx, &mut shop.db, &mut chance);
        }
        work::end_all(&mut self.ctx, &mut self.office.db, &mut chance);
        self.ctx.step += 100;
        self.deliver();
        for index in 0..self.shops.len() {
            self.complete(index);
            self.ghost(index);
            self.shops[index].idle(&mut self.ctx);
        }
        for _ in 0..ROUNDS_MAX {
            let mut is_quiet = true;
            for index in 0..self.shops.len() {
                // a clone brings what the office had when it was frozen: what came later is left to an update
                let is_update = self.next[index].0 == Task::Update;
                self.begin_run(index);
                let mut steps = 0;
                let ended = loop {
                    self.ctx.step += 1;
                    steps += 1;
                    if self.runs[index].is_none() || steps > RUN_STEPS_MAX {
                        break None;
                    }
                    if let Some(ended) = self.step_run(index) {
                        break Some(ended);
                    }
                };
                is_quiet &= is_update && ended == Some((Ended::Done, 0));
                if !self.ctx.violations.is_empty() {
                    return;
                }
            }
            if is_quiet {
                for shop in &mut self.shops {
                    shop.idle(&mut self.ctx);
                    shop.tick(&mut self.ctx, RETENTION);
                }
                return;
            }
        }
        self.ctx.violate("convergence", format!("rows still move, or runs still fail, after {ROUNDS_MAX} rounds"));
    }
}

/// By how much a clock jumps, microseconds.
fn jump(chance: &mut Chance) -> i64 {
    let seconds = [3600, -3600, 86_400, -86_400, 7, -7, 400 * 86_400, -400 * 86_400];
    seconds[chance.below(seconds.len())] * 1_000_000
}

/// Tables a till of that node writes.
pub(super) fn tables_of(node: Node) -> &'static [u8] {
    match node {
        Node::Office => &[schema::PRODUCT, schema::PERSON, schema::NOTE, schema::CARD, schema::ACCOUNT],
        Node::Shop(_) => &[
            schema::SALE,
            schema::SALE,
            schema::REFUND,
            schema::PERSON,
            schema::NOTE,
            schema::CARD,
            schema::ACCOUNT,
            schema::TILL_NOTE,
        ],
    }
}
