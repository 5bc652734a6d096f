//! `office-client`: the office's command line. It connects to the shop agents and decides what happens.
#![forbid(unsafe_code)]

mod alerts;
mod cli;
mod commands;
mod config;
mod conformance;
mod console;
mod driver;
mod error;
mod exit;
mod limits;
mod link;
mod output;
mod page;
mod schedule;
mod settings;
mod standing;
mod stop;
mod units;

use std::process::ExitCode;

use crate::cli::Cli;
use crate::error::CommandError;
use crate::output::Printer;
use crate::stop::Stop;

fn main() -> ExitCode {
    let cli = Cli::read();
    let printer = Printer::new(cli.global.json, cli.global.quiet);
    start_log(cli.global.verbose);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(source) => {
            let error = CommandError::failed(format!("the program cannot start: {source}"));
            printer.error(&error);
            return exit::code(&Err(error));
        }
    };
    let result = runtime.block_on(run(cli, &printer));
    if let Err(error) = &result {
        printer.error(error);
    }
    if result.is_ok() && installation::said::is_lost() {
        return ExitCode::from(exit::FAILED);
    }
    exit::code(&result)
}

/// Runs the command until it ends or is told to stop at once.
async fn run(cli: Cli, printer: &Printer) -> Result<commands::Outcome, CommandError> {
    let stop = Stop::install(*printer);
    let result = tokio::select! {
        result = commands::run(cli, printer, &stop) => result,
        () = stop.at_once() => Err(CommandError::Interrupted),
    };
    // however it has ended: a line that is still up costs money
    link::hang_up_all().await;
    result
}

/// Logs to stderr: warnings, with `-v` what happens, with `-vv` every chunk. `RUST_LOG` overrides it.
fn start_log(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let default = match verbose {
        0 => "warn",
        1 => "info",
        2 => "info,office_client=debug,replica=debug,protocol=debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // nobody reads it any more: that ends nothing
    let log = log.log_internal_errors(false);
    log.with_ansi(output::is_colourful()).init();
}
