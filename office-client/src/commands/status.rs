//! `office-client status`

use std::collections::BTreeMap;
use std::time::SystemTime;

use replica::office::{Branch, RunRecord};

use super::{Opened, Outcome};
use crate::cli::StatusArgs;
use crate::driver;
use crate::error::CommandError;
use crate::output::{self, Printer, Table};
use crate::settings::Settings;

/// Runs looked through for the last one of each branch, for every branch there is.
const RUNS_PER_BRANCH: i64 = 20;

/// What somebody should look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attention {
    /// Conflicts that are open.
    pub(crate) conflicts: i64,
    /// Rows of the branch that wait at the office.
    pub(crate) quarantined: i64,
    /// Rows of the office that waited at the shop when it was last called.
    pub(crate) at_shop: i64,
}

/// How a branch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BranchState {
    /// Never cloned.
    New,
    /// Its clone was begun and not finished.
    CloneUnfinished,
    /// Left out of `update --all`.
    Paused,
    /// Its last run was done.
    Ok,
    /// Its last run failed.
    Failed,
    /// Its last run was refused to protect data: someone must look.
    Refused,
    /// Its last run did not reach it, or lost the line.
    Unreachable,
    /// Its last run stopped because its window had closed or its bytes were used up.
    Postponed,
    /// Its last run was interrupted.
    Interrupted,
}

impl BranchState {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::CloneUnfinished => "clone-unfinished",
            Self::Paused => "paused",
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Postponed => "postponed",
            Self::Interrupted => "interrupted",
        }
    }

    /// Works it out from the branch and its last run.
    fn of(branch: &Branch, last: Option<&RunRecord>) -> Self {
        if branch.paused {
            return Self::Paused;
        }
        if driver::is_clone_unfinished(branch) {
            return Self::CloneUnfinished;
        }
        if branch.timestamp.is_none() {
            return Self::New;
        }
        match last.map(|run| run.result.as_str()) {
            None | Some("done") => Self::Ok,
            Some("refused") => Self::Refused,
            Some("unreachable") => Self::Unreachable,
            Some("postponed") => Self::Postponed,
            Some("interrupted") => Self::Interrupted,
            Some(_) => Self::Failed,
        }
    }
}

/// A line per branch.
pub(crate) async fn run(args: StatusArgs, settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    let opened = Opened::open(settings).await?;
    let result = status(&args, printer, &opened).await;
    opened.close(result).await
}

async fn status(args: &StatusArgs, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    let office = &opened.office;
    let mut branches = office.branches().await?;
    for name in &args.names {
        // an unknown name is an error that names the nearest one
        office.branch(name).await?;
    }
    if !args.names.is_empty() {
        branches.retain(|branch| args.names.contains(&branch.name));
    }
    let last = last_runs(opened, &branches).await?;
    let conflicts = office.open_conflicts().await?;
    let quarantined = office.quarantine_counts().await?;
    let at_shops = office.shop_quarantine_counts().await?;
    let now = SystemTime::now();
    let mut table = Table::new(&[
        "branch",
        "policy",
        "shop's changes",
        "office's changes",
        "waiting",
        "conflicts",
        "quarantine",
        "last result",
    ]);
    for branch in &branches {
        let run = last.get(&branch.name);
        let state = BranchState::of(branch, run);
        let backlog = match branch.timestamp {
            Some(_) => Some(office.backlog(branch).await?.rows),
            None => None,
        };
        let count = |counts: &BTreeMap<String, i64>| counts.get(&branch.name).copied().unwrap_or(0);
        let attention =
            Attention { conflicts: count(&conflicts), quarantined: count(&quarantined), at_shop: count(&at_shops) };
        printer.object(&output::status_object(branch, state, backlog, attention, run, now));
        table.line(output::status_cells(branch, state, backlog, attention, run, now));
    }
    if branches.is_empty() {
        printer.talk("there is no branch yet: `office-client branch add NAME --url URL`");
    } else {
        printer.table(&table);
    }
    Ok(Outcome::Done)
}

/// The newest run of each branch.
async fn last_runs(opened: &Opened, branches: &[Branch]) -> Result<BTreeMap<String, RunRecord>, CommandError> {
    let limit = RUNS_PER_BRANCH.saturating_mul(branches.len().max(1) as i64);
    let mut last = BTreeMap::new();
    for (name, run) in opened.office.history(None, limit).await? {
        last.entry(name).or_insert(run);
    }
    for branch in branches {
        // a branch that runs seldom among many that run often
        if !last.contains_key(&branch.name)
            && let Some((name, run)) = opened.office.history(Some(&branch.name), 1).await?.into_iter().next()
        {
            last.insert(name, run);
        }
    }
    Ok(last)
}
