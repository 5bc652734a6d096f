//! Programs: run to their end, or started, watched and ended by signals.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::canary;
use crate::wait_for::{self, BOUND};

/// How long a program that [`run`] has started may take.
const RUN_MAX: Duration = Duration::from_secs(300);

/// Environment variable with which the caller says that the programs are built: `./test` has just done it.
const BUILT: &str = "SYNC_TESTS_BUILT";

/// Path of one of the product's programs, `shop-agent` or `office-client`, in the build directory of this test. It is
/// built first, so that no test runs against an old one.
///
/// # Panics
/// If it does not build.
pub fn binary(name: &str) -> PathBuf {
    static READY: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let test = std::env::current_exe().expect("the path of this test");
    // target/PROFILE/deps/TEST, or target/PROFILE/TEST
    let profile = test
        .ancestors()
        .skip(1)
        .find(|dir| dir.file_name().is_some_and(|name| name != "deps"))
        .unwrap_or_else(|| panic!("no build directory around {}", test.display()));
    let path = profile.join(name);
    let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
    if ready.contains(name) {
        return path;
    }
    if !(path.is_file() && std::env::var_os(BUILT).is_some()) {
        build(name, profile);
    }
    assert!(path.is_file(), "cargo has built {name} somewhere else than {}", path.display());
    ready.insert(name.to_owned());
    path
}

fn build(name: &str, profile: &Path) {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--package", name, "--bin", name]);
    let name = profile.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    command.args(["--profile", if name == "debug" { "dev" } else { name }]);
    command.arg("--target-dir").arg(profile.parent().unwrap_or(profile));
    // the compiler's own variables that the test was run with would make cargo build everything anew
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_BIN_") || text == "CARGO_MANIFEST_DIR" {
            command.env_remove(&variable);
        }
    }
    let output = command.current_dir(root()).output().expect("the program cargo");
    assert!(output.status.success(), "cannot build {name}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("/"))
}

/// What a program did that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

impl Finished {
    /// Whether the exit code was 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// Standard output of a program that must have succeeded.
    ///
    /// # Panics
    /// If it has not, with all it said.
    pub fn succeeded(self) -> String {
        self.ended_with(0).stdout
    }

    /// The same program, whose exit code must have been that one.
    ///
    /// # Panics
    /// If it was another, with all it said.
    pub fn ended_with(self, code: i32) -> Self {
        let actual = self.code;
        assert!(actual == Some(code), "exit code {actual:?} instead of {code}\n{}\n{}", self.stdout, self.stderr);
        self
    }
}

/// Runs a program to its end, with nothing on standard input.
///
/// # Panics
/// If it cannot be started or takes longer than five minutes.
pub fn run(command: &mut Command) -> Finished {
    run_with_input(command, Vec::new())
}

/// The same with these bytes on standard input.
///
/// # Panics
/// If it cannot be started or takes longer than five minutes.
pub fn run_with_input(command: &mut Command, input: Vec<u8>) -> Finished {
    command.stdin(Stdio::piped());
    let mut process = Process::spawn(command);
    let stdin = process.child.stdin.take();
    let writer = thread::spawn(move || {
        // a program may leave before it has read everything
        let _ = stdin.map(|mut stdin| std::io::Write::write_all(&mut stdin, &input));
    });
    let status = process.wait_at_most(RUN_MAX);
    let _ = writer.join();
    Finished { code: status.code(), stdout: process.stdout(), stderr: process.stderr() }
}

/// A program that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    status: Option<ExitStatus>,
    what: String,
    stdout: Captured,
    stderr: Captured,
}

