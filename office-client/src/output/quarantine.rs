//! Rows that wait, as text and as JSON.

use replica::quarantine::{Entry, Image};
use serde_json::{Value as Json, json};

use super::json::moment;
use crate::limits::VALUE_CHARS_SHOWN_MAX;

/// A row that waits.
pub(crate) fn quarantine_object(entry: &Entry) -> Json {
    json!({
        "quarantine": entry.id,
        "branch": entry.branch,
        "table": entry.table,
        "key": entry.key,
        "change": word(entry),
        "row": entry.image,
        "before": entry.base,
        "reason": entry.reason,
        "constraint": entry.constraint,
        "column": entry.column,
        "other_table": entry.other_table,
        "since": moment(entry.since),
        "tries": entry.tries,
        "tried_at": entry.tried_at.map(moment),
    })
}

/// A row that has been tried again.
pub(crate) fn retried_object(before: &Entry, still: Option<&Entry>, released: i64) -> Json {
    json!({
        "quarantine": before.id,
        "branch": before.branch,
        "table": before.table,
        "key": before.key,
        "released": still.is_none(),
        "released_rows": released,
        "reason": still.map(|entry| entry.reason.as_str()),
    })
}

/// The cells of one line of `quarantine list`.
pub(crate) fn quarantine_cells(entry: &Entry) -> Vec<String> {
    vec![
        entry.id.to_string(),
        entry.branch.clone().unwrap_or_else(|| "-".to_owned()),
        entry.table.to_string(),
        pairs(&entry.key),
        word(entry).to_owned(),
        quarantine_reason(entry),
        jiff_minutes(entry),
    ]
}

/// Everything about a row that waits.
pub(crate) fn quarantine_lines(entry: &Entry) -> Vec<String> {
    let mut lines = vec![
        format!("row {} of branch {}", entry.id, entry.branch.as_deref().unwrap_or("-")),
        format!("  table    {} ({})", entry.table, pairs(&entry.key)),
        format!("  change   {}", word(entry)),
        format!("  waits    since {}, because {}", moment(entry.since), quarantine_reason(entry)),
    ];
    if let Some(tried_at) = entry.tried_at {
        lines.push(format!("  tried    {} times, the last time {}", entry.tries, moment(tried_at)));
    }
    let values = entry.image.iter().flatten().map(|(name, value)| {
        let before = entry.base.as_ref().and_then(|base| base.get(name));
        let before = before.map(|before| format!(" (before: {})", shown(before.as_deref()))).unwrap_or_default();
        format!("    {name} = {}{before}", shown(value.as_deref()))
    });
    lines.extend(values);
    lines.push(format!(
        "it comes in by itself with the next update after the cause is gone; `office-client quarantine retry {}` tries it now",
        entry.id
    ));
    lines
}

/// Why it waits, with what the reason is about.
pub(crate) fn quarantine_reason(entry: &Entry) -> String {
    let mut reason = entry.reason.clone();
    if let Some(table) = &entry.other_table {
        reason.push_str(&format!(" (table {table})"));
    }
    if let Some(column) = &entry.column {
        reason.push_str(&format!(" (column {column})"));
    }
    if let Some(constraint) = &entry.constraint {
        reason.push_str(&format!(" (constraint {constraint})"));
    }
    reason
}

fn word(entry: &Entry) -> &str {
    match entry.operation.as_str() {
        "insert" | "insert-ignore" | "upsert" => "row",
        "guarded-update" => "update",
        other => other,
    }
}

fn jiff_minutes(entry: &Entry) -> String {
    moment(entry.since).chars().take(16).map(|c| if c == 'T' { ' ' } else { c }).collect()
}

fn pairs(image: &Image) -> String {
    let pairs: Vec<String> = image.iter().map(|(name, value)| format!("{name}={}", shown(value.as_deref()))).collect();
    pairs.join(", ")
}

fn shown(value: Option<&str>) -> String {
    let Some(value) = value else { return "NULL".to_owned() };
    if value.chars().count() <= VALUE_CHARS_SHOWN_MAX {
        return value.to_owned();
    }
    value.chars().take(VALUE_CHARS_SHOWN_MAX).chain("...".chars()).collect()
}
