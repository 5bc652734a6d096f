//! `office-client status`

use std::time::SystemTime;

use super::{Opened, Outcome};
use crate::alerts;
use crate::cli::StatusArgs;
use crate::error::CommandError;
use crate::output::{self, Printer, Table};
use crate::settings::Settings;
use crate::standing;

/// A line per branch.
pub(crate) async fn run(args: StatusArgs, settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    let opened = Opened::open(settings).await?;
    let result = status(&args, settings, printer, &opened).await;
    opened.close(result).await
}

async fn status(
    args: &StatusArgs,
    settings: &Settings,
    printer: &Printer,
    opened: &Opened,
) -> Result<Outcome, CommandError> {
    let office = &opened.office;
    let mut branches = office.branches().await?;
    for name in &args.names {
        // an unknown name is an error that names the nearest one
        office.branch(name).await?;
    }
    if !args.names.is_empty() {
        branches.retain(|branch| args.names.contains(&branch.name));
    }
    let mut table = Table::new(&[
        "branch",
        "policy",
        "shop's changes",
        "office's changes",
        "waiting",
        "conflicts",
        "quarantine",
        "last result",
    ]);
    let now = SystemTime::now();
    let mut told = alerts::of_office(&settings.state_dir, settings.alert_room);
    for standing in standing::of(office, branches).await? {
        printer.object(&output::status_object(&standing, now));
        table.line(output::status_cells(&standing, now));
        told.extend(alerts::of(&standing, now));
    }
    if table.is_empty() {
        printer.talk("there is no branch yet: `office-client branch add NAME --url URL`");
    } else {
        printer.table(&table);
    }
    for alert in told {
        match &alert.branch {
            Some(branch) => printer.talk(&format!("{branch}: {}", alert.words)),
            None => printer.talk(&alert.words),
        }
    }
    Ok(Outcome::Done)
}
