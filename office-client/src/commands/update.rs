//! `office-client update NAME...|--all`

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::StreamExt as _;
use protocol::session::office::Task;
use replica::office::Branch;

use super::{Opened, Outcome, lines, password, watch};
use crate::cli::UpdateArgs;
use crate::driver::{self, DriveError, Job, Report, RunResult};
use crate::error::{self, CommandError};
use crate::exit;
use crate::output::{self, Board, Printer};
use crate::settings::Settings;
use crate::stop::Stop;
use crate::units;

/// Pulls and pushes, several branches at a time; one that is dead delays no other.
pub(crate) async fn run(
    args: UpdateArgs,
    settings: &Settings,
    printer: &Printer,
    stop: &Stop,
) -> Result<Outcome, CommandError> {
    let opened = Opened::open(settings).await?;
    let result = update(&args, settings, printer, stop, &opened).await;
    opened.close(result).await
}

async fn update(
    args: &UpdateArgs,
    settings: &Settings,
    printer: &Printer,
    stop: &Stop,
    opened: &Opened,
) -> Result<Outcome, CommandError> {
    let branches = chosen(args, opened).await?;
    if let Some(path) = &args.export {
        let [branch] = branches.as_slice() else {
            return Err(CommandError::usage("a file is for one branch: name one with --export"));
        };
        return export(branch, Task::Update, args.force, path, printer, opened).await;
    }
    if let Some(every) = args.watch {
        return watch::run(args, every, settings, printer, stop, opened).await;
    }
    if branches.is_empty() {
        printer.talk("there is no branch to update");
        return Ok(Outcome::Done);
    }
    let at_a_time = opened.office.updates_at_a_time(settings.jobs.min(branches.len())).await?;
    let updates = lines::Updates::new(opened, settings, printer, stop, args.force, typed_passwords(&branches, args)?);
    let board = &updates.board;
    if args.dry_run {
        let jobs = branches.into_iter().map(|branch| updates.job(branch));
        return plans(jobs, at_a_time, printer, board).await;
    }
    stop.expect_graceful();
    // a report is told when it is there, not when its line has come to an end
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let lines = lines::lines(branches).into_iter().map(|line| {
        let (updates, sender) = (&updates, sender.clone());
        async move { updates.start(line, sender).await }
    });
    let mut running = futures_util::stream::iter(lines).buffer_unordered(at_a_time);
    let mut reports = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(report) = receiver.recv() => {
                tell(&report, printer, board);
                reports.push(report);
            }
            line = running.next() => match line {
                Some(line) => lines::ended(line),
                None => break,
            },
        }
    }
    while let Ok(report) = receiver.try_recv() {
        tell(&report, printer, board);
        reports.push(report);
    }
    Ok(summary(&reports, printer))
}

/// Passwords of branches that need one to be typed, by name.
pub(super) fn typed_passwords(
    branches: &[Branch],
    args: &UpdateArgs,
) -> Result<BTreeMap<String, String>, CommandError> {
    let mut passwords = BTreeMap::new();
    // with --all nobody may be there to ask: such a branch fails alone
    for branch in branches.iter().filter(|_| !args.all) {
        if let Some(password) = password::ask_for(branch)? {
            passwords.insert(branch.name.clone(), password);
        }
    }
    Ok(passwords)
}

/// Writes a file instead of calling the shop.
pub(crate) async fn export(
    branch: &Branch,
    task: Task,
    force: bool,
    path: &Path,
    printer: &Printer,
    opened: &Opened,
) -> Result<Outcome, CommandError> {
    let exported = driver::export(&opened.office, branch, task, force, path).await;
    let exported = exported.map_err(|error| CommandError::Drive { branch: branch.name.clone(), error })?;
    printer.object(&output::export_object(&branch.name, task, path, &exported));
    printer.line(&output::export_line(&branch.name, task, path, &exported));
    Ok(Outcome::Done)
}

