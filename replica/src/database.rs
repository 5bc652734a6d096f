//! Reaching the database: by URL, or a private cluster (`embedded:DIR`).

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use tokio_postgres::{Client, NoTls};

use crate::ReplicaError;
use crate::embedded;

/// Name of the database inside an embedded cluster.
pub const EMBEDDED_DATABASE: &str = "main";

/// Where the database is, as `--database` spells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A PostgreSQL URL or key/value string.
    Server(String),
    /// A private cluster in that directory.
    Embedded(PathBuf),
}

impl FromStr for DatabaseUrl {
    type Err = ReplicaError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(dir) = text.strip_prefix("embedded:") {
            if dir.is_empty() {
                return Err(ReplicaError::Invalid("embedded: needs a directory, as in embedded:/var/lib/shop".into()));
            }
            return Ok(Self::Embedded(PathBuf::from(dir)));
        }
        text.parse::<tokio_postgres::Config>().map_err(|error| {
            ReplicaError::Invalid(format!(
                "database URL: {}; write postgresql://user@host/database or embedded:DIR",
                why_unreadable(&error)
            ))
        })?;
        Ok(Self::Server(text.to_owned()))
    }
}

/// Options of an address, as the driver knows them.
const OPTIONS: &[&str] = &[
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslmode",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
    "channel_binding",
    "load_balance_hosts",
];

/// Why an address cannot be read, without what is quoted of it: a slip can make its password look like an option.
fn why_unreadable(error: &tokio_postgres::Error) -> String {
    let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let is_known = reason.split('`').skip(1).step_by(2).all(|part| OPTIONS.contains(&part));
    match (reason.is_empty(), is_known) {
        (false, true) => reason,
        (false, false) => {
            "it has an option that there is not (in a password, write @ as %40, / as %2F, ? as %3F)".into()
        }
        (true, _) => error.to_string(),
    }
}

/// A database one can connect to. Cloning it is cheap; the last clone of an embedded one lets its cluster go.
#[derive(Clone)]
pub struct Database {
    config: tokio_postgres::Config,
    cluster: Option<Arc<embedded::Cluster>>,
}

impl Database {
    /// Prepares the database: starts the private cluster where one is meant, and proves that a connection works.
    pub async fn open(url: &DatabaseUrl, bin_dir: Option<PathBuf>) -> Result<Self, ReplicaError> {
        let database = match url {
            DatabaseUrl::Server(text) => {
                let config = text
                    .parse::<tokio_postgres::Config>()
                    .map_err(|error| ReplicaError::Invalid(format!("database URL: {error}")))?;
                Self { config, cluster: None }
            }
            DatabaseUrl::Embedded(dir) => {
                let options = embedded::Options { dir: dir.clone(), bin_dir, durable: true, settings: Vec::new() };
                let unavailable = |error| ReplicaError::Unavailable(Box::new(error));
                let cluster = embedded::Cluster::start(options).await.map_err(unavailable)?;
                cluster.ensure_database(EMBEDDED_DATABASE).await.map_err(unavailable)?;
                Self { config: cluster.config(EMBEDDED_DATABASE), cluster: Some(Arc::new(cluster)) }
            }
        };
        database.connect("check").await?;
        Ok(database)
    }

    /// Whether there is a database to open: a private cluster is made by whoever opens it first.
    pub fn is_there(url: &DatabaseUrl) -> bool {
        match url {
            DatabaseUrl::Server(_) => true,
            DatabaseUrl::Embedded(dir) => embedded::is_there(dir),
        }
    }

