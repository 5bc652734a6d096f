//! Updates that nobody has to start, and words about what nobody has looked at.
//!
//! Every office process on a database may do this: the lease of a branch keeps two from updating it at the same time, and
//! the history, which all of them see, from doing it one after the other.

use std::collections::{BTreeSet, HashMap};
use std::process::Stdio;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::tz::TimeZone;
use protocol::session::office::Task;
use replica::ReplicaError;
use replica::office::{Branch, RunFilter};

use super::overview::Overview;
use super::{Console, runs};
use crate::alerts::Alert;
use crate::driver;
use crate::limits::{CONSOLE_ALERT_DURATION_MAX, CONSOLE_SCHEDULE_PAUSE};
use crate::schedule::{self, Schedule};

/// Looks again and again which branch is due.
pub(super) async fn keep(console: Arc<Console>) {
    // runs that the history does not know: postponed ones, and those that were not begun
    let mut tried: HashMap<i64, SystemTime> = HashMap::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(CONSOLE_SCHEDULE_PAUSE) => {}
            () = console.closing.cancelled() => return,
        }
        if let Err(error) = start_due(&console, &mut tried).await {
            tracing::warn!(error = %crate::error::chain(&error), "which branches are due is not known");
        }
    }
}

async fn start_due(console: &Arc<Console>, tried: &mut HashMap<i64, SystemTime>) -> Result<(), ReplicaError> {
    let now = SystemTime::now();
    let branches = console.office.branches().await?;
    let held = console.office.held_branches().await?;
    for branch in branches.iter().filter(|branch| !held.contains(&branch.id)) {
        let Some(due) = due(console, branch, tried.get(&branch.id).copied()).await? else { continue };
        if due <= now && is_ready(branch) {
            tried.insert(branch.id, now);
            runs::start(console, &branch.name, Task::Update, "its schedule", false);
        }
    }
    Ok(())
}

/// Whether it may be updated now; what is outside its window waits for it.
fn is_ready(branch: &Branch) -> bool {
    branch.settings.get("window").is_none_or(|window| driver::is_open_now(window))
}

/// When the next run of a branch is due; none where it has no schedule, or nothing can be updated.
pub(super) async fn due(
    console: &Console,
    branch: &Branch,
    tried: Option<SystemTime>,
) -> Result<Option<SystemTime>, ReplicaError> {
    let Some(text) = branch.settings.get("schedule") else { return Ok(None) };
    if branch.paused || branch.timestamp.is_none() || driver::is_clone_unfinished(branch) {
        return Ok(None);
    }
    let Ok(schedule) = Schedule::parse(text) else { return Ok(None) };
    let wanted = RunFilter { branch: Some(branch.name.clone()), ..RunFilter::default() };
    let recorded = console.office.runs(&wanted, 1).await?.first().map(|past| past.run.started_at);
    // a branch whose history was lost counts from its clone
    let Some(last) = recorded.max(tried).or(branch.cloned_at) else { return Ok(None) };
    Ok(schedule.due(last, schedule::seed(branch.id, last), &TimeZone::system()))
}

/// Runs the office's own command for every alert that was not there at the last look.
pub(super) async fn tell(console: &Console, overview: &Overview, told: &mut BTreeSet<(String, &'static str)>) {
    let now: Vec<&Alert> = overview.alerts.iter().collect();
    let keys: BTreeSet<(String, &'static str)> = now.iter().map(|alert| (alert.branch.clone(), alert.kind)).collect();
    for alert in now.iter().filter(|alert| !told.contains(&(alert.branch.clone(), alert.kind))) {
        tracing::warn!(branch = alert.branch, kind = alert.kind, words = alert.words, "somebody should look");
        if let Some(command) = &console.settings.alert_command {
            run(command, alert).await;
        }
    }
    *told = keys;
}

async fn run(command: &str, alert: &Alert) {
    let mut child = tokio::process::Command::new("sh");
    child.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    child.env("ALERT_BRANCH", &alert.branch).env("ALERT_KIND", alert.kind).env("ALERT_TEXT", &alert.words);
    let ended = match child.spawn() {
        Ok(mut child) => tokio::time::timeout(CONSOLE_ALERT_DURATION_MAX, child.wait()).await,
        Err(error) => return tracing::warn!(%error, "the alert command did not start"),
    };
    match ended {
        Ok(Ok(status)) if status.success() => {}
        Ok(Ok(status)) => tracing::warn!(%status, "the alert command failed"),
        Ok(Err(error)) => tracing::warn!(%error, "the alert command failed"),
        Err(_) => tracing::warn!("the alert command took too long and was ended"),
    }
}
