//! The thread behind a [`Cluster`](super::Cluster): owns the server or waits to, and supervises it.
//!
//! The rule. Every user of a cluster holds `users.lock` in shared mode; one of them, the owner, holds `owner.lock` alone.
//! The owner runs the server as its child, and restarts it when it dies. An owner that leaves (or dies, when the kernel
//! stops the server) lets go of `owner.lock`; whoever is still there takes it and starts the server again.
//! So at most one server runs, it runs while anybody is there, and none is left behind.
//!
//! It is a thread of its own, and a long-lived one, because the kernel ties the server to the thread that made it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::EmbeddedError;
use super::layout::LockFile;
use super::server::{Server, Site};

/// How often a running server, or the owner's lock, is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The same while the server starts.
const LOOK_STARTING: Duration = Duration::from_millis(5);
/// How long a leaving owner waits for the others to leave first, which spares them the restart.
const HANDOVER_GRACE: Duration = Duration::from_secs(2);
/// Failed starts in a row before the first start is given up.
const FIRST_START_ATTEMPTS: u32 = 3;
/// Longest pause between two attempts to restart a server that keeps dying.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What the server is doing.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Not there yet: starting, recovering, or between two owners.
    Starting,
    /// Accepts connections; the number tells one run of the server from the next.
    Ready(i32),
    /// Killed on request; stays so until a restart is asked for.
    Killed,
    /// The first start failed; the keeper has ended.
    Failed(String),
}

/// What a [`Cluster`](super::Cluster) asks of its keeper.
#[derive(Debug)]
pub(super) enum Command {
    Kill(oneshot::Sender<()>),
    Restart(oneshot::Sender<Result<(), EmbeddedError>>),
    Stop(oneshot::Sender<Result<(), EmbeddedError>>),
}

pub(super) struct Keeper {
    site: Site,
    commands: Receiver<Command>,
    state: watch::Sender<State>,
    owner_lock: LockFile,
    users_lock: LockFile,
    is_owner: bool,
    server: Option<Server>,
    ready: bool,
    /// Killed on request: not to be restarted by itself.
    held: bool,
    was_ready: bool,
    failures: u32,
    not_before: Instant,
}

impl Keeper {
    pub(super) fn new(
        site: Site,
        commands: Receiver<Command>,
        state: watch::Sender<State>,
    ) -> Result<Self, EmbeddedError> {
        let owner_lock = LockFile::open(site.layout.owner_lock(), &site.account)?;
        let users_lock = LockFile::open(site.layout.users_lock(), &site.account)?;
        Ok(Self {
            site,
            commands,
            state,
            owner_lock,
            users_lock,
            is_owner: false,
            server: None,
            ready: false,
            held: false,
            was_ready: false,
            failures: 0,
            not_before: Instant::now(),
        })
    }

    /// Runs until the cluster is let go, or its first start has failed.
    pub(super) fn run(mut self) {
        loop {
            if let Err(error) = self.tick() {
                let what = explain(&error);
                if !self.was_ready && self.failures + 1 >= FIRST_START_ATTEMPTS {
                    if let Some(server) = self.server.take() {
                        let _ = server.stop();
                    }
                    self.owner_lock.unlock();
                    self.state.send_replace(State::Failed(what));
                    return;
                }
                self.failures += 1;
                let pause = (Duration::from_millis(100) * 2u32.pow(self.failures.min(10))).min(PAUSE_MAX);
                self.not_before = Instant::now() + pause;
                tracing::warn!(dir = %self.site.layout.dir.display(), error = what, pause_ms = pause.as_millis(), "database server: trying again");
            }
            let wait = if self.ready || self.held { LOOK } else { LOOK_STARTING };
            match self.commands.recv_timeout(wait) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Kill(done)) => {
                    self.kill();
                    let _ = done.send(());
                }
                Ok(Command::Restart(done)) => {
                    let _ = done.send(self.restart());
                }
                Ok(Command::Stop(done)) => {
                    let _ = done.send(self.leave());
                    return;
                }
                // the cluster was dropped without a word
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.leave() {
                        tracing::warn!(error = explain(&error), "database server");
                    }
                    return;
                }
            }
        }
    }

    fn tick(&mut self) -> Result<(), EmbeddedError> {
        // fails only while a leaving owner looks whether it is alone
        self.users_lock.try_shared()?;
        if !self.is_owner && self.owner_lock.try_exclusive()? {
            self.is_owner = true;
            self.ready = false;
            if self.was_ready {
                tracing::info!(dir = %self.site.layout.dir.display(), "taking over the database server");
            }
        }
        if !self.is_owner {
            self.follow();
            return Ok(());
        }
        if let Some(server) = &mut self.server {
            if let Some(status) = server.exited() {
                let complaint = server.complaint(&self.site);
                self.server = None;
                self.set_ready(None);
                return Err(EmbeddedError::Program {
                    what: format!("the server of {} ended with {status}", self.site.layout.dir.display()),
                    output: complaint,
                });
            }
            if !self.ready && self.site.postmaster() == Some((server.pid(), true)) {
                let pid = server.pid();
                self.failures = 0;
                self.set_ready(Some(pid));
            }
        } else if !self.held && Instant::now() >= self.not_before {
            self.start()?;
        }
        Ok(())
    }

    /// Somebody else's server: learns how it is.
    fn follow(&mut self) {
        let ready = self.site.postmaster().filter(|(_, ready)| *ready).map(|(pid, _)| pid);
        let known = match *self.state.borrow() {
            State::Ready(pid) => Some(pid),
            _ => None,
        };
        if ready != known || !self.ready {
            self.set_ready(ready);
        }
    }

    fn start(&mut self) -> Result<(), EmbeddedError> {
        self.site.clear_remains(self.owner_lock.noted())?;
        self.site.ensure_initialised()?;
        // an owner that left has removed it
        self.site.layout.prepare_socket_dir(&self.site.account)?;
        let server = Server::spawn(&self.site)?;
        self.owner_lock.note(server.pid());
        self.server = Some(server);
        Ok(())
    }

    fn set_ready(&mut self, pid: Option<i32>) {
        self.ready = pid.is_some();
        self.was_ready |= self.ready;
        let state = match pid {
            Some(pid) => State::Ready(pid),
            None if self.held => State::Killed,
            None => State::Starting,
        };
        self.state.send_replace(state);
    }

    fn kill(&mut self) {
        // an attached cluster has nobody to hold back: the owner starts the server again
        self.held = self.is_owner;
        self.site.kill_all();
        if let Some(server) = self.server.take() {
            server.reap();
        }
        self.set_ready(None);
    }

    fn restart(&mut self) -> Result<(), EmbeddedError> {
        self.held = false;
        self.not_before = Instant::now();
        if !self.is_owner {
            return Ok(());
        }
        if let Some(server) = self.server.take() {
            server.stop()?;
        }
        self.set_ready(None);
        Ok(())
    }

    /// Lets the cluster go, and the server with it if it is ours.
    fn leave(&mut self) -> Result<(), EmbeddedError> {
        self.users_lock.unlock();
        if !self.is_owner {
            return Ok(());
        }
        let began = Instant::now();
        while !self.users_lock.try_exclusive()? && began.elapsed() < HANDOVER_GRACE {
            std::thread::sleep(LOOK / 5);
        }
        self.users_lock.unlock();
        let stopped = self.server.take().map_or(Ok(()), Server::stop);
        self.site.remove_socket_dir();
        self.owner_lock.unlock();
        stopped
    }
}

/// An error with its causes, on one line.
fn explain(error: &EmbeddedError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
