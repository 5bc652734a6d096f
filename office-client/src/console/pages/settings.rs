//! What can be changed of a branch at the console: how its agent is reached, when and how much may move, and when it is
//! updated by itself. Commands and files are changed at the command line only.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use replica::office::Branch;

use super::{add, branch, segment};
use crate::cli::BranchSettings;
use crate::commands;
use crate::console::Console;
use crate::console::answer::{self, Answer, PageError};
use crate::console::guard::Posted;
use crate::console::users::Role;

/// What the forms show: the settings as they are, or as they were typed when they cannot work.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    pub(super) problem: Option<String>,
    pub(super) url: String,
    pub(super) user: String,
    pub(super) fingerprint: String,
    pub(super) window: String,
    pub(super) rate_limit: String,
    pub(super) byte_budget: String,
    pub(super) stop_deletes: String,
    pub(super) stop_changes: String,
    pub(super) alert_after: String,
    pub(super) schedule: String,
}

impl Given {
    /// Each field by its name, which it has in the forms and in the branch's settings.
    fn of(field: impl Fn(&str) -> String) -> Self {
        Self {
            problem: None,
            url: field("url"),
            user: field("user"),
            fingerprint: field("fingerprint"),
            window: field("window"),
            rate_limit: field("rate_limit"),
            byte_budget: field("byte_budget"),
            stop_deletes: field("stop_deletes"),
            stop_changes: field("stop_changes"),
            alert_after: field("alert_after"),
            schedule: field("schedule"),
        }
    }
}

impl From<&Branch> for Given {
    fn from(branch: &Branch) -> Self {
        Self::of(|name| match name {
            "url" => branch.url.clone(),
            "user" => branch.user.clone().unwrap_or_default(),
            setting => branch.settings.get(setting).cloned().unwrap_or_default(),
        })
    }
}

/// `POST /branches/NAME/settings`
pub(in crate::console) async fn change(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    posted: Posted,
) -> Answer {
    posted.needs(Role::Decide)?;
    let before = answer::known(console.office.branch(&name).await)?;
    // the schedule has a form of its own
    let given = Given { schedule: Given::from(&before).schedule, ..Given::of(|name| posted.field(name).to_owned()) };
    let outcome = save(&console, &before, &given, posted.secret("password")).await;
    answered(&console, &name, &posted, given, outcome).await
}

/// `POST /branches/NAME/schedule`
pub(in crate::console) async fn schedule(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    posted: Posted,
) -> Answer {
    posted.needs(Role::Decide)?;
    let before = answer::known(console.office.branch(&name).await)?;
    let given = Given { schedule: posted.field("schedule").to_owned(), ..Given::from(&before) };
    let outcome = save(&console, &before, &given, "").await;
    answered(&console, &name, &posted, given, outcome).await
}

/// The page anew; with what was typed and why it cannot work, if so.
async fn answered(
    console: &Arc<Console>,
    name: &str,
    posted: &Posted,
    given: Given,
    outcome: Result<(), PageError>,
) -> Answer {
    match outcome {
        Ok(()) => {
            tracing::info!(branch = name, by = posted.visitor.called(), "settings were changed at the console");
            console.overview.look();
            Ok(answer::see(&format!("/branches/{}?said=saved", segment(name))))
        }
        Err(error) if error.status() == StatusCode::BAD_REQUEST => {
            // the command line names its flags
            let problem = error.message().trim_start_matches("--").to_owned();
            let given = Given { problem: Some(problem), ..given };
            let page = branch::show(console, &posted.visitor, name, Some(given), None).await?;
            Ok((StatusCode::BAD_REQUEST, page).into_response())
        }
        Err(error) => Err(error),
    }
}

async fn save(console: &Console, branch: &Branch, given: &Given, password: &str) -> Result<(), PageError> {
    let lease = console.office.lease(branch).await?;
    let changed = console.office.change_branch(branch.id, |branch| fill_in(console, branch, given, password)).await;
    lease.release().await;
    changed.map(|_| ())
}

/// What was typed, as the settings of a branch.
fn fill_in(console: &Console, branch: &mut Branch, given: &Given, password: &str) -> Result<(), PageError> {
    let (url, fingerprint) = (branch.url.clone(), branch.settings.get("fingerprint").cloned());
    let settings = BranchSettings {
        user: Some(given.user.clone()),
        fingerprint: Some(given.fingerprint.clone()),
        window: Some(given.window.clone()),
        rate_limit: Some(given.rate_limit.clone()),
        byte_budget: Some(given.byte_budget.clone()),
        stop_deletes: Some(given.stop_deletes.clone()),
        stop_changes: Some(given.stop_changes.clone()),
        alert_after: Some(given.alert_after.clone()),
        schedule: Some(given.schedule.clone()),
        ..BranchSettings::default()
    };
    branch.url.clone_from(&given.url);
    commands::change_settings(&settings, branch)?;
    let is_elsewhere = branch.url != url || branch.settings.get("fingerprint") != fingerprint.as_ref();
    match &branch.user {
        None => branch.password_file = None,
        Some(_) if !password.is_empty() => {
            branch.password_file = Some(add::store_password(console, branch.id, password)?);
        }
        // whoever may change an address must not get the old password sent there
        Some(_) if is_elsewhere && branch.password_file.is_some() => {
            return Err(PageError::wrong("another address or certificate: type the password for it"));
        }
        Some(_) => {}
    }
    Ok(())
}
