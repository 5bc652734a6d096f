//! Drives a branch: performs what the state machine of `protocol` decides, one action at a time, over a line that may drop.

mod adopt;
mod allowance;
mod carried;
mod clone;
mod control_totals;
mod drift;
mod dry_run;
mod error;
mod estimate;
mod greet;
mod link_hooks;
mod outbound;
mod probe;
mod pull;
mod push;
mod receive;
mod repair;
mod report;
mod rows;
mod send;
mod sizer;
mod unfinished;
mod verify;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use outbound::Outbound;
use protocol::fault::Fault;
use protocol::methods::{FrozenDiff, HelloReply};
use protocol::policy::GROUP_FIRST;
use protocol::session::office::{Action, Ending, Event, Run, Task};
use replica::office::{Branch, CopyFingerprints, Lease, Office, RunRecord};

pub(crate) use adopt::{Adoption, adopt};
pub(crate) use allowance::{is_open_now, parse_budget, parse_windows};
pub(crate) use carried::{export, import};
pub(crate) use dry_run::{Clashes, Moves, Plan, plan};
pub(crate) use error::DriveError;
pub(crate) use estimate::{Estimate, Rates};
pub(crate) use link_hooks::line_settings;
pub(crate) use probe::{Probed, probe};
pub(crate) use repair::{Repaired, carry, repair};
pub(crate) use report::{Report, RunResult};
pub(crate) use unfinished::is_clone_unfinished;
#[cfg(test)]
pub(crate) use verify::Difference;
pub(crate) use verify::{Comparison, RowDifference, verify};

use crate::link::{self, Client, Credentials, Line, LinkError, LinkSettings, Peer, Retry, TrustSettings};
use crate::output::Progress;
use crate::settings::Settings;
use crate::stop::Stop;

/// What one run needs.
#[derive(Clone)]
pub(crate) struct Job<'a> {
    /// The office's database.
    pub(crate) office: &'a Office,
    /// The settings of the program.
    pub(crate) settings: &'a Settings,
    /// The branch.
    pub(crate) branch: Branch,
    /// Whether to stop.
    pub(crate) stop: Stop,
    /// Where progress is shown.
    pub(crate) progress: Progress,
    /// Whether the user insists: outside the time window, on a paused branch, on a clean that the shop refuses.
    pub(crate) force: bool,
    /// The password that was typed, for a branch with a user and without a password file.
    pub(crate) typed_password: Option<String>,
    /// Who wants it, for the record.
    pub(crate) by: String,
}

/// Runs a clone or an update of one branch over a line of its own, records it, and says how it went.
pub(crate) async fn run(job: Job<'_>, task: Task) -> Report {
    match link_hooks::own_line(&job.branch) {
        Ok(line) => {
            let report = run_over(job, task, &line).await;
            line.down().await;
            report
        }
        Err(error) => Report::not_begun(&job.branch.name, task, error),
    }
}

