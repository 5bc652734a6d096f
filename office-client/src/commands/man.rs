//! `office-client man`

use clap::CommandFactory as _;

use super::Outcome;
use crate::cli::Cli;
use crate::error::CommandError;
use crate::output::Printer;

/// Prints the manual page: the program, then each subcommand.
pub(crate) fn run(printer: &Printer) -> Result<Outcome, CommandError> {
    let failed = |error: std::io::Error| CommandError::failed(format!("the manual page cannot be written: {error}"));
    let mut command = Cli::command();
    command.build();
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut text).map_err(failed)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        // a heading per subcommand keeps everything in one page
        let man = clap_mangen::Man::new(sub.clone());
        text.extend_from_slice(format!(".SH \"{}\"\n", sub.get_name().to_uppercase()).as_bytes());
        man.render_description_section(&mut text).map_err(failed)?;
        man.render_options_section(&mut text).map_err(failed)?;
    }
    printer.raw(&String::from_utf8_lossy(&text));
    Ok(Outcome::Done)
}
