//! `shop-agent check`: a line for each thing that must be right.

use std::path::Path;
use std::process::ExitCode;

use nix::unistd::AccessFlags;
use replica::ReplicaError;
use replica::database::Database;
use replica::findings::Finding;

use super::{CommandError, bundle, open};
use crate::cli::{CheckArgs, NodeArgs};
use crate::rpc::chain;
use crate::server::users::{Users, users_path};
use crate::session::room;
use crate::settings::Settings;
use installation::said;

pub(super) async fn check(args: CheckArgs) -> Result<ExitCode, CommandError> {
    let node = args.node.clone();
    let report = look(args.node, Before::AsItIs).await?;
    if let Some(path) = &args.bundle {
        bundle::write(path, &node, &report).await?;
        said::talk(format_args!("written: {}", path.display()));
    }
    Ok(if report.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// What is there: nothing is made or mended, or what is wrong would be gone before it was said.
    AsItIs,
    /// What the first start of the agent makes, which is done before.
    Installed,
}

/// Looks at everything, and prints each line as it is found.
pub(super) async fn look(args: NodeArgs, before: Before) -> Result<Report, CommandError> {
    let mut report = Report { is_good: true, lines: String::new() };
    let settings = match Settings::resolve(args) {
        Ok(settings) => settings,
        Err(error) => {
            report.line("configuration", Err(chain(error.as_ref())));
            return Ok(report);
        }
    };
    report.line("configuration", Ok(format!("branch {}, policy {}", settings.branch, settings.policy.name())));
    report.line("state directory", state_dir(&settings));
    report.line("disk", disk(&settings));
    report.line("credentials", credentials(&settings));
    report.line("certificate", certificate(&settings));
    if before == Before::AsItIs && !Database::is_there(&settings.database) {
        report.line("database", private_to_be_made(&settings));
        return Ok(report);
    }
    match open::database(&settings).await {
        Err(error) => report.line("database", Err(chain(&error))),
        Ok(database) => {
            match in_database(&settings, &database, before).await {
                Err(error) => report.line("database", Err(chain(&error))),
                Ok(lines) => lines.into_iter().for_each(|(what, result)| report.line(&what, result)),
            }
            database.close().await?;
        }
    }
    Ok(report)
}

async fn in_database(settings: &Settings, database: &Database, before: Before) -> Result<Vec<Finding>, ReplicaError> {
    if before == Before::Installed {
        open::shop(settings, database.clone()).await?;
    }
    replica::shop::inspect(&open::options(settings, database.clone())).await
}

/// A private database is made by the first start of the agent; whether it can be.
fn private_to_be_made(settings: &Settings) -> Result<String, String> {
    let found = replica::embedded::find_binaries(settings.pg_bindir.as_deref()).map_err(|error| chain(&error))?;
    Ok(format!(
        "private, made when the agent starts for the first time, by PostgreSQL {} in {}",
        found.major,
        found.dir.display()
    ))
}

/// What was found.
pub(super) struct Report {
    /// Whether everything is as it should be.
    pub(super) is_good: bool,
    /// Every line that was printed.
    pub(super) lines: String,
}

impl Report {
    fn line(&mut self, what: &str, result: Result<String, String>) {
        let line = match result {
            Ok(text) => format!("ok    {what}: {text}"),
            Err(text) => {
                self.is_good = false;
                format!("WRONG {what}: {text}")
            }
        };
        said::line(&line);
        self.lines += &(line + "\n");
    }
}

fn state_dir(settings: &Settings) -> Result<String, String> {
    let dir = settings.state_dir.display();
    if !settings.state_dir.exists() {
        let above = existing(&settings.state_dir);
        let may = nix::unistd::access(above, AccessFlags::W_OK | AccessFlags::X_OK);
        may.map_err(|error| format!("{dir} does not exist, and cannot be made in {}: {error}", above.display()))?;
        return Ok(format!("{dir}, made when the agent starts for the first time"));
    }
    let probe = settings.state_dir.join(".check");
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(|e| format!("{dir}: {e}"))?;
    Ok(dir.to_string())
}

/// How often the reserve has to fit into what is free: at the reserve itself nothing of an office is taken any more, and
/// somebody should hear of it before.
const RESERVES_WANTED: u64 = 2;

/// Room on the disk of the state directory.
fn disk(settings: &Settings) -> Result<String, String> {
    let dir = existing(&settings.state_dir);
    let free = room::free(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    enough(free, settings.sessions.disk_reserve)
}

fn enough(free: u64, reserve: u64) -> Result<String, String> {
    const MIB: u64 = 1 << 20;
    let wanted = reserve.saturating_mul(RESERVES_WANTED);
    let found = format!("{} MiB free", free / MIB);
    if free >= wanted {
        return Ok(found);
    }
    Err(format!(
        "{found}, which is less than {} MiB: make room; at {} MiB (disk_reserve) nothing of the office is taken any more",
        wanted.div_ceil(MIB),
        reserve.div_ceil(MIB)
    ))
}

/// The directory itself, or the one above it that is there.
fn existing(dir: &Path) -> &Path {
    dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("."))
}

fn certificate(settings: &Settings) -> Result<String, String> {
    match &settings.tls {
        Some(files) => crate::server::tls::check(files),
        None if settings.listen.ip().is_loopback() => Ok("none: plain HTTP on loopback".to_owned()),
        None => Ok("none: INSECURE, plain HTTP beyond this machine".to_owned()),
    }
}

fn credentials(settings: &Settings) -> Result<String, String> {
    let users = Users::load(&users_path(&settings.state_dir)).map_err(|error| chain(&error))?.users.len();
    match (settings.no_auth, users) {
        (true, _) => Ok("off, everybody on this machine is let in".to_owned()),
        (false, 0) => Err("there are no users; run: shop-agent user add NAME".to_owned()),
        (false, users) => Ok(format!("{users} users")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundary_of_reserves_wanted() {
        const MIB: u64 = 1 << 20;
        for (free, is_enough) in [(0, false), (512 * MIB - 1, false), (512 * MIB, true), (512 * MIB + 1, true)] {
            assert_eq!(enough(free, 256 * MIB).is_ok(), is_enough, "{free}");
        }
        let found = enough(300 * MIB, 256 * MIB).unwrap_err();
        assert!(found.contains("300 MiB free") && found.contains("512 MiB") && found.contains("256 MiB"), "{found}");
        assert!(enough(u64::MAX - 1, u64::MAX).is_err(), "no reserve is too large to be told");
    }
}
