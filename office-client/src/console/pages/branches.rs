//! All branches: how each stands, what waits, and the buttons to do something about it.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use protocol::session::office::Task;
use serde::Deserialize;

use super::{Frame, Hands, Said, bytes, number, rows, segment, span};
use crate::console::Console;
use crate::console::answer::{self, Answer};
use crate::console::door::Visitor;
use crate::console::guard::Posted;
use crate::console::live::Fragments;
use crate::console::moment::Moment;
use crate::console::overview::Overview;
use crate::console::runs::{self, Live};
use crate::console::users::Role;
use crate::limits::ROW_BYTES_GUESSED;
use crate::output::Direction;
use crate::standing::{BranchState, Standing};

#[derive(Template)]
#[template(path = "branches.html")]
struct Page {
    frame: Frame,
    hands: Hands,
    summary: Summary,
    rows: Vec<Row>,
}

/// A sentence about all of them.
struct Summary {
    text: String,
    /// What the rows themselves do not show in words: all but what waits for a decision.
    alerts: Vec<(Option<String>, String)>,
    can_update: bool,
}

#[derive(Template)]
#[template(path = "branches_summary.html")]
struct SummaryFragment<'a> {
    summary: &'a Summary,
    hands: &'a Hands,
}

#[derive(Template)]
#[template(path = "branch_main.html")]
struct MainPart<'a> {
    row: &'a Row,
}

#[derive(Template)]
#[template(path = "branch_actions.html")]
struct ActionsPart<'a> {
    row: &'a Row,
    hands: &'a Hands,
}

/// A branch as its row shows it.
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) link: String,
    /// What colour it has: `good`, `busy`, `look`, `bad`, `off`.
    pub(super) tone: &'static str,
    pub(super) state: &'static str,
    /// Why, or what to do about it.
    pub(super) advice: Option<String>,
    /// As of when the shop has the office's data, and the office the shop's.
    pub(super) shop_as_of: Option<Moment>,
    pub(super) office_as_of: Option<Moment>,
    pub(super) to_shop: String,
    pub(super) from_shop: String,
    pub(super) last: Option<Last>,
    pub(super) conflicts: i64,
    pub(super) quarantined: i64,
    pub(super) at_shop: i64,
    pub(super) run: Option<Working>,
    pub(super) paused: bool,
    pub(super) cloned: bool,
}

pub(super) struct Last {
    pub(super) words: String,
    pub(super) at: Moment,
    pub(super) number: i64,
}

/// A run at work, as the row of its branch shows it.
pub(super) struct Working {
    pub(super) id: String,
    pub(super) words: String,
    pub(super) permille: Option<u64>,
    pub(super) stopping: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Asked {
    said: String,
    of: String,
}

/// `GET /`
pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Query(query): Query<Asked>,
) -> Answer {
    let overview = Overview::take(&console).await?;
    let rows: Vec<Row> = overview.standings.iter().map(|standing| row(&console, &overview, standing)).collect();
    let said = match query.said.as_str() {
        "added" => Some(format!("Branch {} is added. Give the shop its first copy: Clone.", query.of)),
        "paused" => Some(format!("Branch {} is paused: “Update all” leaves it out.", query.of)),
        "resumed" => Some(format!("Branch {} takes part again.", query.of)),
        "started" => Some("Every branch that can be updated is being updated.".to_owned()),
        _ => None,
    };
    let said = said.map(|text| Said { text, undo: None });
    let frame = Frame::of(&console, &visitor, "Branches", "branches").await?.saying(said);
    Ok(answer::render(&Page { frame, hands: Hands::from(&visitor), summary: summary(&overview, &rows), rows }))
}

/// What the list is made of, for pages that are open.
pub(in crate::console) fn fragments(console: &Console, overview: &Overview, visitor: &Visitor) -> Fragments {
    let hands = &Hands::from(visitor);
    let rows: Vec<Row> = overview.standings.iter().map(|standing| row(console, overview, standing)).collect();
    let summary = summary(overview, &rows);
    let mut fragments = vec![("summary".to_owned(), answer::fragment(&SummaryFragment { summary: &summary, hands }))];
    for row in &rows {
        // apart, so that a button is not replaced under the finger because a figure has changed
        fragments.push((format!("branch-{}", row.id), answer::fragment(&MainPart { row })));
        fragments.push((format!("actions-{}", row.id), answer::fragment(&ActionsPart { row, hands })));
    }
    fragments
}

