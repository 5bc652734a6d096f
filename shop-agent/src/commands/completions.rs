//! `shop-agent completions`: a completion script.

use std::process::ExitCode;

use clap::CommandFactory;

use super::CommandError;
use crate::cli::Cli;

pub(super) fn print(shell: clap_complete::Shell) -> Result<ExitCode, CommandError> {
    clap_complete::generate(shell, &mut Cli::command(), "shop-agent", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
