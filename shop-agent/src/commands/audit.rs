//! `shop-agent audit`: who wrote to the shop; asks the running agent.

use std::process::ExitCode;

use installation::said;
use serde_json::Value;

use super::CommandError;
use crate::cli::PlaceArgs;
use crate::control::{Question, ask, nobody};
use crate::settings::state_dir;

pub(super) fn audit(place: &PlaceArgs, limit: u16, json: bool) -> Result<ExitCode, CommandError> {
    let dir = state_dir(place)?;
    let Some(answer) = ask(&dir, Question::Audit(limit.into()))? else {
        return Err(nobody(&dir).into());
    };
    if let Some(error) = answer.get("error") {
        return Err(error.as_str().unwrap_or_default().into());
    }
    for record in answer.get("audit").and_then(Value::as_array).into_iter().flatten() {
        if json { said::line(record) } else { said::line(line(record)) }
    }
    Ok(ExitCode::SUCCESS)
}

fn line(record: &Value) -> String {
    let text = |name: &str| match record.get(name) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let tables = record.get("tables").and_then(Value::as_object).into_iter().flatten();
    let tables: Vec<String> = tables.map(|(name, rows)| format!("{name} {rows}")).collect();
    format!(
        "{} {:<8} {} by {} of {} from {}: {} rows ({}) sha256 {}",
        text("opened_at"),
        text("state"),
        text("kind"),
        text("user"),
        text("office"),
        text("peer"),
        text("rows"),
        tables.join(", "),
        text("sha256")
    )
}
