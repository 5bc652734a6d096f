//! `office-client check`: a line for everything that must be right, and how to mend what is not.

use replica::office::Branch;

use super::{Opened, Outcome, bundle};
use crate::cli::{CheckArgs, Global};
use crate::driver::{self, DriveError, Job, Probed};
use crate::error::{CommandError, chain};
use crate::output::{Board, Printer};
use crate::settings::Settings;
use crate::stop::Stop;
use crate::{config, units};

/// By how many seconds two clocks may differ before ages that are shown, and `newest-wins`, cannot be trusted.
const CLOCK_DIFFERENCE_MAX: f64 = 60.0;

/// Looks at everything, or at the configuration and the links named.
pub(crate) async fn run(
    args: &CheckArgs,
    global: &Global,
    printer: &Printer,
    stop: &Stop,
) -> Result<Outcome, CommandError> {
    let mut findings = Findings::new(printer);
    look(args, global, stop, &mut findings).await;
    if let Some(path) = &args.bundle {
        bundle::write(path, global, &findings).await?;
        printer.talk(&format!("written: {}", path.display()));
    }
    Ok(if findings.wrong == 0 { Outcome::Done } else { Outcome::Differences })
}

/// What was found out, told line by line.
pub(super) struct Findings<'a> {
    printer: &'a Printer,
    wrong: usize,
    lines: String,
}

impl<'a> Findings<'a> {
    /// Nothing yet.
    pub(super) fn new(printer: &'a Printer) -> Self {
        Self { printer, wrong: 0, lines: String::new() }
    }

    /// Every line that was told.
    pub(super) fn lines(&self) -> &str {
        &self.lines
    }

    /// Whether everything was right.
    pub(super) fn is_good(&self) -> bool {
        self.wrong == 0
    }

