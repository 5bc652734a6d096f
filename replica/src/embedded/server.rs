//! One run of the server: `initdb`, the postmaster as our child, and what a run that ended badly leaves behind.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getppid};

use super::account::Account;
use super::binaries::Binaries;
use super::layout::{Layout, PORT};
use super::{EmbeddedError, Options, SUPERUSER};

/// How long a fast shutdown may take (it writes a checkpoint) before the server is told to drop everything.
const FAST_SHUTDOWN_MAX: Duration = Duration::from_secs(60);
/// How long an immediate shutdown may take before SIGKILL.
const IMMEDIATE_SHUTDOWN_MAX: Duration = Duration::from_secs(10);
/// How often a process that should end is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Everything that is known about a cluster before it runs.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) layout: Layout,
    pub(super) account: Account,
    pub(super) binaries: Binaries,
    pub(super) durable: bool,
    pub(super) settings: Vec<(String, String)>,
}

impl Site {
    /// Looks at the directory, making it if needed, and finds user and programs.
    pub(super) fn survey(options: Options) -> Result<Self, EmbeddedError> {
        let refuse = |reason: &str| EmbeddedError::Directory { dir: options.dir.clone(), reason: reason.to_owned() };
        fs::create_dir_all(&options.dir)
            .map_err(EmbeddedError::io(format!("cannot create {}", options.dir.display())))?;
        let dir = fs::canonicalize(&options.dir)
            .map_err(EmbeddedError::io(format!("cannot find {}", options.dir.display())))?;
        let layout = Layout::new(dir);
        if dir_is_foreign(&layout)? {
            return Err(refuse("holds other files and no cluster: name a directory of its own for the database"));
        }
        let account = Account::choose(&layout.dir, &layout.data())?;
        let explicit = options.bin_dir.as_deref();
        let binaries = super::binaries::find(explicit, layout.major())?;
        account.make_private(&layout.dir)?;
        account.check_access(&layout.dir, &binaries.program("postgres"))?;
        layout.prepare_socket_dir(&account)?;
        Ok(Self { layout, account, binaries, durable: options.durable, settings: options.settings })
    }

