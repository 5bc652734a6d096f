//! How every branch stands: what `status` prints and the console shows.

use std::collections::BTreeMap;

use replica::ReplicaError;
use replica::office::{Branch, Office, PastRun, RunFilter, RunRecord, ShopVitals};

use crate::driver::{self, Rates};

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
    /// Taken out for good.
    Retired,
    /// Not heard of for longer than changes are kept.
    NeedsClone,
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
            Self::Retired => "retired",
            Self::NeedsClone => "needs-clone",
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
    pub(crate) fn of(branch: &Branch, last: Option<&RunRecord>) -> Self {
        if branch.retired {
            return Self::Retired;
        }
        if branch.outlived {
            return Self::NeedsClone;
        }
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

/// A branch and how it stands.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// The branch.
    pub(crate) branch: Branch,
    /// Its state in a word.
    pub(crate) state: BranchState,
    /// Rows that wait to go to the shop; none before the first clone.
    pub(crate) backlog: Option<i64>,
    /// What somebody should look at.
    pub(crate) attention: Attention,
    /// Its newest run.
    pub(crate) last: Option<PastRun>,
    /// How many runs have failed since the last one that was done.
    pub(crate) failures: i64,
    /// What its line was measured to carry.
    pub(crate) rates: Rates,
    /// How its shop was when it was last called.
    pub(crate) vitals: Option<ShopVitals>,
}

impl Standing {
    /// The record of its newest run.
    pub(crate) fn last_run(&self) -> Option<&RunRecord> {
        self.last.as_ref().map(|past| &past.run)
    }
}

/// How these branches stand, in their order.
pub(crate) async fn of(office: &Office, branches: Vec<Branch>) -> Result<Vec<Standing>, ReplicaError> {
    let mut last = last_runs(office, &branches).await?;
    let conflicts = office.open_conflicts().await?;
    let quarantined = office.quarantine_counts().await?;
    let at_shops = office.shop_quarantine_counts().await?;
    let failures = office.failures_in_a_row().await?;
    let vitals = office.vitals().await?;
    let mut all = Vec::with_capacity(branches.len());
    for branch in branches {
        let backlog = match branch.timestamp {
            Some(_) => Some(office.backlog(&branch).await?.rows),
            None => None,
        };
        let count = |counts: &BTreeMap<String, i64>| counts.get(&branch.name).copied().unwrap_or(0);
        let attention =
            Attention { conflicts: count(&conflicts), quarantined: count(&quarantined), at_shop: count(&at_shops) };
        let last = last.remove(&branch.name);
        let state = BranchState::of(&branch, last.as_ref().map(|past| &past.run));
        let rates = Rates::of(office, &branch).await?;
        let failures = failures.get(&branch.id).copied().unwrap_or(0);
        let vitals = vitals.get(&branch.id).copied();
        all.push(Standing { branch, state, backlog, attention, last, failures, rates, vitals });
    }
    Ok(all)
}

/// The newest run of each branch.
async fn last_runs(office: &Office, branches: &[Branch]) -> Result<BTreeMap<String, PastRun>, ReplicaError> {
    let limit = RUNS_PER_BRANCH.saturating_mul(branches.len().max(1) as i64);
    let mut last = BTreeMap::new();
    for past in office.runs(&RunFilter::default(), limit).await? {
        last.entry(past.branch.clone()).or_insert(past);
    }
    for branch in branches {
        // a branch that runs seldom among many that run often
        if !last.contains_key(&branch.name) {
            let wanted = RunFilter { branch: Some(branch.name.clone()), ..RunFilter::default() };
            if let Some(past) = office.runs(&wanted, 1).await?.into_iter().next() {
                last.insert(past.branch.clone(), past);
            }
        }
    }
    Ok(last)
}
