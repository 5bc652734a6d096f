//! `office-client man`

use clap::CommandFactory as _;

use super::Outcome;
use crate::cli::Cli;
use crate::error::CommandError;
use crate::output::Printer;

/// Prints the manual page: the program, then each subcommand.
pub(crate) fn run(printer: &Printer) -> Result<Outcome, CommandError> {
    let page = installation::manual_page(Cli::command())
        .map_err(|error| CommandError::failed(format!("the manual page cannot be written: {error}")))?;
    printer.raw(&page);
    Ok(Outcome::Done)
}