    /// Makes the cluster if it is new. An `initdb` that was interrupted leaves nothing that counts.
    pub(super) fn ensure_initialised(&self) -> Result<(), EmbeddedError> {
        let data = self.layout.data();
        if self.layout.major().is_some() {
            return Ok(());
        }
        let unfinished = self.layout.dir.join("data.new");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)
                .map_err(EmbeddedError::io(format!("cannot remove {}", unfinished.display())))?;
        }
        // C collation: the order of text is the same on every machine and after every upgrade
        self.initdb(&unfinished, "C.UTF-8").or_else(|_| self.initdb(&unfinished, "C"))?;
        fs::rename(&unfinished, &data).map_err(EmbeddedError::io(format!("cannot rename {}", unfinished.display())))
    }

    fn initdb(&self, data: &Path, characters: &str) -> Result<(), EmbeddedError> {
        let program = self.binaries.program("initdb");
        let mut command = self.account.command(&program, &self.layout.dir);
        command
            .arg("--pgdata")
            .arg(data)
            .args(["--encoding=UTF8", "--lc-collate=C", "--auth-local=trust", "--auth-host=reject"])
            .arg(format!("--username={SUPERUSER}"))
            .arg(format!("--lc-ctype={characters}"))
            .arg(if self.durable { "--data-checksums" } else { "--no-sync" });
        end_with_us(&mut command, Signal::SIGTERM);
        let output = command.output().map_err(EmbeddedError::io(format!("cannot run {}", program.display())))?;
        if output.status.success() {
            return Ok(());
        }
        Err(EmbeddedError::Program {
            what: format!("initdb for {} ended with {}", data.display(), output.status),
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// What `postmaster.pid` says: process id and whether that server accepts connections.
    pub(super) fn postmaster(&self) -> Option<(i32, bool)> {
        let text = fs::read_to_string(self.layout.data().join("postmaster.pid")).ok()?;
        let pid = text.lines().next()?.trim().parse().ok()?;
        // line 8 is the state, kept there for pg_ctl since version 10
        Some((pid, text.lines().nth(7).is_some_and(|state| state.trim() == "ready")))
    }

    /// Processes that run in the data directory: postmaster and backends, also those whose postmaster is gone.
    fn processes(&self) -> Vec<Pid> {
        let data = self.layout.data();
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data))
            // somebody's shell may stand there as well
            .filter(|pid| {
                fs::read_to_string(format!("/proc/{pid}/comm"))
                    .is_ok_and(|name| name.starts_with("postgres") || name.starts_with("postmaster"))
            })
            .map(Pid::from_raw)
            .collect()
    }

    /// Clears away what an earlier run left, so that a server can start: waits for one that is shutting down because its
    /// owner died, ends backends without a postmaster, removes a pid file that names no server. Only for the owner.
    ///
    /// `ours` is the postmaster that the last owner noted; any other is a server somebody runs by hand, and an error.
    pub(super) fn clear_remains(&self, ours: Option<i32>) -> Result<(), EmbeddedError> {
        let began = Instant::now();
        loop {
            let processes = self.processes();
            let postmaster = self.postmaster().map(|(pid, _)| Pid::from_raw(pid)).filter(|pid| processes.contains(pid));
            let waited = began.elapsed();
            match postmaster {
                Some(pid) if Some(pid.as_raw()) != ours => {
                    return Err(EmbeddedError::Directory {
                        dir: self.layout.dir.clone(),
                        reason: format!(
                            "a PostgreSQL server that was not started by this program (process {pid}) runs in it: stop it"
                        ),
                    });
                }
                // its kernel-sent SIGINT is on the way or may have come before it listened to signals: say it again
                Some(pid) if waited < FAST_SHUTDOWN_MAX => signal(pid, Signal::SIGINT),
                Some(pid) if waited < FAST_SHUTDOWN_MAX + IMMEDIATE_SHUTDOWN_MAX => signal(pid, Signal::SIGQUIT),
                None if processes.is_empty() => break,
                None if waited < Duration::from_secs(2) => {
                    processes.iter().for_each(|pid| signal(*pid, Signal::SIGQUIT))
                }
                _ => processes.iter().for_each(|pid| signal(*pid, Signal::SIGKILL)),
            }
            if waited > FAST_SHUTDOWN_MAX + IMMEDIATE_SHUTDOWN_MAX * 2 {
                return Err(EmbeddedError::Directory {
                    dir: self.layout.dir.clone(),
                    reason: "server processes of an earlier run do not end".into(),
                });
            }
            thread::sleep(LOOK * 4);
        }
        // PostgreSQL would take a reused process id for a running server
        remove_if_present(&self.layout.data().join("postmaster.pid"))?;
        self.remove_socket()
    }

    fn remove_socket(&self) -> Result<(), EmbeddedError> {
        remove_if_present(&self.layout.socket_dir.join(format!(".s.PGSQL.{PORT}.lock")))?;
        remove_if_present(&self.layout.socket_dir.join(format!(".s.PGSQL.{PORT}")))
    }

    /// Removes the socket's directory where it is not that of the cluster; the next owner makes it again.
    pub(super) fn remove_socket_dir(&self) {
        if self.layout.socket_is_elsewhere() && self.remove_socket().is_ok() {
            // stays if somebody has put anything else there
            let _ = fs::remove_dir(&self.layout.socket_dir);
        }
    }

    /// Ends every process of the cluster at once, as a power failure would; as there, its shared memory goes too.
    pub(super) fn kill_all(&self) {
        let postmaster = self.postmaster().map(|(pid, _)| Pid::from_raw(pid));
        let postmaster = postmaster.filter(|pid| self.processes().contains(pid));
        if let Some(pid) = postmaster {
            // first the one that would clean up after the others
            signal(pid, Signal::SIGKILL);
        }
        let began = Instant::now();
        loop {
            // zombies have no working directory, so this ends before our own child is reaped
            let processes = self.processes();
            if processes.is_empty() || began.elapsed() > IMMEDIATE_SHUTDOWN_MAX {
                break;
            }
            processes.iter().for_each(|pid| signal(*pid, Signal::SIGKILL));
            thread::sleep(LOOK);
        }
        if let Some(pid) = postmaster {
            remove_shared_memory_of(pid);
        }
    }

    /// Settings of the server, later ones winning.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "listen_addresses=".to_owned(),
            format!("port={PORT}"),
            // the directory is private already; this holds even if somebody opens it
            "unix_socket_permissions=0700".to_owned(),
            // DETAIL lines and statements hold row values, which do not belong into a log
            "log_error_verbosity=terse".to_owned(),
            "log_min_error_statement=panic".to_owned(),
            "log_line_prefix=%m [%p] ".to_owned(),
            "logging_collector=off".to_owned(),
            "log_destination=stderr".to_owned(),
            // compiled queries need memory that is writable and executable, which the service is not given
            "jit=off".to_owned(),
        ];
        if !self.durable {
            arguments.extend(["fsync=off", "full_page_writes=off", "synchronous_commit=off"].map(str::to_owned));
        }
        arguments.extend(self.settings.iter().map(|(name, value)| format!("{name}={value}")));
        arguments
    }
}

/// A postmaster that is our child.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    log_from: u64,
}

