//! Conflicts: both versions side by side, one click to keep or to swap, and one to take that back.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use replica::office::{Conflict, ConflictKind, Image, Side, Stamp, Standing, Take};
use serde::Deserialize;

use super::{Frame, Hands, Said, Undo, segment};
use crate::console::Console;
use crate::console::answer::{self, Answer, PageError};
use crate::console::door::Visitor;
use crate::console::guard::Posted;
use crate::console::moment::Moment;
use crate::console::users::Role;
use crate::limits::CONSOLE_CARDS_MAX;

#[derive(Template)]
#[template(path = "conflicts.html")]
struct Page {
    frame: Frame,
    hands: Hands,
    branches: Vec<String>,
    branch: String,
    all: bool,
    cards: Vec<Card>,
    /// The address of the conflicts before these.
    older: Option<String>,
}

/// A conflict as it is shown.
struct Card {
    id: i64,
    branch: String,
    table: String,
    key: String,
    what: String,
    found: Moment,
    rule: String,
    office: Version,
    shop: Version,
    lines: Vec<Line>,
    /// How many lines are not contended, and folded away.
    folded: usize,
    resolved: Option<(String, Moment)>,
    changed_since: bool,
    gone: bool,
}

/// What one side had.
struct Version {
    who: Option<String>,
    when: Option<Moment>,
    /// Whether the row is so now.
    stands: bool,
    deleted: bool,
    button: &'static str,
}

struct Line {
    column: String,
    contended: bool,
    base: Cell,
    office: Cell,
    shop: Cell,
}

