//! Throwaway PostgreSQL clusters: one per test process, or one for a test that kills it.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use replica::embedded::{self, Binaries, Options};

use crate::database::Database;
use crate::runtime;

/// Settings of every throwaway cluster.
const SETTINGS: [(&str, &str); 4] =
    [("max_connections", "200"), ("shared_buffers", "64MB"), ("jit", "off"), ("log_checkpoints", "off")];

/// A cluster that goes, with its files, when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    cluster: Arc<embedded::Cluster>,
    place: Place,
    databases: AtomicU64,
}

/// The cluster that all tests of this process share, started at first use without fsync, removed when the process ends.
/// Its server is never stopped or killed by a test: use [`Cluster::start`] for that.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    static ONCE: Mutex<()> = Mutex::new(());

    /// Statics are not dropped, so the end of the process has to be listened to.
    extern "C" fn remove() {
        if let Some(shared) = SHARED.get() {
            // a panic must not leave a function of C; the next process sweeps what is left
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shared.remove()));
        }
    }

    SHARED.get_or_init(|| {
        let _once = ONCE.lock();
        let cluster = Cluster::start(false);
        // SAFETY: `remove` is a plain function without arguments that does not unwind
        let registered = unsafe { libc::atexit(remove) };
        assert_eq!(registered, 0, "the end of the process cannot be listened to");
        cluster
    })
}

impl Cluster {
    /// Starts a cluster of one's own.
    ///
    /// # Panics
    /// If PostgreSQL is missing or does not start.
    pub fn start(durable: bool) -> Self {
        Self::start_with(durable, &[])
    }