/// The same over a line that may be up already and stays up: whoever calls takes it down.
pub(crate) async fn run_over(job: Job<'_>, task: Task, line: &Arc<Line>) -> Report {
    let office = job.office;
    let branch = job.branch.clone();
    let started_by = job.by.clone();
    let started_at = SystemTime::now();
    let began = tokio::time::Instant::now();
    let mut report = Report::new(&branch.name, task);
    let mut lease = None;
    let result = run_leased(job, task, line, &mut report, &mut lease).await;
    report.finish(result, began.elapsed());
    if report.was_begun {
        let record = RunRecord {
            kind: report.kind.to_owned(),
            result: report.result.as_str().to_owned(),
            pulled_rows: report.pulled_rows,
            pushed_rows: report.pushed_rows,
            sent_bytes: i64::try_from(report.sent_bytes).unwrap_or(i64::MAX),
            received_bytes: i64::try_from(report.received_bytes).unwrap_or(i64::MAX),
            quarantined: report.quarantined.saturating_add(report.quarantined_at_shop),
            started_at,
            seconds: report.seconds,
            error: report.error.as_ref().map(|error| crate::error::chain(error)),
            redials: i32::try_from(report.redials).unwrap_or(i32::MAX),
            chunk_bytes: figure(report.chunk_bytes),
            send_rate: figure(report.rates.send),
            receive_rate: figure(report.rates.receive),
            started_by: Some(started_by),
            pulled_digest: report.pulled_digest.clone(),
            totals: report.totals.clone(),
        };
        match office.record_run(&branch, &record).await {
            Ok(number) => report.number = Some(number),
            Err(error) => {
                tracing::warn!(branch = %branch.name, error = %crate::error::chain(&error), "the run is missing in the history");
            }
        }
    }
    // only now: whoever comes next finds this run in the history, or nothing of it
    if let Some(lease) = lease {
        lease.release().await;
    }
    if report.was_begun
        && let Err(error) = office.upkeep().await
    {
        tracing::warn!(error = %crate::error::chain(&error), "what nobody needs any more is still kept");
    }
    report
}

/// A figure as the history keeps it.
fn figure(figure: Option<u64>) -> Option<i64> {
    figure.map(|figure| i64::try_from(figure).unwrap_or(i64::MAX))
}

/// Runs it while the branch is held; `held` is for whoever calls to release.
async fn run_leased(
    job: Job<'_>,
    task: Task,
    line: &Arc<Line>,
    report: &mut Report,
    held: &mut Option<Lease>,
) -> Result<(), DriveError> {
    check_state(&job, task)?;
    *held = Some(job.office.lease(&job.branch).await?);
    report.was_begun = true;
    let mut drive = Drive::new(job, line).await?;
    if let Err(error) = drive.allowance.check(0) {
        // nothing was even tried: the history is for runs, not for the hours between them
        report.was_begun = false;
        return Err(error);
    }
    drive.job.progress.phase("bringing the line up");
    line.up(&drive.job.stop).await?;
    let result = drive.run(task, report).await;
    if matches!(&result, Err(error) if !matches!(error, DriveError::Interrupted)) {
        drive.keep_copy().await;
    }
    if result.is_ok() {
        drive.count_totals(task, report).await;
    }
    let counters = drive.peer.client().counters();
    (report.sent_bytes, report.received_bytes) = (counters.sent(), counters.received());
    report.redials = drive.peer.redials();
    report.rates = Rates { send: drive.sending.measured(), receive: drive.receiving.measured() };
    // the direction that moved more is the one whose chunks tell about the line
    let moved = if report.sent_bytes > report.received_bytes { &drive.sending } else { &drive.receiving };
    report.chunk_bytes = moved.measured().map(|_| moved.bytes());
    drive.job.progress.finish();
    result
}

/// What forbids a run before anything is dialled.
fn check_state(job: &Job<'_>, task: Task) -> Result<(), DriveError> {
    if task == Task::Update {
        return check_settled(&job.branch, job.force);
    }
    if job.branch.paused && !job.force {
        return Err(DriveError::Paused);
    }
    Ok(())
}

/// What forbids an update, by whichever way.
fn check_settled(branch: &Branch, force: bool) -> Result<(), DriveError> {
    if branch.paused && !force {
        return Err(DriveError::Paused);
    }
    if is_clone_unfinished(branch) {
        return Err(DriveError::CloneUnfinished);
    }
    if branch.retired {
        return Err(DriveError::Retired);
    }
    if branch.outlived {
        return Err(DriveError::Outlived);
    }
    if branch.timestamp.is_none() {
        return Err(DriveError::NeverCloned);
    }
    Ok(())
}

/// What a branch's settings say about certificates.
pub(crate) fn trust(settings: &BTreeMap<String, String>) -> TrustSettings {
    let setting = |name: &str| settings.get(name).cloned();
    TrustSettings {
        fingerprint: setting("fingerprint"),
        ca: setting("ca").map(PathBuf::from),
        client_cert: setting("client_cert").map(PathBuf::from),
        client_key: setting("client_key").map(PathBuf::from),
    }
}

