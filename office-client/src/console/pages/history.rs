//! Past runs: a list that can be filtered, and the record of each.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::IntoResponse as _;
use futures_util::stream;
use replica::office::{ControlTotal, PastRun, RunFilter};
use serde::Deserialize;

use super::charts::{self, Chart};
use super::{Frame, bytes, number, segment, span};
use crate::console::Console;
use crate::console::answer::{self, Answer, PageError};
use crate::console::door::Visitor;
use crate::console::moment::Moment;
use crate::limits::CONSOLE_RUNS_MAX;
use crate::output;

/// What the file says of each run.
const CSV_COLUMNS: [&str; 13] = [
    "number",
    "branch",
    "run",
    "result",
    "started_at",
    "seconds",
    "pulled_rows",
    "pushed_rows",
    "received_bytes",
    "sent_bytes",
    "redials",
    "quarantined",
    "error",
];
/// Runs of the file that are in memory at one time.
const CSV_RUNS_AT_A_TIME: i64 = 1000;

/// The results that can be filtered by, with their words.
const RESULTS: [(&str, &str); 6] = [
    ("done", "done"),
    ("failed", "failed"),
    ("refused", "stopped to protect data"),
    ("unreachable", "not reached"),
    ("postponed", "goes on later"),
    ("interrupted", "stopped"),
];

#[derive(Template)]
#[template(path = "history.html")]
struct Page {
    frame: Frame,
    branches: Vec<String>,
    branch: String,
    result: String,
    results: [(&'static str, &'static str); 6],
    charts: Vec<Chart>,
    runs: Vec<Row>,
    /// The address of the same as a file.
    csv: String,
    /// The address of the runs before these.
    older: Option<String>,
}

/// A run as lists show it.
pub(super) struct Row {
    pub(super) number: i64,
    pub(super) branch: String,
    pub(super) kind: String,
    pub(super) tone: &'static str,
    pub(super) result: &'static str,
    pub(super) error: Option<String>,
    pub(super) started: Moment,
    pub(super) seconds: String,
    pub(super) pulled: String,
    pub(super) pushed: String,
    pub(super) received: String,
    pub(super) sent: String,
    pub(super) redials: i32,
}

/// The record of one run.
#[derive(Template)]
#[template(path = "record.html")]
struct Record {
    frame: Frame,
    row: Row,
    link: String,
    figures: Vec<(&'static str, String)>,
    totals: Vec<(String, bool)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Asked {
    branch: String,
    result: String,
    below: Option<i64>,
}

impl Asked {
    fn filter(&self) -> RunFilter {
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        RunFilter { branch: given(&self.branch), result: given(&self.result), since: None, below: self.below }
    }
}

/// `GET /history`
pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Answer {
    let branches = console.office.branches().await?.into_iter().map(|branch| branch.name).collect();
    let ask = async |limit| console.office.runs(&asked.filter(), limit).await;
    let found = crate::page::Page::of(CONSOLE_RUNS_MAX, ask).await?;
    let older = found.turn().map(|last| {
        let (branch, result) = (segment(&asked.branch), segment(&asked.result));
        format!("/history?branch={branch}&result={result}&below={}", last.number)
    });
    let frame = Frame::of(&console, &visitor, "History", "history").await?;
    let (charts, runs) = (charts::of(&found.shown), found.shown.iter().map(row).collect());
    let (branch, result) = (asked.branch, asked.result);
    let csv = format!("/history.csv?branch={}&result={}", segment(&branch), segment(&result));
    Ok(answer::render(&Page { frame, branches, branch, result, results: RESULTS, charts, runs, csv, older }))
}

/// `GET /history.csv`: the same runs as a file, for a spreadsheet; all of them, a piece at a time.
pub(in crate::console) async fn csv(State(console): State<Arc<Console>>, Query(asked): Query<Asked>) -> Answer {
    let wanted = asked.filter();
    let head = csv_line(&CSV_COLUMNS.map(str::to_owned));
    let pieces = stream::unfold(Some((console, wanted, head)), |at| async move {
        let (console, mut wanted, mut text) = at?;
        let runs = match console.office.runs(&wanted, CSV_RUNS_AT_A_TIME).await {
            Ok(runs) => runs,
            // the file must not look whole: the connection breaks
            Err(error) => return Some((Err(error), None)),
        };
        runs.iter().for_each(|past| text.push_str(&csv_line(&cells(past))));
        wanted.below = runs.last().map(|last| last.number);
        let is_last = (runs.len() as i64) < CSV_RUNS_AT_A_TIME;
        Some((Ok(text), (!is_last).then(|| (console, wanted, String::new()))))
    });
    let head = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"history.csv\""),
    ];
    Ok((head, Body::from_stream(pieces)).into_response())
}

