//! Whatever dies, whenever it dies: nothing is half applied, and the same command run again brings both ends to agree.
//!
//! The same for lines: cut at every boundary of a message, replies lost, requests doubled and late, lines gone dead.
//!
//! `SYNC_LINE_CUTS=1` cuts lines at all boundaries, `SYNC_RANDOM_KILLS=N` sets the number of random instants, `SYNC_RANDOM_SEED=S` the first seed.

#[path = "kills/fixture.rs"]
mod fixture;
#[path = "kills/lines.rs"]
mod lines;
#[path = "kills/named.rs"]
mod named;
#[path = "kills/random.rs"]
mod random;
#[path = "kills/stage.rs"]
mod stage;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use random::Tally;
use replica::killpoint;
use stage::{Servers, Stage};
use tests::proxy::Trick;

/// Cases that run at the same time.
const THREADS: usize = 2;

/// Random instants in an ordinary run.
const RANDOM_KILLS: u64 = 12;

/// Points that are not reached by a clone, nor by an update with changes on both sides: only where something is given up,
/// or where there is nothing to take in.
const ELSEWHERE: [&str; 4] = ["session.end.before", "session.end.after", "office.push.dropped", "office.pull.advanced"];

/// How the points of an adoption begin.
const ADOPTION: &str = "office.adopt.";

#[test]
fn a_death_at_any_named_point_leaves_no_trace_and_no_manual_work() {
    let began = Instant::now();
    let servers = Servers::start();
    let stages =
        [Stage::clone(&servers), Stage::update(&servers), Stage::clone_again(&servers), Stage::push_alone(&servers)];
    // every point of a clone and of an update at every time it is reached; of the others only what these two do not reach
    let mut deaths: Vec<(&Stage, &str, u64)> = Vec::new();
    for (number, stage) in stages.iter().enumerate() {
        for (point, times) in &stage.points {
            if number < 2 || ELSEWHERE.contains(&point.as_str()) {
                deaths.extend((1..=*times).map(|time| (stage, point.as_str(), time)));
            }
        }
    }
    let hits = die(&servers, &deaths);
    for (point, times) in &hits {
        println!("{point}: {times:?}");
    }
    let count = |point: &str| hits.get(point).map_or(0, |times| times.values().sum::<u64>());
    let all: u64 = killpoint::ALL.iter().map(|point| count(point)).sum();
    println!("{all} deaths at {} points in {:.0} s", hits.len(), began.elapsed().as_secs_f64());
    let here = killpoint::ALL.iter().filter(|point| !point.starts_with(ADOPTION));
    let missed: Vec<&&str> = here.filter(|point| count(point) == 0).collect();
    assert!(missed.is_empty(), "nobody died at {missed:?}");
}

#[test]
fn a_death_at_any_point_of_an_adoption_leaves_no_trace_and_a_plain_rerun_completes_it() {
    let servers = Servers::start();
    let stage = Stage::adopt(&servers);
    let deaths: Vec<(&Stage, &str, u64)> = stage
        .points
        .keys()
        .filter(|point| {
            // what carries the rows afterwards is an update like any other; here it dies at its two ends
            point.starts_with(ADOPTION)
                || ["setidstart.before", "setidstart.after", "office.pull.opened", "office.push.recorded"]
                    .contains(&point.as_str())
        })
        .map(|point| (&stage, point.as_str(), 1))
        .collect();
    let hits = die(&servers, &deaths);
    let missed: Vec<&&str> =
        killpoint::ALL.iter().filter(|point| point.starts_with(ADOPTION) && !hits.contains_key(**point)).collect();
    assert!(missed.is_empty(), "nobody died at {missed:?}");
    assert!(hits.values().flat_map(|times| times.values()).all(|count| *count == 1), "somebody did not die: {hits:?}");
}

/// How often somebody died at a point, by the stage.
type Hits<'a> = BTreeMap<&'a str, BTreeMap<&'a str, u64>>;

