//! Many shops updated by one office process: several at a time against one after the other, and few against many.
//!
//! The office and its database are real. The shops are one small process that answers with what a real agent has said
//! (see `recording`): five hundred agents with databases of their own would be measured instead of the office.

mod offices;
mod recorder;
mod recording;
mod stub;

use std::time::{Duration, Instant};

use crate::measure::{Comparison, Settings, Target, Unit};
use crate::processor;
use offices::Offices;
pub(crate) use stub::{SERVE, serve};

/// How many shops the offices have. The last is what is promised for, the first what it is held against.
const SHOPS: [usize; 3] = [10, 100, 500];

/// As a timer would start it at night, for so many shops.
const TOGETHER: &[&str] = &["--quiet", "--jobs", "24"];

/// One after the other.
const ALONE: &[&str] = &["--quiet", "--jobs", "1"];

/// Most memory that the office's process may have.
const MEMORY_MAX: u64 = 256 << 20;

/// One update of all shops of an office.
struct Run {
    elapsed: Duration,
    /// Processor time of office-client.
    client: Duration,
    /// Processor time of its database.
    database: Duration,
    /// Processor time of the recorded shops.
    shops: Duration,
    memory: u64,
}

impl Run {
    fn cores(&self, busy: Duration) -> f64 {
        busy.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    fn office(&self) -> Duration {
        self.client + self.database
    }
}

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    let counts = SHOPS.map(|shops| (shops / settings.share).max(2));
    let rounds = settings.rounds + 1;
    // each round is two updates: several shops at a time, and one after the other
    let offices = Offices::prepare(&counts, 2 * rounds);
    let (mut together, mut alone): (Vec<Vec<Run>>, Vec<Vec<Run>>) = Default::default();
    for round in 0..rounds {
        let mut turn = (Vec::new(), Vec::new());
        for index in 0..counts.len() {
            for kind in 0..2 {
                if (kind + round) % 2 == 0 {
                    turn.0.push(update(&offices, index, TOGETHER));
                } else {
                    turn.1.push(update(&offices, index, ALONE));
                }
            }
        }
        // the first of each warms up caches and files
        if round > 0 {
            together.push(turn.0);
            alone.push(turn.1);
        }
    }
    compared(&counts, &together, &alone)
}

/// Updates all shops of an office once.
fn update(offices: &Offices, index: usize, arguments: &[&str]) -> Run {
    offices.trade(index);
    let spent = || {
        let (database, shops) = (processor::of_tree(offices.server()), processor::of_tree(offices.stub()));
        (processor::of_ended_children(), database, shops)
    };
    let before = spent();
    let began = Instant::now();
    let memory = offices.update(index, arguments);
    let elapsed = began.elapsed();
    let after = spent();
    offices.check(index);
    let run =
        Run { elapsed, client: after.0 - before.0, database: after.1 - before.1, shops: after.2 - before.2, memory };
    let shops = offices.shops_of(index);
    let each = |time: Duration| time.as_secs_f64() * 1e3 / shops as f64;
    eprintln!(
        "   {shops} shops {}: {:.1} ms each; busy: office-client {:.1}, its database {:.1}, the shops {:.1}",
        arguments.join(" "),
        each(run.elapsed),
        each(run.client),
        each(run.database),
        each(run.shops),
    );
    run
}

/// The rows of the table, of what was measured round by round.
fn compared(counts: &[usize; SHOPS.len()], together: &[Vec<Run>], alone: &[Vec<Run>]) -> Vec<Comparison> {
    let last = counts.len() - 1;
    let many = counts[last];
    let each = |runs: &[Vec<Run>], index: usize| -> Vec<f64> {
        runs.iter().map(|turn| turn[index].elapsed.as_secs_f64() / counts[index] as f64).collect()
    };
    let figures = |of: &dyn Fn(&Run) -> f64| -> Vec<f64> { together.iter().map(|turn| of(&turn[last])).collect() };
    let row = |what: String, against: &str, unit, ours: Vec<f64>, baseline: Vec<f64>, target| Comparison {
        what,
        against: against.to_owned(),
        unit,
        ours,
        baseline,
        target,
        unmeasured: None,
    };
    let one = || vec![1.0; together.len()];
    let mut all = vec![
        row(
            format!("an update of {many} shops, time of each"),
            "one after the other",
            Unit::Seconds,
            each(together, last),
            each(alone, last),
            Target::Reported,
        ),
        row(
            format!("cores busy, {many} shops: office, its database, recorded shops"),
            "one core",
            Unit::Cores,
            figures(&|run| run.cores(run.office() + run.shops)),
            one(),
            Target::AtLeast(1.8),
        ),
        row(
            format!("cores busy, {many} shops: office and its database alone"),
            "one core",
            Unit::Cores,
            figures(&|run| run.cores(run.office())),
            one(),
            Target::Reported,
        ),
        row(
            format!("peak memory of office-client, {many} shops"),
            "256 MiB",
            Unit::Bytes,
            figures(&|run| run.memory as f64),
            vec![MEMORY_MAX as f64; together.len()],
            Target::TimeAtMost(1.0),
        ),
    ];
    // the first has the start of the program to carry with few shops: so the last is held against the one before it, too
    for (index, against) in [(1, 0), (2, 0), (2, 1)] {
        all.push(row(
            format!("time of each of {} shops", counts[index]),
            &format!("of each of {}", counts[against]),
            Unit::Seconds,
            each(together, index),
            each(together, against),
            Target::TimeAtMost(1.3),
        ));
    }
    all.iter().for_each(Comparison::tell);
    all
}
