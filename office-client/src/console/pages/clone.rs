//! A first full copy for a shop, or a new one: what it would send is shown first, and it is asked for twice.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use protocol::session::office::Task;

use super::{Frame, Hands, plan, segment};
use crate::console::Console;
use crate::console::answer::{self, Answer};
use crate::console::door::Visitor;
use crate::console::guard::may;
use crate::console::moment::Moment;
use crate::console::users::Role;

#[derive(Template)]
#[template(path = "clone.html")]
struct Page {
    frame: Frame,
    hands: Hands,
    branch: String,
    link: String,
    cloned: Option<Moment>,
    plan: Option<plan::Shown>,
}

#[derive(Template)]
#[template(path = "clone_plan.html")]
struct Fragment<'a> {
    hands: &'a Hands,
    link: &'a str,
    branch: &'a str,
    cloned: Option<Moment>,
    plan: plan::Shown,
}

/// `GET /branches/NAME/clone`
pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Answer {
    show(&console, &visitor, name, None).await
}

/// `GET /branches/NAME/clone/plan`: the dry run, as a part of the page or as the page with it.
pub(in crate::console) async fn plan(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    may(&visitor, Role::Decide)?;
    let made = plan::of(&console, &name, Task::Clone).await;
    if !plan::is_fragment(&headers) {
        return show(&console, &visitor, name, Some(made?)).await;
    }
    let made = match made {
        Ok(made) => made,
        Err(error) => return Ok(error.as_fragment()),
    };
    let cloned = answer::known(console.office.branch(&name).await)?.cloned_at.map(Moment);
    let (hands, link) = (&Hands::from(&visitor), &segment(&name));
    Ok(answer::render(&Fragment { hands, link, branch: &name, cloned, plan: made }))
}

async fn show(console: &Console, visitor: &Visitor, name: String, plan: Option<plan::Shown>) -> Answer {
    may(visitor, Role::Decide)?;
    let cloned = answer::known(console.office.branch(&name).await)?.cloned_at.map(Moment);
    let frame = Frame::of(console, visitor, format!("Clone {name}"), "branches").await?;
    Ok(answer::render(&Page { frame, hands: Hands::from(visitor), link: segment(&name), branch: name, cloned, plan }))
}
