//! What can go wrong, and where: decided by the seed, or given as a list; counted.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use protocol::session::office::Action;

use super::chance::Chance;

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The request never arrives.
    CallLost,
    /// The request is served, its answer never arrives.
    ReplyLost,
    /// The request arrives twice.
    CallTwice,
    /// The caller hears nothing, and the request arrives much later, behind others.
    CallLate,
    /// The apply takes longer than the caller waits.
    SlowApply,
    /// The apply fails for good.
    Refused,
    /// The session has been idle too long.
    Idle,
    /// The frozen diff has been idle too long.
    DiffExpired,
    /// The agent dies.
    AgentDies,
    /// The shop's database server dies: asynchronous commits may be taken back.
    ShopDatabaseDies,
    /// Both die, with what the machine had not written.
    ShopPowerCut,
    /// office-client dies.
    ClientDies,
    /// Somebody presses Ctrl-C.
    Interrupted,
    /// The office's database server dies.
    OfficeDatabaseDies,
    /// Both die, with what the machine had not written.
    OfficePowerCut,
    /// The shop's database is put back to a backup; its state directory stays.
    ShopRestored,
    /// The office's database is put back to a backup; its state directory stays.
    OfficeRestored,
    /// The shop's clock jumps.
    ShopClock,
    /// The office's clock jumps.
    OfficeClock,
    /// A transaction stays open.
    LongTransaction,
    /// A second office-client takes up the same branch.
    SecondRun,
}

/// What can happen to a call.
pub const OF_CALLS: &[Fault] = &[Fault::CallLost, Fault::ReplyLost, Fault::CallTwice, Fault::CallLate];
/// What can happen inside the agent.
pub const OF_AGENT: &[Fault] = &[Fault::AgentDies, Fault::ShopDatabaseDies, Fault::ShopPowerCut];
/// What can happen before an action of office-client.
pub const OF_CLIENT_BEFORE: &[Fault] =
    &[Fault::ClientDies, Fault::OfficeDatabaseDies, Fault::OfficePowerCut, Fault::Interrupted];
/// What can happen after it.
pub const OF_CLIENT_AFTER: &[Fault] = &[Fault::ClientDies, Fault::OfficePowerCut];
/// What can happen between two steps of anything.
pub const OF_TIMES: &[Fault] = &[
    Fault::LongTransaction,
    Fault::ShopClock,
    Fault::OfficeClock,
    Fault::ShopDatabaseDies,
    Fault::OfficeDatabaseDies,
    Fault::AgentDies,
];
/// The same, where a run is under way.
pub const OF_RUNS: &[Fault] = &[Fault::SecondRun];
/// What makes a clone necessary.
pub const OF_HISTORY: &[Fault] = &[Fault::ShopRestored, Fault::OfficeRestored];

/// Calls.
pub const CALLS: &[&str] = &[
    "call.hello",
    "call.prepare",
    "call.chunk",
    "call.status",
    "call.finish",
    "call.abort",
    "call.clean",
    "call.setidstart",
    "call.diff-open",
    "call.diff-read",
    "call.diff",
];
/// Places inside the agent; they are the product's kill points.
pub const AGENT: &[&str] = &[
    "session.open.before",
    "session.open.after",
    "chunk.append.before",
    "chunk.append.written",
    "chunk.append.after",
    "finish.before",
    "shop.apply.before-commit",
    "shop.apply.after-commit",
    "session.end.before",
    "session.end.after",
    "shop.diff.selected",
    "shop.diff.issued",
    "shop.diff.frozen",
    "clean.before",
    "clean.after",
    "setidstart.before",
    "setidstart.after",
];
/// Actions of office-client: before and after.
pub const CLIENT: &[(&str, &str)] = &[
    ("greet.before", "greet.after"),
    ("freeze-clone.before", "freeze-clone.after"),
    ("freeze-push.before", "freeze-push.after"),
    ("discard.before", "discard.after"),
    ("mark-started.before", "mark-started.after"),
    ("give-range.before", "give-range.after"),
    ("clean.before ", "clean.after "),
    ("set-id-start.before", "set-id-start.after"),
    ("prepare.before", "prepare.after"),
    ("ask-status.before", "ask-status.after"),
    ("abort.before", "abort.after"),
    ("send.before", "send.after"),
    ("finish.before ", "finish.after "),
    ("wait.before", "wait.after"),
    ("record-push.before", "record-push.after"),
    ("open-diff.before", "open-diff.after"),
    ("receive-diff.before", "receive-diff.after"),
    ("apply-diff.before", "apply-diff.after"),
    ("advance.before", "advance.after"),
    ("ask-diff.before", "ask-diff.after"),
    ("apply-answer.before", "apply-answer.after"),
    ("record-clone.before", "record-clone.after"),
    ("compare.before", "compare.after"),
];
/// The place of an action in [`CLIENT`].
pub(super) fn place(action: Action) -> usize {
    match action {
        Action::Greet => 0,
        Action::FreezeClone => 1,
        Action::FreezePush => 2,
        Action::Discard => 3,
        Action::MarkStarted => 4,
        Action::GiveRange { .. } => 5,
        Action::Clean => 6,
        Action::SetIdStart => 7,
        Action::Prepare => 8,
        Action::AskStatus => 9,
        Action::Abort => 10,
        Action::Send { .. } => 11,
        Action::Finish => 12,
        Action::Wait => 13,
        Action::RecordPush => 14,
        Action::OpenDiff => 15,
        Action::ReceiveDiff => 16,
        Action::ApplyDiff => 17,
        Action::Advance => 18,
        Action::AskDiff => 19,
        Action::ApplyAnswer => 20,
        Action::RecordClone => 21,
        Action::Compare | Action::End(_) => 22,
    }
}

