//! The commands, one file each.

mod audit;
mod backup;
mod bundle;
mod call;
mod carried;
mod check;
mod completions;
mod man;
mod open;
mod password;
mod purge_ok;
mod renewal;
mod restore_before_clean;
mod run;
mod setup;
mod status;
mod uninstall;
mod user;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// What went wrong, for the last line on stderr.
pub(crate) type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// Carries out the command.
pub(crate) fn carry_out(cli: Cli) -> Result<ExitCode, CommandError> {
    crate::logging::start(cli.log, &cli.log_level);
    crate::service::close_new_files();
    // what root does by hand must not lock the service out of its own files; set-up sees to that by itself
    let place = cli.command.place().map(crate::settings::state_dir);
    let _hand_over = place.and_then(Result::ok).map(|dir| installation::HandOver::of(&dir));
    match cli.command {
        Command::Setup(args) => setup::setup(args),
        Command::Run(args) => on_runtime(run::run(args)),
        Command::Check(args) => on_runtime(check::check(args)),
        Command::Status { place, json } => status::status(&place, json),
        Command::Audit { place, limit, json } => audit::audit(&place, limit, json),
        Command::User(command) => user::user(command),
        Command::Backup(args) => on_runtime(backup::backup(args)),
        Command::Restore(args) => on_runtime(backup::restore(args)),
        Command::AfterRestore(args) => on_runtime(renewal::after_restore(args)),
        Command::AfterUpgrade(args) => on_runtime(renewal::after_upgrade(args)),
        Command::Uninstall(args) => on_runtime(uninstall::uninstall(args)),
        Command::RestoreBeforeClean(args) => on_runtime(restore_before_clean::restore(args)),
        Command::Import(args) => on_runtime(carried::import(args)),
        Command::Export(args) => on_runtime(carried::export(args)),
        Command::PurgeOk(args) => on_runtime(purge_ok::purge_ok(args)),
        Command::Call(args) => on_runtime(call::call(args)),
        Command::Completions { shell } => completions::print(shell),
        Command::Man => man::print(),
    }
}

fn on_runtime(work: impl Future<Output = Result<ExitCode, CommandError>>) -> Result<ExitCode, CommandError> {
    // few threads: each costs stack, and the work is the database's
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get).clamp(2, 4);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(96)
        .thread_stack_size(1 << 20)
        .enable_all()
        .build()?;
    runtime.block_on(work)
}