    fn line(&mut self, what: &str, found: Result<String, String>) {
        let (is_good, text) = match &found {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        self.wrong += usize::from(!is_good);
        self.printer.object(&serde_json::json!({ "check": what, "ok": is_good, "finding": text }));
        let line = format!("{} {what}: {text}", if is_good { "ok   " } else { "WRONG" });
        self.printer.line(&line);
        self.lines += &(line + "\n");
    }
}

/// Looks at everything.
pub(super) async fn look(args: &CheckArgs, global: &Global, stop: &Stop, findings: &mut Findings<'_>) {
    let settings = match Settings::load(global) {
        Ok(settings) => settings,
        Err(error) => return findings.line("configuration", Err(with_hint(&error))),
    };
    let _hand_over = installation::HandOver::of(&settings.state_dir);
    let read = config::path(global.config.as_deref());
    let place =
        read.map_or_else(|| "no file, everything has its default".to_owned(), |path| path.display().to_string());
    findings.line("configuration", Ok(place));
    findings.line("state directory", state_dir(&settings));
    findings.line("console", console(&settings));
    let opened = match Opened::open(&settings).await {
        Ok(opened) => opened,
        Err(error) => return findings.line("database", Err(with_hint(&error))),
    };
    match opened.office.check().await {
        Ok(found) => found.into_iter().for_each(|(what, found)| findings.line(&what, found)),
        Err(error) => findings.line("database", Err(with_hint(&error.into()))),
    }
    if !args.offline
        && let Err(error) = links(args, &settings, stop, &opened, findings).await
    {
        findings.line("branches", Err(with_hint(&error)));
    }
    if let Err(error) = opened.close(Ok(())).await {
        findings.line("database", Err(with_hint(&error)));
    }
}

fn state_dir(settings: &Settings) -> Result<String, String> {
    let dir = &settings.state_dir;
    let failed = |error: std::io::Error| {
        format!(
            "{}: {error}; run the command as the user it belongs to, or name another one with --state-dir",
            dir.display()
        )
    };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let probe = dir.join(".check");
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(failed)?;
    let room = nix::sys::statvfs::statvfs(dir).map_err(|error| failed(error.into()))?;
    let room = room.blocks_available().saturating_mul(room.fragment_size());
    let text = format!("{}, {} free", dir.display(), units::bytes(room));
    if room < settings.alert_room {
        return Err(format!(
            "{text}: less than {} (alert-room); make room before runs stop",
            units::bytes(settings.alert_room)
        ));
    }
    Ok(text)
}

/// How the console is reached, as the configuration has it.
fn console(settings: &Settings) -> Result<String, String> {
    let console = &settings.console;
    let certificate = match (&console.tls_cert, &console.tls_key) {
        (Some(certificate), Some(key)) => {
            let files =
                tls::ServerFiles { certificate: certificate.clone(), key: key.clone(), client_authorities: None };
            let facts = files.check().map_err(|error| chain(&error))?;
            let validity = facts.validity.map(|validity| validity.at(jiff::Timestamp::now())).transpose()?;
            format!("certificate {}, {}", facts.fingerprint, validity.unwrap_or_default())
        }
        _ if console.tls_self_signed => "a certificate of its own".to_owned(),
        _ => "no certificate".to_owned(),
    };
    let listen = console.listen.unwrap_or(crate::settings::CONSOLE_LISTEN_DEFAULT);
    if listen.ip().is_loopback() {
        return Ok(format!("{listen}, {certificate}"));
    }
    let users = crate::console::Users::load(&crate::console::users_path(&settings.state_dir));
    let users = users.map_err(|error| with_hint(&error))?.users.len();
    if users == 0 {
        return Err(format!(
            "{listen} can be reached by others, and nobody may log in: run office-client console user add NAME --role decide"
        ));
    }
    if certificate == "no certificate" && !console.insecure_http {
        return Err(format!(
            "{listen} can be reached by others without encryption: set tls-self-signed, or tls-cert and tls-key"
        ));
    }
    Ok(format!("{listen}, {certificate}, {users} users"))
}

async fn links(
    args: &CheckArgs,
    settings: &Settings,
    stop: &Stop,
    opened: &Opened,
    findings: &mut Findings<'_>,
) -> Result<(), CommandError> {
    let mut branches = Vec::new();
    for name in &args.names {
        branches.push(opened.office.branch(name).await?);
    }
    if args.names.is_empty() {
        branches = opened.office.branches().await?;
        if branches.is_empty() {
            findings.line("branches", Ok("none yet: office-client branch add NAME --url URL".to_owned()));
        }
    }
    let board = Board::new(false);
    for branch in branches {
        let what = format!("branch {}", branch.name);
        if args.names.is_empty() && (branch.paused || branch.retired) {
            let word = if branch.retired { "retired" } else { "paused" };
            findings.line(&what, Ok(format!("{word}: not called")));
            continue;
        }
        let job = Job {
            office: &opened.office,
            settings,
            progress: board.branch(&branch.name),
            branch: branch.clone(),
            stop: stop.clone(),
            force: false,
            typed_password: None,
            by: settings.user.clone(),
        };
        let probed = driver::probe(&job).await;
        job.progress.finish();
        tell(&what, &branch, probed, findings);
    }
    Ok(())
}

/// A line for each thing that a call has shown.
fn tell(what: &str, branch: &Branch, probed: Result<Probed, DriveError>, findings: &mut Findings<'_>) {
    let shop = match probed {
        Ok(shop) => shop,
        Err(error) => {
            let hint = error.hint(&branch.name).map(|hint| format!("; {hint}")).unwrap_or_default();
            return findings.line(what, Err(format!("{}: {}{hint}", branch.url, chain(&error))));
        }
    };
    let trust = match (branch.settings.contains_key("fingerprint"), branch.url.starts_with("https://")) {
        (true, _) => "the pinned certificate",
        (false, true) => "a certificate that an authority signed",
        (false, false) => "no encryption",
    };
    let login = branch.user.as_ref().map_or_else(|| "no login".to_owned(), |user| format!("logged in as {user}"));
    findings.line(&format!("{what} link"), Ok(format!("{} reached, {trust}, {login}", branch.url)));
    let Some(version) = shop.version else {
        return findings.line(&format!("{what} version"), Ok("a server of the base methods alone".to_owned()));
    };
    let ours = env!("CARGO_PKG_VERSION");
    let database = shop.database_version.unwrap_or_default();
    findings.line(&format!("{what} version"), Ok(format!("agent {version} (office {ours}), PostgreSQL {database}")));
    findings.line(&format!("{what} policy"), Ok(format!("`{}` at both ends, and the tables fit", branch.policy)));
    if let Some(ahead) = shop.clock_ahead_s {
        let found = format!("{:.0} s {} ours", ahead.abs(), if ahead < 0.0 { "behind" } else { "ahead of" });
        let is_near = ahead.abs() <= CLOCK_DIFFERENCE_MAX;
        let found =
            if is_near { Ok(found) } else { Err(format!("{found}: let a time service set both machines' clocks")) };
        findings.line(&format!("{what} clock"), found);
    }
    let history = match shop.same_history {
        None => Ok(format!("not cloned yet: office-client clone {}", branch.name)),
        Some(true) => Ok("both ends share one history".to_owned()),
        Some(false) => {
            Err(format!("a database was restored, replaced or copied: office-client verify {} --repair", branch.name))
        }
    };
    findings.line(&format!("{what} history"), history);
    if shop.quarantined > 0 {
        let text =
            format!("{} rows of the office wait at the shop: shop-agent status there says why", shop.quarantined);
        findings.line(&format!("{what} quarantine"), Err(text));
    }
}

/// What went wrong, and what to do.
fn with_hint(error: &CommandError) -> String {
    error.hint().map_or_else(|| error.chain(), |hint| format!("{}; {hint}", error.chain()))
}