    /// A new connection with the settings every query of the product relies on.
    pub async fn connect(&self, purpose: &str) -> Result<Client, ReplicaError> {
        let mut config = self.config.clone();
        config.application_name(application_name(purpose));
        let (client, connection) =
            config.connect(NoTls).await.map_err(|error| ReplicaError::Unavailable(Box::new(error)))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "database connection ended");
            }
        });
        client.batch_execute(SESSION_SETTINGS).await?;
        Ok(client)
    }

    /// The private cluster behind it, if there is one.
    pub fn cluster(&self) -> Option<&Arc<embedded::Cluster>> {
        self.cluster.as_ref()
    }

    /// Writes a private cluster into a new file while it works; how many bytes.
    ///
    /// # Errors
    /// Of a server elsewhere, whose backups are its own affair; or if the file cannot be written.
    pub async fn backup(&self, file: &Path) -> Result<u64, ReplicaError> {
        let Some(cluster) = &self.cluster else {
            return Err(ReplicaError::Invalid(
                "only a private database (embedded:DIR) is backed up by this command: back up this one as any PostgreSQL database, with pg_dump or pg_basebackup".into(),
            ));
        };
        cluster.backup(file).await.map_err(|error| ReplicaError::Unavailable(Box::new(error)))
    }

    /// Puts a backup in the place of the private cluster at `url`; where what was there is kept. The incarnation has to be
    /// renewed before anybody uses it: [`crate::renewal::after_restore`].
    ///
    /// # Errors
    /// Those of [`embedded::restore`]; of a server elsewhere.
    pub async fn restore(
        url: &DatabaseUrl,
        bin_dir: Option<PathBuf>,
        file: &Path,
        replace: bool,
    ) -> Result<Option<PathBuf>, ReplicaError> {
        let DatabaseUrl::Embedded(dir) = url else {
            return Err(ReplicaError::Invalid(
                "only a private database (embedded:DIR) is restored by this command: restore this one with PostgreSQL's own programs, then say so with after-restore".into(),
            ));
        };
        let options = embedded::Options { dir: dir.clone(), bin_dir, durable: true, settings: Vec::new() };
        let file = file.to_owned();
        let restored = tokio::task::spawn_blocking(move || embedded::restore(options, &file, replace)).await;
        let restored = restored.map_err(|_| ReplicaError::Stopped)?;
        restored.map_err(|error| ReplicaError::Unavailable(Box::new(error)))
    }

    /// Lets a private cluster go in an orderly way; a server elsewhere is left alone.
    pub async fn close(self) -> Result<(), ReplicaError> {
        if let Some(cluster) = self.cluster.and_then(Arc::into_inner) {
            cluster.stop().await.map_err(|error| ReplicaError::Unavailable(Box::new(error)))?;
        }
        Ok(())
    }
}

/// What the server shows of a connection.
pub(crate) fn application_name(purpose: &str) -> String {
    format!("sync {purpose}")
}

/// Text forms that do not depend on the server's configuration, a fixed search_path, durable commits, and an end to
/// everything: a lock that is not given up, a statement that has lost its way, a transaction whose program hangs. The
/// bounds are wide, since a clone of a large shop is one statement; where a till waits, narrower ones are set.
/// The server notices within two minutes that the machine behind a connection is gone, and lets go of its locks.
/// Whatever a peer will rely on must not be taken back by a crash, so `synchronous_commit` is on everywhere.
const SESSION_SETTINGS: &str = "
    set search_path = pg_catalog;
    set client_encoding = 'UTF8';
    set standard_conforming_strings = on;
    set DateStyle = 'ISO, YMD';
    set IntervalStyle = 'postgres';
    set TimeZone = 'UTC';
    set extra_float_digits = 3;
    set bytea_output = 'hex';
    set xmlbinary = 'base64';
    set lc_monetary = 'C';
    set lc_numeric = 'C';
    set synchronous_commit = on;
    set client_min_messages = warning;
    set idle_in_transaction_session_timeout = '1h';
    set statement_timeout = '6h';
    set lock_timeout = '60s';
    set row_security = off;
    set tcp_keepalives_idle = 60;
    set tcp_keepalives_interval = 10;
    set tcp_keepalives_count = 6;
";

