//! What a run would do, without doing it: the figures of frozen streams, which are exact, and what became of rows where
//! they were applied and taken back: the shop's at the office, and what the office would send then at the shop.

use std::collections::BTreeMap;

use protocol::methods::{DiffOpen, DiffOptions, Digest, DigestRequest, FrozenDiff, HelloReply, SqlAbort, SqlStatus};
use protocol::names::TableName;
use protocol::policy::GROUP_FIRST;
use protocol::session::office::{Run, Task};
use replica::ReplicaError;
use replica::apply::Applied;
use replica::diff::{TableChanges, table_changes};
use replica::office::{Outgoing, Rehearsed};
use replica::safety::SafetyStop;
use replica::spool::FrozenStream;

use super::greet::check_incarnation;
use super::outbound::Outbound;
use super::pull::check_frozen;
use super::receive::{fetch, file_error, remove};
use super::{Drive, DriveError, Job, Rates, Report, check_state, greet, link_hooks};
use crate::link::{LinkError, Patience};

/// What a run would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    /// Rows that would be pulled; none when the peer offers no figures before it sends.
    pub(crate) pull_rows: Option<i64>,
    /// Bytes that would be pulled, compressed.
    pub(crate) pull_bytes: Option<i64>,
    /// Rows that would be pulled, by table.
    pub(crate) pull_tables: Vec<(String, Moves)>,
    /// What pulled rows would meet at the office; none when the peer does not let them be tried.
    pub(crate) at_office: Option<Clashes>,
    /// What rows that are sent would meet at the shop; none when the peer does not let them be tried.
    pub(crate) at_shop: Option<Clashes>,
    /// What a clone would empty; none when the peer cannot tell, and for an update.
    pub(crate) emptied: Option<Emptied>,
    /// Why the safety stop would refuse what would be pulled or sent.
    pub(crate) stop: Option<String>,
    /// Rows that would be sent.
    pub(crate) push_rows: u64,
    /// Bytes that would be sent, compressed.
    pub(crate) push_bytes: u64,
    /// Rows that would be sent, by table.
    pub(crate) push_tables: Vec<(String, Moves)>,
    /// How long the bytes would take at the rates that were measured the last time; none when none were.
    pub(crate) seconds: Option<f64>,
}

/// What would become of rows of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    /// All of them.
    pub(crate) rows: i64,
    /// Those that the receiver has already; the others are new to it, as far as the sender can tell.
    pub(crate) updates: i64,
    /// Those that go.
    pub(crate) deletes: i64,
}

impl Moves {
    /// Those that are new to the receiver.
    pub(crate) fn inserts(self) -> i64 {
        self.rows.saturating_sub(self.updates).saturating_sub(self.deletes)
    }
}

/// What became of rows that were applied at one end and taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clashes {
    /// Conflicts that they would meet.
    pub(crate) conflicts: i64,
    /// Those of them that would wait in quarantine.
    pub(crate) quarantined: i64,
}

/// What the shop has that a clone would take out of its tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Emptied {
    /// Rows that would be put aside, by table.
    pub(crate) aside: Vec<(String, i64)>,
    /// Rows that the shop has changed and the office has not got, by table: they refuse the clean, and with `--force` only
    /// the copy aside has them. None when the shop cannot tell.
    pub(crate) unacknowledged: Option<Vec<(String, i64)>>,
}

/// Finds out what a run would do. The lease keeps a real run from being disturbed; business tables, acknowledgements
/// and sequences stay as they are on both sides.
pub(crate) async fn plan(job: &Job<'_>, task: Task) -> Result<Plan, DriveError> {
    let _lease = job.office.lease(&job.branch).await?;
    if task == Task::Update {
        check_state(job, task)?;
    }
    let line = link_hooks::own_line(&job.branch)?;
    line.up(&job.stop).await?;
    let plan = async {
        let mut drive = Drive::new(job.clone(), &line).await?;
        match task {
            Task::Clone => drive.plan_clone().await,
            Task::Update => drive.plan_update().await,
        }
    };
    let plan = plan.await;
    line.down().await;
    let mut plan = plan?;
    let receive_bytes = plan.pull_bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    plan.seconds = Rates::of(job.office, &job.branch).await?.seconds(plan.push_bytes, receive_bytes);
    Ok(plan)
}

