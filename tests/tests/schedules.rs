//! Schedules of the simulation against real databases and the real programs, judged by the same model (I1, I2, I3, I4, I9,
//! I11, I13, I19). `SYNC_SCHEDULES=0..500` plays all seeds of a range that can be played so, an ordinary run a few.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tests::sim::faults::Fault;
use tests::sim::real;

/// Seeds of an ordinary run, by what they are about.
const SEEDS: usize = 8;

fn seeds() -> Vec<u64> {
    if let Ok(range) = std::env::var("SYNC_SCHEDULES") {
        let ends = range.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
        let (from, to) = ends.unwrap_or_else(|| panic!("SYNC_SCHEDULES={range} is no range like 0..500"));
        return real::playable(from..to);
    }
    let all = real::playable(0..300);
    (0..SEEDS).map(|number| all[number * (all.len() - 1) / (SEEDS - 1)]).collect()
}

#[test]
fn schedules_of_the_simulation_break_no_promise_of_the_real_programs() {
    let (seeds, next) = (seeds(), AtomicUsize::new(0));
    let (faults, broken) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = real::play(*seed);
                    println!("seed {seed}: {:?}", played.struck);
                    faults.lock().expect("no panic").extend(played.struck.iter().map(|(fault, _, _)| *fault));
                    if !played.violations.is_empty() {
                        let story = played.told.join("\n  ");
                        let what = format!("seed {seed}: {}\n  {story}", played.violations.join("\n"));
                        broken.lock().expect("no panic").push(what);
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().expect("no panic");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let faults: BTreeSet<Fault> = faults.into_inner().expect("no panic").into_iter().collect();
    println!("{} schedules, {faults:?}", seeds.len());
    assert!(faults.len() >= 4, "too few kinds of faults happened: {faults:?}");
}
