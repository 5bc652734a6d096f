//! Rows of shops that wait because the office could not take them.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use replica::quarantine::Entry;
use serde::Deserialize;

use super::{Frame, Hands, Said, conflicts::pairs, rows, segment};
use crate::console::Console;
use crate::console::answer::{self, Answer, PageError};
use crate::console::door::Visitor;
use crate::console::guard::Posted;
use crate::console::moment::Moment;
use crate::console::users::Role;
use crate::limits::CONSOLE_CARDS_MAX;

#[derive(Template)]
#[template(path = "quarantine.html")]
struct Page {
    frame: Frame,
    hands: Hands,
    branches: Vec<String>,
    branch: String,
    cards: Vec<Card>,
    /// The address of the rows after these.
    next: Option<String>,
    at_shops: Vec<(String, String)>,
}

struct Card {
    id: i64,
    branch: String,
    table: String,
    key: String,
    change: &'static str,
    reason: String,
    about: Vec<(&'static str, String)>,
    since: Moment,
    tries: i32,
    tried: Option<Moment>,
    lines: Vec<Line>,
}

struct Line {
    column: String,
    now: Option<String>,
    before: Option<Option<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Asked {
    branch: String,
    said: String,
    of: String,
    rows: i64,
    above: Option<i64>,
}

/// `GET /quarantine`
pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Answer {
    let office = &console.office;
    let branches = office.branches().await?.into_iter().map(|branch| branch.name).collect();
    let branch = asked.branch.clone();
    let wanted = (!branch.is_empty()).then_some(branch.as_str());
    let ask = async |limit| office.quarantine(wanted, asked.above, limit).await;
    let found = crate::page::Page::of(CONSOLE_CARDS_MAX, ask).await?;
    let next = found.turn().map(|last| format!("/quarantine?branch={}&above={}", segment(&branch), last.id));
    let at_shops = office.shop_quarantine_counts().await?;
    let at_shops = at_shops.into_iter().map(|(name, count)| (name, rows(count))).collect();
    let frame = Frame::of(&console, &visitor, "Quarantine", "quarantine").await?.saying(said(&asked));
    let cards = found.shown.iter().map(card).collect();
    Ok(answer::render(&Page { frame, hands: Hands::from(&visitor), branches, branch, cards, next, at_shops }))
}

fn said(asked: &Asked) -> Option<Said> {
    let id: i64 = asked.of.parse().ok()?;
    let text = match asked.said.as_str() {
        "released" => format!("Row {id} has come in; {} in all.", rows(asked.rows)),
        "waits" => format!("Row {id} was tried and still waits: its cause is not gone."),
        "dropped" => format!("Row {id} is dropped: the shop has it, the office has not."),
        _ => return None,
    };
    Some(Said { text, undo: None })
}

/// `POST /quarantine/ID/retry`
pub(in crate::console) async fn retry(
    State(console): State<Arc<Console>>,
    Path(id): Path<i64>,
    posted: Posted,
) -> Answer {
    posted.needs(Role::Decide)?;
    answer::known(console.office.quarantined(id).await)?;
    let applied = console.office.retry_quarantined(id).await?;
    let still = console.office.still_quarantined(id).await?;
    let said = if still.is_some() { "waits" } else { "released" };
    tracing::info!(row = id, by = posted.visitor.called(), said, "a row in quarantine was tried again at the console");
    console.overview.look();
    Ok(answer::see(&format!("/quarantine?said={said}&of={id}&rows={}{}", applied.released, filter(&posted))))
}

/// `POST /quarantine/ID/drop`
pub(in crate::console) async fn drop_row(
    State(console): State<Arc<Console>>,
    Path(id): Path<i64>,
    posted: Posted,
) -> Answer {
    posted.needs(Role::Decide)?;
    if !posted.ticked("sure") {
        return Err(PageError::wrong("dropping a row was not confirmed")
            .with_hint("its change is lost at the office for good: tick the box, then drop it"));
    }
    console.office.drop_quarantined(id).await?;
    tracing::info!(row = id, by = posted.visitor.called(), "a row in quarantine was dropped at the console");
    console.overview.look();
    Ok(answer::see(&format!("/quarantine?said=dropped&of={id}{}", filter(&posted))))
}

fn filter(posted: &Posted) -> String {
    match posted.field("branch") {
        "" => String::new(),
        branch => format!("&branch={}", segment(branch)),
    }
}

fn card(entry: &Entry) -> Card {
    let about = [("Other table", &entry.other_table), ("Column", &entry.column), ("Constraint", &entry.constraint)];
    Card {
        id: entry.id,
        branch: entry.branch.clone().unwrap_or_else(|| "a branch that was removed".to_owned()),
        table: entry.table.to_string(),
        key: pairs(&entry.key),
        change: match entry.operation.as_str() {
            "update" | "guarded-update" => "Changed row",
            "delete" => "Deleted row",
            _ => "Row",
        },
        reason: entry.reason.clone(),
        about: about.into_iter().filter_map(|(name, text)| Some((name, text.clone()?))).collect(),
        since: Moment(entry.since),
        tries: entry.tries,
        tried: entry.tried_at.map(Moment),
        lines: entry
            .image
            .iter()
            .flatten()
            .map(|(name, value)| Line {
                column: name.clone(),
                now: value.as_deref().map(super::value),
                before: entry
                    .base
                    .as_ref()
                    .and_then(|base| base.get(name))
                    .map(|before| before.as_deref().map(super::value)),
            })
            .collect(),
    }
}