impl Drive<'_> {
    async fn plan_clone(&mut self) -> Result<Plan, DriveError> {
        let facts = self.look().await?;
        self.job.progress.phase("freezing a copy");
        let stream = self.job.office.preview_clone(&self.job.branch).await?;
        let mut plan = with_push(Plan::default(), &stream);
        if let Some(facts) = facts.filter(|facts| !facts.no_tables && self.peer.abilities().digests) {
            let emptied = self.emptied(&facts).await?;
            let rows = |tables: &[(String, i64)]| tables.iter().map(|(_, rows)| rows).sum::<i64>();
            let lost = emptied.unacknowledged.as_deref().map_or(0, rows);
            if lost > 0 && !self.job.force {
                plan.stop = Some(format!(
                    "the shop has changed {lost} rows that the office has not got: update it first, or they are only in the copy aside"
                ));
            }
            plan.emptied = Some(emptied);
        }
        Ok(plan)
    }

    /// What a clean would find at the shop.
    async fn emptied(&mut self, facts: &HelloReply) -> Result<Emptied, DriveError> {
        let office = self.job.office;
        let tables = office.synchronised_tables(&self.job.branch).await?;
        let (low, high) = (Some(i64::MIN), Some(i64::MAX));
        let request = DigestRequest { tables, low, high, ..DigestRequest::default() };
        let counted = self.peer.ask(&Digest(request), Patience::Work).await?;
        let counted = counted.into_iter().map(|digest| (digest.table, digest.rows)).filter(|(_, rows)| *rows > 0);
        let aside = counted.collect();
        let mut emptied = Emptied { aside, unacknowledged: None };
        // of another history nobody knows what the office has of it
        let known = check_incarnation(&self.job.branch, facts).and_then(|()| greet::check_history(facts)).is_ok();
        if known && self.peer.abilities().frozen_diffs {
            // of a shop that was never cloned: what it has changed since the product came
            let since = self.job.branch.timestamp.clone().unwrap_or_else(|| "0".to_owned());
            let call = DiffOpen { since, options: Some(DiffOptions { dry_run: true, rate: None }) };
            match self.peer.ask(&call, Patience::Work).await {
                Ok(diff) => emptied.unacknowledged = Some(diff.tables.into_iter().collect()),
                // what the shop no longer keeps of its changes it cannot tell
                Err(LinkError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(emptied)
    }

    async fn plan_update(&mut self) -> Result<Plan, DriveError> {
        let facts = self.look().await?;
        if let Some(facts) = &facts {
            check_incarnation(&self.job.branch, facts)?;
            greet::check_history(facts)?;
        }
        let (mut plan, mut push, mut base) = (Plan::default(), None, self.job.branch.timestamp.clone());
        if self.peer.abilities().frozen_diffs {
            let since = base.clone().unwrap_or_else(|| "0".to_owned());
            // compressed as the run that follows would compress it
            let rate = self.rates.receive.and_then(|rate| i64::try_from(rate).ok());
            let call = DiffOpen { since, options: Some(DiffOptions { dry_run: true, rate }) };
            let diff = self.peer.ask(&call, Patience::Work).await?;
            plan.pull_rows = Some(diff.rows);
            let of = |counts: &BTreeMap<String, i64>, table: &str| counts.get(table).copied().unwrap_or(0);
            let moves = |(table, rows): (&String, &i64)| {
                let (updates, deletes) = (of(&diff.updates, table), of(&diff.deletes, table));
                (table.clone(), Moves { rows: *rows, updates, deletes })
            };
            plan.pull_tables = diff.tables.iter().map(moves).collect();
            plan.pull_bytes = Some(if diff.rows == 0 { 0 } else { diff.bytes });
            if let Some(rehearsed) = self.rehearse_pull(&diff, &mut plan).await? {
                let Applied { conflicts, quarantined, .. } = rehearsed.applied;
                plan.at_office = Some(Clashes { conflicts, quarantined });
                push = rehearsed.push;
                if diff.rows > 0 {
                    base = Some(diff.id);
                }
            }
        }
        if plan.at_office.is_none() {
            // nothing is known of what the pull leaves: as if nothing came
            push = self.job.office.preview_push(&self.job.branch).await?;
        }
        let Some(stream) = push else {
            plan.at_shop = plan.at_office.map(|_| Clashes { conflicts: 0, quarantined: 0 });
            return Ok(plan);
        };
        let plan = self.rehearse_push(&stream, base, with_push(plan, &stream)).await;
        self.job.office.spool().remove(&stream.id)?;
        plan
    }

    /// Says hello without agreeing on anything.
    async fn look(&mut self) -> Result<Option<HelloReply>, DriveError> {
        self.job.progress.phase("calling");
        let facts =
            greet::greet(&mut self.peer, self.job.office, &self.job.branch, greet::Contact::Look, false).await?;
        if let Some(facts) = &facts {
            self.limit_pieces(facts.chunk_bytes_max);
        }
        Ok(facts)
    }

    /// Fetches what would be pulled, applies it at the office, freezes what would be sent then, and takes everything back.
    async fn rehearse_pull(&mut self, diff: &FrozenDiff, plan: &mut Plan) -> Result<Option<Rehearsed>, DriveError> {
        if diff.rows > 0 && diff.id.is_empty() {
            // an agent that shows figures only
            return Ok(None);
        }
        let stop = if self.job.force { None } else { Some(SafetyStop::of(&self.job.branch.settings)?) };
        let rehearsed = if diff.rows == 0 {
            self.job.office.rehearse_pull(&self.job.branch, None, stop).await
        } else {
            check_frozen(diff)?;
            // what a dry run left that was killed is of another preview
            let path = self.job.office.receive_path(&self.job.branch, "preview");
            remove(&path).await?;
            let fetched = fetch(&self.job, &mut self.peer, &self.allowance, &mut self.receiving, diff, &path);
            let rehearsed = match fetched.await {
                Ok(true) => {
                    self.job.progress.phase("trying");
                    let file = std::fs::File::open(&path).map_err(|source| file_error("open", &path, source))?;
                    Ok(self.job.office.rehearse_pull(&self.job.branch, Some(Box::new(file)), stop).await)
                }
                Ok(false) => Err(DriveError::Confused("the preview arrived damaged; try again".into())),
                Err(error) => Err(error),
            };
            remove(&path).await?;
            match rehearsed {
                // no bytes may be spent on it now: the figures are told without
                Err(DriveError::OutsideWindow { .. } | DriveError::BudgetUsed { .. }) => return Ok(None),
                rehearsed => rehearsed?,
            }
        };
        match rehearsed {
            Ok(rehearsed) => Ok(Some(rehearsed)),
            Err(ReplicaError::Protected(why)) => {
                plan.stop = Some(why);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what would be pushed into a session that the shop applies and takes back.
    async fn rehearse_push(
        &mut self,
        stream: &FrozenStream,
        base: Option<String>,
        mut plan: Plan,
    ) -> Result<Plan, DriveError> {
        match self.job.office.check_push(&self.job.branch, stream).await {
            Err(ReplicaError::Protected(why)) if !self.job.force => {
                plan.stop.get_or_insert(why);
            }
            Ok(()) | Err(ReplicaError::Protected(_)) => {}
            Err(error) => return Err(error.into()),
        }
        // what comes before it was not tried, or would stop, or cannot be tried at the shop
        if plan.at_office.is_none() || plan.stop.is_some() || !self.peer.abilities().dry_runs {
            return Ok(plan);
        }
        self.rehearses = true;
        self.outbound = Some(Outbound::Frozen(Outgoing {
            key: format!("dry-run-{:032x}", rand::random::<u128>()),
            stream: stream.clone(),
            base,
            resumed: false,
            group: GROUP_FIRST,
            next_group: GROUP_FIRST,
        }));
        let machine = Run::rehearsal(self.peer.abilities(), stream.bytes);
        let result = self.through(machine, Task::Update, &mut Report::new(&self.job.branch.name, Task::Update)).await;
        let answer = match (&result, self.sid) {
            (Ok(()), Some(sid)) => Some(self.peer.ask(&SqlStatus { sid }, Patience::Quick).await?),
            _ => None,
        };
        match result {
            Ok(()) => {}
            Err(error) => {
                // a session that stays gives way to the next one
                if let Some(sid) = self.sid {
                    let _ = self.peer.once(&SqlAbort { sid }, Patience::Quick).await;
                }
                // no bytes may be spent on it now: the figures are told without
                if !matches!(error, DriveError::OutsideWindow { .. } | DriveError::BudgetUsed { .. }) {
                    return Err(error);
                }
            }
        }
        plan.at_shop = answer.map(|status| Clashes { conflicts: status.conflicts, quarantined: status.quarantined });
        Ok(plan)
    }
}

fn with_push(plan: Plan, stream: &FrozenStream) -> Plan {
    let count = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
    let moves = |(table, changes): (TableName, TableChanges)| {
        let rows = count(changes.inserts + changes.updates + changes.deletes);
        (table.to_string(), Moves { rows, updates: count(changes.updates), deletes: count(changes.deletes) })
    };
    Plan {
        push_rows: stream.rows,
        push_bytes: stream.bytes,
        push_tables: table_changes(stream).into_iter().map(moves).collect(),
        ..plan
    }
}
