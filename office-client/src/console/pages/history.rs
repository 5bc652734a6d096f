//! Past runs: a list that can be filtered, and the record of each.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use replica::office::{PastRun, RunFilter};
use serde::Deserialize;

use super::{Frame, bytes, number, segment, span};
use crate::console::Console;
use crate::console::answer::{self, Answer, PageError};
use crate::console::door::Visitor;
use crate::console::moment::Moment;
use crate::limits::CONSOLE_RUNS_MAX;

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
    runs: Vec<Row>,
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
    let mut found = console.office.runs(&asked.filter(), CONSOLE_RUNS_MAX + 1).await?;
    let more = found.len() as i64 > CONSOLE_RUNS_MAX;
    found.truncate(CONSOLE_RUNS_MAX as usize);
    let older = found.last().filter(|_| more).map(|last| {
        let (branch, result) = (segment(&asked.branch), segment(&asked.result));
        format!("/history?branch={branch}&result={result}&below={}", last.number)
    });
    let frame = Frame::of(&console, &visitor, "History", "history").await?;
    let runs = found.iter().map(row).collect();
    let (branch, result) = (asked.branch, asked.result);
    Ok(answer::render(&Page { frame, branches, branch, result, results: RESULTS, runs, older }))
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
    Ok(answer::render(&Record { frame, link: segment(&past.branch), row, figures }))
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
