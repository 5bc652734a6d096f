//! What a run would do, without doing it: the figures of frozen streams, which are exact, and what became of the shop's
//! rows where they were applied and taken back.

use std::collections::BTreeMap;
use std::path::Path;

use protocol::methods::{DiffOpen, DiffOptions, DiffRead, FrozenDiff};
use protocol::names::TableName;
use protocol::session::office::Task;
use protocol::xmlrpc::Blob;
use replica::ReplicaError;
use replica::diff::{TableChanges, table_changes};
use replica::safety::SafetyStop;
use replica::spool::FrozenStream;
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use super::pull::check_frozen;
use super::receive::{file_error, open_part, remove, sha256};
use super::sizer::Sizer;
use super::{DriveError, Job, Rates, check_state, greet, link_hooks};
use crate::link::{LinkError, Patience, Peer, clock};
use crate::output::Direction;

/// What a run would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Plan {
    /// Rows that would be pulled; none when the peer offers no figures before it sends.
    pub(crate) pull_rows: Option<i64>,
    /// Bytes that would be pulled, compressed.
    pub(crate) pull_bytes: Option<i64>,
    /// Rows that would be pulled, by table.
    pub(crate) pull_tables: Vec<(String, Moves)>,
    /// Conflicts that the pulled rows would meet at the office; none when the peer does not let them be tried.
    pub(crate) conflicts: Option<i64>,
    /// Pulled rows that would wait in quarantine at the office; none when the peer does not let them be tried.
    pub(crate) quarantined: Option<i64>,
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
        rehearse(job, &mut peer, &diff, &mut plan).await?;
    }
    if let Some(stream) = job.office.preview_push(&job.branch).await? {
        match job.office.check_push(&job.branch, &stream).await {
            Err(ReplicaError::Protected(why)) if !job.force => {
                plan.stop.get_or_insert(why);
            }
            Ok(()) | Err(ReplicaError::Protected(_)) => {}
            Err(error) => return Err(error.into()),
        }
        plan = with_push(plan, &stream);
    }
    Ok(plan)
}

/// Fetches what would be pulled, applies it at the office and takes everything back.
async fn rehearse(job: &Job<'_>, peer: &mut Peer, diff: &FrozenDiff, plan: &mut Plan) -> Result<(), DriveError> {
    if diff.rows == 0 {
        (plan.conflicts, plan.quarantined) = (Some(0), Some(0));
        return Ok(());
    }
    if diff.id.is_empty() {
        // an agent that shows figures only
        return Ok(());
    }
    check_frozen(diff)?;
    let path = job.office.receive_path(&job.branch, &diff.id);
    let rehearsed = async {
        fetch(job, peer, diff, &path).await?;
        let file = std::fs::File::open(&path).map_err(|source| file_error("open", &path, source))?;
        let stop = if job.force { None } else { Some(SafetyStop::of(&job.branch.settings)?) };
        Ok::<_, DriveError>(job.office.rehearse_pull(&job.branch, Box::new(file), stop).await)
    };
    let rehearsed = rehearsed.await;
    remove(&path).await?;
    match rehearsed? {
        Ok(applied) => (plan.conflicts, plan.quarantined) = (Some(applied.conflicts), Some(applied.quarantined)),
        Err(ReplicaError::Protected(why)) => plan.stop = Some(why),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Reads a preview whole. What is lost is asked for again, for as long as the line may fail.
async fn fetch(job: &Job<'_>, peer: &mut Peer, diff: &FrozenDiff, path: &Path) -> Result<(), DriveError> {
    let total = u64::try_from(diff.bytes).unwrap_or(0);
    let mut slices = Sizer::new(Rates::of(job.office, &job.branch).await?.receive);
    let (mut file, mut offset) = open_part(path, total).await?;
    job.progress.transfer(Direction::Receive, u64::try_from(diff.rows).unwrap_or(0), total, offset);
    while offset < total {
        if job.stop.requested() {
            return Err(DriveError::Interrupted);
        }
        let length = slices.bytes().min(total - offset);
        let read = DiffRead { id: diff.id.clone(), offset: offset as i64, length: length as i64 };
        let began = Instant::now();
        match peer.once(&read, Patience::Quick).await {
            Ok(Blob::Inline(data)) if !data.is_empty() && data.len() as u64 <= length => {
                file.write_all(&data).await.map_err(|source| file_error("write", path, source))?;
                offset += data.len() as u64;
                slices.took(data.len() as u64, clock::on_line(began.elapsed()));
                job.progress.at(offset);
            }
            Ok(blob) => {
                return Err(DriveError::Confused(format!("{} bytes where {length} were asked for", blob.len())));
            }
            Err(error @ (LinkError::Failed { .. } | LinkError::Unknown { .. })) => {
                slices.halve();
                peer.pause(error).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    file.flush().await.map_err(|source| file_error("write", path, source))?;
    drop(file);
    if sha256(path).await? != diff.sha256.to_ascii_lowercase() {
        return Err(DriveError::Confused("the preview arrived damaged; try again".into()));
    }
    Ok(())
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
