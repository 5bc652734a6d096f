//! What an update or a clone would do, shown before anybody does it.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use protocol::session::office::Task;

use super::{Frame, Hands, bytes, number, segment, span};
use crate::console::Console;
use crate::console::answer::{self, Answer, PageError};
use crate::console::door::Visitor;
use crate::console::guard::may;
use crate::console::users::Role;
use crate::driver::{self, Job, Moves, Plan};
use crate::error;
use crate::output::{Board, clashes_words, moves_words, sum_words};

/// A plan as it is shown.
pub(super) struct Shown {
    pub(super) to_shop: String,
    pub(super) to_shop_tables: Vec<TableLine>,
    pub(super) from_shop: Option<String>,
    pub(super) from_shop_tables: Vec<TableLine>,
    /// What would clash at the office, and at the shop.
    pub(super) clashes: Option<String>,
    pub(super) clashes_at_shop: Option<String>,
    /// What a clone would take out of the shop's tables, and what of that only the shop has.
    pub(super) kept_aside: Option<String>,
    pub(super) unacknowledged: Option<String>,
    pub(super) time: Option<String>,
    pub(super) stop: Option<String>,
}

/// What would move of a table.
pub(super) struct TableLine {
    pub(super) table: String,
    pub(super) rows: String,
    /// How many of them are new, changed, deleted.
    pub(super) kinds: String,
}

fn line((table, moves): &(String, Moves)) -> TableLine {
    TableLine { table: table.clone(), rows: number(moves.rows), kinds: moves_words(*moves) }
}

#[derive(Template)]
#[template(path = "plan.html")]
struct Page {
    frame: Frame,
    hands: Hands,
    branch: String,
    link: String,
    plan: Shown,
}

#[derive(Template)]
#[template(path = "plan_part.html")]
struct Fragment {
    plan: Shown,
}

/// `GET /branches/NAME/plan`: what an update would do. It calls the shop, so it takes as long as that.
pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    may(&visitor, Role::Sync)?;
    let plan = of(&console, &name, Task::Update).await;
    if is_fragment(&headers) {
        return Ok(match plan {
            Ok(plan) => answer::render(&Fragment { plan }),
            Err(error) => error.as_fragment(),
        });
    }
    let plan = plan?;
    let frame = Frame::of(&console, &visitor, format!("What waits for {name}"), "branches").await?;
    Ok(answer::render(&Page { frame, hands: Hands::from(&visitor), link: segment(&name), branch: name, plan }))
}

/// Whether htmx asks, for a part of a page that is there already.
pub(super) fn is_fragment(headers: &HeaderMap) -> bool {
    headers.contains_key("hx-request")
}

/// Makes the plan.
pub(super) async fn of(console: &Console, name: &str, task: Task) -> Result<Shown, PageError> {
    let branch = answer::known(console.office.branch(name).await)?;
    let job = Job {
        office: &console.office,
        settings: &console.settings,
        progress: Board::new(false).branch(name),
        branch,
        stop: console.stop.part(),
        force: false,
        typed_password: None,
        by: console.settings.user.clone(),
    };
    let plan = driver::plan(&job, task).await.map_err(|error| {
        let status = axum::http::StatusCode::UNPROCESSABLE_ENTITY;
        let shown = PageError::new(status, error::chain(&error));
        match error.hint(name) {
            Some(hint) => shown.with_hint(hint),
            None => shown,
        }
    })?;
    Ok(shown(&plan, task))
}

fn shown(plan: &Plan, task: Task) -> Shown {
    let size = |count: i64| bytes(u64::try_from(count).unwrap_or(0));
    let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    Shown {
        to_shop: match plan.push_rows {
            0 => "nothing".to_owned(),
            rows => format!("{}, {}", super::rows(whole(rows)), bytes(plan.push_bytes)),
        },
        to_shop_tables: plan.push_tables.iter().map(line).collect(),
        from_shop: (task == Task::Update).then(|| match (plan.pull_rows, plan.pull_bytes) {
            (Some(0), _) => "nothing".to_owned(),
            (Some(rows), count) => format!("{}, {}", super::rows(rows), size(count.unwrap_or(0))),
            (None, _) => "unknown: the shop gives no figures before it sends".to_owned(),
        }),
        from_shop_tables: plan.pull_tables.iter().map(line).collect(),
        clashes: plan.at_office.and_then(clashes_words),
        clashes_at_shop: plan.at_shop.and_then(clashes_words),
        kept_aside: plan.emptied.as_ref().map(|emptied| sum_words(&emptied.aside)),
        unacknowledged: plan.emptied.as_ref().map(|emptied| match &emptied.unacknowledged {
            Some(tables) => sum_words(tables),
            None => "unknown: the shop cannot tell".to_owned(),
        }),
        time: plan.seconds.map(|seconds| if seconds < 1.0 { "a moment".to_owned() } else { span(seconds) }),
        stop: plan.stop.clone(),
    }
}
