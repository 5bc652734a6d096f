//! How a run went.

use std::time::Duration;

use protocol::session::office::Task;
use replica::office::ControlTotal;

use super::DriveError;
use super::estimate::Rates;
use super::verify::Comparison;
use crate::exit;

/// The result of a run, as the history and `--json` name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunResult {
    /// Everything was done.
    Done,
    /// Something went wrong.
    Failed,
    /// It was refused to protect data.
    Refused,
    /// The shop could not be reached, or the line was lost.
    Unreachable,
    /// Its window has closed or its bytes are used up: the next run goes on.
    Postponed,
    /// The user stopped it.
    Interrupted,
}

impl RunResult {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Postponed => "postponed",
            Self::Interrupted => "interrupted",
        }
    }

    /// What a run has come to that ended early.
    pub(super) fn of(error: &DriveError) -> Self {
        match error {
            DriveError::OutsideWindow { .. } | DriveError::BudgetUsed { .. } => Self::Postponed,
            error => match exit::of_drive(error) {
                exit::INTERRUPTED => Self::Interrupted,
                exit::UNREACHABLE => Self::Unreachable,
                exit::PROTECTED => Self::Refused,
                _ => Self::Failed,
            },
        }
    }
}

/// One run of one branch.
#[derive(Debug)]
pub(crate) struct Report {
    /// Name of the branch.
    pub(crate) branch: String,
    /// `clone` or `update`.
    pub(crate) kind: &'static str,
    /// How it ended.
    pub(crate) result: RunResult,
    /// Rows taken in from the shop.
    pub(crate) pulled_rows: i64,
    /// Rows that the shop has taken in.
    pub(crate) pushed_rows: i64,
    /// Rows of the shop that wait at the office because of this run.
    pub(crate) quarantined: i64,
    /// Rows of the office that wait at the shop because of this run.
    pub(crate) quarantined_at_shop: i64,
    /// Rows that had been waiting at the office and have come in.
    pub(crate) released: i64,
    /// Conflicts it recorded.
    pub(crate) conflicts: i64,
    /// SHA-256 of the diff that was taken in, as it was received; none when nothing was.
    pub(crate) pulled_digest: Option<String>,
    /// Control totals of the tables with money; empty when nothing moved, or nothing was counted.
    pub(crate) totals: Vec<ControlTotal>,
    /// Bytes sent on the wire.
    pub(crate) sent_bytes: u64,
    /// Bytes received from the wire.
    pub(crate) received_bytes: u64,
    /// How often the line was lost and came back.
    pub(crate) redials: u32,
    /// Size of the chunks at the end; none when no chunk moved.
    pub(crate) chunk_bytes: Option<u64>,
    /// What the line was measured to carry in this run.
    pub(crate) rates: Rates,
    /// Its duration.
    pub(crate) seconds: f64,
    /// The comparison after a clone.
    pub(crate) comparison: Option<Comparison>,
    /// Why it ended early.
    pub(crate) error: Option<DriveError>,
    /// Its number in the history, once it is there.
    pub(crate) number: Option<i64>,
    /// Whether the branch was taken, so that the run belongs into the history.
    pub(crate) was_begun: bool,
}

impl Report {
    pub(crate) fn new(branch: &str, task: Task) -> Self {
        Self {
            branch: branch.to_owned(),
            kind: match task {
                Task::Clone => "clone",
                Task::Update => "update",
            },
            result: RunResult::Failed,
            pulled_rows: 0,
            pushed_rows: 0,
            quarantined: 0,
            quarantined_at_shop: 0,
            released: 0,
            conflicts: 0,
            pulled_digest: None,
            totals: Vec::new(),
            sent_bytes: 0,
            received_bytes: 0,
            redials: 0,
            chunk_bytes: None,
            rates: Rates::default(),
            seconds: 0.0,
            comparison: None,
            error: None,
            number: None,
            was_begun: false,
        }
    }

    /// A run that was not even begun.
    pub(crate) fn not_begun(branch: &str, task: Task, error: DriveError) -> Self {
        let mut report = Self::new(branch, task);
        report.finish(Err(error), Duration::ZERO);
        report
    }

    pub(super) fn finish(&mut self, result: Result<(), DriveError>, elapsed: Duration) {
        self.seconds = elapsed.as_secs_f64();
        self.result = result.as_ref().map_or_else(RunResult::of, |()| RunResult::Done);
        self.error = result.err();
    }
}