/// All these deaths, two at a time.
fn die<'a>(servers: &Servers, deaths: &[(&'a Stage, &'a str, u64)]) -> Hits<'a> {
    let hits = Mutex::new(Hits::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((stage, point, time)) = deaths.get(number) else { return };
                    let harmed = named::kill(stage, servers, point, *time, number.is_multiple_of(2));
                    let mut hits = hits.lock().unwrap_or_else(PoisonError::into_inner);
                    *hits.entry(point).or_default().entry(stage.name).or_default() += u64::from(harmed);
                }
            });
        }
    });
    hits.into_inner().unwrap_or_else(PoisonError::into_inner)
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

#[test]
fn i5_i13_a_line_cut_at_any_boundary_of_a_message_leaves_no_trace_and_no_manual_work() {
    let began = Instant::now();
    let servers = Servers::start();
    let all = std::env::var_os("SYNC_LINE_CUTS").is_some();
    let stages = [Stage::clone(&servers), Stage::update(&servers)];
    let mut cases = Vec::new();
    for (number, stage) in stages.iter().enumerate() {
        let counts = lines::exchanges(stage, &servers);
        let cuts = lines::cuts(counts.requests);
        println!("{}: {} exchanges, {} boundaries", stage.name, counts.requests, cuts.len());
        // in an ordinary run every fifth one of an update, and fewer of a clone, whose chunks travel in the same way
        let step = if all { 1 } else { [11, 5][number] };
        cases.extend(cuts.into_iter().step_by(step).map(|cut| (stage, cut)));
    }
    let reached = AtomicUsize::new(0);
    lines::each(&cases, |(stage, cut)| {
        reached.fetch_add(usize::from(lines::cut(stage, &servers, *cut)), Ordering::Relaxed);
    });
    let reached = reached.into_inner();
    println!("{reached} cuts of {} in {:.0} s", cases.len(), began.elapsed().as_secs_f64());
    // a little less is exchanged where chunks grow in another way
    assert!(reached * 10 >= cases.len() * 8, "the line was cut in {reached} of {} cases only", cases.len());
}

#[test]
fn i2_i13_a_reply_lost_at_any_time_and_requests_that_come_twice_or_late_change_nothing() {
    let began = Instant::now();
    let servers = Servers::start();
    let stages = [Stage::clone(&servers), Stage::update(&servers)];
    let mut cases = Vec::new();
    for stage in &stages {
        let exchanges = lines::exchanges(stage, &servers).requests;
        cases.extend((0..exchanges).map(|number| (stage, Trick::LoseReply(number))));
        cases.extend([Trick::Twice, Trick::TwiceAtOnce].map(|trick| (stage, trick)));
    }
    // not of a clone: a `clean` that comes once more when the copy is already arriving empties the shop, as it says
    cases.push((&stages[1], Trick::Late));
    let (lost, repeats) = (AtomicUsize::new(0), AtomicUsize::new(0));
    lines::each(&cases, |(stage, trick)| {
        let counts = lines::trick(stage, &servers, *trick);
        lost.fetch_add(usize::try_from(counts.cuts).unwrap_or(0), Ordering::Relaxed);
        repeats.fetch_add(usize::try_from(counts.repeats).unwrap_or(0), Ordering::Relaxed);
    });
    let (lost, repeats) = (lost.into_inner(), repeats.into_inner());
    println!("{lost} replies lost, {repeats} requests repeated in {:.0} s", began.elapsed().as_secs_f64());
    assert!(lost * 10 >= (cases.len() - 5) * 8 && repeats > 0, "{lost} replies lost in {} cases", cases.len());
}

#[test]
fn i5_a_line_that_goes_dead_without_a_word_is_noticed_and_the_next_run_completes() {
    let servers = Servers::start();
    let stage = Stage::update(&servers);
    let carried = lines::exchanges(&stage, &servers);
    let all = carried.to_agent + carried.to_office;
    let cases: Vec<u64> = (0..6).map(|sixth| all * sixth / 6 + 100).collect();
    lines::each(&cases, |bytes| lines::dead(&stage, &servers, *bytes));
}
