//! A new branch.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use replica::office::{Branch, NewBranch};

use super::{Frame, Hands, segment};
use crate::commands;
use crate::console::Console;
use crate::console::answer::{self, Answer, PageError};
use crate::console::door::Visitor;
use crate::console::guard::{Posted, may};
use crate::console::users::Role;
use crate::link::Address;

#[derive(Template)]
#[template(path = "add.html")]
struct Page {
    frame: Frame,
    hands: Hands,
    policies: Vec<String>,
    given: Given,
    problem: Option<String>,
}

/// What was typed, kept when it cannot work. A password is typed anew.
#[derive(Debug, Default)]
struct Given {
    name: String,
    url: String,
    id: String,
    policy: String,
    user: String,
}

/// `GET /branches/new`
pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
) -> Answer {
    may(&visitor, Role::Decide)?;
    Ok(answer::render(&form(&console, &visitor, Given::default(), None).await?))
}

/// `POST /branches/new`
pub(in crate::console) async fn add(State(console): State<Arc<Console>>, posted: Posted) -> Answer {
    posted.needs(Role::Decide)?;
    let given = Given {
        name: posted.field("name").to_owned(),
        url: posted.field("url").to_owned(),
        id: posted.field("id").to_owned(),
        policy: posted.field("policy").to_owned(),
        user: posted.field("user").to_owned(),
    };
    match try_add(&console, &given, posted.secret("password")).await {
        Ok(name) => {
            tracing::info!(branch = name, by = posted.visitor.called(), "a branch was added at the console");
            console.overview.look();
            Ok(answer::see(&format!("/?said=added&of={}", segment(&name))))
        }
        Err(error) if error.status().is_server_error() => Err(error),
        Err(error) => {
            let page = form(&console, &posted.visitor, given, Some(error.message().to_owned())).await?;
            Ok((StatusCode::BAD_REQUEST, answer::render(&page)).into_response())
        }
    }
}

async fn form(
    console: &Console,
    visitor: &Visitor,
    mut given: Given,
    problem: Option<String>,
) -> Result<Page, PageError> {
    let policies = console.office.policies().await?;
    if given.policy.is_empty() {
        given.policy = policies.first().cloned().unwrap_or_default();
    }
    let frame = Frame::of(console, visitor, "Add a branch", "branches").await?;
    Ok(Page { frame, hands: Hands::from(visitor), policies, given, problem })
}

async fn try_add(console: &Console, given: &Given, password: &str) -> Result<String, PageError> {
    given.url.parse::<Address>().map_err(|error| PageError::wrong(error.to_string()))?;
    let id = match given.id.as_str() {
        "" => None,
        text => Some(text.parse::<i64>().map_err(|_| PageError::wrong(format!("`{text}` is no number")))?),
    };
    if given.user.contains(':') {
        return Err(PageError::wrong("the user cannot contain a colon"));
    }
    // a name only: a path would read files of this machine
    let policy = match given.policy.as_str() {
        "" => commands::adopt_policy(&console.office, &console.settings.policy).await?,
        name if console.office.policies().await?.iter().any(|stored| stored == name) => name.to_owned(),
        name => return Err(PageError::wrong(format!("there is no policy `{name}`"))),
    };
    let user = (!given.user.is_empty()).then(|| given.user.clone());
    let new = NewBranch {
        name: given.name.clone(),
        id,
        url: given.url.clone(),
        policy,
        user: user.clone(),
        password_file: None,
        settings: BTreeMap::new(),
    };
    let branch = console.office.add_branch(new).await?;
    if user.is_some() && !password.is_empty() {
        let stored = store_password(console, branch.id, password)?;
        let keep = |branch: &mut Branch| {
            branch.password_file = Some(stored);
            Ok::<_, PageError>(())
        };
        console.office.change_branch(branch.id, keep).await?;
    }
    Ok(branch.name)
}

/// Keeps the password where only this program's user reads it.
pub(super) fn store_password(console: &Console, branch: i64, password: &str) -> Result<PathBuf, PageError> {
    let state_dir = &console.settings.state_dir;
    commands::keep_password(state_dir, branch, password).map_err(|error| {
        PageError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("the password cannot be kept in {}: {error}", state_dir.display()),
        )
    })
}