/// A value: there, null, or not known.
struct Cell {
    text: String,
    null: bool,
    known: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Asked {
    branch: String,
    all: String,
    said: String,
    of: String,
    was: String,
    below: Option<i64>,
}

/// `GET /conflicts`
pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Answer {
    let office = &console.office;
    let branches = office.branches().await?.into_iter().map(|branch| branch.name).collect();
    let (branch, all) = (asked.branch.clone(), !asked.all.is_empty());
    let wanted = (!branch.is_empty()).then_some(branch.as_str());
    let ask = async |limit| office.conflicts(!all, wanted, asked.below, limit).await;
    let found = crate::page::Page::of(CONSOLE_CARDS_MAX, ask).await?;
    let older = found.turn().map(|last| {
        let all = if all { "1" } else { "" };
        format!("/conflicts?branch={}&all={all}&below={}", segment(&branch), last.id)
    });
    let mut cards = Vec::with_capacity(found.shown.len());
    for conflict in found.shown {
        cards.push(card(&office.conflict(conflict.id).await?));
    }
    let frame = Frame::of(&console, &visitor, "Conflicts", "conflicts").await?.saying(said(&asked));
    Ok(answer::render(&Page { frame, hands: Hands::from(&visitor), branches, branch, all, cards, older }))
}

/// What was just decided, and the form that takes it back: `of` is the conflict, `was` what had stood.
fn said(asked: &Asked) -> Option<Said> {
    let id: i64 = asked.of.parse().ok()?;
    let text = match asked.said.as_str() {
        "office" => format!("Conflict {id}: the office’s version stands. The next updates take it to the shops."),
        "shop" => format!("Conflict {id}: the shop’s version stands. The next updates take it to all others."),
        "value" => format!("Conflict {id}: the value stands. The next updates take it to the shops."),
        "undone" => return Some(Said { text: format!("Conflict {id} is open again, as it was."), undo: None }),
        _ => return None,
    };
    let undo = matches!(asked.was.as_str(), "office" | "shop")
        .then(|| Undo { action: format!("/conflicts/{id}"), take: asked.was.clone() });
    Some(Said { text, undo })
}

/// `POST /conflicts/ID`: `take` is `office`, `shop` or `value` with a `value`; with `undo` it is open again afterwards.
pub(in crate::console) async fn resolve(
    State(console): State<Arc<Console>>,
    Path(id): Path<i64>,
    posted: Posted,
) -> Answer {
    posted.needs(Role::Decide)?;
    let take = match posted.field("take") {
        "office" => Take::Side(Side::Office),
        "shop" => Take::Side(Side::Shop),
        "value" => Take::Value(posted.secret("value").to_owned()),
        _ => return Err(PageError::wrong("nothing was chosen")),
    };
    let resolved = console.office.resolve_conflict(id, take).await?;
    tracing::info!(conflict = id, by = posted.visitor.called(), "a conflict was resolved at the console");
    let said = if posted.ticked("undo") {
        console.office.reopen_conflict(id).await?;
        "undone"
    } else {
        match &resolved.take {
            Take::Side(side) => side.as_str(),
            Take::Value(_) => "value",
        }
    };
    // what stood before can be had again only where it was one of the two versions
    let was = resolved.before.follows.map_or("", Side::as_str);
    console.overview.look();
    let branch = posted.field("branch");
    let branch = if branch.is_empty() { String::new() } else { format!("&branch={}", segment(branch)) };
    Ok(answer::see(&format!("/conflicts?said={said}&of={id}&was={was}{branch}")))
}

fn card(standing: &Standing) -> Card {
    let conflict = &standing.conflict;
    let lines = lines(conflict);
    let gone = standing.row.is_none() && !conflict.kind.is_about_existence();
    let version = |side: Side, stamp: &Option<Stamp>| {
        let stands = standing.follows == Some(side);
        let deleted = conflict.image(side).is_none();
        Version {
            who: stamp.as_ref().map(who),
            when: stamp.as_ref().map(|stamp| Moment(UNIX_EPOCH + Duration::from_micros(stamp.at.unsigned_abs()))),
            stands,
            deleted,
            button: match (stands, side) {
                (true, _) => "Keep this",
                (false, Side::Office) => "Take the office’s",
                (false, Side::Shop) => "Take the shop’s",
            },
        }
    };
    Card {
        id: conflict.id,
        branch: conflict.branch.clone().unwrap_or_else(|| "a branch that was removed".to_owned()),
        table: conflict.table.to_string(),
        key: pairs(&conflict.key),
        what: what_happened(conflict),
        found: Moment(conflict.noticed_at),
        rule: conflict.rule.clone(),
        office: version(Side::Office, &conflict.office_stamp),
        shop: version(Side::Shop, &conflict.shop_stamp),
        folded: lines.iter().filter(|line| !line.contended).count(),
        lines,
        resolved: conflict.resolution.as_ref().zip(conflict.resolved_at).map(|(take, at)| {
            let words = match take {
                Take::Side(side) => format!("Decided: the {}’s version", side.as_str()),
                Take::Value(_) => "Decided: a value of its own".to_owned(),
            };
            (words, Moment(at))
        }),
        changed_since: standing.changed_since && !gone,
        gone,
    }
}

/// A line per column, the contended ones first.
fn lines(conflict: &Conflict) -> Vec<Line> {
    let images = [conflict.base.as_ref(), conflict.office.as_ref(), conflict.shop.as_ref()];
    let mut names: Vec<&String> = images.iter().flatten().flat_map(|image| image.keys()).collect();
    names.sort();
    names.dedup();
    names.retain(|name| !conflict.key.contains_key(*name));
    // where one side deleted the row, the whole row is what it is about
    let contended = |name: &String| conflict.columns.contains(name) || conflict.kind.is_about_existence();
    names.sort_by_key(|name| !contended(name));
    names
        .into_iter()
        .map(|name| Line {
            column: name.clone(),
            contended: contended(name),
            base: cell(images[0], name),
            office: cell(images[1], name),
            shop: cell(images[2], name),
        })
        .collect()
}

fn cell(image: Option<&Image>, name: &str) -> Cell {
    match image.and_then(|image| image.get(name)) {
        None => Cell { text: String::new(), null: false, known: false },
        Some(None) => Cell { text: String::new(), null: true, known: true },
        Some(Some(text)) => Cell { text: super::value(text), null: false, known: true },
    }
}

fn who(stamp: &Stamp) -> String {
    if stamp.application.is_empty() { stamp.by.clone() } else { format!("{} with {}", stamp.by, stamp.application) }
}

/// A key in a line: `id 7`.
pub(super) fn pairs(image: &Image) -> String {
    let parts: Vec<String> = image
        .iter()
        .map(|(name, value)| format!("{name} {}", value.as_deref().map_or_else(|| "(none)".to_owned(), super::value)))
        .collect();
    parts.join(", ")
}

fn what_happened(conflict: &Conflict) -> String {
    match conflict.kind {
        ConflictKind::Columns => format!("Both changed {}", conflict.columns.join(", ")),
        ConflictKind::InsertInsert => "Both added a row with this key".to_owned(),
        ConflictKind::UpdateDelete if conflict.office.is_none() => {
            "The office deleted the row, the shop changed it".to_owned()
        }
        ConflictKind::UpdateDelete => "The office changed the row, the shop deleted it".to_owned(),
        ConflictKind::Revived => "The office deleted the row, a late row of the shop needs it".to_owned(),
    }
}
