//! Lines that are cut at every boundary of a message, lose replies, double and delay requests, or go dead.

use std::sync::atomic::{AtomicUsize, Ordering};

use tests::process::Finished;
use tests::proxy::{Counts, Cut, Direction, Line, Place, Proxy, Trick};

use crate::stage::{Case, Servers, Stage};

/// The clock of the line runs so fast: pauses between tries and the patience with silence are short.
const CLOCK: [(&str, &str); 1] = [("SYNC_LINE_CLOCK", "20")];

/// A running case with a line between office and shop.
struct Lined<'a> {
    case: Case<'a>,
    proxy: Proxy,
}

fn lined<'a>(stage: &Stage, servers: &'a Servers, line: Line) -> Lined<'a> {
    let mut case = stage.set_up(servers);
    case.start_agent(&[]);
    let proxy = Proxy::start(case.agent_url(), line);
    case.call_at(&proxy.url());
    Lined { case, proxy }
}

impl Lined<'_> {
    fn run(&self, stage: &Stage, options: &[&str]) -> Finished {
        // a machine that is busy is no silent line
        let mut command = self.case.world.office_command(&["--timeout", "20m"]);
        command.args(options);
        tests::process::run(command.args(stage.command).envs(CLOCK))
    }

    /// The line is sound again: the same command run once more completes.
    fn assert_recovers(&self, stage: &Stage, what: &str, first: &Finished) {
        self.case.assert_whole(stage, what);
        self.proxy.mend();
        if !first.is_success() {
            self.case.run_again(stage, what, first);
        }
        self.case.assert_complete(stage, what);
    }
}

/// What a sound line carries for the command of a stage.
pub(crate) fn exchanges(stage: &Stage, servers: &Servers) -> Counts {
    let lined = lined(stage, servers, Line::default());
    lined.run(stage, &[]).succeeded();
    let counts = lined.proxy.counts();
    assert_eq!(counts.requests, counts.answers);
    counts
}

/// Every place of every message in both directions.
pub(crate) fn cuts(messages: u64) -> Vec<Cut> {
    let mut cuts: Vec<Cut> = Vec::new();
    for direction in [Direction::ToAgent, Direction::ToOffice] {
        for message in 0..messages {
            for place in Place::ALL {
                // in pairs, so that both kinds remain when every other one is left out
                let for_good = !(cuts.len() / 2).is_multiple_of(2);
                cuts.push(Cut { direction, message, place, for_good });
            }
        }
    }
    cuts
}

/// Cuts the line once: the office tries again by itself, or gives up when the line stays down and is run again. Whether
/// the place was reached.
pub(crate) fn cut(stage: &Stage, servers: &Servers, cut: Cut) -> bool {
    let what = format!("the line was cut: {cut:?}");
    let lined = lined(stage, servers, Line { cut: Some(cut), ..Line::default() });
    let patience = if cut.for_good { "0s" } else { "20m" };
    let first = lined.run(stage, &["--retry-for", patience]);
    let is_cut = lined.proxy.counts().cuts > 0;
    if !cut.for_good || !is_cut {
        assert!(first.is_success(), "{}, {what}: {:?}\n{}{}", stage.name, first.code, first.stdout, first.stderr);
    } else {
        assert!(matches!(first.code, Some(0 | 5)), "{}, {what}: {:?}\n{}", stage.name, first.code, first.stderr);
    }
    lined.assert_recovers(stage, &what, &first);
    is_cut
}

/// Does something to whole messages; the office gets through by itself.
pub(crate) fn trick(stage: &Stage, servers: &Servers, trick: Trick) -> Counts {
    let what = format!("{trick:?}");
    let lined = lined(stage, servers, Line { trick: Some(trick), ..Line::default() });
    let first = lined.run(stage, &["--retry-for", "20m"]);
    assert!(first.is_success(), "{}, {what}: {:?}\n{}{}", stage.name, first.code, first.stdout, first.stderr);
    lined.assert_recovers(stage, &what, &first);
    lined.proxy.counts()
}

/// The line goes dead after so many bytes without anybody being told: the office notices, and says that it may be tried later.
pub(crate) fn dead(stage: &Stage, servers: &Servers, bytes: u64) {
    let what = format!("the line went dead after {bytes} bytes");
    let mut lined = lined(stage, servers, Line { dead_after: Some(bytes), ..Line::default() });
    let mut command = lined.case.world.office_command(&["--retry-for", "0s", "--timeout", "20s"]);
    let first = tests::process::run(command.args(stage.command).envs(CLOCK)).ended_with(5);
    lined.case.assert_whole(stage, &what);
    let agent = lined.case.agent_url().to_owned();
    lined.case.call_at(&agent);
    lined.case.run_again(stage, &what, &first);
    lined.case.assert_complete(stage, &what);
}

/// Runs something for every case, two at a time.
pub(crate) fn each<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(case);
                }
            });
        }
    });
}