/// What a shop's run is at when something happens beside it.
pub const TIMES: &[&str] = &["at rest", "while cloning", "while pulling", "while pushing"];

/// Every fault that is possible, with its place.
pub fn all() -> Vec<(Fault, &'static str)> {
    let mut all = Vec::new();
    let mut add = |steps: &[&'static str], faults: &[Fault]| {
        all.extend(steps.iter().flat_map(|step| faults.iter().map(|fault| (*fault, *step))));
    };
    add(CALLS, OF_CALLS);
    add(&["call.finish"], &[Fault::SlowApply]);
    add(&["finish.before"], &[Fault::Refused]);
    add(&["call.chunk", "call.status", "call.finish"], &[Fault::Idle]);
    add(&["call.diff-read"], &[Fault::DiffExpired]);
    add(AGENT, OF_AGENT);
    for (before, after) in CLIENT {
        add(&[*before], OF_CLIENT_BEFORE);
        add(&[*after], OF_CLIENT_AFTER);
    }
    add(TIMES, OF_TIMES);
    add(&TIMES[1..], OF_RUNS);
    add(TIMES, OF_HISTORY);
    all
}

/// What has to happen before a rare place is reached: the place, and a fault at another one.
const LEADS: &[(&str, Fault, &str)] = &[
    ("abort", Fault::ClientDies, "send.before"),
    ("call.abort", Fault::ClientDies, "send.before"),
    ("discard", Fault::ClientDies, "send.before"),
    ("discard", Fault::Refused, "finish.before"),
    ("session.end", Fault::Refused, "finish.before"),
    ("session.end", Fault::Idle, "call.status"),
    ("session.end", Fault::ClientDies, "send.before"),
    ("wait", Fault::SlowApply, "call.finish"),
    ("ask-status", Fault::ReplyLost, "call.finish"),
    ("ask-status", Fault::ReplyLost, "call.chunk"),
    ("call.status", Fault::ReplyLost, "call.chunk"),
];

/// Places that are reached seldom, with how many shares they get of the seeds that are kept for such, and the fault where
/// the others come often enough.
const SELDOM: &[(&str, Option<Fault>, u64)] = &[
    ("while cloning", Some(Fault::ShopRestored), 8),
    ("while cloning", Some(Fault::OfficeRestored), 10),
    ("at rest", Some(Fault::ShopRestored), 2),
    ("at rest", Some(Fault::OfficeRestored), 2),
    ("while pulling", Some(Fault::ShopRestored), 2),
    ("while pulling", Some(Fault::OfficeRestored), 2),
    ("while pushing", Some(Fault::ShopRestored), 2),
    ("while pushing", Some(Fault::OfficeRestored), 2),
    ("abort.", None, 2),
    ("abort.before", Some(Fault::ClientDies), 2),
    ("call.abort", None, 2),
    ("call.abort", Some(Fault::CallLate), 1),
    ("compare.", None, 1),
    ("record-clone.before", None, 1),
    ("mark-started.before", None, 1),
];

/// One in so many seeds is about a place that is reached seldom, once every place has had its turn.
const SELDOM_EVERY: u64 = 4;

