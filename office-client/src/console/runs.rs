//! The runs that were started here: at work, or lately ended. Pages come and go, a run does not mind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use protocol::session::office::Task;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

use super::Console;
use crate::driver::{self, DriveError, Estimate, Job, Report, RunResult};
use crate::error;
use crate::limits::CONSOLE_ENDED_RUNS_MAX;
use crate::output::{Board, Direction, Watch};
use crate::stop::Stop;

/// All of them.
#[derive(Debug)]
pub(super) struct Runs {
    /// Oldest first.
    all: Mutex<Vec<Arc<Live>>>,
    /// As many work at a time as `--jobs` says.
    seats: Semaphore,
    /// Branches that share a line are called one after the other.
    lines: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    tasks: TaskTracker,
    /// Told whenever a run begins, moves or ends.
    changed: watch::Sender<u64>,
}

/// A run.
#[derive(Debug)]
pub(super) struct Live {
    /// What its page is called by.
    pub(super) id: String,
    /// The branch.
    pub(super) branch: String,
    /// `update` or `clone`.
    pub(super) task: Task,
    /// Who started it.
    pub(super) by: String,
    /// When.
    pub(super) started_at: SystemTime,
    stop: Stop,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    all_changed: watch::Sender<u64>,
}

/// How far a run is.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// When it began.
    pub(super) began: Instant,
    /// What it has done so far; the last one is what it does.
    pub(super) steps: Vec<Step>,
    /// What waits in both directions.
    pub(super) estimate: Option<Estimate>,
    /// What moves, or has moved, from the shop and to it.
    pub(super) transfers: Vec<Transfer>,
    /// How often the line was lost and came back.
    pub(super) redials: u32,
    /// Whether somebody has asked it to stop.
    pub(super) stopping: bool,
    /// How it ended.
    pub(super) ended: Option<Ended>,
}

/// One thing that a run does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    /// In words.
    pub(super) words: &'static str,
    /// Seconds after the beginning.
    pub(super) at_s: f64,
}

/// Rows on their way.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    /// Which way.
    pub(super) direction: Direction,
    /// How many rows.
    pub(super) rows: u64,
    /// Rows of each table.
    pub(super) tables: Vec<(String, u64)>,
    /// Bytes in all.
    pub(super) total: u64,
    /// Bytes that have arrived.
    pub(super) at: u64,
    from: u64,
    began: Instant,
    last: Instant,
}

impl Transfer {
    /// Bytes per second in this run; none at its beginning.
    pub(super) fn rate(&self) -> Option<f64> {
        let seconds = self.last.duration_since(self.began).as_secs_f64();
        (self.at > self.from && seconds > 0.05).then(|| (self.at - self.from) as f64 / seconds)
    }

    /// Seconds until the rest is there.
    pub(super) fn left_s(&self) -> Option<f64> {
        self.rate().map(|rate| self.total.saturating_sub(self.at) as f64 / rate)
    }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    /// How.
    pub(super) result: RunResult,
    /// Why it ended early.
    pub(super) error: Option<String>,
    /// What to do about it.
    pub(super) hint: Option<String>,
    /// Its number in the history.
    pub(super) number: Option<i64>,
    /// The report.
    pub(super) report: Arc<Report>,
}