/// What connections of a pool are for.
pub(crate) const ENGINE: &str = "engine";

/// Idle connections of a database, reused.
pub struct Pool {
    database: Database,
    idle: std::sync::Mutex<Vec<Client>>,
}

/// Idle connections kept: what an office needs that updates a handful of branches at a time. A new one costs as much as
/// many statements, and what its server process has learnt of the catalogue is gone with it.
const IDLE_MAX: usize = 12;

impl Pool {
    /// An empty pool.
    pub fn new(database: Database) -> Self {
        Self { database, idle: std::sync::Mutex::new(Vec::new()) }
    }

    /// The database behind it.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// A connection that works, taken out of the pool or new.
    pub async fn get(&self) -> Result<Pooled<'_>, ReplicaError> {
        Ok(Pooled { pool: self, client: Some(self.take().await?), at_work: false })
    }

    /// The same for somebody who keeps it: it comes back with [`Pool::give_back`], or ends.
    pub async fn take(&self) -> Result<Client, ReplicaError> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
            match idle {
                Some(client) if !client.is_closed() => return Ok(client),
                Some(_) => {}
                None => return self.database.connect(ENGINE).await,
            }
        }
    }

    /// Takes back a connection that nobody uses any more, with nothing of its user left in it.
    pub fn give_back(&self, client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !client.is_closed() && idle.len() < IDLE_MAX {
            idle.push(client);
        }
    }

    /// Closes the idle connections.
    pub fn close_idle(&self) {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }
}

/// A connection out of a [`Pool`]; it goes back when it is dropped, unless it broke.
pub struct Pooled<'a> {
    pool: &'a Pool,
    client: Option<Client>,
    at_work: bool,
}

impl Pooled<'_> {
    /// Says whether a long statement may be under way. Dropped meanwhile, the connection would be given to somebody who
    /// then waits for it: it is cancelled and closed instead.
    pub(crate) fn set_at_work(&mut self, at_work: bool) {
        self.at_work = at_work;
    }
}

impl std::ops::Deref for Pooled<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        match &self.client {
            Some(client) => client,
            None => unreachable!("a pooled connection is taken out only when it is dropped"),
        }
    }
}

impl std::ops::DerefMut for Pooled<'_> {
    fn deref_mut(&mut self) -> &mut Client {
        match &mut self.client {
            Some(client) => client,
            None => unreachable!("a pooled connection is taken out only when it is dropped"),
        }
    }
}

impl Drop for Pooled<'_> {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        if !self.at_work {
            return self.pool.give_back(client);
        }
        let cancel = client.cancel_token();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = cancel.cancel_query(NoTls).await {
                    tracing::debug!(error = %error, "an abandoned statement was not cancelled");
                }
            });
        }
    }
}

impl Pool {
    /// The database, the pool being done with.
    pub fn into_database(self) -> Database {
        self.database
    }
}

#[cfg(test)]
mod tests {
    use super::DatabaseUrl;

    #[test]
    fn an_address_that_cannot_be_read_is_not_quoted_for_it_may_hold_a_password() {
        let why = |text: &str| text.parse::<DatabaseUrl>().map(drop).unwrap_err().to_string();
        for text in [
            "postgresql:/shop:SECRET@h/db?sslmode=disable",
            "postgresql://shop:SECRET@h/db?SECRET=1",
            "host=h SECRET",
            "postgresql://shop:SECRET@h:port/db",
        ] {
            assert!(!why(text).contains("SECRET"), "{}", why(text));
        }
        for (text, word) in [
            ("postgresql://h/db?sslmod=disable", "an option that there is not"),
            ("postgresql://h:9x/db", "`port`"),
            ("postgresql://h/db?connect_timeout=SECRET", "`connect_timeout`"),
        ] {
            assert!(why(text).contains(word), "{}", why(text));
            assert!(!why(text).contains("SECRET"), "{}", why(text));
        }
    }
}
