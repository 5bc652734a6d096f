//! What a run would do, without doing it: the figures of frozen streams, which are exact.

use std::collections::BTreeMap;

use protocol::methods::{DiffOpen, DiffOptions};
use protocol::names::TableName;
use protocol::session::office::Task;
use replica::ReplicaError;
use replica::diff::{TableChanges, table_changes};
use replica::spool::FrozenStream;

use super::{DriveError, Job, Rates, check_state, greet, link_hooks};
use crate::link::Patience;

/// What a run would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    /// Rows that would be pulled; none when the peer offers no figures before it sends.
    pub(crate) pull_rows: Option<i64>,
    /// Bytes that would be pulled, compressed.
    pub(crate) pull_bytes: Option<i64>,
    /// Rows that would be pulled, by table.
    pub(crate) pull_tables: Vec<(String, Moves)>,
    /// Why the safety stop would refuse what would be sent.
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

/// Finds out what a run would do. The lease keeps a real run from being disturbed; business tables, acknowledgements
/// and sequences stay as they are on both sides.
pub(crate) async fn plan(job: &Job<'_>, task: Task) -> Result<Plan, DriveError> {
    let _lease = job.office.lease(&job.branch).await?;
    let mut plan = match task {
        Task::Clone => plan_clone(job).await,
        Task::Update => {
            check_state(job, task)?;
            let line = link_hooks::own_line(&job.branch)?;
            line.up(&job.stop).await?;
            let result = plan_update(job).await;
            line.down().await;
            result
        }
    }?;
    let receive_bytes = plan.pull_bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    plan.seconds = Rates::of(job.office, &job.branch).await?.seconds(plan.push_bytes, receive_bytes);
    Ok(plan)
}

async fn plan_clone(job: &Job<'_>) -> Result<Plan, DriveError> {
    let stream = job.office.preview_clone(&job.branch).await?;
    Ok(with_push(Plan::default(), &stream))
}

async fn plan_update(job: &Job<'_>) -> Result<Plan, DriveError> {
    let mut peer = super::peer(job)?;
    let facts = greet::greet(&mut peer, job.office, &job.branch, greet::Contact::Look, false).await?;
    if let Some(facts) = &facts {
        greet::check_incarnation(&job.branch, facts)?;
        greet::check_history(facts)?;
    }
    let mut plan = Plan::default();
    if peer.abilities().frozen_diffs {
        let since = job.branch.timestamp.clone().unwrap_or_else(|| "0".to_owned());
        // compressed as the run that follows would compress it
        let rate = Rates::of(job.office, &job.branch).await?.receive.and_then(|rate| i64::try_from(rate).ok());
        let call = DiffOpen { since, options: Some(DiffOptions { dry_run: true, rate }) };
        let diff = peer.ask(&call, Patience::Work).await?;
        plan.pull_rows = Some(diff.rows);
        let of = |counts: &BTreeMap<String, i64>, table: &str| counts.get(table).copied().unwrap_or(0);
        let moves = |(table, rows): (&String, &i64)| {
            let (updates, deletes) = (of(&diff.updates, table), of(&diff.deletes, table));
            (table.clone(), Moves { rows: *rows, updates, deletes })
        };
        plan.pull_tables = diff.tables.iter().map(moves).collect();
        plan.pull_bytes = Some(if diff.rows == 0 { 0 } else { diff.bytes });
    }
    if let Some(stream) = job.office.preview_push(&job.branch).await? {
        match job.office.check_push(&job.branch, &stream).await {
            Err(ReplicaError::Protected(why)) if !job.force => plan.stop = Some(why),
            Ok(()) | Err(ReplicaError::Protected(_)) => {}
            Err(error) => return Err(error.into()),
        }
        plan = with_push(plan, &stream);
    }
    Ok(plan)
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