fn cells(past: &PastRun) -> [String; CSV_COLUMNS.len()] {
    let run = &past.run;
    [
        past.number.to_string(),
        cell(&past.branch),
        cell(&run.kind),
        cell(&run.result),
        Moment(run.started_at).iso(),
        format!("{:.3}", run.seconds),
        run.pulled_rows.to_string(),
        run.pushed_rows.to_string(),
        run.received_bytes.to_string(),
        run.sent_bytes.to_string(),
        run.redials.to_string(),
        run.quarantined.to_string(),
        cell(run.error.as_deref().unwrap_or("")),
    ]
}

fn csv_line(cells: &[String]) -> String {
    cells.join(",") + "\r\n"
}

/// A cell of RFC 4180. What a spreadsheet would take for a formula gets an apostrophe in front.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if guard.is_empty() && !text.contains([',', '"', '\n', '\r']) {
        return text.to_owned();
    }
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

/// `GET /history/NUMBER`
pub(in crate::console) async fn one(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(wanted): Path<i64>,
) -> Answer {
    let past = console.office.run(wanted).await?.ok_or_else(|| PageError::missing("the history has no such run"))?;
    let row = row(&past);
    let frame = Frame::of(&console, &visitor, format!("{} of {}", row.kind, row.branch), "history").await?;
    let run = &past.run;
    let size = |count: i64| bytes(u64::try_from(count).unwrap_or(0));
    let rate = |rate: Option<i64>| rate.map_or_else(|| "–".to_owned(), |rate| format!("{}/s", size(rate)));
    let figures = vec![
        ("Rows from the shop", number(run.pulled_rows)),
        ("Rows to the shop", number(run.pushed_rows)),
        ("Into quarantine", number(run.quarantined)),
        ("Received", size(run.received_bytes)),
        ("Sent", size(run.sent_bytes)),
        ("Line, receiving", rate(run.receive_rate)),
        ("Line, sending", rate(run.send_rate)),
        ("Chunks at the end", run.chunk_bytes.map_or_else(|| "–".to_owned(), size)),
        ("Redials", run.redials.to_string()),
        ("Time", span(run.seconds)),
        ("Started by", run.started_by.clone().unwrap_or_else(|| "–".to_owned())),
        ("SHA-256 of what came in", run.pulled_digest.as_deref().map_or_else(|| "–".to_owned(), short)),
    ];
    let totals = totals(&run.totals);
    Ok(answer::render(&Record { frame, link: segment(&past.branch), row, figures, totals }))
}

/// Control totals as the pages of runs list them: the table with what became of it, and whether it differs.
pub(super) fn totals(totals: &[ControlTotal]) -> Vec<(String, bool)> {
    totals.iter().map(|total| (output::totals::line(total), total.differs())).collect()
}

/// The beginning of a digest: enough to tell two apart; all of it is in `office-client --json history`.
fn short(digest: &str) -> String {
    digest.chars().take(16).collect()
}

pub(super) fn row(past: &PastRun) -> Row {
    let run = &past.run;
    let size = |count: i64| bytes(u64::try_from(count).unwrap_or(0));
    let mut kind = run.kind.clone();
    if let Some(first) = kind.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Row {
        number: past.number,
        branch: past.branch.clone(),
        kind,
        tone: match run.result.as_str() {
            "done" => "good",
            "postponed" | "interrupted" => "look",
            _ => "bad",
        },
        result: RESULTS.iter().find(|(name, _)| *name == run.result).map_or("failed", |(_, words)| *words),
        error: run.error.clone(),
        started: Moment(run.started_at),
        seconds: span(run.seconds),
        pulled: number(run.pulled_rows),
        pushed: number(run.pushed_rows),
        received: size(run.received_bytes),
        sent: size(run.sent_bytes),
        redials: run.redials,
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn a_cell_breaks_no_file_and_is_no_formula() {
        assert_eq!(cell("north"), "north");
        assert_eq!(cell("a, \"b\"\nc"), "\"a, \"\"b\"\"\nc\"");
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
    }
}
