//! Measuring in pairs: ours and the baseline take turns, so that what else the machine does meets both.

use std::time::{Duration, Instant};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Rounds of each comparison.
    pub(crate) rounds: usize,
    /// Data is divided by this.
    pub(crate) share: usize,
    /// Bytes that `memory` and `clone` copy, where somebody wants others than the usual ones.
    pub(crate) size: Option<u64>,
}

/// Which way a ratio ought to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// Ours takes at most this many times as long as the baseline.
    TimeAtMost(f64),
    /// Ours is at least this many times as fast as the baseline.
    SpeedAtLeast(f64),
    /// Ours is at least this many times the baseline.
    AtLeast(f64),
    /// None; only reported.
    Reported,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds that it takes.
    Seconds,
    /// Bytes that it takes.
    Bytes,
    /// Cores that it keeps busy.
    Cores,
}

/// One comparison, measured.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    /// What was done.
    pub(crate) what: String,
    /// What it is compared with.
    pub(crate) against: String,
    /// Of what ours and the baseline took, in this unit.
    pub(crate) unit: Unit,
    /// Ours, round by round.
    pub(crate) ours: Vec<f64>,
    /// The baseline, round by round.
    pub(crate) baseline: Vec<f64>,
    /// What is wanted.
    pub(crate) target: Target,
    /// Why it was not measured.
    pub(crate) unmeasured: Option<String>,
}

/// Lower quartile, median, upper quartile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quartiles {
    /// A quarter of the values is below.
    pub(crate) low: f64,
    /// Half of the values is below.
    pub(crate) median: f64,
    /// A quarter of the values is above.
    pub(crate) high: f64,
}

impl Quartiles {
    /// Of these values, with linear interpolation between neighbours.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
            let position = share * last as f64;
            let below = sorted[position.floor() as usize];
            below + (sorted[position.ceil() as usize] - below) * position.fract()
        };
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }
}

impl Comparison {
    /// Ratios round by round: how many times as fast as the baseline, or how many times as long, as the target has it.
    pub(crate) fn ratio(&self) -> Quartiles {
        let pairs = self.ours.iter().zip(&self.baseline);
        let ratios: Vec<f64> = match self.target {
            Target::SpeedAtLeast(_) => pairs.map(|(ours, baseline)| baseline / ours).collect(),
            Target::TimeAtMost(_) | Target::AtLeast(_) | Target::Reported => {
                pairs.map(|(ours, baseline)| ours / baseline).collect()
            }
        };
        Quartiles::of(&ratios)
    }

    /// Says how it went, while the next one is measured.
    pub(crate) fn tell(&self) {
        if let Some(why) = &self.unmeasured {
            eprintln!("   {} / {}: not measured: {why}", self.what, self.against);
            return;
        }
        let ratio = self.ratio();
        eprintln!("   {} / {}: {:.2} ({:.2}-{:.2})", self.what, self.against, ratio.median, ratio.low, ratio.high);
    }

    /// Whether the median meets the target.
    pub(crate) fn is_met(&self) -> Option<bool> {
        if self.unmeasured.is_some() {
            return None;
        }
        match self.target {
            Target::TimeAtMost(most) => Some(self.ratio().median <= most),
            Target::SpeedAtLeast(least) | Target::AtLeast(least) => Some(self.ratio().median >= least),
            Target::Reported => None,
        }
    }
}

/// What ours is held against.
pub(crate) struct Baseline<'a> {
    against: &'a str,
    target: Target,
    work: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Baseline<'a> {
    /// Work that tells how long the part of it took that counts.
    pub(crate) fn new(against: &'a str, target: Target, work: impl FnMut() -> Duration + 'a) -> Self {
        Self { against, target, work: Box::new(work) }
    }
}