impl Runs {
    /// None yet; so many may work at a time.
    pub(super) fn new(jobs: usize) -> Self {
        Self {
            all: Mutex::default(),
            seats: Semaphore::new(jobs),
            lines: Mutex::default(),
            tasks: TaskTracker::new(),
            changed: watch::channel(0).0,
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Live>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The run of that id.
    pub(super) fn find(&self, id: &str) -> Option<Arc<Live>> {
        self.all().iter().find(|run| run.id == id).cloned()
    }

    /// The run of a branch that is at work.
    pub(super) fn of_branch(&self, branch: &str) -> Option<Arc<Live>> {
        self.all().iter().rev().find(|run| run.branch == branch && run.is_at_work()).cloned()
    }

    /// Told whenever a run begins, moves or ends.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Waits until all have ended.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Makes room, and takes a new run in; where the branch has one at work, that one is it.
    fn enter(&self, run: Arc<Live>) -> Result<(), Arc<Live>> {
        let mut all = self.all();
        if let Some(other) = all.iter().find(|other| other.branch == run.branch && other.is_at_work()) {
            return Err(Arc::clone(other));
        }
        while all.len() >= CONSOLE_ENDED_RUNS_MAX {
            match all.iter().position(|run| !run.is_at_work()) {
                Some(oldest) => drop(all.remove(oldest)),
                None => break,
            }
        }
        all.push(run);
        Ok(())
    }

    fn line(&self, key: String) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.lines.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
    }
}

impl Live {
    /// A run that waits for its turn.
    fn waiting(branch: &str, task: Task, by: &str, stop: Stop, all_changed: watch::Sender<u64>) -> Self {
        Self {
            id: format!("{:08x}", rand::random::<u32>()),
            branch: branch.to_owned(),
            task,
            by: by.to_owned(),
            started_at: SystemTime::now(),
            stop,
            state: Mutex::new(State {
                began: Instant::now(),
                steps: vec![Step { words: "waiting for its turn", at_s: 0.0 }],
                estimate: None,
                transfers: Vec::new(),
                redials: 0,
                stopping: false,
                ended: None,
            }),
            changed: watch::channel(0).0,
            all_changed,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_modify(|count| *count += 1);
        self.all_changed.send_modify(|count| *count += 1);
    }

    /// How far it is.
    pub(super) fn picture(&self) -> State {
        self.state().clone()
    }

    /// Whether it has not ended.
    pub(super) fn is_at_work(&self) -> bool {
        self.state().ended.is_none()
    }

    /// Told whenever it moves or ends.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Asks it to end at the next chunk.
    pub(super) fn stop(&self) {
        self.stop.request();
        self.change(|state| state.stopping = true);
    }

    fn end(&self, report: Report) {
        let ended = Ended {
            result: report.result,
            error: report.error.as_ref().map(|error| error::chain(error)),
            hint: report.error.as_ref().and_then(|error| error.hint(&report.branch)),
            number: report.number,
            report: Arc::new(report),
        };
        self.change(|state| state.ended = Some(ended));
    }
}

/// The word for what a run does.
pub(super) fn word(task: Task) -> &'static str {
    match task {
        Task::Update => "update",
        Task::Clone => "clone",
    }
}

impl Watch for Live {
    fn phase(&self, words: &'static str) {
        self.change(|state| {
            if state.steps.last().is_none_or(|step| step.words != words) {
                let at_s = state.began.elapsed().as_secs_f64();
                state.steps.push(Step { words, at_s });
            }
        });
    }

    fn estimate(&self, estimate: &Estimate) {
        self.change(|state| state.estimate = Some(*estimate));
    }

    fn tables(&self, direction: Direction, tables: Vec<(String, u64)>) {
        self.change(|state| match state.transfers.iter_mut().find(|transfer| transfer.direction == direction) {
            Some(transfer) => transfer.tables = tables,
            None => {
                let now = Instant::now();
                state.transfers.push(Transfer {
                    direction,
                    rows: 0,
                    tables,
                    total: 0,
                    at: 0,
                    from: 0,
                    began: now,
                    last: now,
                });
            }
        });
    }

    fn transfer(&self, direction: Direction, rows: u64, total: u64, at: u64) {
        self.phase(match direction {
            Direction::Receive => "receiving",
            Direction::Send => "sending",
        });
        self.change(|state| {
            let now = Instant::now();
            match state.transfers.iter_mut().find(|transfer| transfer.direction == direction) {
                // after a loss it goes on where it was: the measure of the rate does too
                Some(transfer) if transfer.total == total => transfer.at = at.max(transfer.at),
                Some(transfer) => {
                    *transfer = Transfer { rows, total, at, from: at, began: now, last: now, ..transfer.clone() }
                }
                None => {}
            }
        });
    }

    fn at(&self, bytes: u64) {
        self.change(|state| {
            if let Some(transfer) = state.transfers.last_mut() {
                transfer.at = bytes;
                transfer.last = Instant::now();
            }
        });
    }

