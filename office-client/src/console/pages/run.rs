//! One run: what it does while it works, and how it ended; and the forms that start and stop runs.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use protocol::session::office::Task;

use super::{Frame, Hands, branches, bytes, history, number, rows, segment, span};
use crate::console::Console;
use crate::console::answer::{self, Answer, PageError};
use crate::console::door::Visitor;
use crate::console::guard::Posted;
use crate::console::live::Fragments;
use crate::console::moment::Moment;
use crate::console::runs::{self, Live, Transfer};
use crate::console::users::Role;
use crate::driver::RunResult;
use crate::output::Direction;

/// The event that says that nothing more will come.
pub(in crate::console) const DONE: &str = "done";

#[derive(Template)]
#[template(path = "run.html")]
struct Page {
    frame: Frame,
    hands: Hands,
    picture: Picture,
}

#[derive(Template)]
#[template(path = "run_state.html")]
struct StatePart<'a> {
    picture: &'a Picture,
}

#[derive(Template)]
#[template(path = "run_actions.html")]
struct ActionsPart<'a> {
    picture: &'a Picture,
    hands: &'a Hands,
}

#[derive(Template)]
#[template(path = "run_end.html")]
struct EndPart<'a> {
    picture: &'a Picture,
}

#[derive(Template)]
#[template(path = "run_moving.html")]
struct MovingPart<'a> {
    picture: &'a Picture,
}

#[derive(Template)]
#[template(path = "run_tables.html")]
struct TablesPart<'a> {
    picture: &'a Picture,
}

#[derive(Template)]
#[template(path = "run_steps.html")]
struct StepsPart<'a> {
    picture: &'a Picture,
}

/// A run as its page shows it.
struct Picture {
    id: String,
    branch: String,
    link: String,
    kind: &'static str,
    by: String,
    started: Moment,
    tone: &'static str,
    state: String,
    at_work: bool,
    stopping: bool,
    elapsed: String,
    redials: u32,
    estimate: Option<String>,
    steps: Vec<StepLine>,
    moving: Vec<Moving>,
    end: Option<End>,
}

struct StepLine {
    words: String,
    at: String,
    now: bool,
    failed: bool,
}

struct Moving {
    words: &'static str,
    rows: String,
    at: String,
    total: String,
    percent: u64,
    rate: Option<String>,
    left: Option<String>,
    tables: Vec<(String, String)>,
    done: bool,
}

