//! `office-client clone NAME`

use protocol::session::office::Task;

use super::{Opened, Outcome, password, update};
use crate::cli::CloneArgs;
use crate::driver::{self, Job};
use crate::error::CommandError;
use crate::exit;
use crate::output::{self, Board, Printer};
use crate::settings::Settings;
use crate::stop::Stop;

/// Gives a shop its first full copy, or a new one.
pub(crate) async fn run(
    args: CloneArgs,
    settings: &Settings,
    printer: &Printer,
    stop: &Stop,
) -> Result<Outcome, CommandError> {
    let opened = Opened::open(settings).await?;
    let result = clone(&args, settings, printer, stop, &opened).await;
    opened.close(result).await
}

async fn clone(
    args: &CloneArgs,
    settings: &Settings,
    printer: &Printer,
    stop: &Stop,
    opened: &Opened,
) -> Result<Outcome, CommandError> {
    let branch = opened.office.branch(&args.name).await?;
    if let Some(path) = &args.export {
        return update::export(&branch, Task::Clone, args.force, path, printer, opened).await;
    }
    let typed_password = password::ask_for(&branch)?;
    let board = Board::of_runs(printer);
    let job = Job {
        office: &opened.office,
        settings,
        progress: board.branch(&branch.name),
        branch,
        stop: stop.clone(),
        force: args.force,
        typed_password,
        by: settings.user.clone(),
    };
    if args.dry_run {
        let plan = driver::plan(&job, Task::Clone).await;
        job.progress.finish();
        let plan = plan.map_err(|error| CommandError::Drive { branch: args.name.clone(), error })?;
        printer.object(&output::plan_object(&args.name, "clone", &plan));
        output::plan_lines(&args.name, "clone", &plan).iter().for_each(|line| printer.line(line));
        return Ok(Outcome::Done);
    }
    stop.expect_graceful();
    let report = driver::run(job, Task::Clone).await;
    update::tell(&report, printer, &board);
    Ok(report.error.as_ref().map_or(Outcome::Done, |error| Outcome::Reported(exit::of_drive(error))))
}