/// What the seeds are about that are kept for places reached seldom.
fn seldom() -> Vec<(Fault, &'static str)> {
    let mut seldom = Vec::new();
    for (fault, step) in all() {
        for (place, only, shares) in SELDOM {
            if step.starts_with(place) && only.is_none_or(|only| only == fault) {
                seldom.extend((0..*shares).map(|_| (fault, step)));
            }
        }
    }
    seldom
}

/// Which faults happen.
#[derive(Debug, Clone)]
pub enum Plan {
    /// As the seed decides: few of all kinds, and more of one kind at one place.
    Seeded {
        /// Faults in a thousand opportunities.
        background: u64,
        /// What the seed is about.
        focus: (Fault, &'static str),
    },
    /// Exactly these: the fault at the nth opportunity of a place.
    Listed(BTreeSet<(Fault, &'static str, u64)>),
    /// None: healing.
    None,
}

/// Decides and counts.
#[derive(Debug)]
pub struct Faults {
    seed: u64,
    pub plan: Plan,
    opportunities: HashMap<&'static str, u64>,
    /// What happened: the fault, where, at which opportunity.
    pub struck: Vec<(Fault, &'static str, u64)>,
}

impl Faults {
    /// The faults of a seed.
    pub fn new(seed: u64, plan: Plan) -> Self {
        Self { seed, plan, opportunities: HashMap::new(), struck: Vec::new() }
    }

    /// The plan of a seed.
    pub fn plan_of(seed: u64) -> Plan {
        let all = all();
        let turn = |list: &[(Fault, &'static str)], number: u64| list[(number % list.len() as u64) as usize];
        let focus = if seed >= all.len() as u64 && seed.is_multiple_of(SELDOM_EVERY) {
            turn(&seldom(), seed / SELDOM_EVERY)
        } else {
            turn(&all, seed)
        };
        let background = [0, 4, 10, 25][Chance::about(seed, "background", 0).below(4)];
        Plan::Seeded { background, focus }
    }

    /// Whether something goes wrong at this place, of what can.
    pub fn strike(&mut self, step: &'static str, kinds: &[Fault]) -> Option<Fault> {
        let number = self.opportunities.entry(step).or_default();
        *number += 1;
        let number = *number;
        let fault = match &self.plan {
            Plan::None => None,
            Plan::Listed(list) => kinds.iter().find(|kind| list.contains(&(**kind, step, number))).copied(),
            Plan::Seeded { background, focus } => {
                let mut chance = Chance::about(self.seed, step, number);
                let led = |(place, fault, at): &&(&str, Fault, &str)| {
                    *at == step && focus.1.starts_with(place) && kinds.contains(fault)
                };
                let most = if OF_HISTORY.contains(&focus.0) { 2 } else { 5 };
                let so_far = self.struck.iter().filter(|(fault, at, _)| (*fault, *at) == *focus).count();
                if focus.1 == step && kinds.contains(&focus.0) && so_far < most && chance.permille(300) {
                    Some(focus.0)
                } else if let Some((_, fault, _)) = LEADS.iter().find(led)
                    && chance.permille(400)
                {
                    Some(*fault)
                } else if chance.permille(*background) && !TIMES.contains(&step) {
                    chance.pick(kinds).copied()
                } else if TIMES.contains(&step) && chance.permille(*background / 4) {
                    // a restore every few minutes is another product's problem
                    chance.pick(kinds).copied().filter(|kind| !OF_HISTORY.contains(kind) || chance.permille(100))
                } else {
                    None
                }
            }
        };
        self.struck.extend(fault.map(|fault| (fault, step, number)));
        fault
    }
}

/// How often what happened where.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub counts: BTreeMap<(&'static str, Fault), u64>,
}

impl Tally {
    /// Counts what happened in a run.
    pub fn add(&mut self, struck: &[(Fault, &'static str, u64)]) {
        for (fault, step, _) in struck {
            *self.counts.entry((step, *fault)).or_default() += 1;
        }
    }

    /// What happened less often than that.
    pub fn rarer_than(&self, least: u64) -> Vec<(Fault, &'static str, u64)> {
        let count = |(fault, step): (Fault, &'static str)| (fault, step, self.counts.get(&(step, fault)).copied());
        all()
            .into_iter()
            .map(count)
            .map(|(fault, step, count)| (fault, step, count.unwrap_or(0)))
            .filter(|(_, _, count)| *count < least)
            .collect()
    }
}