struct End {
    words: String,
    error: Option<String>,
    hint: Option<String>,
    figures: Vec<(&'static str, String)>,
    differing: Vec<String>,
    totals: Vec<(String, bool)>,
    number: Option<i64>,
    again: bool,
}

/// `GET /runs/ID`
pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Answer {
    let live = console.runs.find(&id).ok_or_else(|| {
        PageError::missing("the console knows no such run")
            .with_hint("it may have ended before the console was started anew: the history has its record")
    })?;
    let picture = picture(&live);
    let title = format!("{} of {}", picture.kind, picture.branch);
    let frame = Frame::of(&console, &visitor, title, "branches").await?;
    Ok(answer::render(&Page { frame, hands: Hands::from(&visitor), picture }))
}

/// What the page is made of, while it is open.
pub(in crate::console) fn fragments(live: &Live, visitor: &Visitor) -> Fragments {
    let picture = picture(live);
    let (picture, hands) = (&picture, &Hands::from(visitor));
    // apart, so that a button is not replaced under the finger because a figure has changed
    let mut fragments: Fragments = [
        ("state", answer::fragment(&StatePart { picture })),
        ("actions", answer::fragment(&ActionsPart { picture, hands })),
        ("end", answer::fragment(&EndPart { picture })),
        ("moving", answer::fragment(&MovingPart { picture })),
        ("tables", answer::fragment(&TablesPart { picture })),
        ("steps", answer::fragment(&StepsPart { picture })),
    ]
    .map(|(name, html)| (name.to_owned(), html))
    .into();
    if !picture.at_work {
        fragments.push((DONE.to_owned(), String::new()));
    }
    fragments
}

/// `POST /branches/NAME/update`
pub(in crate::console) async fn update(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    posted: Posted,
) -> Answer {
    posted.needs(Role::Sync)?;
    begin(&console, &name, Task::Update, &posted).await
}

/// `POST /branches/NAME/clone`
pub(in crate::console) async fn clone(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    posted: Posted,
) -> Answer {
    posted.needs(Role::Decide)?;
    if !posted.ticked("sure") {
        return Err(PageError::wrong("a clone was not confirmed").with_hint("tick the box, then clone"));
    }
    begin(&console, &name, Task::Clone, &posted).await
}

async fn begin(console: &Arc<Console>, name: &str, task: Task, posted: &Posted) -> Answer {
    let branch = answer::known(console.office.branch(name).await)?;
    let force = posted.ticked("force");
    if force {
        posted.needs(Role::Decide)?;
    }
    let live = runs::start(console, &branch.name, task, posted.visitor.called(), force);
    Ok(answer::see(&format!("/runs/{}", live.id)))
}

/// `POST /update`: every branch that is cloned and not paused.
pub(in crate::console) async fn update_all(State(console): State<Arc<Console>>, posted: Posted) -> Answer {
    posted.needs(Role::Sync)?;
    let names = branches::updatable(&console).await?;
    branches::start_all(&console, &names, posted.visitor.called());
    Ok(answer::see("/?said=started"))
}

/// `POST /runs/ID/stop`
pub(in crate::console) async fn stop(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Answer {
    posted.needs(Role::Sync)?;
    if let Some(live) = console.runs.find(&id) {
        tracing::info!(branch = live.branch, by = posted.visitor.called(), "a run was stopped at the console");
        live.stop();
    }
    Ok(answer::see(&format!("/runs/{}", segment(&id))))
}

fn picture(live: &Live) -> Picture {
    let state = live.picture();
    let kind = match live.task {
        Task::Update => "Update",
        Task::Clone => "Clone",
    };
    let end = state.ended.as_ref().map(|ended| {
        let report = &ended.report;
        let mut figures = vec![
            ("Rows from the shop", number(report.pulled_rows)),
            ("Rows to the shop", number(report.pushed_rows)),
            ("Received", bytes(report.received_bytes)),
            ("Sent", bytes(report.sent_bytes)),
            ("Time", span(report.seconds)),
        ];
        let counted = [
            ("Redials", i64::from(report.redials)),
            ("Conflicts", report.conflicts),
            ("Into quarantine", report.quarantined),
            ("Into the shop’s quarantine", report.quarantined_at_shop),
            ("Out of quarantine", report.released),
        ];
        figures.extend(counted.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name, number(count))));
        if let Some(comparison) = &report.comparison {
            let tables = comparison.tables.len();
            let agree = tables - comparison.differing().count();
            figures.push(("Tables that agree", format!("{agree} of {tables}")));
        }
        End {
            words: result_words(ended.result).to_owned(),
            error: ended.error.as_deref().map(sentence),
            hint: advice(ended.result).map(str::to_owned).or_else(|| ended.hint.clone()),
            figures,
            differing: report
                .comparison
                .iter()
                .flat_map(|comparison| comparison.differing().map(|table| table.table.clone()))
                .collect(),
            totals: history::totals(&report.totals),
            number: ended.number,
            again: ended.result != RunResult::Done,
        }
    });
    let elapsed =
        state.ended.as_ref().map_or_else(|| state.began.elapsed().as_secs_f64(), |ended| ended.report.seconds);
    let last = state.steps.len().saturating_sub(1);
    let steps = state.steps.iter().enumerate().map(|(at, step)| StepLine {
        words: sentence(step.words),
        at: span(step.at_s),
        now: at == last && end.is_none(),
        failed: at == last && end.as_ref().is_some_and(|end| end.again),
    });
    let (tone, words) = match &state.ended {
        None if state.stopping => ("busy", "Stopping at the next chunk".to_owned()),
        None => ("busy", "At work".to_owned()),
        Some(ended) => (tone(ended.result), result_words(ended.result).to_owned()),
    };
    Picture {
        id: live.id.clone(),
        branch: live.branch.clone(),
        link: segment(&live.branch),
        kind,
        by: live.by.clone(),
        started: Moment(live.started_at),
        tone,
        state: words,
        at_work: end.is_none(),
        stopping: state.stopping,
        elapsed: span(elapsed),
        redials: state.redials,
        estimate: state
            .estimate
            .as_ref()
            .and_then(|estimate| estimate.seconds)
            .filter(|seconds| *seconds >= 1.0)
            .map(span),
        steps: steps.collect(),
        moving: state.transfers.iter().map(moving).collect(),
        end,
    }
}

fn moving(transfer: &Transfer) -> Moving {
    let done = transfer.at >= transfer.total;
    let rate = transfer.rate();
    Moving {
        words: match transfer.direction {
            Direction::Receive => "From the shop",
            Direction::Send => "To the shop",
        },
        rows: rows(i64::try_from(transfer.rows).unwrap_or(i64::MAX)),
        at: bytes(transfer.at),
        total: bytes(transfer.total),
        percent: transfer.at.saturating_mul(100) / transfer.total.max(1),
        rate: rate.map(|rate| format!("{}/s", bytes(rate as u64))),
        left: transfer.left_s().filter(|_| !done).map(span),
        tables: transfer
            .tables
            .iter()
            .map(|(table, rows)| (table.clone(), number(i64::try_from(*rows).unwrap_or(i64::MAX))))
            .collect(),
        done,
    }
}

/// What to do about it here, where that is not what one does at the command line.
fn advice(result: RunResult) -> Option<&'static str> {
    match result {
        RunResult::Unreachable => Some(
            "Is the shop’s machine on, and the line up? Nothing is lost: update again when it is, and it goes on where it stopped.",
        ),
        RunResult::Postponed | RunResult::Interrupted => {
            Some("Nothing is lost: the next update goes on where this one stopped.")
        }
        RunResult::Done | RunResult::Failed | RunResult::Refused => None,
    }
}

/// The colour of a result.
pub(super) fn tone(result: RunResult) -> &'static str {
    match result {
        RunResult::Done => "good",
        RunResult::Postponed | RunResult::Interrupted => "look",
        RunResult::Failed | RunResult::Refused | RunResult::Unreachable => "bad",
    }
}

fn result_words(result: RunResult) -> &'static str {
    match result {
        RunResult::Done => "Done",
        RunResult::Failed => "Failed",
        RunResult::Refused => "Stopped to protect data",
        RunResult::Unreachable => "The shop was not reached, or the line was lost",
        RunResult::Postponed => "Goes on with the next run",
        RunResult::Interrupted => "Stopped at a clean place",
    }
}

fn sentence(words: &str) -> String {
    let mut words = words.to_owned();
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}
