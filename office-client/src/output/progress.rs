//! Progress on stderr: bars for a person at a terminal, a line now and then where stderr is a file or a pipe, events with
//! `--json` (docs/JSON.md).

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value as Json, json};

use super::Printer;
use crate::driver::Estimate;
use crate::limits::PROGRESS_PAUSE;
use crate::units;

/// The place where all branches show their progress.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    way: Way,
}

/// How progress is shown.
#[derive(Debug, Clone)]
enum Way {
    Bars(MultiProgress),
    Lines,
    Events,
    Nothing,
}

impl Board {
    /// A board on stderr; none when nobody looks, or nobody wants to see it.
    pub(crate) fn new(wanted: bool) -> Self {
        let is_seen = wanted && std::io::stderr().is_terminal();
        Self { way: if is_seen { Self::bars() } else { Way::Nothing } }
    }

    /// A board for what may take long: it also tells those who do not sit at a terminal.
    pub(crate) fn of_runs(printer: &Printer) -> Self {
        let way = if printer.is_json() {
            Way::Events
        } else if printer.is_quiet() {
            Way::Nothing
        } else if std::io::stderr().is_terminal() {
            Self::bars()
        } else {
            Way::Lines
        };
        Self { way }
    }

    fn bars() -> Way {
        Way::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)))
    }

    /// A line for one branch, shown elsewhere than at a terminal.
    pub(crate) fn watched(name: &str, watch: Arc<dyn Watch>) -> Progress {
        Progress { branch: name.into(), shown: Shown::Watched(watch), state: Arc::default() }
    }

    /// A line for one branch.
    pub(crate) fn branch(&self, name: &str) -> Progress {
        let shown = match &self.way {
            Way::Bars(bars) => {
                let bar = bars.add(ProgressBar::new_spinner());
                bar.set_prefix(name.to_owned());
                bar.set_style(style(PHASE));
                bar.enable_steady_tick(Duration::from_millis(250));
                Shown::Bar(bar, bars.clone())
            }
            Way::Lines => Shown::Lines,
            Way::Events => Shown::Events,
            Way::Nothing => Shown::Nothing,
        };
        Progress { branch: name.into(), shown, state: Arc::default() }
    }

    /// Runs something that prints, without tearing the bars.
    pub(crate) fn suspended<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.way {
            Way::Bars(bars) => bars.suspend(print),
            _ => print(),
        }
    }
}

const PHASE: &str = "{prefix:>16} {spinner} {msg}";
const BYTES: &str = "{prefix:>16} {spinner} {msg} {bytes}/{total_bytes} {wide_bar} {bytes_per_sec} {eta}";

/// An unusable template would be an error in this file; the default style is good enough then.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Which way rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the shop.
    Receive,
    /// To the shop.
    Send,
}

impl Direction {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Send => "send",
        }
    }

    fn doing(self) -> &'static str {
        match self {
            Self::Receive => "receiving",
            Self::Send => "sending",
        }
    }
}

/// Somebody who is told of the progress of one branch: the web console.
pub(crate) trait Watch: std::fmt::Debug + Send + Sync {
    /// Something without a length goes on.
    fn phase(&self, words: &'static str);
    /// What waits in both directions is known.
    fn estimate(&self, estimate: &Estimate);
    /// Rows of each table that are about to move.
    fn tables(&self, direction: Direction, tables: Vec<(String, u64)>);
    /// So many rows in `total` bytes are about to move, of which the other end has `at`.
    fn transfer(&self, direction: Direction, rows: u64, total: u64, at: u64);
    /// So many bytes have moved in all.
    fn at(&self, bytes: u64);
    /// The line was lost and has come back so often.
    fn redials(&self, redials: u32);
}

/// The progress of one branch. Clones show the same.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    branch: Arc<str>,
    shown: Shown,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone)]
enum Shown {
    Bar(ProgressBar, MultiProgress),
    Lines,
    Events,
    Watched(Arc<dyn Watch>),
    Nothing,
}

/// What moves at the moment.
#[derive(Debug, Default)]
struct State {
    transfer: Option<Transfer>,
    redials: u32,
    told: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Transfer {
    direction: Direction,
    rows: u64,
    total: u64,
    at: u64,
    /// Where it began in this run.
    from: u64,
    began: Instant,
}

impl Transfer {
    /// Bytes per second in this run; none at its beginning.
    fn rate(&self) -> Option<f64> {
        let seconds = self.began.elapsed().as_secs_f64();
        (self.at > self.from && seconds > 0.0).then(|| (self.at - self.from) as f64 / seconds)
    }