    fn redials(&self, redials: u32) {
        if self.state().redials != redials {
            self.change(|state| state.redials = redials);
        }
    }
}

/// Starts a run of a branch; where one is at work, that one is returned.
pub(super) fn start(console: &Arc<Console>, branch: &str, task: Task, by: &str, force: bool) -> Arc<Live> {
    let live = Arc::new(Live::waiting(branch, task, by, console.stop.part(), console.runs.changed.clone()));
    if let Err(other) = console.runs.enter(Arc::clone(&live)) {
        return other;
    }
    tracing::info!(branch, run = word(task), by, "a run was started at the console");
    live.change(|_| {});
    let (console, run) = (Arc::clone(console), Arc::clone(&live));
    console.runs.tasks.clone().spawn(async move {
        let _ending = Ending(Arc::clone(&run));
        let report = perform(&console, &run, force).await;
        run.end(report);
        console.overview.look();
    });
    live
}

/// Sees to it that a run has an end, also when its task has none.
struct Ending(Arc<Live>);

impl Drop for Ending {
    fn drop(&mut self) {
        if self.0.is_at_work() {
            let error = DriveError::Confused("the run ended without a word".into());
            self.0.end(Report::not_begun(&self.0.branch, self.0.task, error));
        }
    }
}

async fn perform(console: &Console, run: &Arc<Live>, force: bool) -> Report {
    let not_begun = |error| Report::not_begun(&run.branch, run.task, error);
    let _seat = tokio::select! {
        seat = console.runs.seats.acquire() => seat,
        () = run.stop.wait() => return not_begun(DriveError::Interrupted),
    };
    let branch = match console.office.branch(&run.branch).await {
        Ok(branch) => branch,
        Err(error) => return not_begun(error.into()),
    };
    let line = driver::line_settings(&branch).ok().and_then(|settings| settings.key());
    let line = line.map(|key| console.runs.line(key));
    let _line = match &line {
        Some(line) => tokio::select! {
            held = line.lock() => Some(held),
            () = run.stop.wait() => return not_begun(DriveError::Interrupted),
        },
        None => None,
    };
    let watch: Arc<dyn Watch> = Arc::clone(run) as Arc<dyn Watch>;
    let job = Job {
        office: &console.office,
        settings: &console.settings,
        progress: Board::watched(&run.branch, watch),
        branch,
        stop: run.stop.clone(),
        force,
        typed_password: None,
        by: run.by.clone(),
    };
    driver::run(job, run.task).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(branch: &str) -> Arc<Live> {
        Arc::new(Live::waiting(branch, Task::Update, "test", Stop::default(), watch::channel(0).0))
    }

    fn ended(branch: &str) -> Arc<Live> {
        let run = run(branch);
        drop(Ending(Arc::clone(&run)));
        assert!(!run.is_at_work());
        run
    }

    #[test]
    fn boundary_of_console_ended_runs_max() {
        let runs = Runs::new(1);
        let at_work = run("south");
        runs.enter(Arc::clone(&at_work)).unwrap();
        let first = ended("north");
        runs.enter(Arc::clone(&first)).unwrap();
        for _ in 2..CONSOLE_ENDED_RUNS_MAX - 1 {
            runs.enter(ended("north")).unwrap();
        }
        assert_eq!(runs.all().len(), CONSOLE_ENDED_RUNS_MAX - 1);
        runs.enter(ended("north")).unwrap();
        assert!(runs.find(&first.id).is_some() && runs.all().len() == CONSOLE_ENDED_RUNS_MAX);
        // the oldest that has ended makes room, never one at work
        runs.enter(ended("north")).unwrap();
        assert!(runs.find(&first.id).is_none() && runs.all().len() == CONSOLE_ENDED_RUNS_MAX);
        assert!(runs.find(&at_work.id).is_some());
    }

    #[test]
    fn a_branch_has_one_run_at_a_time() {
        let runs = Runs::new(1);
        let first = run("north");
        runs.enter(Arc::clone(&first)).unwrap();
        assert_eq!(runs.enter(run("north")).unwrap_err().id, first.id);
        runs.enter(run("south")).unwrap();
        drop(Ending(Arc::clone(&first)));
        runs.enter(run("north")).unwrap();
    }
}
