//! `office-client adopt NAME`

use super::{Opened, Outcome, password, update};
use crate::cli::AdoptArgs;
use crate::driver::{self, DriveError, Job};
use crate::error::CommandError;
use crate::exit;
use crate::output::{self, Board, Printer};
use crate::settings::Settings;
use crate::stop::Stop;

/// Takes in a shop that has its data already.
pub(crate) async fn run(
    args: AdoptArgs,
    settings: &Settings,
    printer: &Printer,
    stop: &Stop,
) -> Result<Outcome, CommandError> {
    let opened = Opened::open(settings).await?;
    let result = adopt(&args, settings, printer, stop, &opened).await;
    opened.close(result).await
}

async fn adopt(
    args: &AdoptArgs,
    settings: &Settings,
    printer: &Printer,
    stop: &Stop,
    opened: &Opened,
) -> Result<Outcome, CommandError> {
    let branch = opened.office.branch(&args.name).await?;
    let name = branch.name.clone();
    let typed_password = password::ask_for(&branch)?;
    let board = Board::of_runs(printer);
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
    let adopted = driver::adopt(&job, args.repair).await;
    job.progress.finish();
    let adoption = adopted.map_err(|error| CommandError::Drive { branch: name.clone(), error })?;
    let differing = adoption.comparison.differing().count();
    board.suspended(|| {
        if !adoption.repeated {
            output::comparison_objects(&name, &adoption.comparison).iter().for_each(|object| printer.object(object));
            output::comparison_lines(&name, &adoption.comparison).iter().for_each(|line| printer.line(line));
        }
        printer.object(&output::adoption_object(&name, &adoption));
        if adoption.taken_in {
            printer.line(&output::adoption_line(&name, &adoption));
        }
    });
    if !adoption.taken_in {
        return Err(CommandError::Drive { branch: name, error: DriveError::Disagree(differing) });
    }
    if !adoption.repeated && adoption.marked.sent == 0 && adoption.marked.pulled == 0 {
        return Ok(Outcome::Done);
    }
    // what was changed meanwhile, what a repair has found, or what a run that died has left
    let report = driver::carry(job).await.map_err(|error| CommandError::Drive { branch: name, error })?;
    update::tell(&report, printer, &board);
    Ok(report.error.as_ref().map_or(Outcome::Done, |error| Outcome::Reported(exit::of_drive(error))))
}
