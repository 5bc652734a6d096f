//! How all branches stand, looked up now and then and told to every page that shows it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use replica::ReplicaError;
use replica::office::Branch;
use tokio::sync::{Notify, watch};

use super::{Console, alerting};
use crate::alerts::{self, Alert};
use crate::limits::{CONSOLE_IDLE_PAUSE, CONSOLE_LOOK_PAUSE};
use crate::standing::{self, Standing};

/// How all branches stood at one moment.
#[derive(Debug, Default)]
pub(super) struct Overview {
    /// The branches, by number.
    pub(super) standings: Vec<Standing>,
    /// Numbers of those that are held by a run, of this or of another process.
    pub(super) held: BTreeSet<i64>,
    /// What somebody should know of.
    pub(super) alerts: Vec<Alert>,
}

impl Overview {
    /// Looks it up.
    pub(super) async fn take(console: &Console) -> Result<Self, ReplicaError> {
        Self::of(console, console.office.branches().await?).await
    }

    /// The same of some branches.
    pub(super) async fn of(console: &Console, branches: Vec<Branch>) -> Result<Self, ReplicaError> {
        let standings = standing::of(&console.office, branches).await?;
        let now = SystemTime::now();
        let settings = &console.settings;
        let mut alerts = alerts::of_office(&settings.state_dir, settings.alert_room);
        alerts.extend(standings.iter().flat_map(|standing| alerts::of(standing, now)));
        Ok(Self { standings, held: console.office.held_branches().await?, alerts })
    }
}

/// Where the last look is told.
#[derive(Debug)]
pub(super) struct Board {
    shown: watch::Sender<Option<Arc<Overview>>>,
    wanted: Notify,
}

impl Default for Board {
    fn default() -> Self {
        Self { shown: watch::channel(None).0, wanted: Notify::new() }
    }
}

impl Board {
    /// Something has changed: looks soon.
    pub(super) fn look(&self) {
        self.wanted.notify_one();
    }

    /// Told after every look; nothing before the first.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Arc<Overview>>> {
        self.wanted.notify_one();
        self.shown.subscribe()
    }
}

/// Keeps looking: often while a page shows it, seldom otherwise.
pub(super) async fn keep(console: Arc<Console>) {
    let board = &console.overview;
    board.look();
    loop {
        let pause = if board.shown.receiver_count() > 0 { CONSOLE_LOOK_PAUSE } else { CONSOLE_IDLE_PAUSE };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = board.wanted.notified() => {}
            () = console.closing.cancelled() => return,
        }
        match Overview::take(&console).await {
            Ok(overview) => {
                let overview = Arc::new(overview);
                board.shown.send_replace(Some(Arc::clone(&overview)));
                alerting::tell(&console, &overview).await;
            }
            Err(error) => tracing::warn!(error = %crate::error::chain(&error), "how the branches stand is not known"),
        }
    }
}
