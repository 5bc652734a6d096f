//! Every address of the console.

use std::sync::Arc;

use axum::routing::{get, post};
use axum::{Router, middleware};

use super::pages::{add, branch, branches, clone, conflicts, history, login, plan, quarantine, run, settings, verify};
use super::{Console, api, assets, guard, live};

/// The router.
pub(super) fn router(console: Arc<Console>) -> Router {
    Router::new()
        .route("/", get(branches::page))
        .route("/healthz", get(async || "well\n"))
        .route("/login", get(login::page).post(login::log_in))
        .route("/logout", post(login::log_out))
        .route("/update", post(run::update_all))
        .route("/branches/new", get(add::page).post(add::add))
        .route("/branches/{name}", get(branch::page))
        .route("/branches/{name}/verify", get(verify::page))
        .route("/branches/{name}/update", post(run::update))
        .route("/branches/{name}/plan", get(plan::page))
        .route("/branches/{name}/clone", get(clone::page).post(run::clone))
        .route("/branches/{name}/clone/plan", get(clone::plan))
        .route("/branches/{name}/schedule", post(settings::schedule))
        .route("/branches/{name}/settings", post(settings::change))
        .route("/branches/{name}/pause", post(branches::pause))
        .route("/branches/{name}/resume", post(branches::resume))
        .route("/runs/{id}", get(run::page))
        .route("/runs/{id}/stop", post(run::stop))
        .route("/conflicts", get(conflicts::page))
        .route("/conflicts/{id}", post(conflicts::resolve))
        .route("/quarantine", get(quarantine::page))
        .route("/quarantine/{id}/retry", post(quarantine::retry))
        .route("/quarantine/{id}/drop", post(quarantine::drop_row))
        .route("/history", get(history::page))
        .route("/history.csv", get(history::csv))
        .nest("/api/v1", api::router())
        .route("/history/{number}", get(history::one))
        .route("/live/branches", get(live::branch_list))
        .route("/live/runs/{id}", get(live::one_run))
        .route("/assets/{version}/{name}", get(assets::asset))
        .fallback(async || super::answer::PageError::missing("there is no such page"))
        .layer(guard::body_limit())
        .layer(middleware::from_fn_with_state(Arc::clone(&console), guard::guard))
        .with_state(console)
}
