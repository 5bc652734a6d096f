//! Whether the agent is well: what systemd's watchdog and `/healthz` rest on, and what `/readyz` adds to it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::rpc::{Agent, chain};
use crate::session::room;
use crate::systemd;

/// Regular work is due every minute. When it has not come round for this long, something hangs that a new start mends.
const STUCK_AFTER: Duration = Duration::from_secs(15 * 60);

/// How long the database may take to answer before the agent counts as not ready.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// When regular work last came round, whatever came of it.
#[derive(Debug)]
pub(crate) struct Pulse {
    last: Mutex<Instant>,
}

impl Pulse {
    /// Beats for the first time.
    pub(crate) fn new() -> Self {
        Self { last: Mutex::new(Instant::now()) }
    }

    /// Regular work has come round.
    pub(crate) fn beat(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Time since then.
    fn age(&self) -> Duration {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// The checks.
pub(crate) struct Health<B> {
    agent: Arc<Agent<B>>,
    pulse: Arc<Pulse>,
    state_dir: PathBuf,
}

impl<B: Backend> Health<B> {
    /// Checks of this agent.
    pub(crate) fn new(agent: Arc<Agent<B>>, pulse: Arc<Pulse>, state_dir: &Path) -> Self {
        Self { agent, pulse, state_dir: state_dir.to_owned() }
    }

    /// The agent whose health this is.
    pub(crate) fn agent(&self) -> &Agent<B> {
        &self.agent
    }

    /// Whether the process works; a database that is away is no reason to start the agent anew.
    pub(crate) fn alive(&self) -> Result<(), String> {
        let age = self.pulse.age();
        if age < STUCK_AFTER {
            return Ok(());
        }
        Err(format!("regular work has not come round for {} minutes", age.as_secs() / 60))
    }

    /// Whether a call of the office would be carried out now.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        self.alive()?;
        match tokio::time::timeout(ANSWER_WITHIN, self.agent.backend().vitals()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("the database has not answered for {} seconds", ANSWER_WITHIN.as_secs())),
        }
    }

    /// Bytes free where sessions and frozen diffs are kept.
    pub(crate) fn disk_free_bytes(&self) -> Option<u64> {
        room::free(&self.state_dir).ok()
    }

    /// Gives systemd signs of life for as long as the agent is well.
    pub(crate) async fn reassure_systemd(&self, stop: CancellationToken) {
        let Some(every) = systemd::sign_of_life_every() else { return };
        let mut ticks = tokio::time::interval(every);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match self.alive() {
                Ok(()) => systemd::alive(),
                Err(reason) => tracing::error!(reason, "not well; systemd will start the agent anew"),
            }
        }
    }
}
