//! Small charts of past runs, as SVG inside the page: a bar per run, oldest first.

use replica::office::PastRun;

use super::{bytes, number, span};
use crate::console::moment::Moment;

/// Width and height of a chart, in its own units.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 64.0;
/// Lowest bar that can be seen.
const LOWEST: f64 = 1.5;

/// A chart.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What its greatest value is.
    pub(super) greatest: String,
    /// The same for those who cannot see it.
    pub(super) words: String,
    pub(super) bars: Vec<Bar>,
    /// What the colours mean, where there are several.
    pub(super) keys: &'static [(&'static str, &'static str)],
    /// When its first and its last run began.
    pub(super) first: Moment,
    pub(super) last: Moment,
}

/// What the colours of the two directions mean.
const DIRECTIONS: &[(&str, &str)] = &[("in", "from the shop"), ("out", "to the shop")];

/// A bar, or a part of one.
pub(super) struct Bar {
    pub(super) x: String,
    pub(super) y: String,
    pub(super) width: String,
    pub(super) height: String,
    pub(super) class: &'static str,
    pub(super) words: String,
}

/// Charts of runs that are given newest first; none where there are too few to compare.
pub(super) fn of(runs: &[PastRun]) -> Vec<Chart> {
    if runs.len() < 2 {
        return Vec::new();
    }
    let runs: Vec<&PastRun> = runs.iter().rev().collect();
    let whole = |count: i64| count.max(0) as f64;
    let size = |value: f64| bytes(value as u64);
    let rows = chart(
        "Rows",
        &runs,
        |value| number(value as i64),
        |run| vec![("in", whole(run.run.pulled_rows)), ("out", whole(run.run.pushed_rows))],
    );
    let moved = chart("Bytes", &runs, size, |run| {
        vec![("in", whole(run.run.received_bytes)), ("out", whole(run.run.sent_bytes))]
    });
    let time = chart("Duration", &runs, span, |run| vec![(tone(run), run.run.seconds)]);
    let mut charts = vec![rows, moved, time];
    charts.extend(freshness(&runs));
    charts
}

/// How old the shop's data had become at the office before each run that was done; of one branch only.
fn freshness(runs: &[&PastRun]) -> Option<Chart> {
    let first = runs.first()?;
    let done: Vec<&PastRun> = runs.iter().copied().filter(|run| run.run.result == "done").collect();
    if runs.iter().any(|run| run.branch != first.branch) || done.len() < 3 {
        return None;
    }
    let age = |index: usize| {
        let (before, after) = (done[index].run.started_at, done[index + 1].run.started_at);
        after.duration_since(before).unwrap_or_default().as_secs_f64()
    };
    let ages: Vec<f64> = (0..done.len() - 1).map(age).collect();
    let later: Vec<&PastRun> = done[1..].to_vec();
    let mut at = ages.iter();
    Some(chart("Age of the data before each update", &later, span, |_| vec![("in", at.next().copied().unwrap_or(0.0))]))
}

fn tone(run: &PastRun) -> &'static str {
    match run.run.result.as_str() {
        "done" => "in",
        "interrupted" | "postponed" => "look",
        _ => "bad",
    }
}

fn chart(
    title: &'static str,
    runs: &[&PastRun],
    words: impl Fn(f64) -> String,
    mut parts: impl FnMut(&PastRun) -> Vec<(&'static str, f64)>,
) -> Chart {
    let all: Vec<Vec<(&'static str, f64)>> = runs.iter().map(|run| parts(run)).collect();
    let sum = |parts: &[(&'static str, f64)]| parts.iter().map(|(_, value)| value).sum::<f64>();
    let greatest = all.iter().map(|parts| sum(parts)).fold(0.0, f64::max);
    let step = WIDTH / runs.len() as f64;
    let width = (step - 1.0).clamp(1.0, 14.0);
    let mut bars = Vec::new();
    for (index, (run, parts)) in runs.iter().zip(&all).enumerate() {
        let mut y = HEIGHT;
        let label = format!(
            "{} {}: {}",
            run.branch,
            Moment(run.run.started_at).short(),
            parts.iter().map(|(_, value)| words(*value)).collect::<Vec<_>>().join(", ")
        );
        for (class, value) in parts.iter().filter(|(_, value)| *value > 0.0) {
            let height = (value / greatest.max(f64::MIN_POSITIVE) * (HEIGHT - LOWEST)).max(LOWEST);
            y -= height;
            bars.push(Bar {
                x: format!("{:.2}", index as f64 * step),
                y: format!("{y:.2}"),
                width: format!("{width:.2}"),
                height: format!("{height:.2}"),
                class,
                words: label.clone(),
            });
        }
    }
    let last = all.last().map_or(0.0, |parts| sum(parts));
    let summary = format!("{title} of {} runs: at most {}, the last one {}", runs.len(), words(greatest), words(last));
    let keys = if all.iter().any(|parts| parts.len() > 1) { DIRECTIONS } else { &[] };
    let moment = |run: Option<&&PastRun>| Moment(run.map_or(std::time::UNIX_EPOCH, |run| run.run.started_at));
    let (first, last) = (moment(runs.first()), moment(runs.last()));
    Chart { title, greatest: words(greatest), words: summary, bars, keys, first, last }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use replica::office::RunRecord;

    use super::*;

    fn run(number: i64, pulled: i64) -> PastRun {
        let run = RunRecord {
            kind: "update".into(),
            result: "done".into(),
            pulled_rows: pulled,
            pushed_rows: 0,
            sent_bytes: 10,
            received_bytes: 30,
            quarantined: 0,
            started_at: UNIX_EPOCH + Duration::from_secs(number.unsigned_abs() * 3600),
            seconds: 1.0,
            error: None,
            redials: 0,
            chunk_bytes: None,
            send_rate: None,
            receive_rate: None,
            started_by: None,
            pulled_digest: None,
            totals: Vec::new(),
        };
        PastRun { number, branch: "north".into(), run }
    }

    #[test]
    fn a_bar_is_as_high_as_its_value_and_a_run_without_any_has_none() {
        let charts = of(&[run(3, 100), run(2, 0), run(1, 50)]);
        let rows = &charts[0];
        let heights: Vec<f64> = rows.bars.iter().map(|bar| bar.height.parse().unwrap()).collect();
        assert_eq!(heights.len(), 2);
        assert!((heights[0] * 2.0 - heights[1]).abs() < 0.1, "{heights:?}");
        assert!(rows.words.contains("at most 100, the last one 100"), "{}", rows.words);
        assert_eq!(
            charts.len(),
            4,
            "the age of the data too: {:?}",
            charts.iter().map(|c| c.title).collect::<Vec<_>>()
        );
        assert!(charts[3].greatest.contains("60 min"), "{}", charts[3].greatest);
    }

    #[test]
    fn one_run_is_no_chart() {
        assert!(of(&[run(1, 5)]).is_empty());
    }
}