/// Compares two pieces of work; each tells how long the part of it took that counts.
pub(crate) fn compare<'a>(
    settings: &Settings,
    what: &str,
    against: &'a str,
    target: Target,
    ours: impl FnMut() -> Duration,
    baseline: impl FnMut() -> Duration + 'a,
) -> Comparison {
    compare_with(settings, what, ours, vec![Baseline::new(against, target, baseline)]).remove(0)
}

/// Compares one piece of work with several others, all of them in each round.
pub(crate) fn compare_with(
    settings: &Settings,
    what: &str,
    mut ours: impl FnMut() -> Duration,
    mut baselines: Vec<Baseline<'_>>,
) -> Vec<Comparison> {
    // the first of each warms up caches, files and branch predictors
    let _ = ours();
    for baseline in &mut baselines {
        let _ = (baseline.work)();
    }
    let mut all: Vec<Comparison> = baselines
        .iter()
        .map(|baseline| Comparison {
            what: what.to_owned(),
            against: baseline.against.to_owned(),
            unit: Unit::Seconds,
            ours: Vec::new(),
            baseline: Vec::new(),
            target: baseline.target,
            unmeasured: None,
        })
        .collect();
    for round in 0..settings.rounds {
        // who comes first changes: nobody always finds the machine as the same other one left it
        let contestants = baselines.len() + 1;
        for turn in 0..contestants {
            match (turn + round) % contestants {
                0 => {
                    let elapsed = ours().as_secs_f64();
                    all.iter_mut().for_each(|comparison| comparison.ours.push(elapsed));
                }
                other => all[other - 1].baseline.push((baselines[other - 1].work)().as_secs_f64()),
            }
        }
    }
    all.iter().for_each(Comparison::tell);
    all
}

/// A comparison that cannot be made here.
pub(crate) fn unmeasured(what: &str, against: &str, target: Target, why: String) -> Comparison {
    let comparison = Comparison {
        what: what.to_owned(),
        against: against.to_owned(),
        unit: Unit::Seconds,
        ours: Vec::new(),
        baseline: Vec::new(),
        target,
        unmeasured: Some(why),
    };
    comparison.tell();
    comparison
}

/// Compares bytes, which are the same in each round.
pub(crate) fn compare_bytes(what: &str, against: &str, target: Target, ours: u64, baseline: u64) -> Comparison {
    let comparison = Comparison {
        what: what.to_owned(),
        against: against.to_owned(),
        unit: Unit::Bytes,
        ours: vec![ours as f64],
        baseline: vec![baseline as f64],
        target,
        unmeasured: None,
    };
    comparison.tell();
    comparison
}

/// How long the work takes; its result is kept from being optimised away.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    std::hint::black_box(work());
    began.elapsed()
}

/// The same for short work: repeated until it has taken a fifth of a second, and the time of one.
pub(crate) fn time_each<T>(mut work: impl FnMut() -> T) -> Duration {
    let began = Instant::now();
    let mut times = 0u32;
    while times == 0 || began.elapsed() < Duration::from_millis(200) {
        std::hint::black_box(work());
        times += 1;
    }
    began.elapsed() / times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round_and_held_against_the_target() {
        let comparison = |target| Comparison {
            what: String::new(),
            against: String::new(),
            unit: Unit::Seconds,
            ours: vec![1.0, 2.0, 4.0],
            baseline: vec![2.0, 2.0, 2.0],
            target,
            unmeasured: None,
        };
        assert_eq!(comparison(Target::TimeAtMost(1.0)).ratio(), Quartiles { low: 0.75, median: 1.0, high: 1.5 });
        assert_eq!(comparison(Target::TimeAtMost(0.9)).is_met(), Some(false));
        assert_eq!(comparison(Target::SpeedAtLeast(1.0)).is_met(), Some(true));
        assert_eq!(comparison(Target::AtLeast(1.1)).is_met(), Some(false));
        assert_eq!(comparison(Target::Reported).is_met(), None);
        let missing = unmeasured("", "", Target::AtLeast(0.0), "no library".to_owned());
        assert_eq!(missing.is_met(), None, "what was not measured is neither met nor missed");
    }
}
