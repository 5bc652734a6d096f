//! Private PostgreSQL clusters, spelt `embedded:DIR`: created, started, supervised and stopped by the program itself.
//!
//! The server is a child of ours and cannot outlive us: the kernel shuts it down in an orderly way when we die, however
//! we die. It listens on a unix socket only, which nobody but its user and root can open. Several processes may use one
//! cluster at the same time; [`Cluster::stop`] says who runs the server. Started as root, it runs as another user.
//!
//! A connection is lost when the server dies or changes its owner: callers connect again.

mod account;
mod backup;
mod binaries;
mod error;
mod keeper;
mod layout;
mod server;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

pub use backup::restore;
pub use binaries::{Binaries, OLDEST_MAJOR, find_binaries};
pub use error::EmbeddedError;

use keeper::{Command, Keeper, State};
use server::Site;

/// Superuser of a private cluster.
pub const SUPERUSER: &str = "postgres";

/// How long [`Cluster::start`] and [`Cluster::restart`] wait for a server: recovery after a crash can take minutes.
const START_MAX: Duration = Duration::from_secs(300);

/// After that time somebody who waits is told so.
const START_SLOW: Duration = Duration::from_secs(5);

/// Whether a cluster was made in that directory.
pub fn is_there(dir: &Path) -> bool {
    layout::Layout::new(dir.to_owned()).major().is_some()
}

/// How to run a private cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory that holds everything of the cluster, and nothing else; made if it is missing.
    pub dir: PathBuf,
    /// Directory of `postgres` and `initdb`; [`find_binaries`] looks for it when absent.
    pub bin_dir: Option<PathBuf>,
    /// Whether commits survive a power failure; `false` (fsync off) is for tests.
    pub durable: bool,
    /// Further PostgreSQL settings, name and value.
    pub settings: Vec<(String, String)>,
}

/// A private cluster in use by this process.
///
/// Dropping it lets it go like [`Cluster::stop`], without waiting.
#[derive(Debug)]
pub struct Cluster {
    site: Site,
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<State>,
}

impl Cluster {
    /// Creates the cluster if it is new, starts it or attaches to the one that another process runs, and waits until it
    /// answers.
    ///
    /// # Errors
    /// The directory is somebody else's, no server programs of the right version are found, or the server does not start.
    pub async fn start(options: Options) -> Result<Self, EmbeddedError> {
        let (commands, receiver) = mpsc::channel();
        let (sender, state) = watch::channel(State::Starting);
        let survey = move || {
            let site = Site::survey(options)?;
            let keeper = Keeper::new(site.clone(), receiver, sender)?;
            thread::Builder::new()
                .name("database-server".into())
                .spawn(move || keeper.run())
                .map_err(EmbeddedError::io("cannot start a thread"))?;
            Ok(site)
        };
        let site = tokio::task::spawn_blocking(survey).await.map_err(|error| EmbeddedError::Io {
            what: "the start was interrupted".into(),
            source: std::io::Error::other(error),
        })??;
        let cluster = Self { site, commands, state };
        cluster.wait_until_it_answers(None).await?;
        Ok(cluster)
    }

    /// Connection settings for one of its databases, as superuser over the unix socket.
    pub fn config(&self, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config.host_path(self.socket_dir()).port(layout::PORT).user(SUPERUSER).dbname(database);
        config
    }

    /// The same as a URL, for `psql` and the like.
    pub fn url(&self, database: &str) -> String {
        let host = percent_encode(self.socket_dir().as_os_str().as_encoded_bytes());
        format!("postgresql://{SUPERUSER}@/{}?host={host}", percent_encode(database.as_bytes()))
    }

    /// Directory of the unix socket: that of the cluster, or one in `/tmp` where the path would be too long.
    pub fn socket_dir(&self) -> &Path {
        &self.site.layout.socket_dir
    }

    /// Directory of the cluster, canonical.
    pub fn dir(&self) -> &Path {
        &self.site.layout.dir
    }

    /// The programs it runs with.
    pub fn binaries(&self) -> &Binaries {
        &self.site.binaries
    }

    /// Process id of the postmaster, while it accepts connections.
    pub fn pid(&self) -> Option<i32> {
        match *self.state.borrow() {
            State::Ready(pid) => Some(pid),
            _ => None,
        }
    }