/// `POST /branches/NAME/pause`
pub(in crate::console) async fn pause(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    posted: Posted,
) -> Answer {
    set_paused(&console, &name, &posted, true).await
}

/// `POST /branches/NAME/resume`
pub(in crate::console) async fn resume(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    posted: Posted,
) -> Answer {
    set_paused(&console, &name, &posted, false).await
}

async fn set_paused(console: &Console, name: &str, posted: &Posted, paused: bool) -> Answer {
    posted.needs(Role::Decide)?;
    let branch = answer::known(console.office.branch(name).await)?;
    console.office.pause_branch(branch.id, paused).await?;
    console.overview.look();
    let said = if paused { "paused" } else { "resumed" };
    Ok(answer::see(&format!("/?said={said}&of={}", segment(name))))
}

fn summary(overview: &Overview, rows: &[Row]) -> Summary {
    let alerts = overview.alerts.iter().filter(|alert| !matches!(alert.kind, "conflicts" | "quarantine"));
    let alerts = alerts.map(|alert| (alert.branch.clone(), alert.words.clone())).collect();
    let of = |tone: &str| rows.iter().filter(|row| row.tone == tone).count();
    let mut parts = Vec::new();
    for (count, words) in [
        (of("bad") + of("look"), "to look at"),
        (of("busy"), "at work"),
        (of("good"), "in step"),
        (of("off"), "paused"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {words}"));
        }
    }
    let can_update = rows.iter().any(|row| row.cloned && !row.paused && row.run.is_none());
    Summary { text: parts.join(" · "), alerts, can_update }
}

/// What there is to show of a branch.
pub(super) fn row(console: &Console, overview: &Overview, standing: &Standing) -> Row {
    let branch = &standing.branch;
    let live = console.runs.of_branch(&branch.name);
    let elsewhere = live.is_none() && overview.held.contains(&branch.id);
    let (tone, state) = match () {
        () if live.as_ref().is_some_and(|live| live.task == Task::Clone) => ("busy", "Cloning"),
        () if live.is_some() => ("busy", "Updating"),
        () if elsewhere => ("busy", "Busy"),
        () => tone(standing),
    };
    let attention = standing.attention;
    let advice = if elsewhere {
        Some("Another program is at work on it.".to_owned())
    } else if live.is_some() {
        None
    } else {
        advice(standing)
    };
    Row {
        id: branch.id,
        name: branch.name.clone(),
        link: segment(&branch.name),
        tone,
        state,
        advice,
        shop_as_of: branch.pushed_at.or(branch.cloned_at).map(Moment),
        office_as_of: branch.pulled_at.or(branch.cloned_at).map(Moment),
        to_shop: to_shop(standing),
        from_shop: from_shop(standing),
        last: standing.last.as_ref().map(|past| Last {
            words: last_words(past),
            at: Moment(past.run.started_at),
            number: past.number,
        }),
        conflicts: attention.conflicts,
        quarantined: attention.quarantined,
        at_shop: attention.at_shop,
        run: live.as_deref().map(working),
        paused: branch.paused,
        cloned: branch.timestamp.is_some() && standing.state != BranchState::CloneUnfinished,
    }
}

fn tone(standing: &Standing) -> (&'static str, &'static str) {
    let attention = standing.attention;
    match standing.state {
        BranchState::Retired => ("off", "Retired"),
        BranchState::NeedsClone => ("bad", "Needs a new clone"),
        BranchState::Paused => ("off", "Paused"),
        BranchState::New => ("look", "New"),
        BranchState::CloneUnfinished => ("bad", "Clone unfinished"),
        BranchState::Failed => ("bad", "Failed"),
        BranchState::Refused => ("bad", "Stopped to protect data"),
        BranchState::Unreachable => ("bad", "Not reached"),
        BranchState::Ok if attention.conflicts > 0 || attention.quarantined > 0 || attention.at_shop > 0 => {
            ("look", "To decide")
        }
        BranchState::Ok if standing.backlog.is_some_and(|rows| rows > 0) => ("good", "Changes wait"),
        BranchState::Ok => ("good", "In step"),
        BranchState::Postponed => ("good", "Goes on later"),
        BranchState::Interrupted => ("look", "Stopped"),
    }
}

