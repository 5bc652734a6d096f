//! The canonical text of a policy, and its digest.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::options::{OptionValues, WrittenOptions};
use super::pattern::{Entry, Pattern};
use super::{Missing, Policy, RowFilter, duration};

/// See [`Policy::to_toml`].
pub(super) fn to_toml(policy: &Policy) -> String {
    let missing = match policy.missing {
        Missing::Refuse => "",
        Missing::Ignore => "missing = \"ignore\"\n",
    };
    format!("name = {}\n{missing}\n{}", quoted(&policy.name), meaning(policy))
}

/// See [`Policy::digest`].
pub(super) fn digest(policy: &Policy) -> String {
    let digest = Sha256::digest(meaning(policy).as_bytes());
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What the policy says of tables: sorted, without defaults and comments.
fn meaning(policy: &Policy) -> String {
    let mut text = String::from("[tables]\n");
    for entry in sorted(&policy.directions.0) {
        let _ = writeln!(text, "{} = {}", key(&entry.pattern), quoted(entry.value.as_str()));
    }
    for entry in sorted(&policy.options.0) {
        let table = entry.pattern.exact();
        let direction = table.and_then(|table| policy.directions.find(table).ok().flatten()).map(|entry| entry.value);
        let values = entry.value.values.without_defaults(direction);
        // An empty section still says something where a pattern that is not empty would speak otherwise.
        let speaks = |other: &Entry<WrittenOptions>| {
            other.pattern.exact().is_none() && other.value.values.without_defaults(None) != OptionValues::default()
        };
        if values != OptionValues::default() || policy.options.0.iter().any(speaks) {
            let _ = write!(text, "\n[table.{}]\n{}", key(&entry.pattern), options(&values));
        }
    }
    text
}

fn sorted<T>(entries: &[Entry<T>]) -> Vec<&Entry<T>> {
    let mut sorted: Vec<&Entry<T>> = entries.iter().collect();
    sorted.sort_by(|a, b| a.pattern.cmp(&b.pattern));
    sorted
}

fn options(values: &OptionValues) -> String {
    let rows = values.rows.as_ref().map(|rows| match rows {
        RowFilter::Expression(text) => text.clone(),
        RowFilter::Via(parent) => format!("via {parent}"),
    });
    let columns = |names: &[String]| {
        let names: Vec<String> = names.iter().map(|column| quoted(column)).collect();
        (!names.is_empty()).then(|| format!("[{}]", names.join(", ")))
    };
    let word = |word: &'static str| Some(quoted(word));
    let lines = [
        ("conflict", values.conflict.and_then(|rule| word(rule.as_str()))),
        ("delta", columns(&values.delta)),
        ("money", columns(&values.money)),
        ("rows", rows.as_deref().map(quoted)),
        ("max_age", values.max_age.map(|age| quoted(&duration::format(age)))),
        ("deletes", values.deletes.and_then(|deletes| word(deletes.as_str()))),
        ("history", values.history.map(|age| quoted(&duration::format(age)))),
        ("history_column", values.history_column.as_deref().map(quoted)),
        ("triggers", values.triggers.and_then(|triggers| word(triggers.as_str()))),
        ("group", values.group.map(|group| group.to_string())),
    ];
    lines.into_iter().filter_map(|(name, value)| value.map(|value| format!("{name} = {value}\n"))).collect()
}

fn key(pattern: &Pattern) -> String {
    let text = pattern.to_string();
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if text.chars().all(bare) { text } else { quoted(&text) }
}

/// A basic TOML string on one line.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