impl Process {
    /// Starts it, and reads along with what it writes.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> Self {
        let what = command.get_program().to_string_lossy().into_owned();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        let stdout = Captured::of(child.stdout.take());
        let stderr = Captured::of(child.stderr.take());
        Self { child, status: None, what, stdout, stderr }
    }

    /// Process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Everything on standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text(self.status.is_some())
    }

    /// Everything on standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text(self.status.is_some())
    }

    /// Waits for a line on standard error that satisfies the condition.
    ///
    /// # Panics
    /// If the program ends before, or the line does not come.
    pub fn wait_for_line(&mut self, what: &str, condition: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        loop {
            let ended = !self.is_running();
            if let Some(line) = self.stderr().lines().find(|line| condition(line)) {
                return line.to_owned();
            }
            let said = || format!("{} did not say: {what}\n{}", self.what, self.stderr());
            assert!(!ended, "{}\nand ended with {:?}", said(), self.status);
            assert!(began.elapsed() < BOUND, "{}", said());
            self.stderr.wait_for_more();
        }
    }

    /// Waits until a server is ready, and gives the URL it listens on (the line `listening on http://ADDR:PORT`).
    ///
    /// # Panics
    /// If it ends before.
    pub fn url(&mut self) -> String {
        let line = self.wait_for_line("listening on http://", |line| url_in(line).is_some());
        url_in(&line).unwrap_or_default().to_owned()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap_or_else(|error| panic!("{}: {error}", self.what));
        }
        self.status.is_none()
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            // it is our child and not yet waited for, so the number is its own
            let _ = kill(Pid::from_raw(self.pid()), signal);
        }
    }

    /// Ends it at once, as a power failure would, and waits for its end.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    ///
    /// # Panics
    /// If it does not.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not come.
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_at_most(BOUND)
    }

    fn wait_at_most(&mut self, bound: Duration) -> ExitStatus {
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        while self.is_running() {
            if began.elapsed() > bound {
                let said = self.stderr();
                self.kill();
                panic!("{} does not end\n{said}", self.what);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        self.status.unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            // nobody is left who could report a failure
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
        if thread::panicking() {
            eprintln!("--- {} said:\n{}", self.what, self.stderr());
        } else if canary::is_ours(&self.what) {
            canary::assert_none(&self.what, &self.stderr());
        }
    }
}

fn url_in(line: &str) -> Option<&str> {
    let (_, url) = line.split_once("listening on ")?;
    url.starts_with("http").then(|| url.split_whitespace().next()).flatten()
}

/// What comes out of a pipe.
#[derive(Debug)]
struct Captured {
    shared: Arc<(Mutex<String>, Condvar)>,
    reader: OnceLock<JoinHandle<()>>,
}

impl Captured {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let shared = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let reader = OnceLock::new();
        if let Some(pipe) = pipe {
            let shared = Arc::clone(&shared);
            let _ = reader.set(thread::spawn(move || {
                let mut pipe = BufReader::new(pipe);
                let mut line = Vec::new();
                while pipe.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                    let (text, more) = &*shared;
                    text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
                    more.notify_all();
                    line.clear();
                }
            }));
        }
        Self { shared, reader }
    }

    /// All of it; after the end of the program, what is still in the pipe is waited for.
    fn text(&self, ended: bool) -> String {
        if ended && let Some(reader) = self.reader.get() {
            // a process it has left behind may hold the pipe open: then what is there has to do
            let began = Instant::now();
            while !reader.is_finished() && began.elapsed() < Duration::from_secs(2) {
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns when something has been written, or a little later.
    fn wait_for_more(&self) {
        let (text, more) = &*self.shared;
        let text = text.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = more.wait_timeout(text, Duration::from_millis(20));
    }
}

/// Waits until no process with that number runs.
pub fn wait_until_gone(pid: i32) {
    wait_for::condition("the end of a process", || {
        // a zombie has no command line
        std::fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_program_is_heard_and_its_exit_code_known() {
        let finished = run_with_input(&mut shell("cat; echo talk >&2; exit 3"), b"data".to_vec());
        assert_eq!((finished.code, finished.stdout.as_str(), finished.stderr.as_str()), (Some(3), "data", "talk\n"));
    }

    #[test]
    fn the_products_programs_are_built_and_found() {
        for name in ["shop-agent", "office-client"] {
            run(Command::new(binary(name)).arg("--version")).ended_with(0);
        }
    }

    #[test]
    fn a_server_is_waited_for_and_ended() {
        let mut process = Process::spawn(&mut shell("echo listening on http://127.0.0.1:4711 >&2; sleep 600"));
        assert_eq!(process.url(), "http://127.0.0.1:4711");
        assert!(process.is_running());
        assert!(process.terminate().code().is_none());
    }

    #[test]
    #[should_panic(expected = "cannot bind")]
    fn a_server_that_does_not_come_up_is_reported_with_its_words() {
        Process::spawn(&mut shell("echo cannot bind >&2; exit 1")).url();
    }

    #[test]
    fn a_process_does_not_outlive_its_owner() {
        let process = Process::spawn(&mut shell("exec sleep 600"));
        let pid = process.pid();
        drop(process);
        wait_until_gone(pid);
    }
}
