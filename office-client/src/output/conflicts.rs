//! Conflicts, as text and as JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use replica::office::{Conflict, Image, Resolved, Side, Stamp, Standing, Take};
use serde_json::{Value as Json, json};

use super::json::moment;
use crate::limits::VALUE_CHARS_SHOWN_MAX;

/// A conflict.
pub(crate) fn conflict_object(conflict: &Conflict) -> Json {
    json!({
        "conflict": conflict.id,
        "branch": conflict.branch,
        "table": conflict.table,
        "key": conflict.key,
        "kind": conflict.kind.as_str(),
        "rule": conflict.rule,
        "columns": conflict.columns,
        "base": conflict.base,
        "office": conflict.office,
        "shop": conflict.shop,
        "office_changed": stamp_object(conflict.office_stamp.as_ref()),
        "shop_changed": stamp_object(conflict.shop_stamp.as_ref()),
        "winner": conflict.winner.as_str(),
        "noticed_at": moment(conflict.noticed_at),
        "resolved_at": conflict.resolved_at.map(moment),
        "resolution": conflict.resolution.as_ref().map(word),
        "value": conflict.resolution.as_ref().and_then(value),
    })
}

fn stamp_object(stamp: Option<&Stamp>) -> Json {
    match stamp {
        Some(stamp) => json!({"by": stamp.by, "application": stamp.application, "at": moment(instant(stamp))}),
        None => Json::Null,
    }
}

fn instant(stamp: &Stamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(stamp.at.unsigned_abs())
}

/// A conflict with its row as it is now.
pub(crate) fn standing_object(standing: &Standing) -> Json {
    let mut object = conflict_object(&standing.conflict);
    object["row"] = json!(standing.row);
    object["follows"] = json!(standing.follows.map(Side::as_str));
    object["changed_since"] = json!(standing.changed_since);
    object
}

/// A conflict that has just been resolved.
pub(crate) fn resolved_object(resolved: &Resolved) -> Json {
    let conflict = &resolved.before.conflict;
    json!({
        "conflict": conflict.id,
        "branch": conflict.branch,
        "table": conflict.table,
        "key": conflict.key,
        "resolution": word(&resolved.take),
        "value": value(&resolved.take),
        "row_changed": resolved.row_changed,
        "changed_since": resolved.before.changed_since,
    })
}

/// The cells of one line of `conflicts list`.
pub(crate) fn conflict_cells(conflict: &Conflict) -> Vec<String> {
    vec![
        conflict.id.to_string(),
        conflict.branch.clone().unwrap_or_else(|| "-".to_owned()),
        conflict.table.to_string(),
        key(conflict),
        conflict.kind.as_str().to_owned(),
        if conflict.columns.is_empty() { "-".to_owned() } else { conflict.columns.join(", ") },
        match &conflict.resolution {
            None => format!("{} by {}", conflict.winner.as_str(), conflict.rule),
            Some(take) => format!("{}, resolved", word(take)),
        },
        moment(conflict.noticed_at).chars().take(16).collect::<String>().replace('T', " "),
    ]
}

/// What there is to say about a conflict, above its values.
pub(crate) fn conflict_lines(standing: &Standing) -> Vec<String> {
    let conflict = &standing.conflict;
    let branch = conflict.branch.as_deref().unwrap_or("a branch that was removed");
    let mut lines = vec![
        format!("conflict {}: {} ({}), office and {branch}", conflict.id, conflict.table, key(conflict)),
        format!("  {}, found {}", what_happened(conflict), moment(conflict.noticed_at)),
        format!("  by the rule {}: {}", conflict.rule, conflict.winner.as_str()),
    ];
    for (side, stamp) in [("office", &conflict.office_stamp), ("shop", &conflict.shop_stamp)] {
        if let Some(stamp) = stamp {
            let with =
                if stamp.application.is_empty() { String::new() } else { format!(" with {}", stamp.application) };
            lines.push(format!("  {side}: changed by {}{with}, {}", stamp.by, moment(instant(stamp))));
        }
    }
    if let (Some(take), Some(at)) = (&conflict.resolution, conflict.resolved_at) {
        lines.push(format!("  resolved: {}, {}", taken(take), moment(at)));
    }
    lines.push(match (standing.follows, &standing.row) {
        (_, None) if !conflict.kind.is_about_existence() => "  now: the row is gone".to_owned(),
        (Some(side), _) => format!("  now: as the {} had it", side.as_str()),
        (None, _) => "  now: as neither had it".to_owned(),
    });
    if standing.changed_since {
        lines.push("  the row has changed since".to_owned());
    }
    lines
}

/// The cells of a line per column: column, what both agreed on, office, shop, now. A star marks the contended ones.
pub(crate) fn value_lines(standing: &Standing) -> Vec<Vec<String>> {
    let conflict = &standing.conflict;
    let images = [conflict.base.as_ref(), conflict.office.as_ref(), conflict.shop.as_ref(), standing.row.as_ref()];
    let mut names: Vec<&String> = images.iter().flatten().flat_map(|image| image.keys()).collect();
    names.sort();
    names.dedup();
    // the contended ones first
    names.sort_by_key(|name| !conflict.columns.contains(name));
    names
        .into_iter()
        .map(|name| {
            let star = if conflict.columns.contains(name) { "* " } else { "  " };
            std::iter::once(format!("{star}{name}")).chain(images.iter().map(|image| cell(*image, name))).collect()
        })
        .collect()
}