/// Makes the link to a branch's agent.
pub(crate) fn peer(job: &Job<'_>) -> Result<Peer, DriveError> {
    let branch = &job.branch;
    let credentials = match (&branch.user, &branch.password_file, &job.typed_password) {
        (Some(user), Some(file), _) => Some(Credentials::new(user, &link::read_password(file)?)),
        (Some(user), None, Some(password)) => Some(Credentials::new(user, password)),
        (Some(user), None, None) => {
            return Err(DriveError::Unusable(format!("user `{user}` has no password file")));
        }
        (None, ..) => None,
    };
    let rate_limit = match branch.settings.get("rate_limit") {
        Some(text) => Some(crate::units::parse_rate(text).map_err(DriveError::Unusable)?),
        None => None,
    };
    let client = Client::new(LinkSettings {
        address: branch.url.parse().map_err(LinkError::from)?,
        trust: trust(&branch.settings),
        credentials,
        silence_max: job.settings.timeout,
        rate_limit,
        temporary_dir: job.settings.state_dir.join("received"),
    })?;
    let retry = Retry::new(job.stop.clone(), job.settings.retry_for, job.settings.retry_for_given);
    Ok(Peer::new(client, retry))
}

/// One run, with everything that the state machine does not want to know.
struct Drive<'a> {
    job: Job<'a>,
    peer: Peer,
    /// What the peer says about itself.
    facts: Option<HelloReply>,
    /// The clone or push.
    outbound: Option<Outbound>,
    /// Of what was copied, where the copy was made while it was sent.
    fingerprints: Option<CopyFingerprints>,
    /// The group of tables from which on it is looked for something to push.
    group: u8,
    /// Number of the session at the shop.
    sid: Option<i64>,
    /// The open diff of the shop.
    diff: Option<FrozenDiff>,
    /// The file with what was received.
    received: Option<PathBuf>,
    /// Value to pass as `since`.
    since: String,
    /// The last fault, which explains why a run was refused.
    fault: Option<Fault>,
    /// Sizes of chunks on the way to the shop.
    sending: sizer::Sizer,
    /// Sizes of slices on the way from it.
    receiving: sizer::Sizer,
    /// What earlier runs have measured.
    rates: Rates,
    /// When and how much may move.
    allowance: allowance::Allowance,
    /// Whether it was said what waits.
    told_estimate: bool,
    /// Whether an earlier clone had been begun and not finished when this one began.
    was_unfinished: bool,
    /// Whether the shop shall take back what it applies.
    rehearses: bool,
    busy_since: Option<tokio::time::Instant>,
}

impl<'a> Drive<'a> {
    async fn new(job: Job<'a>, line: &Arc<Line>) -> Result<Self, DriveError> {
        let peer = peer(&job)?.over(Arc::clone(line));
        let rates = Rates::of(job.office, &job.branch).await?;
        let allowance = allowance::Allowance::of(&job.branch, job.office, job.force).await?;
        Ok(Self {
            job,
            peer,
            facts: None,
            outbound: None,
            fingerprints: None,
            group: GROUP_FIRST,
            sid: None,
            diff: None,
            received: None,
            since: "0".to_owned(),
            fault: None,
            sending: sizer::Sizer::new(rates.send),
            receiving: sizer::Sizer::new(rates.receive),
            rates,
            allowance,
            told_estimate: false,
            was_unfinished: false,
            rehearses: false,
            busy_since: None,
        })
    }

    async fn run(&mut self, task: Task, report: &mut Report) -> Result<(), DriveError> {
        // a clone takes everything since `clean`, an update what came after the last one
        if task == Task::Update {
            self.since = self.job.branch.timestamp.clone().unwrap_or_else(|| "0".to_owned());
        }
        self.through(Run::new(task), task, report).await
    }

