//! The programming interface, version 1: what the pages show and do, as JSON, for point-of-sale software and scripts.
//!
//! The objects are those of `--json` (docs/JSON.md). `GET /api/v1/openapi.json` describes all of it; a test holds that
//! document against the routes below.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use protocol::session::office::Task;
use replica::office::{RunFilter, Side, Take};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Console;
use super::answer::{Answer, PageError, known};
use super::door::Visitor;
use super::guard::may;
use super::overview::Overview;
use super::runs::{self, Live};
use super::users::Role;
use crate::limits::CONSOLE_API_LINES_MAX;
use crate::output;
use crate::standing;

const DOCUMENT: &str = include_str!("../../assets/openapi.json");

/// The routes, below `/api/v1`.
pub(super) fn router() -> Router<Arc<Console>> {
    Router::new()
        .route("/openapi.json", get(async || ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)))
        .route("/branches", get(branches))
        .route("/alerts", get(alerts))
        .route("/branches/{name}", get(branch))
        .route("/branches/{name}/update", post(update))
        .route("/runs/{id}", get(run))
        .route("/runs/{id}/stop", post(stop))
        .route("/history", get(history))
        .route("/conflicts", get(conflicts))
        .route("/conflicts/{id}", get(conflict).post(resolve))
        .route("/quarantine", get(quarantine))
        .route("/quarantine/{id}/retry", post(retry))
        .fallback(async || PageError::missing("there is no such address; /api/v1/openapi.json lists all"))
}

/// Which lines of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lines {
    branch: Option<String>,
    result: Option<String>,
    all: Option<bool>,
    below: Option<i64>,
    above: Option<i64>,
    limit: Option<i64>,
}

impl Lines {
    fn limit(&self) -> i64 {
        self.limit.unwrap_or(CONSOLE_API_LINES_MAX).clamp(1, CONSOLE_API_LINES_MAX)
    }
}

async fn branches(State(console): State<Arc<Console>>) -> Answer {
    let branches = console.office.branches().await?;
    let now = SystemTime::now();
    let standings = standing::of(&console.office, branches).await?;
    let all: Vec<Value> = standings.iter().map(|standing| output::status_object(standing, now)).collect();
    Ok(Json(json!({ "branches": all })).into_response())
}

async fn alerts(State(console): State<Arc<Console>>) -> Answer {
    let overview = Overview::take(&console).await?;
    let all: Vec<Value> = overview
        .alerts
        .iter()
        .map(|alert| json!({ "branch": alert.branch, "kind": alert.kind, "words": alert.words }))
        .collect();
    Ok(Json(json!({ "alerts": all })).into_response())
}

async fn branch(State(console): State<Arc<Console>>, Path(name): Path<String>) -> Answer {
    let branch = known(console.office.branch(&name).await)?;
    let mut object = output::branch_object(&branch);
    // paths of this machine are nobody's business
    if let Some(object) = object.as_object_mut() {
        object.remove("password_file");
    }
    let standings = standing::of(&console.office, vec![branch]).await?;
    object["status"] = standings.first().map_or(Value::Null, |one| output::status_object(one, SystemTime::now()));
    object["run"] = json!(console.runs.of_branch(&name).map(|live| live.id.clone()));
    Ok(Json(object).into_response())
}

async fn update(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
) -> Answer {
    may(&visitor, Role::Sync)?;
    let branch = known(console.office.branch(&name).await)?;
    let live = runs::start(&console, &branch.name, Task::Update, visitor.called(), false);
    Ok((StatusCode::ACCEPTED, Json(run_object(&live))).into_response())
}

async fn run(State(console): State<Arc<Console>>, Path(id): Path<String>) -> Answer {
    Ok(Json(run_object(&*find(&console, &id)?)).into_response())
}

