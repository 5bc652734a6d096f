//! `shop-agent man`: the man page.

use std::process::ExitCode;

use clap::CommandFactory;

use super::CommandError;
use crate::cli::Cli;

pub(super) fn print() -> Result<ExitCode, CommandError> {
    installation::said::data(&installation::manual_page(Cli::command())?);
    Ok(ExitCode::SUCCESS)
}
