//! What somebody should know of without looking: said on the page, in `status`, and by a command of the office's own.

use std::time::{Duration, SystemTime};

use crate::standing::{BranchState, Standing};
use crate::units;

/// Age of the shop's data from which on it is said, unless the branch has a setting of its own.
const AGE_MAX: Duration = Duration::from_secs(26 * 3600);
/// Failed runs in a row from which on it is said.
const FAILURES: i64 = 3;

/// Something to know of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Alert {
    /// The branch.
    pub(crate) branch: String,
    /// `stale`, `failing`, `conflicts`, `quarantine`.
    pub(crate) kind: &'static str,
    /// In words.
    pub(crate) words: String,
}

/// What there is to know of a branch. One that is paused or was never cloned is nobody's surprise.
pub(crate) fn of(standing: &Standing, now: SystemTime) -> Vec<Alert> {
    let branch = &standing.branch;
    if branch.timestamp.is_none() || matches!(standing.state, BranchState::Paused | BranchState::New) {
        return Vec::new();
    }
    let mut alerts = Vec::new();
    let mut say = |kind, words| alerts.push(Alert { branch: branch.name.clone(), kind, words });
    let age_max = match branch.settings.get("alert_after") {
        Some(text) => units::parse_duration(text).unwrap_or(AGE_MAX),
        None => AGE_MAX,
    };
    let taken_in = branch.pulled_at.or(branch.cloned_at);
    if let Some(age) = taken_in.and_then(|at| now.duration_since(at).ok()).filter(|age| *age > age_max) {
        say("stale", format!("its sales were last taken in {} ago", units::age(age.as_secs())));
    }
    if standing.failures >= FAILURES {
        say("failing", format!("the last {} runs failed", standing.failures));
    }
    let attention = standing.attention;
    if attention.conflicts > 0 {
        say("conflicts", format!("{} to decide", units::count(attention.conflicts, "conflict")));
    }
    match attention.quarantined + attention.at_shop {
        0 => {}
        rows => say("quarantine", format!("{} in quarantine", units::count(rows, "row"))),
    }
    alerts
}
