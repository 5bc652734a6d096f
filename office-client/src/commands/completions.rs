//! `office-client completions SHELL`

use clap::CommandFactory as _;

use super::Outcome;
use crate::cli::{Cli, CompletionsArgs, Shell};
use crate::error::CommandError;
use crate::output::Printer;

/// Prints the completions of a shell.
pub(crate) fn run(args: &CompletionsArgs, printer: &Printer) -> Result<Outcome, CommandError> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Elvish => clap_complete::Shell::Elvish,
        Shell::Fish => clap_complete::Shell::Fish,
        Shell::PowerShell => clap_complete::Shell::PowerShell,
        Shell::Zsh => clap_complete::Shell::Zsh,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "office-client", &mut text);
    printer.raw(&String::from_utf8_lossy(&text));
    Ok(Outcome::Done)
}
