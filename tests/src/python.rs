//! Python scripts: legacy servers and clients of the protocol in another language.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::process::{self, Finished, Process};

/// Whether there is a `python3`.
pub fn is_there() -> bool {
    Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The command that runs a script, unbuffered so that its words arrive when they are said.
pub fn command<S: AsRef<OsStr>>(script: &Path, args: &[S]) -> Command {
    let mut command = Command::new("python3");
    command.arg("-u").arg(script).args(args).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Runs a script to its end.
///
/// # Panics
/// If there is no `python3`, or it takes too long.
pub fn run<S: AsRef<OsStr>>(script: &Path, args: &[S]) -> Finished {
    process::run(&mut command(script, args))
}

/// Starts a script that goes on, such as a server.
///
/// # Panics
/// If there is no `python3`.
pub fn spawn<S: AsRef<OsStr>>(script: &Path, args: &[S]) -> Process {
    Process::spawn(&mut command(script, args))
}
