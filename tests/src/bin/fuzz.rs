//! Feeds readers with inputs made out of the corpus, for as long as it is told.
//!
//! ```text
//! fuzz [--seconds N] [--seed N] [--keep DIR] TARGET...     targets: xmlrpc chunk sql policy since http; or all
//! ```
//!
//! The seconds are those of each target. `http` starts an office, a shop and its agent, and attacks the agent's port.
//! An input that breaks a promise is written to `fuzz-failure-TARGET` in the present directory (or `--keep`), with the
//! reason, and the exit code is 1. What had a new outcome is kept in memory as seed of further inputs, and with `--keep`
//! on disk. A target that hangs for a minute on one input or grows by more than 64 MiB has failed too.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tests::fuzz::mutate::Mutator;
use tests::fuzz::{corpus, find, http};
use tests::kit::{Plan, World};

/// An input on which a target works longer has hung it.
const HANG: Duration = Duration::from_secs(120);

/// Memory that may be gained after the first seconds, in KiB.
const GROWTH_MAX: u64 = 64 << 10;

/// Inputs that are kept as seeds.
const POOL_MAX: usize = 2000;

struct Options {
    seconds: u64,
    seed: u64,
    keep: Option<PathBuf>,
    targets: Vec<String>,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!(
            "usage: fuzz [--seconds N] [--seed N] [--keep DIR] all | xmlrpc | chunk | sql | policy | since | http ..."
        );
        return ExitCode::from(2);
    };
    let mut failed = false;
    for name in &options.targets {
        failed |= !run(name, &options);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn options() -> Option<Options> {
    let mut options = Options { seconds: 60, seed: 1, keep: None, targets: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => options.seconds = arguments.next()?.parse().ok()?,
            "--seed" => options.seed = arguments.next()?.parse().ok()?,
            "--keep" => options.keep = Some(arguments.next()?.into()),
            "all" => options.targets.extend(["xmlrpc", "chunk", "sql", "policy", "since", "http"].map(str::to_owned)),
            name if name == "http" || find(name).is_some() => options.targets.push(name.to_owned()),
            _ => return None,
        }
    }
    (!options.targets.is_empty()).then_some(options)
}

/// Runs one target; whether it kept its promises.
fn run(name: &str, options: &Options) -> bool {
    // what is attacked over the network is measured in its own process
    let mut world = (name == "http").then(|| {
        let schema = "create table note (id int primary key, text text)";
        World::new(&Plan::of(schema, "name = \"p\"\n[tables]\nnote = \"both\"", ""))
    });
    let address = world.as_ref().map(|world| world.shops[0].url().trim_start_matches("http://").to_owned());
    let pid = world.as_mut().map_or_else(|| "self".to_owned(), |world| world.shops[0].agent().pid().to_string());
    let words = find(name).map_or(http::WORDS, |target| target.dictionary);
    let exchange = |input: &[u8]| match (find(name), &address) {
        (Some(target), _) => (target.run)(input),
        (None, Some(address)) => http::exchange(address, input),
        (None, None) => String::new(),
    };

    let mut pool: Vec<Vec<u8>> = match corpus::read(&corpus::dir(name)) {
        Ok(inputs) => inputs.into_iter().map(|(_, bytes)| bytes).collect(),
        Err(error) => {
            eprintln!("error: no corpus of {name}: {error}");
            return false;
        }
    };
    let watched = Watched::start(name, options.keep.clone());
    std::panic::set_hook(Box::new(|_| {}));
    let mut mutator = Mutator::new(options.seed, words);
    let (mut outcomes, mut executions) = (HashSet::new(), 0_u64);
    let (began, mut early, mut told) = (Instant::now(), 0, 0);
    let (mut fresh, seeds) = (pool.clone(), pool.len() as u64);
    while began.elapsed() < Duration::from_secs(options.seconds) {
        let input = fresh.pop().unwrap_or_else(|| mutator.next(&pool));
        watched.begin(&input);
        let outcome = catch_unwind(AssertUnwindSafe(|| exchange(&input)));
        executions += 1;
        match outcome {
            Err(panic) => {
                let why = panic.downcast_ref::<String>().cloned();
                let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                watched.failed(&input, &why.unwrap_or_default());
                return false;
            }
            Ok(outcome) => {
                let is_new = outcomes.len() < 100_000 && outcomes.insert(outcome);
                if is_new && executions > seeds && pool.len() < POOL_MAX {
                    if let Some(dir) = &options.keep {
                        let _ = fs::write(dir.join(format!("{name}-{executions}")), &input);
                    }
                    pool.push(input.clone());
                }
            }
        }
        if executions % 1000 == 0 {
            if let Some(address) = address.as_deref().filter(|address| !http::still_serves(address)) {
                watched.failed(&[], &format!("the agent at {address} no longer serves"));
                return false;
            }
            let seconds = began.elapsed().as_secs();
            if seconds < 20 || early == 0 {
                early = memory(&pid, "VmRSS:").max(early);
            } else if memory(&pid, "VmRSS:") > early + GROWTH_MAX {
                watched.failed(&input, &format!("memory grew from {early} KiB to {} KiB", memory(&pid, "VmRSS:")));
                return false;
            }
            if seconds >= told + 60 {
                told = seconds;
                eprintln!("{name}: {seconds} s, {executions} executions, {} outcomes", outcomes.len());
            }
        }
    }
    watched.end();
    eprintln!(
        "{name}: passed: {} s, {executions} executions, {} outcomes, {} seeds, peak memory {} KiB",
        began.elapsed().as_secs(),
        outcomes.len(),
        pool.len(),
        memory(&pid, "VmHWM:"),
    );
    true
}

/// A line of `/proc/PID/status`, in KiB.
fn memory(pid: &str, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// The input at work, and since when.
type AtWork = Option<(Instant, Vec<u8>)>;

/// Tells the thread that notices a hang what is at work.
struct Watched {
    name: String,
    dir: PathBuf,
    at_work: Arc<Mutex<AtWork>>,
}

impl Watched {
    fn start(name: &str, dir: Option<PathBuf>) -> Self {
        let watched = Self { name: name.to_owned(), dir: dir.unwrap_or_else(|| ".".into()), at_work: Arc::default() };
        let (at_work, path) = (Arc::downgrade(&watched.at_work), watched.path());
        thread::spawn(move || {
            while let Some(at_work) = at_work.upgrade() {
                if let Some((since, input)) = &*at_work.lock().unwrap_or_else(PoisonError::into_inner)
                    && since.elapsed() > HANG
                {
                    let _ = fs::write(&path, input);
                    eprintln!("FAILED: hung on the input in {}", path.display());
                    std::process::exit(1);
                }
                drop(at_work);
                thread::sleep(Duration::from_secs(1));
            }
        });
        watched
    }

    fn path(&self) -> PathBuf {
        self.dir.join(format!("fuzz-failure-{}", self.name))
    }

    fn begin(&self, input: &[u8]) {
        *self.at_work.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), input.to_vec()));
    }

    fn end(&self) {
        *self.at_work.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn failed(&self, input: &[u8], why: &str) {
        self.end();
        let _ = fs::write(self.path(), input);
        eprintln!("{}: FAILED: {why}\nthe input is in {}", self.name, self.path().display());
    }
}