    /// Creates the database unless it exists.
    ///
    /// # Errors
    /// The server does not answer, or refuses the name.
    pub async fn ensure_database(&self, name: &str) -> Result<(), EmbeddedError> {
        let failed = |source| EmbeddedError::Query { what: format!("cannot create database {name}"), source };
        let (client, connection) = self.config("postgres").connect(NoTls).await.map_err(failed)?;
        let driver = tokio::spawn(connection);
        let mut attempts = 0;
        let result = loop {
            let found = client.query_opt("select 1 from pg_catalog.pg_database where datname = $1", &[&name]).await;
            match found {
                Ok(Some(_)) => break Ok(()),
                Ok(None) => {}
                Err(error) => break Err(failed(error)),
            }
            let statement = format!("create database \"{}\"", name.replace('"', "\"\""));
            match client.batch_execute(&statement).await {
                Ok(()) => break Ok(()),
                // somebody else creates the same or another one just now
                Err(error) if attempts < 20 && is_collision(&error) => attempts += 1,
                Err(error) => break Err(failed(error)),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        drop(client);
        // nothing is left to say on it
        let _ = driver.await;
        result
    }

    /// Ends all processes of the server at once, as a power failure would. It stays down until [`Cluster::restart`] if
    /// this process is its owner; otherwise the owner starts it again. For tests of what happens then.
    pub async fn kill(&self) -> Result<(), EmbeddedError> {
        let (done, answer) = oneshot::channel();
        self.ask(Command::Kill(done), answer).await
    }

    /// Stops the server if it runs, starts it, and waits until it answers. Where another process is the owner, only waits.
    ///
    /// # Errors
    /// The server does not stop or start.
    pub async fn restart(&self) -> Result<(), EmbeddedError> {
        let before = self.pid();
        let (done, answer) = oneshot::channel();
        self.ask(Command::Restart(done), answer).await??;
        let ours = self.pid().is_none();
        self.wait_until_it_answers(before.filter(|_| ours)).await
    }

    /// Lets the cluster go. The process that started the server is its owner and stops it; if others still use the
    /// cluster after two seconds, one of them becomes the owner and starts it again.
    ///
    /// # Errors
    /// The server does not stop.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        let (done, answer) = oneshot::channel();
        self.ask(Command::Stop(done), answer).await?
    }

    async fn ask<T>(&self, command: Command, answer: oneshot::Receiver<T>) -> Result<T, EmbeddedError> {
        // both fail only when the keeper has given up, which it says in the state
        if self.commands.send(command).is_ok()
            && let Ok(answer) = answer.await
        {
            return Ok(answer);
        }
        Err(self.no_answer())
    }

    /// Waits for a server other than `not` that accepts a connection.
    async fn wait_until_it_answers(&self, not: Option<i32>) -> Result<(), EmbeddedError> {
        let began = Instant::now();
        let mut state = self.state.clone();
        let mut told = false;
        loop {
            let left = START_MAX.saturating_sub(began.elapsed());
            let pause = if told { left } else { START_SLOW.saturating_sub(began.elapsed()) };
            let ready = |state: &State| match state {
                State::Ready(pid) => Some(*pid) != not,
                State::Failed(_) => true,
                State::Starting | State::Killed => false,
            };
            // the guard of the state must not live across an await
            let reached = tokio::time::timeout(pause, state.wait_for(ready))
                .await
                .map(|reached| reached.is_ok_and(|state| matches!(*state, State::Ready(_))));
            match reached {
                Ok(true) => {}
                Err(_) if !told => {
                    told = true;
                    tracing::info!(dir = %self.dir().display(), "waiting for the database server (server.log there tells more)");
                    continue;
                }
                _ => return Err(self.no_answer()),
            }
            match self.config("postgres").connect(NoTls).await {
                Ok(_) => return Ok(()),
                // the state is a moment old: it may have gone down since
                Err(error) if !left.is_zero() => tracing::debug!(error = %error, "database server"),
                Err(_) => return Err(self.no_answer()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn no_answer(&self) -> EmbeddedError {
        let reason = match &*self.state.borrow() {
            State::Failed(reason) => reason.clone(),
            State::Killed => "it was killed on request".to_owned(),
            State::Starting | State::Ready(_) => format!("see {}/server.log", self.dir().display()),
        };
        EmbeddedError::NoAnswer { dir: self.dir().to_owned(), reason }
    }
}

/// Two sessions create a database at the same time, the same or from the same template.
fn is_collision(error: &tokio_postgres::Error) -> bool {
    [SqlState::DUPLICATE_DATABASE, SqlState::UNIQUE_VIOLATION, SqlState::OBJECT_IN_USE]
        .iter()
        .any(|state| error.code() == Some(state))
}

fn percent_encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}
