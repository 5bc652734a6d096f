//! The session machines of both ends and the rules of merging, without I/O, against databases in memory: seeded work,
//! seeded faults, and a small model that judges. See docs/TESTING.md, "The simulation".
#![allow(missing_docs, reason = "the fields of a model say what they are")]

mod call;
mod chance;
mod client;
mod context;
pub mod faults;
mod judge;
mod model;
mod office;
pub mod real;
pub mod sabotage;
mod schema;
mod shop;
mod shop_diff;
mod store;
mod stream;
mod work;
mod world;

use std::collections::BTreeSet;

pub use chance::Chance;
use faults::{Fault, Faults, Plan};
use sabotage::Sabotage;
use world::World;

/// A fault that happened: what, where, at which opportunity.
pub type Struck = (Fault, &'static str, u64);

/// How a seed went.
#[derive(Debug)]
pub struct Outcome {
    /// Promises that were broken.
    pub violations: Vec<String>,
    /// Faults that happened.
    pub struck: Vec<Struck>,
    /// Steps it took.
    pub steps: u64,
}

/// Plays a seed with its own faults.
pub fn play(seed: u64, sabotage: Option<Sabotage>, trace: bool) -> Outcome {
    play_with(seed, Faults::plan_of(seed), sabotage, trace)
}

/// Plays a seed with these faults.
pub fn play_with(seed: u64, plan: Plan, sabotage: Option<Sabotage>, trace: bool) -> Outcome {
    let mut world = World::new(seed, plan, sabotage, trace);
    world.play();
    Outcome { violations: world.ctx.violations, struck: world.ctx.faults.struck, steps: world.ctx.step }
}

/// The fewest of the faults that struck with which the seed still fails, by leaving out halves, then single ones.
pub fn shrink(seed: u64, sabotage: Option<Sabotage>, struck: &[Struck]) -> Vec<Struck> {
    let fails = |list: &[Struck]| {
        let plan = Plan::Listed(list.iter().copied().collect::<BTreeSet<_>>());
        !play_with(seed, plan, sabotage, false).violations.is_empty()
    };
    let mut kept = struck.to_vec();
    if !fails(&kept) {
        return kept;
    }
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut start = 0;
        while start < kept.len() {
            let mut without = kept.clone();
            without.drain(start..(start + size).min(kept.len()));
            if fails(&without) { kept = without } else { start += size }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    kept
}
