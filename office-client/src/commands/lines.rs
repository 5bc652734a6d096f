//! Which branches are called at the same time, and which one after the other because they share a line.

use std::sync::Arc;

use protocol::session::office::Task;
use replica::office::Branch;
use tokio::sync::mpsc::UnboundedSender;

use crate::driver::{self, DriveError, Job, Report};
use crate::link::Line;
use crate::stop::Stop;

/// Branches that are called one after the other, in order.
pub(super) type Queue<'a> = Vec<Job<'a>>;

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

/// Updates the branches of a line: it is brought up for the first one that is called, stays up as long as the next one
/// uses the same commands, and is taken down after the last. A branch whose turn comes after the user has asked to stop
/// is not begun.
pub(super) async fn run(queue: Queue<'_>, stop: &Stop, reports: UnboundedSender<Report>) {
    let mut line: Option<Arc<Line>> = None;
    for job in queue {
        if stop.requested() {
            let _ = reports.send(Report::not_begun(&job.branch.name, Task::Update, DriveError::Interrupted));
            continue;
        }
        let report = match driver::line_settings(&job.branch) {
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
                let report = driver::run_over(job, Task::Update, &current).await;
                line = Some(current);
                report
            }
            Err(error) => Report::not_begun(&job.branch.name, Task::Update, error),
        };
        // nobody listens any more when the program is about to end
        let _ = reports.send(report);
    }
    if let Some(line) = line {
        line.down().await;
    }
}
