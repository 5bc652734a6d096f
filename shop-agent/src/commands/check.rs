//! `shop-agent check`: a line for each thing that must be right.

use std::process::ExitCode;

use super::{CommandError, bundle, open};
use crate::cli::{CheckArgs, NodeArgs};
use crate::rpc::chain;
use crate::server::users::{Users, users_path};
use crate::settings::Settings;
use installation::said;

pub(super) async fn check(args: CheckArgs) -> Result<ExitCode, CommandError> {
    let node = args.node.clone();
    let report = look(args.node).await?;
    if let Some(path) = &args.bundle {
        bundle::write(path, &node, &report).await?;
        said::talk(format_args!("written: {}", path.display()));
    }
    Ok(if report.is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Looks at everything, and prints each line as it is found.
pub(super) async fn look(args: NodeArgs) -> Result<Report, CommandError> {
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
    report.line("credentials", credentials(&settings));
    report.line("certificate", certificate(&settings));
    match open::database(&settings).await {
        Err(error) => report.line("database", Err(chain(&error))),
        Ok(database) => {
            match open::shop(&settings, database.clone()).await {
                Err(error) => report.line("database", Err(chain(&error))),
                Ok(shop) => match shop.check().await {
                    Err(error) => report.line("database", Err(chain(&error))),
                    Ok(lines) => lines.into_iter().for_each(|(what, result)| report.line(&what, result)),
                },
            }
            database.close().await?;
        }
    }
    Ok(report)
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
    crate::service::make_state_dir(&settings.state_dir).map_err(|error| error.to_string())?;
    let probe = settings.state_dir.join(".check");
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(|e| format!("{dir}: {e}"))?;
    Ok(dir.to_string())
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