async fn stop(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Answer {
    may(&visitor, Role::Sync)?;
    let live = find(&console, &id)?;
    live.stop();
    Ok((StatusCode::ACCEPTED, Json(run_object(&live))).into_response())
}

async fn history(State(console): State<Arc<Console>>, Query(lines): Query<Lines>) -> Answer {
    let limit = lines.limit();
    let wanted = RunFilter { branch: lines.branch, result: lines.result, since: None, below: lines.below };
    let runs = console.office.runs(&wanted, limit).await?;
    let all: Vec<Value> = runs
        .iter()
        .map(|past| {
            let mut object = output::history_object(&past.branch, &past.run);
            object["number"] = json!(past.number);
            object
        })
        .collect();
    Ok(Json(json!({ "runs": all })).into_response())
}

async fn conflicts(State(console): State<Arc<Console>>, Query(lines): Query<Lines>) -> Answer {
    let open = !lines.all.unwrap_or(false);
    let found = console.office.conflicts(open, lines.branch.as_deref(), lines.below, lines.limit()).await?;
    let all: Vec<Value> = found.iter().map(output::conflict_object).collect();
    Ok(Json(json!({ "conflicts": all })).into_response())
}

async fn conflict(State(console): State<Arc<Console>>, Path(id): Path<i64>) -> Answer {
    Ok(Json(output::standing_object(&known(console.office.conflict(id).await)?)).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    take: Option<String>,
    value: Option<String>,
}

async fn resolve(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<i64>,
    choice: Result<Json<Choice>, JsonRejection>,
) -> Answer {
    // before anything is said about what was sent
    may(&visitor, Role::Decide)?;
    let Json(choice) = choice.map_err(|error| PageError::new(error.status(), error.body_text()))?;
    let take = match (choice.take.as_deref(), choice.value) {
        (Some("office"), None) => Take::Side(Side::Office),
        (Some("shop"), None) => Take::Side(Side::Shop),
        (None, Some(value)) => Take::Value(value),
        _ => {
            return Err(PageError::wrong("send {\"take\": \"office\"}, {\"take\": \"shop\"} or {\"value\": \"...\"}"));
        }
    };
    let resolved = console.office.resolve_conflict(id, take).await?;
    tracing::info!(conflict = id, by = visitor.called(), "a conflict was resolved by a program");
    Ok(Json(output::resolved_object(&resolved)).into_response())
}

async fn quarantine(State(console): State<Arc<Console>>, Query(lines): Query<Lines>) -> Answer {
    let found = console.office.quarantine(lines.branch.as_deref(), lines.above, lines.limit()).await?;
    let all: Vec<Value> = found.iter().map(output::quarantine_object).collect();
    Ok(Json(json!({ "quarantine": all })).into_response())
}

async fn retry(
    State(console): State<Arc<Console>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<i64>,
) -> Answer {
    may(&visitor, Role::Decide)?;
    let before = known(console.office.quarantined(id).await)?;
    let applied = console.office.retry_quarantined(id).await?;
    let still = console.office.still_quarantined(id).await?;
    Ok(Json(output::retried_object(&before, still.as_ref(), applied.released)).into_response())
}

fn find(console: &Console, id: &str) -> Result<Arc<Live>, PageError> {
    console.runs.find(id).ok_or_else(|| PageError::missing("the console knows no such run; the history may have it"))
}

/// A run that was started at the console.
fn run_object(live: &Live) -> Value {
    let state = live.picture();
    let moving: Vec<Value> = state
        .transfers
        .iter()
        .map(|transfer| {
            json!({
                "direction": transfer.direction.as_str(),
                "rows": transfer.rows,
                "bytes": transfer.at,
                "total_bytes": transfer.total,
                "rate": transfer.rate().map(f64::round),
                "left_s": transfer.left_s().map(f64::round),
            })
        })
        .collect();
    json!({
        "run": live.id,
        "branch": live.branch,
        "kind": runs::word(live.task),
        "by": live.by,
        "at_work": state.ended.is_none(),
        "phase": state.steps.last().map(|step| step.words),
        "stopping": state.stopping,
        "redials": state.redials,
        "transfers": moving,
        "report": state.ended.as_ref().map(|ended| output::report_object(&ended.report)),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn boundary_of_console_api_lines_max() {
        let of = |limit| Lines { limit, ..Lines::default() }.limit();
        assert_eq!((of(None), of(Some(CONSOLE_API_LINES_MAX))), (CONSOLE_API_LINES_MAX, CONSOLE_API_LINES_MAX));
        assert_eq!((of(Some(CONSOLE_API_LINES_MAX + 1)), of(Some(0))), (CONSOLE_API_LINES_MAX, 1));
    }

    /// Method and path of every route above, as the source has them.
    fn routes() -> BTreeSet<(String, String)> {
        let source = include_str!("api.rs");
        let mut routes = BTreeSet::new();
        for line in source.lines().filter_map(|line| line.trim().strip_prefix(".route(\"")) {
            let (path, rest) = line.split_once('"').unwrap();
            for method in ["get", "post"] {
                if rest.contains(&format!("{method}(")) {
                    routes.insert((method.to_owned(), path.to_owned()));
                }
            }
        }
        routes
    }

    #[test]
    fn the_document_describes_exactly_the_routes_there_are() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap().iter().filter(|(name, _)| *name != "parameters") {
                described.insert((method.clone(), path.clone()));
                assert!(operation["summary"].is_string(), "{method} {path} says what it does");
                assert!(operation["responses"].is_object(), "{method} {path} says what it answers");
                for part in path.split('/').filter_map(|part| part.strip_prefix('{')) {
                    let name = part.trim_end_matches('}');
                    let parameters = methods["parameters"].as_array().unwrap();
                    assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{path}: {name}");
                }
            }
        }
        assert_eq!(described, routes());
        assert!(!described.is_empty());
    }
}
