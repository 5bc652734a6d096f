//! `shop-agent completions`: a completion script.

use std::process::ExitCode;

use clap::CommandFactory;

use super::CommandError;
use crate::cli::Cli;

pub(super) fn print(shell: clap_complete::Shell) -> Result<ExitCode, CommandError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "shop-agent", &mut text);
    installation::said::data(&String::from_utf8_lossy(&text));
    Ok(ExitCode::SUCCESS)
}
