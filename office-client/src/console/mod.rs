//! The web console: pages for the people of the office, rendered here, and the runs that they start.
//!
//! It runs the same driver as the command line. What it knows of a run at work is kept in memory and told to every page
//! that looks; what has ended is in the history of the database. See docs/CONSOLE.md.

mod alerting;
mod answer;
mod api;
mod assets;
mod certificate;
mod door;
mod guard;
mod live;
mod moment;
mod overview;
mod pages;
mod routes;
mod runs;
mod scheduler;
mod server;
mod users;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use replica::office::Office;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub(crate) use users::{Role, User, Users, users_path};

use crate::error::CommandError;
use crate::output::Printer;
use crate::settings::Settings;
use crate::stop::Stop;

/// How the console is opened.
#[derive(Debug, Clone)]
pub(crate) struct ConsoleOptions {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// Whether plain HTTP is wanted beyond this machine.
    pub(crate) insecure_http: bool,
    /// The certificate to speak TLS with.
    pub(crate) certificate: Option<Certificate>,
}

/// A certificate to speak TLS with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// These files: certificate with its chain, and key.
    Files(PathBuf, PathBuf),
    /// One of the console's own, made once.
    SelfSigned,
}

impl Certificate {
    /// Takes it up; it is made where there is none yet.
    fn open(&self, options: &ConsoleOptions, state_dir: &Path) -> Result<tls::Server, CommandError> {
        let wrong = |error: tls::FileError| CommandError::usage(format!("TLS: {}", crate::error::chain(&error)));
        let (certificate, key) = match self {
            Self::Files(certificate, key) => (certificate.clone(), key.clone()),
            Self::SelfSigned => {
                let names = ["localhost".to_owned(), options.listen.ip().to_string()];
                let made = tls::ensure_self_signed(&state_dir.join("console-tls"), &names).map_err(wrong)?;
                (made.certificate, made.key)
            }
        };
        tls::Server::open(tls::ServerFiles { certificate, key, client_authorities: None }).map_err(wrong)
    }
}

/// The console, shared by everything that answers.
pub(crate) struct Console {
    /// The office's database.
    office: Office,
    /// The settings of the program.
    settings: Settings,
    /// Whether the program is to end.
    stop: Stop,
    /// The runs at work, and those that have lately ended.
    runs: runs::Runs,
    /// How all branches stand, as it was last looked up.
    overview: overview::Board,
    /// Who may come in.
    door: door::Door,
    /// Held by who tells alerts: one after the other.
    telling: tokio::sync::Mutex<()>,
    /// Ends what would never end by itself: streams of events.
    closing: CancellationToken,
}

/// Serves until the user stops it. Runs at work are stopped at the next chunk.
pub(crate) async fn serve(
    office: Office,
    settings: &Settings,
    options: &ConsoleOptions,
    printer: &Printer,
    stop: &Stop,
) -> Result<(), CommandError> {
    let door = door::Door::new(options, &settings.state_dir)?;
    let listener = TcpListener::bind(options.listen).await.map_err(|error| {
        CommandError::usage(format!("the console cannot listen on {}: {error}", options.listen))
            .with_hint("name another address with --listen; port 0 picks a free one")
    })?;
    let address = listener.local_addr().map_err(|error| CommandError::failed(error.to_string()))?;
    let tls = match &options.certificate {
        Some(certificate) => Some(Arc::new(certificate.open(options, &settings.state_dir)?)),
        None => None,
    };
    let runs = runs::Runs::new(office.updates_at_a_time(settings.jobs).await?);
    let console = Arc::new(Console {
        office,
        settings: settings.clone(),
        stop: stop.clone(),
        runs,
        overview: overview::Board::default(),
        door,
        telling: tokio::sync::Mutex::default(),
        closing: CancellationToken::new(),
    });
    // listened to from here on: without, the first one would end the program
    let hangup = signal(SignalKind::hangup()).map_err(|error| CommandError::failed(error.to_string()))?;
    let certificate = tokio::spawn(certificate::keep_current(tls.clone(), hangup));
    let watching = tokio::spawn(overview::keep(Arc::clone(&console)));
    let scheduling = tokio::spawn(scheduler::keep(Arc::clone(&console)));
    match &tls {
        Some(tls) => {
            printer.talk(&format!("certificate {}", tls.facts().fingerprint));
            printer.talk(&format!("listening on https://{address}"));
        }
        None => printer.talk(&format!("listening on http://{address}")),
    }
    server::run(listener, Arc::clone(&console), tls).await;
    for task in [watching, scheduling, certificate] {
        task.abort();
        let _ = task.await;
    }
    console.runs.ended().await;
    Ok(())
}
