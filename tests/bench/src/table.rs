//! The table at the end, and its JSON.

use crate::measure::{Comparison, Quartiles, Target, Unit};

/// Prints a table in Markdown, as docs/PERFORMANCE.md has it.
pub(crate) fn print(comparisons: &[Comparison]) {
    println!("| what | ours | against | baseline | ratio (quartiles) | target | met |");
    println!("|---|---|---|---|---|---|---|");
    for comparison in comparisons {
        let ratio = comparison.ratio();
        let target = match comparison.target {
            Target::TimeAtMost(most) => format!("≤ {most}"),
            Target::SpeedAtLeast(least) | Target::AtLeast(least) => format!("≥ {least}"),
            Target::Reported => "–".to_owned(),
        };
        // a pipeline would be cells of its own
        let against = comparison.against.replace('|', "\\|");
        if let Some(why) = &comparison.unmeasured {
            println!("| {} | | {} | not measured: {why} | | {target} | |", comparison.what, against);
            continue;
        }
        println!(
            "| {} | {} | {} | {} | {:.2} ({:.2}–{:.2}) | {target} | {} |",
            comparison.what,
            figure(comparison.unit, &comparison.ours),
            against,
            figure(comparison.unit, &comparison.baseline),
            ratio.median,
            ratio.low,
            ratio.high,
            match comparison.is_met() {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "",
            },
        );
    }
}

/// Prints one JSON object per comparison.
pub(crate) fn print_json(comparisons: &[Comparison]) {
    for comparison in comparisons {
        let ratio = comparison.ratio();
        let (kind, bound) = match comparison.target {
            Target::TimeAtMost(most) => (Some("time-at-most"), Some(most)),
            Target::SpeedAtLeast(least) => (Some("speed-at-least"), Some(least)),
            Target::AtLeast(least) => (Some("at-least"), Some(least)),
            Target::Reported => (None, None),
        };
        let object = serde_json::json!({
            "what": comparison.what,
            "against": comparison.against,
            "unit": match comparison.unit { Unit::Seconds => "s", Unit::Bytes => "B", Unit::Cores => "cores" },
            "ours": comparison.ours,
            "baseline": comparison.baseline,
            "ratio": { "low": ratio.low, "median": ratio.median, "high": ratio.high },
            "target": kind,
            "bound": bound,
            "met": comparison.is_met(),
            "unmeasured": comparison.unmeasured,
        });
        println!("{object}");
    }
}

fn figure(unit: Unit, values: &[f64]) -> String {
    let median = Quartiles::of(values).median;
    match unit {
        Unit::Seconds => seconds(median),
        Unit::Bytes if median < 1e6 => format!("{:.1} kB", median / 1e3),
        Unit::Bytes => format!("{:.1} MB", median / 1e6),
        Unit::Cores => format!("{median:.2}"),
    }
}

fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}
