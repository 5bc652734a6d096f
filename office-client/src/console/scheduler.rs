//! Updates that nobody has to start.
//!
//! Every office process on a database may do this: of several, one claims a run that is due, and the lease of a branch
//! keeps two runs of it apart, whoever has begun them.

use std::sync::Arc;
use std::time::SystemTime;

use jiff::tz::TimeZone;
use protocol::session::office::Task;
use replica::ReplicaError;
use replica::office::{Attempt, Branch};

use super::{Console, runs};
use crate::driver;
use crate::limits::CONSOLE_SCHEDULE_PAUSE;
use crate::schedule::Schedule;

/// Looks again and again which branch is due.
pub(super) async fn keep(console: Arc<Console>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(CONSOLE_SCHEDULE_PAUSE) => {}
            () = console.closing.cancelled() => return,
        }
        if let Err(error) = start_due(&console).await {
            tracing::warn!(error = %crate::error::chain(&error), "which branches are due is not known");
        }
    }
}

async fn start_due(console: &Arc<Console>) -> Result<(), ReplicaError> {
    let branches = console.office.branches().await?;
    if !branches.iter().any(|branch| branch.settings.contains_key("schedule")) {
        return Ok(());
    }
    let (now, attempts) = console.office.attempts().await?;
    // after the attempts: a run that has ended meanwhile is not held any more, but whoever claims is refused
    let held = console.office.held_branches().await?;
    for branch in branches.iter().filter(|branch| !held.contains(&branch.id)) {
        let Some(attempt) = attempts.get(&branch.id) else { continue };
        let is_due = due(branch, attempt).is_some_and(|due| due <= now);
        if is_due
            && is_open(branch)
            && console.runs.of_branch(&branch.name).is_none()
            && console.office.claim_run(branch.id, attempt).await?
        {
            runs::start(console, &branch.name, Task::Update, "its schedule", false);
        }
    }
    Ok(())
}

/// When the next run of a branch is due, and whether its window has to open first; none where it has no schedule, or
/// nothing can be updated.
pub(super) async fn next(console: &Console, branch: &Branch) -> Result<Option<(SystemTime, bool)>, ReplicaError> {
    let (now, attempts) = console.office.attempts().await?;
    let due = attempts.get(&branch.id).and_then(|attempt| due(branch, attempt));
    Ok(due.map(|at| (at, at <= now && !is_open(branch))))
}

/// Whether it may be updated now; what is outside its window waits for it.
fn is_open(branch: &Branch) -> bool {
    branch.settings.get("window").is_none_or(|window| driver::is_open_now(window))
}

fn due(branch: &Branch, attempt: &Attempt) -> Option<SystemTime> {
    let schedule = Schedule::parse(branch.settings.get("schedule")?).ok()?;
    if branch.paused || branch.retired || branch.outlived || driver::is_clone_unfinished(branch) {
        return None;
    }
    branch.timestamp.as_ref()?;
    // a branch whose history was lost counts from its clone
    schedule.next(branch.id, attempt, &TimeZone::system()).or(branch.cloned_at)
}