    /// Performs what a machine decides until it has come to an end.
    async fn through(&mut self, machine: Run, task: Task, report: &mut Report) -> Result<(), DriveError> {
        let (mut state, mut action) = machine.step(Event::Begin);
        loop {
            if let Action::End(ending) = action {
                return self.ended(ending, action);
            }
            if self.job.stop.requested() {
                return Err(DriveError::Interrupted);
            }
            tracing::debug!(branch = %self.job.branch.name, action = ?action, "next");
            let event = match self.perform(action, task, report).await {
                Ok(event) => event,
                Err(DriveError::Link(LinkError::Refused(fault))) => {
                    let code = self.peer.meaning(&fault);
                    tracing::info!(branch = %self.job.branch.name, fault = fault.code, action = ?action, "the shop refused");
                    self.fault = Some(fault);
                    Event::Refused(code)
                }
                Err(DriveError::Link(LinkError::Stopped)) => return Err(DriveError::Interrupted),
                Err(error) => return Err(error),
            };
            if !matches!(action, Action::Wait) && !matches!(event, Event::Refused(_)) {
                self.busy_since = None;
            }
            (state, action) = state.step(event);
        }
    }

    async fn perform(&mut self, action: Action, task: Task, report: &mut Report) -> Result<Event, DriveError> {
        match action {
            Action::Greet => self.greet(task).await,
            Action::FreezeClone => self.freeze_clone().await,
            Action::FreezePush => self.freeze_push().await,
            Action::Discard => self.discard().await,
            Action::MarkStarted => self.mark_started().await,
            Action::GiveRange { fresh } => self.give_range(fresh).await,
            Action::Clean => self.clean().await,
            Action::SetIdStart => self.set_id_start().await,
            Action::Prepare => self.prepare(task).await,
            Action::AskStatus => self.ask_status().await,
            Action::Abort => self.abort().await,
            Action::Send { seq, offset } => self.send(seq, offset).await,
            Action::Finish => self.finish().await,
            Action::Wait => self.wait().await,
            Action::RecordPush => self.record_push(report).await,
            Action::OpenDiff => self.open_diff(task).await,
            Action::ReceiveDiff => self.receive().await,
            Action::ApplyDiff => self.apply_diff(report).await,
            Action::Advance => self.advance(report).await,
            Action::AskDiff => self.ask_diff(task).await,
            Action::ApplyAnswer => self.apply_answer(report).await,
            Action::RecordClone => self.record_clone(report).await,
            Action::Compare => self.compare(report).await,
            Action::End(ending) => self.ended(ending, action).map(|()| Event::Done),
        }
    }

    /// Puts an ending into words.
    fn ended(&mut self, ending: Ending, action: Action) -> Result<(), DriveError> {
        match ending {
            Ending::Done => Ok(()),
            Ending::Refused => match self.fault.take() {
                Some(fault) => Err(DriveError::Link(LinkError::Refused(fault))),
                None => Err(DriveError::Confused(format!("{action:?} without a fault"))),
            },
            Ending::Busy => Err(DriveError::Busy(self.fault.take().map(|fault| fault.message).unwrap_or_default())),
            Ending::Lost => {
                Err(DriveError::Link(LinkError::unknown("the same request", "the line dropped again and again")))
            }
            Ending::Damaged => Err(DriveError::Damaged),
            Ending::Confused => Err(DriveError::Confused(format!("{action:?}"))),
        }
    }

    /// How many of the wanted bytes may be sent next.
    fn allowed(&self, wanted: u64) -> Result<u64, DriveError> {
        self.allowance.of_wanted(wanted, self.peer.client().counters().moved())
    }

    /// The session at the shop.
    fn sid(&self) -> Result<i64, DriveError> {
        self.sid.ok_or_else(|| DriveError::Confused("no session".into()))
    }
}
