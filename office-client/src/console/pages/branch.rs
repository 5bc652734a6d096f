//! One branch: what flows where, its ids, watermarks and link, its last runs.

use std::sync::Arc;
use std::time::SystemTime;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};
use replica::office::{Branch, RunFilter, ShopVitals};
use serde::Deserialize;

use super::settings::Given;
use super::{Frame, Hands, Said, branches, history, number};
use crate::commands;
use crate::console::answer::{self, Answer};
use crate::console::door::Visitor;
use crate::console::moment::Moment;
use crate::console::overview::Overview;
use crate::console::{Console, scheduler};
use crate::units;

/// Runs that are listed.
const RUNS: i64 = 8;

#[derive(Template)]
#[template(path = "branch.html")]
struct Page {
    frame: Frame,
    hands: Hands,
    row: branches::Row,
    policy: String,
    flows: Vec<Flow>,
    facts: Vec<Fact>,
    link_facts: Vec<Fact>,
    given: Given,
    has_password: bool,
    next: Option<Moment>,
    /// Whether it is due, and waits for its window.
    waits: bool,
    runs: Vec<history::Row>,
}

/// Tables that flow one way.
struct Flow {
    words: &'static str,
    detail: &'static str,
    tables: Vec<String>,
}

/// A name and what it is; `code` where it is a word of the machine.
struct Fact {
    name: &'static str,
    text: String,
    at: Option<Moment>,
    code: bool,
}

/// What was just done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Asked {
    said: String,
}

/// `GET /branches/NAME`
pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let said = (asked.said == "saved").then(|| Said { text: "The settings are saved.".to_owned(), undo: None });
    show(&console, &visitor, &name, None, said).await
}

/// The page; with settings that were typed and cannot work, if there are any.
pub(super) async fn show(
    console: &Arc<Console>,
    visitor: &Visitor,
    name: &str,
    given: Option<Given>,
    said: Option<Said>,
) -> Answer {
    let branch = answer::known(console.office.branch(name).await)?;
    let overview = Overview::of(console, vec![branch.clone()]).await?;
    let row = overview.standings.iter().map(|standing| branches::row(console, &overview, standing)).next();
    let Some(row) = row else { return Ok(answer::see("/")) };
    let policy = console.office.policy(&branch.policy).await?;
    let wanted = RunFilter { branch: Some(branch.name.clone()), ..RunFilter::default() };
    let runs = console.office.runs(&wanted, RUNS).await?.iter().map(history::row).collect();
    let next = scheduler::next(console, &branch).await?;
    Ok(answer::render(&Page {
        frame: Frame::of(console, visitor, branch.name.clone(), "branches").await?.saying(said),
        hands: Hands::from(visitor),
        row,
        flows: flows(&commands::policy_directions(&policy)?),
        facts: facts(&branch, overview.standings.first().and_then(|standing| standing.vitals)),
        link_facts: link_facts(&branch),
        given: given.unwrap_or_else(|| Given::from(&branch)),
        has_password: branch.password_file.is_some(),
        next: next.map(|(at, _)| Moment(at)),
        waits: next.is_some_and(|(_, waits)| waits),
        runs,
        policy: branch.policy,
    }))
}

fn flows(tables: &[(String, String)]) -> Vec<Flow> {
    const WORDS: [(&str, &str, &str); 5] = [
        ("from-source", "Office → shop", "the office’s; the shop receives every change"),
        ("from-target", "Shop → office", "the shop’s own; the office receives every change"),
        ("both", "Both ways", "changed on both sides, merged row by row"),
        ("initial", "Office → shop, once", "when it is cloned; then each side’s own"),
        ("local", "Nowhere", "never leave their database"),
    ];
    WORDS
        .into_iter()
        .filter_map(|(direction, words, detail)| {
            let tables: Vec<String> =
                tables.iter().filter(|(_, written)| written == direction).map(|(table, _)| table.clone()).collect();
            (!tables.is_empty()).then_some(Flow { words, detail, tables })
        })
        .collect()
}

fn facts(branch: &Branch, vitals: Option<ShopVitals>) -> Vec<Fact> {
    let code = |name, text| Fact { code: true, ..fact(name, text) };
    let at = |name, at: Option<SystemTime>| Fact { at: at.map(Moment), ..fact(name, None) };
    vec![
        fact("Number", Some(branch.id.to_string())),
        fact(
            "Ids",
            branch.id_range.map(|(low, high)| format!("{} to {}", number(low.saturating_add(1)), number(high))),
        ),
        fact("Use of ids", vitals.and_then(|vitals| vitals.ids).map(|ids| units::id_use(&ids))),
        fact(
            "Room on the shop’s disk",
            vitals.and_then(|vitals| u64::try_from(vitals.disk_free?).ok()).map(units::bytes),
        ),
        at("Cloned", branch.cloned_at),
        at("Shop’s changes taken in", branch.pulled_at),
        at("Office’s changes sent", branch.pushed_at),
        code("Watermark (BranchSynchronization)", branch.timestamp.clone()),
        code("Incarnation of the shop’s database", branch.incarnation.clone()),
    ]
}

fn fact(name: &'static str, text: Option<String>) -> Fact {
    Fact { name, text: text.unwrap_or_else(|| "–".to_owned()), at: None, code: false }
}

/// How it is called. Commands and files are shown only: they are changed at the command line.
fn link_facts(branch: &Branch) -> Vec<Fact> {
    let setting = |name: &str| branch.settings.get(name).cloned();
    let mut facts = vec![
        Fact { code: true, ..fact("Agent", Some(branch.url.clone())) },
        fact("User", branch.user.clone()),
        fact(
            "Called",
            Some(setting("window").map_or_else(|| "at any time".to_owned(), |window| format!("in {window}"))),
        ),
        fact("Rate limit", Some(setting("rate_limit").unwrap_or_else(|| "none".to_owned()))),
        fact("Byte budget", Some(setting("byte_budget").unwrap_or_else(|| "none".to_owned()))),
        fact("Stops at deletes of", Some(setting("stop_deletes").unwrap_or_else(|| "30% of a table".to_owned()))),
    ];
    let further = [
        ("Line up", "link_up"),
        ("Line down", "link_down"),
        ("Line", "line"),
        ("Fingerprint", "fingerprint"),
        ("Certificate authority", "ca"),
    ];
    for (words, name) in further {
        if let Some(text) = setting(name) {
            facts.push(Fact { code: true, ..fact(words, Some(text)) });
        }
    }
    facts
}
