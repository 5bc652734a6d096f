//! `office-client quarantine [list|show ID|retry ID|drop ID]`

use super::{Opened, Outcome};
use crate::cli::{QuarantineArgs, QuarantineCommand, QuarantineList};
use crate::error::CommandError;
use crate::exit;
use crate::output::{self, Printer, Table};
use crate::page::Page;
use crate::settings::Settings;

/// Runs `quarantine ...`.
pub(crate) async fn run(args: QuarantineArgs, settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    let QuarantineArgs { command, list } = args;
    let command = command.unwrap_or(QuarantineCommand::List(list));
    // what is wrong on the command line needs no database
    match &command {
        QuarantineCommand::List(list) if list.limit < 1 => {
            return Err(CommandError::usage("`--limit` is at least 1"));
        }
        QuarantineCommand::Drop { id, yes: false } => {
            return Err(CommandError::usage(format!(
                "row {id} would be lost at the office: its change is dropped, and what waits for it goes on waiting"
            ))
            .with_hint(format!(
                "look at it with `office-client quarantine show {id}`, then repeat the command with --yes"
            )));
        }
        _ => {}
    }
    let opened = Opened::open(settings).await?;
    let result = match command {
        QuarantineCommand::List(args) => list_rows(&args, printer, &opened).await,
        QuarantineCommand::Show { id } => show(id, printer, &opened).await,
        QuarantineCommand::Retry { id } => retry(id, printer, &opened).await,
        QuarantineCommand::Drop { id, .. } => drop_row(id, printer, &opened).await,
    };
    opened.close(result).await
}

async fn list_rows(args: &QuarantineList, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    if let Some(name) = &args.branch {
        opened.office.branch(name).await?;
    }
    let ask = async |limit| opened.office.quarantine(args.branch.as_deref(), None, limit).await;
    let Page { shown, more } = Page::of(args.limit, ask).await?;
    let mut table = Table::new(&["id", "branch", "table", "key", "change", "reason", "since (UTC)"]);
    for entry in &shown {
        printer.object(&output::quarantine_object(entry));
        table.line(output::quarantine_cells(entry));
    }
    if shown.is_empty() {
        printer.talk("no row waits in quarantine");
    } else {
        printer.table(&table);
    }
    if more {
        printer.talk("there are more: `--limit N` shows them");
    }
    Ok(Outcome::Done)
}

async fn show(id: i64, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    let entry = opened.office.quarantined(id).await?;
    printer.object(&output::quarantine_object(&entry));
    output::quarantine_lines(&entry).iter().for_each(|line| printer.line(line));
    Ok(Outcome::Done)
}

/// Tries it again with all else that waits of its branch; 1 when it still waits.
async fn retry(id: i64, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    let before = opened.office.quarantined(id).await?;
    let applied = opened.office.retry_quarantined(id).await?;
    let still = opened.office.still_quarantined(id).await?;
    printer.object(&output::retried_object(&before, still.as_ref(), applied.released));
    match still {
        Some(entry) => {
            printer.line(&format!("row {id} still waits: {}", output::quarantine_reason(&entry)));
            Ok(Outcome::Reported(exit::FAILED))
        }
        None => {
            printer.line(&format!(
                "row {id} of {} has come in; {} in all",
                before.table,
                crate::units::count(applied.released, "row")
            ));
            Ok(Outcome::Done)
        }
    }
}

async fn drop_row(id: i64, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    let entry = opened.office.drop_quarantined(id).await?;
    printer.object(&output::quarantine_object(&entry));
    printer.line(&format!("row {id} of {} is dropped: the shop has it, the office has not", entry.table));
    Ok(Outcome::Done)
}