/// One line about a resolution.
pub(crate) fn resolved_line(resolved: &Resolved) -> String {
    let conflict = &resolved.before.conflict;
    let effect = if resolved.row_changed {
        "the office's row was changed; updates take it to the shops"
    } else if resolved.before.row.is_none() && !conflict.kind.is_about_existence() {
        "the row is gone, so nothing was changed"
    } else {
        "the office's row is so already"
    };
    let since = if resolved.before.changed_since { " (it had changed since the conflict was found)" } else { "" };
    format!(
        "conflict {}: {} ({}): {}; {effect}{since}",
        conflict.id,
        conflict.table,
        key(conflict),
        taken(&resolved.take)
    )
}

fn what_happened(conflict: &Conflict) -> String {
    use replica::office::ConflictKind as K;
    match conflict.kind {
        K::Columns => format!("both had changed {}", conflict.columns.join(", ")),
        K::InsertInsert => {
            format!("both had a row with this key, with other values in {}", conflict.columns.join(", "))
        }
        K::UpdateDelete if conflict.office.is_none() => {
            "the office had deleted the row, the shop had changed it".into()
        }
        K::UpdateDelete => "the office had changed the row, the shop had deleted it".into(),
        K::Revived => "the office had deleted the row, and a late row of the shop refers to it".into(),
    }
}

fn word(take: &Take) -> &'static str {
    match take {
        Take::Side(side) => side.as_str(),
        Take::Value(_) => "value",
    }
}

fn value(take: &Take) -> Option<&str> {
    match take {
        Take::Side(_) => None,
        Take::Value(value) => Some(value),
    }
}

fn taken(take: &Take) -> String {
    match take {
        Take::Side(side) => format!("taken from the {}", side.as_str()),
        Take::Value(value) => format!("set to {}", shortened(value)),
    }
}

fn key(conflict: &Conflict) -> String {
    let parts: Vec<String> = conflict
        .key
        .iter()
        .map(|(name, value)| format!("{name} {}", shortened(value.as_deref().unwrap_or(""))))
        .collect();
    parts.join(", ")
}

/// Nothing where the image does not say, `(none)` where the value is null.
fn cell(image: Option<&Image>, name: &str) -> String {
    match image.and_then(|image| image.get(name)) {
        None => String::new(),
        Some(None) => "(none)".to_owned(),
        Some(Some(value)) => shortened(value),
    }
}

fn shortened(text: &str) -> String {
    let line: String = text.chars().map(|c| if c == '\n' || c == '\t' { ' ' } else { c }).collect();
    if line.chars().count() <= VALUE_CHARS_SHOWN_MAX {
        return line;
    }
    line.chars().take(VALUE_CHARS_SHOWN_MAX - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use protocol::names::TableName;
    use replica::office::ConflictKind;

    use super::*;

    fn image(pairs: &[(&str, Option<&str>)]) -> Image {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
    }

    fn standing() -> Standing {
        let conflict = Conflict {
            id: 12,
            branch: Some("north".into()),
            table: TableName::public("person"),
            key: image(&[("id", Some("7"))]),
            kind: ConflictKind::Columns,
            rule: "office-wins".into(),
            columns: vec!["phone".into()],
            base: Some(image(&[("phone", None)])),
            office: Some(image(&[("name", Some("Ana")), ("phone", Some("1"))])),
            shop: Some(image(&[("phone", Some("2"))])),
            office_stamp: None,
            shop_stamp: Some(Stamp { at: 0, by: "till".into(), application: "pos".into() }),
            winner: Side::Office,
            noticed_at: UNIX_EPOCH,
            resolved_at: None,
            resolution: Some(Take::Value("3".into())),
        };
        Standing { conflict, row: None, follows: None, changed_since: true }
    }

    #[test]
    fn a_value_is_told_from_the_sides() {
        let object = standing_object(&standing());
        assert_eq!((&object["resolution"], &object["value"]), (&json!("value"), &json!("3")));
        assert_eq!(object["key"], json!({"id": "7"}));
        assert_eq!(object["base"], json!({"phone": null}));
    }

    #[test]
    fn contended_columns_come_first_and_an_unknown_value_is_not_a_null() {
        let lines = value_lines(&standing());
        assert_eq!(lines[0], ["* phone", "(none)", "1", "2", ""]);
        assert_eq!(lines[1], ["  name", "", "Ana", "", ""]);
    }

    #[test]
    fn a_row_that_is_gone_is_said_to_be() {
        let text = conflict_lines(&standing()).join("\n");
        assert!(text.contains("shop: changed by till with pos, 1970"), "{text}");
        assert!(text.contains("the row is gone") && text.contains("has changed since"), "{text}");
    }
}
