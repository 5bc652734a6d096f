//! Whatever dies, whenever it dies: nothing is half applied, and the same command run again brings both ends to agree.
//!
//! `SYNC_RANDOM_KILLS=N` sets the number of random instants, `SYNC_RANDOM_SEED=S` the first seed.

#[path = "kills/fixture.rs"]
mod fixture;
#[path = "kills/named.rs"]
mod named;
#[path = "kills/random.rs"]
mod random;
#[path = "kills/stage.rs"]
mod stage;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use random::Tally;
use replica::killpoint;
use stage::{Servers, Stage};

/// Cases that run at the same time.
const THREADS: usize = 2;

/// Random instants in an ordinary run.
const RANDOM_KILLS: u64 = 24;

/// Points that no run of an unharmed clone or update reaches: a clone that is run again and starts over does.
const WHEN_STARTING_OVER: [&str; 4] =
    ["session.end.before", "session.end.after", "session.chunks.dropped", "office.push.dropped"];

#[test]
fn a_death_at_any_named_point_leaves_no_trace_and_no_manual_work() {
    let began = Instant::now();
    let servers = Servers::start();
    let stages = [Stage::clone(&servers), Stage::update(&servers), Stage::clone_again(&servers)];
    let only = std::env::var("SYNC_KILL_ONLY").ok();
    let mut walks: Vec<(&Stage, &str)> = Vec::new();
    for point in killpoint::ALL.iter().copied().filter(|point| only.as_deref().is_none_or(|only| point.contains(only)))
    {
        walks.extend(stages[..2].iter().map(|stage| (stage, point)));
        if WHEN_STARTING_OVER.contains(&point) {
            walks.push((&stages[2], point));
        }
    }
    let hits = Mutex::new(BTreeMap::<&str, BTreeMap<&str, u64>>::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((stage, point)) = walks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let times = named::walk(stage, &servers, point);
                    hits.lock().expect("no walk has panicked").entry(point).or_default().insert(stage.name, times);
                }
            });
        }
    });
    let hits = hits.into_inner().expect("no walk has panicked");
    let count = |times: &BTreeMap<&str, u64>| times.values().sum::<u64>();
    for (point, times) in &hits {
        println!("{point}: {times:?}");
    }
    println!(
        "{} kills at {} points in {:.0} s",
        hits.values().map(count).sum::<u64>(),
        hits.len(),
        began.elapsed().as_secs_f64()
    );
    let missed: Vec<&&str> = hits.iter().filter(|(_, times)| count(times) == 0).map(|(point, _)| point).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}

#[test]
fn a_death_at_a_random_instant_leaves_no_trace_and_no_manual_work() {
    let began = Instant::now();
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let kills = number("SYNC_RANDOM_KILLS", RANDOM_KILLS);
    let seed = number("SYNC_RANDOM_SEED", 1);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS as u64)
            .map(|worker| {
                scope.spawn(move || {
                    // servers are killed, so each thread has its own
                    let servers = Servers::start();
                    let stages = [Stage::clone(&servers), Stage::update(&servers)];
                    let mut tally = Tally::default();
                    for number in (worker..kills).step_by(THREADS) {
                        random::kill(&stages, &servers, seed + number, &mut tally);
                    }
                    tally
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    let mut all = BTreeMap::new();
    for (what, count) in tallies.iter().flat_map(|tally| &tally.killed) {
        *all.entry(*what).or_insert(0) += count;
    }
    let late: u32 = tallies.iter().map(|tally| tally.too_late).sum();
    println!("{kills} random instants in {:.0} s: {all:?}, {late} after the end", began.elapsed().as_secs_f64());
}