    fn left_s(&self) -> Option<f64> {
        self.rate().map(|rate| self.total.saturating_sub(self.at) as f64 / rate)
    }
}

impl Progress {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something without a length goes on.
    pub(crate) fn phase(&self, words: &'static str) {
        self.state().transfer = None;
        match &self.shown {
            Shown::Bar(bar, _) => {
                bar.set_style(style(PHASE));
                bar.set_message(words);
            }
            Shown::Events => self.event(json!({ "event": "phase", "branch": &*self.branch, "phase": words })),
            Shown::Watched(watch) => watch.phase(words),
            Shown::Lines | Shown::Nothing => {}
        }
    }

    /// Whether anybody sees it.
    pub(crate) fn is_shown(&self) -> bool {
        !matches!(self.shown, Shown::Nothing)
    }

    /// What waits in both directions is known.
    pub(crate) fn estimate(&self, estimate: &Estimate) {
        match &self.shown {
            Shown::Bar(_, bars) => bars.suspend(|| self.talk(&estimate_line(&self.branch, estimate))),
            Shown::Lines => self.talk(&estimate_line(&self.branch, estimate)),
            Shown::Events => self.event(json!({
                "event": "estimate",
                "branch": &*self.branch,
                "receive_rows": estimate.receive_rows,
                "receive_bytes": estimate.receive_bytes,
                "send_rows": estimate.send_rows,
                "send_bytes": estimate.send_bytes,
                "send_is_exact": estimate.send_is_exact,
                "seconds": estimate.seconds.map(f64::round),
            })),
            Shown::Watched(watch) => watch.estimate(estimate),
            Shown::Nothing => {}
        }
    }

    /// So many rows of each table are about to move.
    pub(crate) fn tables(&self, direction: Direction, tables: impl Iterator<Item = (String, u64)>) {
        if let Shown::Watched(watch) = &self.shown {
            watch.tables(direction, tables.filter(|(_, rows)| *rows > 0).collect());
        }
    }

    /// Bytes are about to move: so many rows in `total` bytes, of which the other end has `at`.
    pub(crate) fn transfer(&self, direction: Direction, rows: u64, total: u64, at: u64) {
        let transfer = Transfer { direction, rows, total, at, from: at, began: Instant::now() };
        let redials = {
            let mut state = self.state();
            state.transfer = Some(transfer);
            state.told.get_or_insert_with(Instant::now);
            state.redials
        };
        if let Shown::Bar(bar, _) = &self.shown {
            bar.set_style(style(BYTES));
            bar.set_length(total);
            bar.set_position(at);
            bar.reset_eta();
            bar.set_message(message(direction, rows, redials));
        }
        if let Shown::Watched(watch) = &self.shown {
            watch.transfer(direction, rows, total, at);
        }
    }

    /// So many bytes have moved in all.
    pub(crate) fn at(&self, bytes: u64) {
        if let Shown::Bar(bar, _) = &self.shown {
            bar.set_position(bytes);
        }
        if let Shown::Watched(watch) = &self.shown {
            watch.at(bytes);
        }
        let told = {
            let mut state = self.state();
            let Some(transfer) = &mut state.transfer else { return };
            transfer.at = bytes;
            let transfer = *transfer;
            if state.told.is_some_and(|told| told.elapsed() < PROGRESS_PAUSE) && !matches!(self.shown, Shown::Bar(..)) {
                return;
            }
            state.told = Some(Instant::now());
            (transfer, state.redials)
        };
        let (transfer, redials) = told;
        match &self.shown {
            Shown::Lines => self.talk(&progress_line(&self.branch, &transfer, redials)),
            Shown::Events => self.event(json!({
                "event": "progress",
                "branch": &*self.branch,
                "direction": transfer.direction.as_str(),
                "rows": transfer.rows,
                "bytes": transfer.at,
                "total_bytes": transfer.total,
                "rate": transfer.rate().map(f64::round),
                "left_s": transfer.left_s().map(f64::round),
                "redials": redials,
            })),
            Shown::Bar(..) | Shown::Watched(_) | Shown::Nothing => {}
        }
    }

