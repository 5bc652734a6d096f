//! The simulation, from the command line.
//!
//! ```text
//! sim [--seeds FROM..TO] [--seed N [--trace] [--shrink]] [--sabotage NAME] [--json]
//! ```
//!
//! Exit code 0 if no promise was broken, 1 otherwise, 2 for wrong usage.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use tests::sim::faults::{Fault, Plan, Tally};
use tests::sim::{self, sabotage};

/// How often every fault must happen at every place over ten thousand seeds.
const LEAST: u64 = 100;
const SEEDS_OF_LEAST: u64 = 10_000;

struct Options {
    from: u64,
    to: u64,
    one: bool,
    trace: bool,
    shrink: bool,
    json: bool,
    table: bool,
    sabotage: Option<sabotage::Sabotage>,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("error: {error}");
            eprintln!(
                "usage: sim [--seeds FROM..TO, 0..10000] [--seed N [--trace] [--shrink]] [--sabotage NAME] [--table] [--json]"
            );
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // whoever was reading has gone
        Err(_) => ExitCode::FAILURE,
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        from: 0,
        to: SEEDS_OF_LEAST,
        one: false,
        trace: false,
        shrink: false,
        json: false,
        table: false,
        sabotage: None,
    };
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
        match name.as_str() {
            "--seeds" => {
                let range = value()?;
                let ends = range.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
                (options.from, options.to) = ends.ok_or_else(|| format!("{range:?} is no range like 0..10000"))?;
            }
            "--seed" => {
                let seed: u64 = value()?.parse().map_err(|_| "--seed needs a number".to_owned())?;
                (options.from, options.to, options.one) = (seed, seed + 1, true);
            }
            "--trace" => options.trace = true,
            "--shrink" => options.shrink = true,
            "--json" => options.json = true,
            "--table" => options.table = true,
            "--sabotage" => {
                let known = || sabotage::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                let name = value()?;
                let found = sabotage::named(&name);
                options.sabotage =
                    Some(found.ok_or_else(|| format!("nothing is called {name:?}; there are: {}", known()))?);
            }
            _ => return Err(format!("unknown flag {name}")),
        }
    }
    if options.trace && !options.one {
        return Err("--trace goes with --seed".into());
    }
    Ok(options)
}

fn run(options: &Options) -> std::io::Result<bool> {
    let mut out = std::io::stdout().lock();
    let began = Instant::now();
    let mut tally = Tally::default();
    let (mut seeds, mut steps, mut failed) = (0_u64, 0_u64, None);
    for seed in options.from..options.to {
        let outcome = sim::play(seed, options.sabotage, options.trace);
        tally.add(&outcome.struck);
        seeds += 1;
        steps += outcome.steps;
        if !outcome.violations.is_empty() {
            failed = Some((seed, outcome));
            break;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let faults: u64 = tally.counts.values().sum();
    if let Some((seed, outcome)) = &failed {
        writeln!(out, "seed {seed} breaks a promise; replay it with: sim --seed {seed} --trace")?;
        for violation in &outcome.violations {
            writeln!(out, "  {violation}")?;
        }
        if options.shrink {
            let least = sim::shrink(*seed, options.sabotage, &outcome.struck);
            writeln!(out, "{} of {} faults are enough:", least.len(), outcome.struck.len())?;
            for (fault, step, number) in &least {
                writeln!(out, "  {fault:?} at {step}, the {number}. time")?;
            }
            if options.trace {
                let plan = Plan::Listed(least.into_iter().collect());
                sim::play_with(*seed, plan, options.sabotage, true);
            }
        }
    }
    // seeds differ in what they are about, so fewer of them cannot show everything
    let is_judged = !options.one && options.sabotage.is_none() && failed.is_none();
    let least = if is_judged { LEAST * seeds / SEEDS_OF_LEAST } else { 0 };
    let rare = tally.rarer_than(least);
    if options.table {
        table(&mut out, &tally)?;
    }
    for (fault, step, count) in &rare {
        writeln!(out, "{fault:?} at {step} happened {count} times, and should have {least} times")?;
    }
    if options.json {
        let broken = failed
            .as_ref()
            .map(|(seed, outcome)| serde_json::json!({ "seed": seed, "violations": outcome.violations }));
        let summary = serde_json::json!({
            "seeds": seeds, "steps": steps, "faults": faults, "kinds": tally.counts.len(),
            "seconds": seconds, "failed": broken, "too_rare": rare.len(),
        });
        writeln!(out, "{summary}")?;
    } else {
        writeln!(
            out,
            "{seeds} seeds, {steps} steps, {faults} faults of {} kinds in {seconds:.1} s ({:.0} seeds/s){}",
            tally.counts.len(),
            seeds as f64 / seconds.max(1e-9),
            if failed.is_none() { ": no promise was broken" } else { "" }
        )?;
    }
    Ok(failed.is_none() && rare.is_empty())
}

/// Fault by place.
fn table(out: &mut impl std::io::Write, tally: &Tally) -> std::io::Result<()> {
    let mut step_before = "";
    for ((step, fault), count) in &tally.counts {
        let name = if *step == step_before { "" } else { step };
        writeln!(out, "{name:<26} {:<18} {count:>8}", format!("{fault:?}"))?;
        step_before = step;
    }
    let kinds: std::collections::BTreeSet<Fault> = tally.counts.keys().map(|(_, fault)| *fault).collect();
    writeln!(out, "{} kinds of faults", kinds.len())
}
