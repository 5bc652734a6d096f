//! `office-client verify NAME...`

use super::{Opened, Outcome, password, update};
use crate::cli::VerifyArgs;
use crate::driver::{self, DriveError, Job};
use crate::error::CommandError;
use crate::exit;
use crate::output::{self, Board, Printer};
use crate::settings::Settings;
use crate::stop::Stop;

/// Compares every table of every branch named, one branch after the other.
pub(crate) async fn run(
    args: VerifyArgs,
    settings: &Settings,
    printer: &Printer,
    stop: &Stop,
) -> Result<Outcome, CommandError> {
    let opened = Opened::open(settings).await?;
    let result = verify(&args, settings, printer, stop, &opened).await;
    opened.close(result).await
}

async fn verify(
    args: &VerifyArgs,
    settings: &Settings,
    printer: &Printer,
    stop: &Stop,
    opened: &Opened,
) -> Result<Outcome, CommandError> {
    let mut branches = Vec::new();
    if args.all {
        branches = opened.office.branches().await?;
        branches.retain(|branch| branch.timestamp.is_some() && !branch.retired);
    }
    for name in &args.names {
        branches.push(opened.office.branch(name).await?);
    }
    let board = Board::new(!printer.is_quiet() && !printer.is_json());
    let (all, mut codes, mut differ) = (branches.len(), Vec::new(), false);
    for branch in branches {
        let name = branch.name.clone();
        let typed_password = if args.all { None } else { password::ask_for(&branch)? };
        let job = Job {
            office: &opened.office,
            settings,
            progress: board.branch(&name),
            branch,
            stop: stop.clone(),
            force: args.force,
            typed_password,
            by: settings.user.clone(),
        };
        if args.repair
            && let Some(code) = repair(&job, stop, printer, &board).await
        {
            codes.push(code);
            continue;
        }
        let branch = opened.office.branch(&name).await?;
        let job = Job { branch, ..job };
        job.progress.phase("comparing");
        let compared = match job.branch.timestamp {
            Some(_) => driver::verify(&job).await,
            None => Err(DriveError::NeverCloned),
        };
        job.progress.finish();
        match compared {
            Ok(comparison) => {
                output::comparison_objects(&name, &comparison).iter().for_each(|object| printer.object(object));
                output::comparison_lines(&name, &comparison).iter().for_each(|line| printer.line(line));
                if !comparison.offered {
                    printer.talk(&format!("{name}: nothing was compared, for the shop offers no digests"));
                }
                // what was not compared does not agree
                differ |= !comparison.offered || comparison.differing().next().is_some();
            }
            Err(error) => {
                update::tell_error(&name, &error, printer);
                codes.push(exit::of_drive(&error));
            }
        }
    }
    match update::outcome(all, &codes) {
        Outcome::Done if differ => Ok(Outcome::Differences),
        outcome => Ok(outcome),
    }
}

/// Repairs a branch and carries out what the repair found; the exit code when it failed.
async fn repair(job: &Job<'_>, stop: &Stop, printer: &Printer, board: &Board) -> Option<u8> {
    let name = job.branch.name.clone();
    let repaired = match job.branch.timestamp {
        Some(_) => driver::repair(job).await,
        None => Err(DriveError::NeverCloned),
    };
    let report = match repaired {
        Ok(repaired) => {
            printer.object(&output::repaired_object(&name, &repaired));
            printer.line(&output::repaired_line(&name, &repaired));
            let job = Job {
                office: job.office,
                settings: job.settings,
                branch: job.branch.clone(),
                stop: stop.clone(),
                progress: board.branch(&name),
                force: job.force,
                typed_password: job.typed_password.clone(),
                by: job.by.clone(),
            };
            driver::carry(job).await
        }
        Err(error) => Err(error),
    };
    match report {
        Ok(report) => {
            update::tell(&report, printer, board);
            report.error.as_ref().map(exit::of_drive)
        }
        Err(error) => {
            update::tell_error(&name, &error, printer);
            Some(exit::of_drive(&error))
        }
    }
}