    /// The line was lost and has come back so often.
    pub(crate) fn redials(&self, redials: u32) {
        let transfer = {
            let mut state = self.state();
            if state.redials == redials {
                return;
            }
            state.redials = redials;
            state.transfer
        };
        match (&self.shown, transfer) {
            (Shown::Bar(bar, _), Some(transfer)) => {
                bar.set_message(message(transfer.direction, transfer.rows, redials));
            }
            (Shown::Events, _) => {
                self.event(json!({ "event": "redial", "branch": &*self.branch, "redials": redials }));
            }
            (Shown::Watched(watch), _) => watch.redials(redials),
            _ => {}
        }
    }

    /// The branch is done.
    pub(crate) fn finish(&self) {
        if let Shown::Bar(bar, _) = &self.shown {
            bar.finish_and_clear();
        }
    }

    fn talk(&self, line: &str) {
        let _ = writeln!(std::io::stderr(), "{}", super::clean(line));
    }

    fn event(&self, event: Json) {
        let _ = writeln!(std::io::stderr(), "{event}");
    }
}

fn message(direction: Direction, rows: u64, redials: u32) -> String {
    let rows = units::count(i64::try_from(rows).unwrap_or(i64::MAX), "row");
    match redials {
        0 => format!("{} {rows}", direction.doing()),
        redials => format!("{} {rows}, {}", direction.doing(), units::count(redials.into(), "redial")),
    }
}

fn progress_line(branch: &str, transfer: &Transfer, redials: u32) -> String {
    let mut line = format!(
        "{branch}: {}: {} of {}",
        message(transfer.direction, transfer.rows, redials),
        units::bytes(transfer.at),
        units::bytes(transfer.total)
    );
    if let (Some(rate), Some(left)) = (transfer.rate(), transfer.left_s()) {
        line.push_str(&format!(", {}/s, {} left", units::bytes(rate as u64), units::age(left as u64)));
    }
    line
}

fn estimate_line(branch: &str, estimate: &Estimate) -> String {
    let part = |rows: u64, bytes: u64, about: &str| match rows {
        0 => "nothing".to_owned(),
        rows => {
            let rows = units::count(i64::try_from(rows).unwrap_or(i64::MAX), "row");
            format!("{about}{rows} ({})", units::bytes(bytes))
        }
    };
    let receive = match (estimate.receive_rows, estimate.receive_bytes) {
        (Some(rows), Some(bytes)) => part(rows, bytes, ""),
        _ => "what the shop has".to_owned(),
    };
    let about = if estimate.send_is_exact { "" } else { "about " };
    let send = part(estimate.send_rows, estimate.send_bytes, about);
    let time = match estimate.seconds {
        Some(seconds) if seconds >= 1.0 => {
            format!("; about {} at the rate of the last run", units::age(seconds as u64))
        }
        _ => String::new(),
    };
    format!("{branch}: {receive} to receive, {send} to send{time}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_says_rows_bytes_and_time_of_both_directions() {
        let estimate = Estimate {
            receive_rows: Some(96),
            receive_bytes: Some(9216),
            send_rows: 1,
            send_bytes: 2048,
            send_is_exact: false,
            seconds: Some(200.0),
        };
        assert_eq!(
            estimate_line("north", &estimate),
            "north: 96 rows (9.0 KiB) to receive, about 1 row (2.0 KiB) to send; about 3 minutes at the rate of the last run"
        );
        let nothing =
            Estimate { receive_rows: Some(0), receive_bytes: Some(0), send_is_exact: true, ..Estimate::default() };
        assert_eq!(estimate_line("north", &nothing), "north: nothing to receive, nothing to send");
    }

    #[test]
    fn a_line_of_progress_says_direction_rows_bytes_rate_time_and_redials() {
        let began = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        let transfer =
            Transfer { direction: Direction::Send, rows: 412, total: 30 << 10, at: 20 << 10, from: 10 << 10, began };
        let line = progress_line("north", &transfer, 2);
        assert!(line.starts_with("north: sending 412 rows, 2 redials: 20.0 KiB of 30.0 KiB, "), "{line}");
        assert!(line.contains("B/s, ") && line.ends_with(" seconds left"), "{line}");
    }
}
