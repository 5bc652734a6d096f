//! Which branches are called at the same time, and which one after the other because they share a line.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::session::office::Task;
use replica::office::{Branch, Office};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::{JoinError, JoinHandle};

use super::Opened;
use crate::driver::{self, DriveError, Job, Report};
use crate::link::Line;
use crate::output::{Board, Printer};
use crate::settings::Settings;
use crate::stop::Stop;

/// What the updates of all branches have in common. A copy is cheap: each line has its own.
#[derive(Clone)]
pub(super) struct Updates {
    /// The office's database.
    office: Office,
    /// The settings of the program.
    settings: Arc<Settings>,
    /// Whether to stop.
    stop: Stop,
    /// Where progress is shown.
    pub(super) board: Board,
    /// Whether the user insists.
    force: bool,
    /// Passwords that were typed, by branch.
    passwords: Arc<BTreeMap<String, String>>,
}

impl Updates {
    /// Updates as they were asked for on the command line.
    pub(super) fn new(
        opened: &Opened,
        settings: &Settings,
        printer: &Printer,
        stop: &Stop,
        force: bool,
        passwords: BTreeMap<String, String>,
    ) -> Self {
        Self {
            office: opened.office.clone(),
            settings: Arc::new(settings.clone()),
            stop: stop.clone(),
            board: Board::of_runs(printer),
            force,
            passwords: Arc::new(passwords),
        }
    }

    /// What one update of a branch needs.
    pub(super) fn job(&self, branch: Branch) -> Job<'_> {
        Job {
            office: &self.office,
            settings: &self.settings,
            progress: self.board.branch(&branch.name),
            stop: self.stop.clone(),
            force: self.force,
            typed_password: self.passwords.get(&branch.name).cloned(),
            by: self.settings.user.clone(),
            branch,
        }
    }

    /// Updates the branches of a line, as a task of its own: what one branch computes, or writes to the disk, delays no
    /// other while a core is idle.
    pub(super) fn start(&self, line: Vec<Branch>, reports: UnboundedSender<Report>) -> JoinHandle<()> {
        let updates = self.clone();
        tokio::spawn(async move { updates.run(line, reports).await })
    }
}

/// A line has come to its end; a branch whose update has panicked must not be missed.
pub(super) fn ended(line: Result<(), JoinError>) {
    if let Err(Ok(panic)) = line.map_err(JoinError::try_into_panic) {
        std::panic::resume_unwind(panic);
    }
}

/// The branches of every line; one whose line needs no care is alone.
pub(super) fn lines(branches: Vec<Branch>) -> Vec<Vec<Branch>> {
    let mut lines: Vec<(Option<String>, Vec<Branch>)> = Vec::new();
    for branch in branches {
        // settings that cannot be read are told by the run itself
        let key = driver::line_settings(&branch).ok().and_then(|settings| settings.key());
        match lines.iter_mut().find(|(known, _)| key.is_some() && *known == key) {
            Some((_, branches)) => branches.push(branch),
            None => lines.push((key, vec![branch])),
        }
    }
    lines.into_iter().map(|(_, branches)| branches).collect()
}

impl Updates {
    /// Updates the branches of a line: it is brought up for the first one that is called, stays up as long as the next one
    /// uses the same commands, and is taken down after the last. A branch whose turn comes after the user has asked to stop
    /// is not begun.
    async fn run(&self, branches: Vec<Branch>, reports: UnboundedSender<Report>) {
        let mut line: Option<Arc<Line>> = None;
        for branch in branches {
            if self.stop.requested() {
                let _ = reports.send(Report::not_begun(&branch.name, Task::Update, DriveError::Interrupted));
                continue;
            }
            let report = match driver::line_settings(&branch) {
                Ok(settings) => {
                    let current = match line.take() {
                        Some(line) if *line.settings() == settings => line,
                        other => {
                            if let Some(line) = other {
                                line.down().await;
                            }
                            Line::new(settings)
                        }
                    };
                    let report = driver::run_over(self.job(branch), Task::Update, &current).await;
                    line = Some(current);
                    report
                }
                Err(error) => Report::not_begun(&branch.name, Task::Update, error),
            };
            // nobody listens any more when the program is about to end
            let _ = reports.send(report);
        }
        if let Some(line) = line {
            line.down().await;
        }
    }
}