/// The branches named, each once, or all that are not paused.
pub(super) async fn chosen(args: &UpdateArgs, opened: &Opened) -> Result<Vec<Branch>, CommandError> {
    if args.all {
        let mut branches = opened.office.branches().await?;
        branches.retain(|branch| !branch.retired && (!branch.paused || args.force));
        let last = opened.office.last_results().await?;
        // those that could not be reached the last time come last: waiting for them must not hold up the others
        let is_dead = |id| last.get(&id).is_some_and(|result| result == RunResult::Unreachable.as_str());
        branches.sort_by_key(|branch| is_dead(branch.id));
        return Ok(branches);
    }
    let mut branches: Vec<Branch> = Vec::new();
    for name in &args.names {
        if branches.iter().all(|branch| branch.name != *name) {
            branches.push(opened.office.branch(name).await?);
        }
    }
    Ok(branches)
}

async fn plans<'a>(
    jobs: impl Iterator<Item = Job<'a>>,
    jobs_max: usize,
    printer: &Printer,
    board: &Board,
) -> Result<Outcome, CommandError> {
    let planned = jobs.map(|job| async move {
        let plan = driver::plan(&job, Task::Update).await;
        job.progress.finish();
        (job.branch.name.clone(), plan)
    });
    let mut running = futures_util::stream::iter(planned).buffer_unordered(jobs_max);
    let (mut all, mut codes) = (0, Vec::new());
    while let Some((branch, plan)) = running.next().await {
        all += 1;
        board.suspended(|| match plan {
            Ok(plan) => {
                printer.object(&output::plan_object(&branch, "update", &plan));
                output::plan_lines(&branch, "update", &plan).iter().for_each(|line| printer.line(line));
            }
            Err(error) => {
                tell_error(&branch, &error, printer);
                codes.push(exit::of_drive(&error));
            }
        });
    }
    Ok(outcome(all, &codes))
}

/// Tells how one branch went: the result to stdout, an error to stderr.
pub(crate) fn tell(report: &Report, printer: &Printer, board: &Board) {
    board.suspended(|| {
        printer.object(&output::report_object(report));
        match &report.error {
            None => printer.line(&output::report_line(report)),
            Some(error) => {
                let hint = error.hint(&report.branch);
                printer.error_text(&format!("branch `{}`: {}", report.branch, error::chain(error)), hint.as_deref());
            }
        }
    });
}

/// Tells that a branch could not even be looked at.
pub(crate) fn tell_error(branch: &str, error: &DriveError, printer: &Printer) {
    let (text, hint) = (error::chain(error), error.hint(branch));
    printer.object(&output::error_object(branch, &text, hint.as_deref()));
    printer.error_text(&format!("branch `{branch}`: {text}"), hint.as_deref());
}

fn summary(reports: &[Report], printer: &Printer) -> Outcome {
    let failed: Vec<&Report> = reports.iter().filter(|report| report.error.is_some()).collect();
    if reports.len() > 1 {
        let named = |wanted: RunResult| {
            let names: Vec<&str> =
                failed.iter().filter(|report| report.result == wanted).map(|report| report.branch.as_str()).collect();
            (!names.is_empty()).then(|| format!(", {} {} ({})", names.len(), wanted.as_str(), names.join(", ")))
        };
        let mut line =
            format!("{}: {} done", units::count(reports.len() as i64, "branch"), reports.len() - failed.len());
        let results = [
            RunResult::Failed,
            RunResult::Refused,
            RunResult::Unreachable,
            RunResult::Postponed,
            RunResult::Interrupted,
        ];
        for result in results {
            line.extend(named(result));
        }
        printer.line(&line);
    }
    let codes: Vec<u8> = failed.iter().filter_map(|report| report.error.as_ref()).map(exit::of_drive).collect();
    outcome(reports.len(), &codes)
}

/// One branch has its own exit code; of several, one that failed makes it 3, and an interruption 130.
pub(crate) fn outcome(all: usize, codes: &[u8]) -> Outcome {
    match codes {
        [] => Outcome::Done,
        [code] if all == 1 => Outcome::Reported(*code),
        codes if codes.contains(&exit::INTERRUPTED) => Outcome::Reported(exit::INTERRUPTED),
        _ => Outcome::SomeFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failed_branch_is_never_hidden_by_the_others() {
        assert_eq!(outcome(3, &[]), Outcome::Done);
        assert_eq!(outcome(3, &[exit::UNREACHABLE]), Outcome::SomeFailed);
        assert_eq!(outcome(1, &[exit::UNREACHABLE]), Outcome::Reported(5));
        assert_eq!(outcome(2, &[exit::FAILED, exit::INTERRUPTED]), Outcome::Reported(130));
    }
}