    /// As [`Cluster::start`], with settings of its own.
    pub fn start_with(durable: bool, settings: &[(&str, &str)]) -> Self {
        let binaries = embedded::find_binaries(None).unwrap_or_else(|error| panic!("{error}"));
        let place = Place::new(&binaries, durable);
        let options = Options {
            dir: place.cluster_dir(),
            bin_dir: Some(binaries.dir),
            durable,
            settings: SETTINGS
                .iter()
                .chain(settings)
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        Self { cluster: Arc::new(start(options)), place, databases: AtomicU64::new(0) }
    }

    /// A new, empty database with a name of its own that begins with `prefix`.
    pub fn database(&self, prefix: &str) -> Database {
        self.create(prefix, "template0")
    }

    /// A new database that is a copy of `template`, to which nobody may be connected.
    pub fn copy_of(&self, prefix: &str, template: &Database) -> Database {
        self.create(prefix, template.name())
    }

    fn create(&self, prefix: &str, template: &str) -> Database {
        let name = format!("{prefix}_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        // older servers know this way only
        let strategy = if self.embedded().binaries().major >= 15 { " strategy file_copy" } else { "" };
        self.maintenance().execute(&format!("create database {} template {}{strategy}", quote(&name), quote(template)));
        Database::new(&name, self.embedded().config(&name), self.embedded().url(&name))
    }

    /// Removes a database, whoever is still connected to it.
    ///
    /// # Panics
    /// If the server does not do it.
    pub fn remove_database(&self, database: &Database) {
        let name = database.name().replace('"', "\"\"");
        self.maintenance().execute(&format!("drop database if exists \"{name}\" with (force)"));
    }

    /// The database for statements about databases and roles.
    pub fn maintenance(&self) -> Database {
        Database::new("postgres", self.embedded().config("postgres"), self.embedded().url("postgres"))
    }

    /// Ends the server as a power failure would; it stays down until [`Cluster::restart`].
    pub fn kill(&self) {
        let cluster = Arc::clone(&self.cluster);
        runtime::run(async move { cluster.kill().await }).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts the server again, after stopping it if it runs.
    pub fn restart(&self) {
        let cluster = Arc::clone(&self.cluster);
        runtime::run(async move { cluster.restart().await }).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Stops the server and copies its files, as a backup by file does; it runs again afterwards. `name` is the copy's.
    pub fn save(&self, name: &str) {
        self.kill();
        copy(&self.place.cluster_dir().join("data"), &self.place.dir.join(name));
        self.restart();
    }

    /// Puts the files of a copy in the place of the server's own.
    ///
    /// # Panics
    /// If there is no such copy.
    pub fn bring_back(&self, name: &str) {
        self.kill();
        let data = self.place.cluster_dir().join("data");
        fs::remove_dir_all(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
        copy(&self.place.dir.join(name), &data);
        self.restart();
    }

    /// The cluster itself.
    pub fn embedded(&self) -> &embedded::Cluster {
        &self.cluster
    }

    /// Ends the server without ceremony, since its data goes too.
    fn remove(&self) {
        self.kill();
        if self.cluster.socket_dir() != self.cluster.dir() {
            let _ = fs::remove_dir_all(self.cluster.socket_dir());
        }
        self.place.remove();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // its keeper ends with the last reference to it
        self.remove();
    }
}

fn start(options: Options) -> embedded::Cluster {
    runtime::run(embedded::Cluster::start(options)).unwrap_or_else(|error| {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
        panic!("{error}{cause}")
    })
}

/// The directory of one cluster, locked as long as its process lives.
#[derive(Debug)]
struct Place {
    dir: PathBuf,
    _lock: File,
}

impl Place {
    fn new(binaries: &Binaries, durable: bool) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let base = base_dir();
        let hall = File::create(base.join("lock")).expect("a lock file for test clusters");
        // between making a directory and locking it nobody may sweep; nor may two make the template
        hall.lock().expect("a lock for test clusters");
        sweep(&base);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = base.join(format!("run-{}-{number}", std::process::id()));
        fs::create_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).expect("a directory open to the server's user");
        let lock = File::create(dir.join("lock")).expect("a lock file for a test cluster");
        lock.lock().expect("a lock for a test cluster");
        let place = Self { dir, _lock: lock };
        let template = ensure_template(&base, binaries, durable);
        drop(hall);
        fs::create_dir(place.cluster_dir()).expect("a directory for a test cluster");
        copy(&template.join("data"), &place.cluster_dir().join("data"));
        place
    }

    fn cluster_dir(&self) -> PathBuf {
        self.dir.join("pg")
    }

    fn remove(&self) {
        // what cannot be removed now is swept by the next process
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Where all throwaway clusters of this user live: the server's user must get there, so it is not in the build directory.
fn base_dir() -> PathBuf {
    let me = nix::unistd::geteuid();
    let base = std::env::temp_dir().join(format!("sync-tests-{me}"));
    fs::create_dir_all(&base).unwrap_or_else(|error| panic!("{}: {error}", base.display()));
    let meta = fs::metadata(&base).expect("the directory just made");
    assert_eq!(meta.uid(), me.as_raw(), "{} belongs to somebody else: remove it", base.display());
    fs::set_permissions(&base, Permissions::from_mode(0o755)).expect("a directory open to the server's user");
    base
}

/// Removes what killed test processes left.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let is_run = entry.file_name().to_string_lossy().starts_with("run-");
        let abandoned = || File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_run && (!entry.path().join("lock").exists() || abandoned()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A cluster that is initialised and stopped: copying it is many times faster than `initdb`.
fn ensure_template(base: &Path, binaries: &Binaries, durable: bool) -> PathBuf {
    let kind = if durable { "durable" } else { "fast" };
    let template = base.join(format!("template-{}-{kind}", binaries.major));
    if !template.exists() {
        let unfinished = base.join("template.new");
        let _ = fs::remove_dir_all(&unfinished);
        let cluster = start(Options {
            dir: unfinished.clone(),
            bin_dir: Some(binaries.dir.clone()),
            durable,
            settings: Vec::new(),
        });
        runtime::run(cluster.stop()).unwrap_or_else(|error| panic!("{error}"));
        fs::rename(&unfinished, &template).expect("a template for test clusters");
    }
    template
}

/// With owners and modes, sharing blocks where the file system can.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").args(["-a", "--reflink=auto"]).arg(from).arg(to).status().expect("the program cp");
    assert!(status.success(), "cannot copy {} to {}", from.display(), to.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_fresh_and_copies_are_full() {
        let first = shared().database("harness");
        first.execute("create table word (text text); insert into word values ('one'), ('two')");
        let copy = shared().copy_of("harness", &first);
        assert_eq!(copy.int("select count(*) from word"), 2);
        assert_eq!(shared().database("harness").int("select count(*) from pg_class where relname = 'word'"), 0);
    }

    #[test]
    fn a_cluster_of_ones_own_can_be_killed_and_leaves_no_files() {
        let cluster = Cluster::start(true);
        let database = cluster.database("harness");
        database.execute("create table word as select 'one' as text");
        cluster.kill();
        assert!(database.try_execute("select 1").is_err());
        cluster.restart();
        assert_eq!(database.value("select text from word").as_deref(), Some("one"));
        let dir = cluster.place.dir.clone();
        let pid = cluster.embedded().pid();
        drop(cluster);
        assert!(!dir.exists());
        assert!(pid.is_none_or(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    }
}
