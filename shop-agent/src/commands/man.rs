//! `shop-agent man`: the man page.

use std::process::ExitCode;

use clap::CommandFactory;

use super::CommandError;
use crate::cli::Cli;

pub(super) fn print() -> Result<ExitCode, CommandError> {
    clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}
