//! `shop-agent run`: serves until it is told to stop.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use installation::said;
use replica::ReplicaError;
use replica::shop::Shop;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{CommandError, open};
use crate::cli::NodeArgs;
use crate::control;
use crate::health::{Health, Pulse};
use crate::reload;
use crate::rpc::{Agent, AgentOptions, chain};
use crate::server;
use crate::server::accept::serve;
use crate::server::authentication::{Authentication, DEFAULT_OFFICE};
use crate::server::http::Service;
use crate::server::monitor;
use crate::server::users::{Users, users_path};
use crate::service::{StateDir, stop_on_signals};
use crate::settings::Settings;
use crate::systemd;

/// How often regular work is done.
const TICK: Duration = Duration::from_secs(60);

pub(super) async fn run(args: NodeArgs) -> Result<ExitCode, CommandError> {
    let settings = Settings::resolve(args.clone())?;
    let state = StateDir::take(&settings.state_dir)?;
    let stop = CancellationToken::new();
    stop_on_signals(stop.clone())?;
    // one for the certificate, one for the policy; listened to from here on, since the first would end the process otherwise
    let hangups = (signal(SignalKind::hangup())?, signal(SignalKind::hangup())?);

    let authentication = authentication(&settings)?;
    let tls = match &settings.tls {
        Some(files) => Some(Arc::new(server::tls::open(files, &settings)?)),
        None => None,
    };
    let database = match open::database_patiently(&settings, &stop).await {
        // whoever asked it to stop while it waited got what they wanted
        Err(ReplicaError::Stopped) => {
            systemd::stopping();
            tracing::info!("stopped");
            return Ok(ExitCode::SUCCESS);
        }
        other => other?,
    };
    let shop = open::shop(&settings, database.clone()).await?;
    let listener = match systemd::inherited_listener()? {
        Some(listener) => TcpListener::from_std(listener)?,
        None => bind(settings.listen).await?,
    };
    let address = listener.local_addr()?;
    settings.exposure.check(address)?;
    if tls.is_none() && !address.ip().to_canonical().is_loopback() {
        tracing::warn!(
            "INSECURE: plain HTTP on {address}: passwords and all data can be read and changed on the way (--insecure-http)"
        );
    }

    let tasks = TaskTracker::new();
    let options = AgentOptions {
        branch: settings.branch.clone(),
        sessions_dir: state.sessions(),
        sessions: settings.sessions,
        chunk_bytes_max: settings.server.chunk_bytes_max,
        force_clean: settings.force_clean,
        quit: settings.allow_quit.then(|| stop.clone()),
        time_zone: settings.time_zone.clone(),
    };
    let agent = Arc::new(Agent::new(Arc::new(shop), options, tasks.clone()));
    let service = Service::new(
        Arc::clone(&agent),
        authentication,
        settings.server.clone(),
        settings.hosts.clone(),
        state.incoming(),
        tasks.clone(),
    );
    let pulse = Arc::new(Pulse::new());
    let health = Arc::new(Health::new(Arc::clone(&agent), Arc::clone(&pulse), &settings.state_dir));
    let regular = tokio::spawn(regular_work(Arc::clone(&agent), pulse, stop.clone()));
    let watchdog = tokio::spawn({
        let (health, stop) = (Arc::clone(&health), stop.clone());
        async move { health.reassure_systemd(stop).await }
    });
    let monitor = match &settings.monitor {
        None => tokio::spawn(async {}),
        Some(wanted) => {
            let listener = bind(wanted.listen).await?;
            said::talk(format_args!("monitor on http://{}", listener.local_addr()?));
            tokio::spawn(monitor::serve(listener, Arc::clone(&health), wanted.token.clone(), stop.clone()))
        }
    };
    let control = tokio::spawn({
        let (agent, stop, dir, tls) = (Arc::clone(&agent), stop.clone(), settings.state_dir.clone(), tls.clone());
        async move { control::serve(&dir, agent, || offices(&dir), tls, stop).await }
    });
    let certificate = tokio::spawn(server::tls::keep_current(tls.clone(), hangups.0, stop.clone()));
    let policy = tokio::spawn(reload::keep_current(args, Arc::clone(&agent), hangups.1, stop.clone()));

    tracing::info!(branch = settings.branch, policy = settings.policy.name(), "ready");
    let scheme = if tls.is_some() { "https" } else { "http" };
    said::talk(format_args!("listening on {scheme}://{address}"));
    systemd::ready(&format!("branch {}, listening on {address}", settings.branch));
    serve(listener, Arc::new(service), tls, stop).await;

    systemd::stopping();
    tasks.close();
    if tokio::time::timeout(settings.server.stop_deadline, tasks.wait()).await.is_err() {
        tracing::warn!("work was still running at the deadline; the database rolls it back");
    }
    let _ = tokio::time::timeout(settings.server.stop_deadline, async {
        tokio::join!(regular, control, watchdog, monitor, certificate, policy)
    })
    .await;
    drop((agent, health));
    if let Err(error) = database.close().await {
        tracing::warn!(error = chain(&error), "the database was not let go in an orderly way");
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}").into())
}

fn authentication(settings: &Settings) -> Result<Authentication, CommandError> {
    if settings.no_auth {
        tracing::warn!("no authentication: everybody on this machine is let in");
        return Ok(Authentication::Off);
    }
    if Users::load(&users_path(&settings.state_dir))?.users.is_empty() {
        tracing::warn!("there are no users yet: nobody is let in before shop-agent user add NAME");
    }
    Ok(Authentication::basic(&settings.state_dir)?)
}

/// Offices that have a credential.
fn offices(state_dir: &std::path::Path) -> Vec<String> {
    let users = Users::load(&users_path(state_dir)).unwrap_or_default();
    let mut offices: Vec<String> = users.users.into_iter().map(|user| user.office).collect();
    if offices.is_empty() {
        offices.push(DEFAULT_OFFICE.to_owned());
    }
    offices.sort();
    offices.dedup();
    offices
}

/// Where things stand, for `systemctl status`.
async fn standing(agent: &Agent<Shop>) -> String {
    let sessions = agent.sessions().list().await.map_or(0, |sessions| sessions.len());
    let asked = match agent.backend().vitals().await {
        Err(error) => return format!("branch {}: {}", agent.branch(), chain(&error)),
        Ok(vitals) => vitals.offices.iter().filter_map(|office| office.asked_at).max(),
    };
    let contact = match asked.and_then(|at| jiff::Timestamp::try_from(at).ok()) {
        Some(at) => format!("the office last asked at {}", at.strftime("%Y-%m-%d %H:%M UTC")),
        None => "the office has not asked yet".to_owned(),
    };
    format!("branch {}, policy {}: {sessions} open sessions, {contact}", agent.branch(), agent.policy())
}

async fn regular_work(agent: Arc<Agent<Shop>>, pulse: Arc<Pulse>, stop: CancellationToken) {
    use crate::backend::Backend;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = Backend::tick(agent.backend()).await {
            tracing::warn!(error = chain(&error), "regular work failed; it is tried again in a minute");
        }
        if let Err(fault) = agent.sessions().sweep().await {
            tracing::warn!(code = fault.code, "sessions were not swept: {}", fault.message);
        }
        systemd::status(&standing(&agent).await);
        pulse.beat();
    }
}
