//! The protocol in memory, with every fault at every step: see `tests::sim`. The long run is
//! `cargo run --release -p tests --bin sim -- --seeds 0..10000`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tests::sim::faults::Tally;
use tests::sim::sabotage::{self, Sabotage};
use tests::sim::{self, Outcome};

/// Seeds of an ordinary run.
const SEEDS: u64 = if cfg!(debug_assertions) { 200 } else { 1000 };

/// Plays seeds on two threads, in order, until one breaks a promise.
fn play(seeds: u64, sabotage: Option<Sabotage>, tally: &Mutex<Tally>) -> Option<(u64, Outcome)> {
    let (next, end) = (AtomicU64::new(0), AtomicU64::new(seeds));
    let broken = Mutex::new(None::<(u64, Outcome)>);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = sim::play(seed, sabotage, false);
                    tally.lock().expect("no panic").add(&outcome.struck);
                    if !outcome.violations.is_empty() {
                        end.fetch_min(seed, Ordering::Relaxed);
                        let mut broken = broken.lock().expect("no panic");
                        if broken.as_ref().is_none_or(|(first, _)| seed < *first) {
                            *broken = Some((seed, outcome));
                        }
                    }
                }
            });
        }
    });
    broken.into_inner().expect("no panic")
}

/// I1, I2, I3, I4, I5, I6, I7, I8, I9, I10, I11, I13, I15, I19, I20.
#[test]
fn no_schedule_of_faults_breaks_a_promise() {
    let tally = Mutex::new(Tally::default());
    if let Some((seed, outcome)) = play(SEEDS, None, &tally) {
        panic!("seed {seed} (sim --seed {seed} --trace --shrink): {}", outcome.violations.join("\n"));
    }
    let tally = tally.into_inner().expect("no panic");
    assert!(tally.counts.len() > 200, "only {} kinds of faults happened", tally.counts.len());
}

/// Rules whose breaking an ordinary run has to notice, each within [`SEEDS_OF_SABOTAGE`] seeds.
const NOTICED: [&str; 13] = [
    "xid-cursor",
    "timestamp-cursor",
    "early-record",
    "lost-is-failed",
    "no-ledger",
    "watermark-first",
    "forget-loser",
    "echo",
    "late-repoint",
    "forget-deletes",
    "half-diff",
    "clock-decides",
    "last-writer-wins",
];

const SEEDS_OF_SABOTAGE: u64 = 20;

/// The simulation can fail: rules that are broken on purpose are found.
#[test]
fn a_broken_rule_is_found() {
    let mut missed = Vec::new();
    for name in NOTICED {
        let broken = sabotage::named(name).unwrap_or_else(|| panic!("nothing is called {name}"));
        match play(SEEDS_OF_SABOTAGE, Some(broken), &Mutex::new(Tally::default())) {
            Some((seed, outcome)) => println!("{name}: seed {seed}: {}", outcome.violations[0]),
            None => missed.push(name),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn a_seed_is_the_same_schedule_every_time() {
    for seed in [3, 77] {
        let (first, second) = (sim::play(seed, None, false), sim::play(seed, None, false));
        assert_eq!((first.steps, first.struck), (second.steps, second.struck));
    }
}
