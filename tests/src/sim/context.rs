//! What everybody in the simulation shares: the time, the faults, the model that judges, the trace.

use super::chance::Chance;
use super::faults::{Fault, Faults, Plan};
use super::model::Model;
use super::sabotage::Sabotage;

/// The beginning of simulated time, microseconds since 1970; a step is ten seconds.
const BEGIN: i64 = 1_750_000_000_000_000;

/// Shared by all.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) faults: Faults,
    pub(super) model: Model,
    pub(super) sabotage: Option<Sabotage>,
    /// Whether events are printed.
    pub(super) trace: bool,
    /// Promises that were broken.
    pub(super) violations: Vec<String>,
    made: u64,
}

impl Context {
    pub(super) fn new(seed: u64, plan: Plan, sabotage: Option<Sabotage>, trace: bool) -> Self {
        Self {
            seed,
            step: 0,
            faults: Faults::new(seed, plan),
            model: Model::default(),
            sabotage,
            trace,
            violations: Vec::new(),
            made: 0,
        }
    }

    /// True time, microseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        BEGIN + i64::try_from(self.step).unwrap_or(0) * 10_000_000
    }

    /// A number that nobody else has.
    pub(super) fn unique(&mut self) -> u64 {
        self.made += 1;
        self.made
    }

    /// A decision of this step.
    pub(super) fn chance(&self, what: &str) -> Chance {
        Chance::about(self.seed, what, self.step)
    }

    /// Whether something goes wrong here.
    pub(super) fn strike(&mut self, step: &'static str, kinds: &[Fault]) -> Option<Fault> {
        let fault = self.faults.strike(step, kinds);
        if let Some(fault) = fault {
            self.say(|| format!("  !! {fault:?} at {step}"));
        }
        fault
    }

    /// Tells what happens, if anybody listens.
    #[allow(clippy::print_stdout, reason = "the trace is what was asked for")]
    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>5} {}", self.step, what());
        }
    }

    /// Notes a broken promise.
    pub(super) fn violate(&mut self, invariant: &str, what: impl Into<String>) {
        let text = format!("{invariant}: {} (step {})", what.into(), self.step);
        self.say(|| format!("VIOLATED {text}"));
        self.violations.push(text);
    }

    /// Whether a rule is broken on purpose.
    pub(super) fn is_sabotaged(&self, by: Sabotage) -> bool {
        self.sabotage == Some(by)
    }
}
