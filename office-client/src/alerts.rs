//! What somebody should know of without looking: said on the page, in `status`, and by the console to a command or an
//! address of the office's own.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::standing::{BranchState, Standing};
use crate::units;

/// Age of the shop's data from which on it is said, unless the branch has a setting of its own.
const AGE_MAX: Duration = Duration::from_secs(26 * 3600);
/// Failed runs in a row from which on it is said.
const FAILURES: i64 = 3;
/// Room on the disk of the state directory below which it is said: frozen streams, and the office's own database if it is
/// kept there, need it.
pub(crate) const ROOM_MIN: u64 = 1 << 30;

/// Share of a branch's ids from which on it is said that they run out, and the days that they have to last at least.
const IDS_SHARE: f64 = 0.9;
const IDS_DAYS: f64 = 90.0;

/// Something to know of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Alert {
    /// The branch; none where it is about the office itself.
    pub(crate) branch: Option<String>,
    /// `stale`, `failing`, `conflicts`, `quarantine`, `ids`, `disk`.
    pub(crate) kind: &'static str,
    /// In words.
    pub(crate) words: String,
}

impl Alert {
    /// The branch; empty where it is about the office itself.
    pub(crate) fn branch_or_office(&self) -> &str {
        self.branch.as_deref().unwrap_or("")
    }
}

/// What there is to know of a branch. One that is paused, retired or was never cloned is nobody's surprise.
pub(crate) fn of(standing: &Standing, now: SystemTime) -> Vec<Alert> {
    let branch = &standing.branch;
    let is_quiet = matches!(standing.state, BranchState::Paused | BranchState::New | BranchState::Retired);
    if branch.timestamp.is_none() || is_quiet {
        return Vec::new();
    }
    let mut alerts = Vec::new();
    let mut say = |kind, words| alerts.push(Alert { branch: Some(branch.name.clone()), kind, words });
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
    let vitals = standing.vitals;
    if let Some(ids) = vitals.and_then(|vitals| vitals.ids)
        && (ids.share() >= IDS_SHARE || ids.days_left.is_some_and(|days| days < IDS_DAYS))
    {
        say("ids", format!("{}; a new clone gives it a fresh range", units::id_use(&ids)));
    }
    if let Some(room) = vitals.and_then(|vitals| u64::try_from(vitals.disk_free?).ok()).filter(|room| *room < ROOM_MIN)
    {
        say("disk", format!("the disk of the shop had {} left when it was last called", units::bytes(room)));
    }
    alerts
}

/// What there is to know of the office itself.
pub(crate) fn of_office(state_dir: &Path, room_min: u64) -> Vec<Alert> {
    let room = nix::sys::statvfs::statvfs(state_dir).ok().map(|facts| {
        #[allow(clippy::useless_conversion)] // these are narrower on other systems
        let (blocks, size) = (u64::from(facts.blocks_available()), u64::from(facts.fragment_size()));
        blocks.saturating_mul(size)
    });
    match room {
        Some(room) if room < room_min => {
            let words = format!("the disk of {} has {} left", state_dir.display(), units::bytes(room));
            vec![Alert { branch: None, kind: "disk", words }]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_runs_full_is_said_and_one_with_room_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of_office(dir.path(), 0), []);
        let alerts = of_office(dir.path(), u64::MAX);
        assert_eq!((alerts[0].kind, alerts[0].branch.as_deref()), ("disk", None));
        assert!(alerts[0].words.contains(" left"), "{}", alerts[0].words);
    }
}