/// What happened, and what somebody can do about it here.
fn advice(standing: &Standing) -> Option<String> {
    let error = standing.last_run().and_then(|run| run.error.as_deref());
    let sentence = |text: &str| {
        let mut text = text.to_owned();
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        if !text.ends_with('.') {
            text.push('.');
        }
        text
    };
    match standing.state {
        BranchState::New => Some("Clone gives the shop its first full copy.".to_owned()),
        BranchState::CloneUnfinished => {
            Some("Its last clone did not end. Clone again: it goes on where it stopped.".to_owned())
        }
        BranchState::Unreachable => error.map(|error| {
            format!(
                "{} Is the shop’s machine on, and the line up? Nothing is lost; Update tries again.",
                sentence(error)
            )
        }),
        BranchState::Postponed => {
            error.map(|error| format!("{} The next run goes on where it stopped.", sentence(error)))
        }
        BranchState::Interrupted => Some("It was stopped at a clean place. Update goes on there.".to_owned()),
        BranchState::Failed | BranchState::Refused => error.map(sentence),
        BranchState::NeedsClone => Some(
            "It was not heard of for too long. A repair (office-client verify --repair) or a clone takes it in again."
                .to_owned(),
        ),
        BranchState::Ok | BranchState::Paused | BranchState::Retired => None,
    }
}

fn to_shop(standing: &Standing) -> String {
    match standing.backlog {
        None => "–".to_owned(),
        Some(0) => "nothing".to_owned(),
        Some(waiting) => {
            let size = (waiting as f64 * ROW_BYTES_GUESSED) as u64;
            amount(waiting, size, standing.rates.seconds(size, 0))
        }
    }
}

/// What a shop has is known only when it is called: what it said last, and how long ago that was.
fn from_shop(standing: &Standing) -> String {
    match standing.branch.timestamp {
        None => "–".to_owned(),
        Some(_) => "known when called".to_owned(),
    }
}

fn amount(count: i64, size: u64, seconds: Option<f64>) -> String {
    let mut text = format!("{}, about {}", rows(count), bytes(size));
    if let Some(seconds) = seconds {
        text.push_str(", ");
        text.push_str(&if seconds < 1.0 { "a moment".to_owned() } else { span(seconds) });
    }
    text
}

fn last_words(past: &replica::office::PastRun) -> String {
    let run = &past.run;
    let kind = match run.kind.as_str() {
        "clone" => "Clone",
        "import" => "Import",
        _ => "Update",
    };
    match run.result.as_str() {
        "done" if run.pulled_rows == 0 && run.pushed_rows == 0 => {
            format!("{kind}: nothing to move, {}", span(run.seconds))
        }
        "done" => {
            format!("{kind}: {} in, {} out, {}", number(run.pulled_rows), number(run.pushed_rows), span(run.seconds))
        }
        result => format!("{kind} {result}"),
    }
}

fn working(live: &Live) -> Working {
    let state = live.picture();
    let moving = state.transfers.last().filter(|transfer| transfer.total > transfer.at);
    let words = match moving {
        Some(transfer) => {
            let doing = match transfer.direction {
                Direction::Receive => "Receiving",
                Direction::Send => "Sending",
            };
            let rows = rows(i64::try_from(transfer.rows).unwrap_or(i64::MAX));
            let left = transfer.left_s().map(|left| format!(", {} left", span(left))).unwrap_or_default();
            format!("{doing} {rows}: {} of {}{left}", bytes(transfer.at), bytes(transfer.total))
        }
        None => {
            let words = state.steps.last().map_or("", |step| step.words);
            let mut words = words.to_owned();
            if let Some(first) = words.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            words
        }
    };
    let permille = moving.map(|transfer| transfer.at.saturating_mul(1000) / transfer.total.max(1));
    Working { id: live.id.clone(), words, permille, stopping: state.stopping }
}

/// The branches that “Update all” means.
pub(in crate::console) async fn updatable(console: &Arc<Console>) -> Result<Vec<String>, replica::ReplicaError> {
    let branches = console.office.branches().await?;
    let ready = branches.into_iter().filter(|branch| {
        branch.timestamp.is_some() && !branch.paused && !branch.retired && !crate::driver::is_clone_unfinished(branch)
    });
    Ok(ready.map(|branch| branch.name).collect())
}

/// Starts an update of each of them.
pub(in crate::console) fn start_all(console: &Arc<Console>, names: &[String], by: &str) {
    for name in names {
        runs::start(console, name, Task::Update, by, false);
    }
}