impl Server {
    /// Starts the postmaster; it does not answer yet.
    pub(super) fn spawn(site: &Site) -> Result<Self, EmbeddedError> {
        let program = site.binaries.program("postgres");
        let data = site.layout.data();
        let cannot = || EmbeddedError::io(format!("cannot run {}", program.display()));
        let log = site.layout.open_log(&site.account)?;
        let log_from = log.metadata().map_or(0, |meta| meta.len());
        let mut command = site.account.command(&program, &site.layout.dir);
        command.arg("-D").arg(&data).arg("-k").arg(&site.layout.socket_dir);
        for setting in site.arguments() {
            command.arg("-c").arg(setting);
        }
        command.stdout(Stdio::from(log.try_clone().map_err(cannot())?)).stderr(Stdio::from(log));
        // SIGINT is the fast shutdown: SIGTERM would wait for the clients to leave
        end_with_us(&mut command, Signal::SIGINT);
        let child = command.spawn().map_err(cannot())?;
        Ok(Self { child, log_from })
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// How it ended, if it did.
    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it wrote to its log since it was started.
    pub(super) fn complaint(&self, site: &Site) -> String {
        site.layout.log_since(self.log_from)
    }

    /// Shuts it down: clients are cut off and a checkpoint is written; harder where that takes too long.
    pub(super) fn stop(mut self) -> Result<(), EmbeddedError> {
        let pid = Pid::from_raw(self.pid());
        let steps = [
            (Signal::SIGINT, FAST_SHUTDOWN_MAX),
            (Signal::SIGQUIT, IMMEDIATE_SHUTDOWN_MAX),
            (Signal::SIGKILL, IMMEDIATE_SHUTDOWN_MAX),
        ];
        for (step, patience) in steps {
            let began = Instant::now();
            let mut signalled: Option<Instant> = None;
            while began.elapsed() < patience {
                // repeated, because a postmaster that has just been started may not listen yet
                if signalled.is_none_or(|when| when.elapsed() > Duration::from_secs(1)) {
                    signal(pid, step);
                    signalled = Some(Instant::now());
                }
                if self.child.try_wait().map_err(EmbeddedError::io(format!("cannot wait for process {pid}")))?.is_some()
                {
                    return Ok(());
                }
                thread::sleep(LOOK);
            }
            tracing::warn!(pid = pid.as_raw(), signal = %step, "the database server does not stop");
        }
        Err(EmbeddedError::Io {
            what: format!("process {pid} does not end"),
            source: io::Error::from(io::ErrorKind::TimedOut),
        })
    }

    /// Waits for its end after it has been killed.
    pub(super) fn reap(mut self) {
        // it is our child and has had a SIGKILL: this returns
        let _ = self.child.wait();
    }
}

/// Has the kernel send a signal to the command's process when the thread that spawns it ends, however it ends.
fn end_with_us(command: &mut Command, signal: Signal) {
    let parent = Pid::this();
    let prepare = move || {
        umask(Mode::from_bits_truncate(0o077));
        nix::sys::prctl::set_pdeathsig(signal)?;
        if getppid() != parent {
            // died in between: the signal will not come
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes three system calls (umask, prctl, getppid), all async-signal-safe,
    // and neither allocates nor takes a lock: `from_raw_os_error` and the conversion of `Errno` only wrap a number.
    // std runs it after it has changed user and group, which would clear the setting.
    unsafe { command.pre_exec(prepare) };
}

fn signal(pid: Pid, signal: Signal) {
    if let Err(error) = kill(pid, signal)
        && error != nix::errno::Errno::ESRCH
    {
        tracing::warn!(pid = pid.as_raw(), signal = %signal, error = %error, "cannot signal the database server");
    }
}

/// Removes the segment of System V shared memory that a killed postmaster left. The next server of the same directory
/// would; where none follows, it stays until the machine is restarted, and a kernel has a few thousand of them at most.
fn remove_shared_memory_of(postmaster: Pid) {
    for id in shared_memory_of(postmaster) {
        // SAFETY: removing a segment takes two numbers, and the pointer, which IPC_RMID does not use, may be null
        if unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) } != 0 {
            let error = io::Error::last_os_error();
            tracing::warn!(id, error = %error, "cannot remove the shared memory of a database server");
        }
    }
}

/// The segments of System V shared memory that a process has made and nobody uses any more (`proc_sysvipc_shm(5)`).
pub(super) fn shared_memory_of(creator: Pid) -> Vec<i32> {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let segment = |line: &str| {
        // key, id, mode, size, creator, last user, number of users
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_left = fields.get(4)?.parse() == Ok(creator.as_raw()) && *fields.get(6)? == "0";
        if is_left { fields.get(1)?.parse().ok() } else { None }
    };
    table.lines().filter_map(segment).collect()
}

fn remove_if_present(path: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(EmbeddedError::Io { what: format!("cannot remove {}", path.display()), source: error })
        }
        _ => Ok(()),
    }
}

/// Whether a directory is in use for something else: then it is not ours to give to another user.
fn dir_is_foreign(layout: &Layout) -> Result<bool, EmbeddedError> {
    if layout.major().is_some() || layout.owner_lock().exists() {
        return Ok(false);
    }
    let known: [PathBuf; 2] = [layout.data(), layout.dir.join("data.new")];
    let entries = fs::read_dir(&layout.dir)
        .map_err(EmbeddedError::io(format!("cannot read {}: run as its owner, or as root", layout.dir.display())))?;
    Ok(entries.flatten().any(|entry| !known.contains(&entry.path())))
}
