//! Text for people.

use std::time::SystemTime;

use replica::office::{Branch, ControlTotal};

use super::totals;
use crate::driver::{Adoption, Clashes, Comparison, Moves, Plan, Repaired, Report};
use crate::standing::{BranchState, Standing};
use crate::units;

/// One line about a finished run.
pub(crate) fn report_line(report: &Report) -> String {
    let figures = format!(
        "{} pulled, {} pushed; {} sent, {} received, {:.1} s",
        units::count(report.pulled_rows, "row"),
        units::count(report.pushed_rows, "row"),
        units::bytes(report.sent_bytes),
        units::bytes(report.received_bytes),
        report.seconds
    );
    let mut line = format!("{}: {} {}: {figures}", report.branch, report.kind, report.result.as_str());
    if report.redials > 0 {
        line.push_str(&format!("; {}", units::count(report.redials.into(), "redial")));
    }
    if report.conflicts > 0 {
        line.push_str(&format!("; {}", units::count(report.conflicts, "conflict")));
    }
    if report.quarantined > 0 {
        line.push_str(&format!("; {} in quarantine", units::count(report.quarantined, "row")));
    }
    if report.quarantined_at_shop > 0 {
        line.push_str(&format!("; {} in quarantine at the shop", units::count(report.quarantined_at_shop, "row")));
    }
    if report.released > 0 {
        line.push_str(&format!("; {} released from quarantine", units::count(report.released, "row")));
    }
    if let Some(comparison) = &report.comparison {
        line.push_str("; ");
        line.push_str(&comparison_summary(comparison));
    }
    if report.totals.iter().any(ControlTotal::differs) {
        line.push_str(&format!("; control totals: {}", totals::summary(&report.totals)));
    }
    for total in report.totals.iter().filter(|total| total.differs()) {
        line.push_str(&format!("\n  {}", totals::line(total)));
    }
    line
}

fn comparison_summary(comparison: &Comparison) -> String {
    let differing = comparison.differing().count();
    if !comparison.offered {
        "not verified: the shop offers no digests".to_owned()
    } else if differing == 0 {
        let tables = comparison.tables.len();
        format!("verified: {} {}", units::count(tables as i64, "table"), if tables == 1 { "agrees" } else { "agree" })
    } else if comparison.waiting_rows > 0 {
        format!(
            "{}, with {} waiting: update, then verify",
            differ(differing),
            units::count(comparison.waiting_rows, "change")
        )
    } else if comparison.quarantined > 0 {
        format!(
            "{} differ, with {} in quarantine",
            units::count(differing as i64, "table"),
            units::count(comparison.quarantined, "row")
        )
    } else {
        differ(differing)
    }
}

fn differ(tables: usize) -> String {
    format!("{} {}", units::count(tables as i64, "table"), if tables == 1 { "differs" } else { "differ" })
}

/// What a repair has marked to be carried.
pub(crate) fn repaired_line(branch: &str, repaired: &Repaired) -> String {
    let rows = |count| units::count(count, "row");
    let mut line =
        format!("{branch}: to be sent again {}, to be pulled again {}", rows(repaired.sent), rows(repaired.pulled));
    if repaired.taken_back > 0 {
        line.push_str(&format!(", taken back from the shop {}", rows(repaired.taken_back)));
    }
    if repaired.fresh_range {
        line.push_str("; the shop has got a fresh range of ids");
    }
    line
}

/// What came of taking a shop in with its data.
pub(crate) fn adoption_line(branch: &str, adoption: &Adoption) -> String {
    if adoption.repeated {
        return format!("{branch}: it was taken in already");
    }
    let mut line = format!("{branch}: taken in with the data it has");
    if let Some((low, high)) = adoption.range {
        line.push_str(&format!("; its new rows get ids above {low}, up to {high}"));
    }
    let marked = adoption.marked.sent + adoption.marked.pulled;
    if marked > 0 {
        line.push_str(&format!("; {} changed meanwhile or differed, and travel now", units::count(marked, "row")));
    }
    line
}

/// The outcome of a verify: the tables that differ, then a summary.
pub(crate) fn comparison_lines(branch: &str, comparison: &Comparison) -> Vec<String> {
    let mut lines: Vec<String> = comparison
        .differing()
        .map(|table| {
            let shop = table.shop_rows.map_or_else(|| "none".to_owned(), |rows| units::count(rows, "row"));
            let waiting = match table.quarantined {
                0 => String::new(),
                rows => format!("; {} in quarantine", units::count(rows, "row")),
            };
            let note = if table.shop_rows == Some(table.office_rows) { ", other values" } else { "" };
            format!(
                "{branch}: {} differs: office {}, shop {shop}{note}{waiting}",
                table.table,
                units::count(table.office_rows, "row")
            )
        })
        .collect();
    lines.extend(comparison.rows.iter().map(|row| {
        let what = match (row.side, row.columns.as_slice()) {
            ("both", []) => "differs".to_owned(),
            ("both", columns) => format!("differs in {}", columns.join(", ")),
            (side, _) => format!("only at the {side}"),
        };
        format!("{branch}:   {} {}: {what}", row.table, row.key)
    }));
    let kept: i64 = comparison.tables.iter().map(|table| table.kept_rows).sum();
    if kept > 0 {
        lines.push(format!(
            "{branch}: {} of the shop's own only at the office: the shop has purged or lost them, the office keeps them",
            units::count(kept, "row")
        ));
    }
    lines.push(format!("{branch}: {}", comparison_summary(comparison)));
    lines
}

/// What a run would do.
pub(crate) fn plan_lines(branch: &str, kind: &str, plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    if kind == "update" {
        lines.push(match (plan.pull_rows, plan.pull_bytes) {
            (Some(rows), bytes) => {
                let bytes = units::bytes(u64::try_from(bytes.unwrap_or(0)).unwrap_or(0));
                format!("{branch}: shop -> office: {}, {bytes}", units::count(rows, "row"))
            }
            _ => format!("{branch}: shop -> office: unknown, the shop offers no figures before it sends"),
        });
    }
    lines.extend(plan.pull_tables.iter().map(moves_line));
    let at_office = plan.at_office.and_then(clashes_words);
    lines.extend(at_office.map(|words| format!("{branch}: at the office {words}")));
    let rows = units::count(i64::try_from(plan.push_rows).unwrap_or(i64::MAX), "row");
    lines.push(format!("{branch}: office -> shop: {rows}, {}", units::bytes(plan.push_bytes)));
    if let Some(why) = &plan.stop {
        lines.push(format!("{branch}: it would stop and ask: {why}"));
    }
    if let Some(seconds) = plan.seconds.filter(|seconds| *seconds >= 1.0) {
        lines.push(format!("{branch}: about {} at the rate of the last run", units::age(seconds as u64)));
    }
    lines.extend(plan.push_tables.iter().map(moves_line));
    lines.extend(plan.at_shop.and_then(clashes_words).map(|words| format!("{branch}: at the shop {words}")));
    if let Some(emptied) = &plan.emptied {
        lines.push(format!("{branch}: at the shop {} that would be kept aside", sum_words(&emptied.aside)));
        lines.extend(emptied.aside.iter().map(table_line));
        lines.push(match &emptied.unacknowledged {
            Some(tables) => format!("{branch}: at the shop {} that the office has not got", sum_words(tables)),
            None => format!("{branch}: the shop cannot tell what it has that the office has not got"),
        });
        lines.extend(emptied.unacknowledged.iter().flatten().map(table_line));
    }
    lines
}

/// `12 rows` of all tables.
pub(crate) fn sum_words(tables: &[(String, i64)]) -> String {
    units::count(tables.iter().map(|(_, rows)| rows).sum(), "row")
}

fn table_line((table, rows): &(String, i64)) -> String {
    format!("  {table:<32} {rows:>12}")
}

/// What would move of a table.
fn moves_line((table, moves): &(String, Moves)) -> String {
    format!("  {table:<32} {:>12}  {}", moves.rows, moves_words(*moves))
}

/// `2 conflicts, 1 row that would wait in quarantine`; none where there are none.
pub(crate) fn clashes_words(clashes: Clashes) -> Option<String> {
    let some = |count: i64| (count > 0).then_some(count);
    let conflicts = some(clashes.conflicts).map(|count| units::count(count, "conflict"));
    let waiting = some(clashes.quarantined);
    let waiting = waiting.map(|count| format!("{} that would wait in quarantine", units::count(count, "row")));
    let told: Vec<String> = [conflicts, waiting].into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// `3 new, 2 changed, 1 deleted`, without what there is none of.
pub(crate) fn moves_words(moves: Moves) -> String {
    let kinds = [(moves.inserts(), "new"), (moves.updates, "changed"), (moves.deletes, "deleted")];
    let told = kinds.iter().filter(|(rows, _)| *rows > 0).map(|(rows, word)| format!("{rows} {word}"));
    told.collect::<Vec<_>>().join(", ")
}

/// The cells of one line of `status`.
pub(crate) fn status_cells(standing: &Standing, now: SystemTime) -> Vec<String> {
    let (branch, state, attention) = (&standing.branch, standing.state, standing.attention);
    let result = match (state, standing.last_run()) {
        (BranchState::New | BranchState::CloneUnfinished | BranchState::Paused, _) | (_, None) => {
            state.as_str().to_owned()
        }
        (_, Some(run)) => match &run.error {
            Some(error) => format!("{}: {}", run.result, shortened(error)),
            None => run.result.clone(),
        },
    };
    vec![
        branch.name.clone(),
        branch.policy.clone(),
        since(branch.pulled_at.or(branch.cloned_at), now),
        since(branch.pushed_at.or(branch.cloned_at), now),
        standing.backlog.map_or_else(|| "?".to_owned(), |rows| rows.to_string()),
        if attention.conflicts == 0 { "-".to_owned() } else { attention.conflicts.to_string() },
        match (attention.quarantined, attention.at_shop) {
            (0, 0) => "-".to_owned(),
            (here, 0) => here.to_string(),
            (here, there) => format!("{here}, {there} at the shop"),
        },
        result,
    ]
}

fn since(moment: Option<SystemTime>, now: SystemTime) -> String {
    match moment {
        Some(moment) => format!("{} ago", units::age(now.duration_since(moment).unwrap_or_default().as_secs())),
        None => "never".to_owned(),
    }
}

fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    if text.chars().count() <= CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CHARS_MAX - 3).chain("...".chars()).collect()
}

/// A branch with all its settings.
pub(crate) fn branch_line(branch: &Branch) -> Vec<(String, String)> {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let now = SystemTime::now();
    let mut lines = vec![
        ("name".to_owned(), branch.name.clone()),
        ("id".to_owned(), branch.id.to_string()),
        ("url".to_owned(), branch.url.clone()),
        ("policy".to_owned(), branch.policy.clone()),
        ("timestamp".to_owned(), or_none(branch.timestamp.clone())),
        ("ids".to_owned(), or_none(branch.id_range.map(|(low, high)| format!("{} to {high}", low + 1)))),
        ("incarnation".to_owned(), or_none(branch.incarnation.clone())),
        ("cloned".to_owned(), since(branch.cloned_at, now)),
        ("pulled".to_owned(), since(branch.pulled_at, now)),
        ("pushed".to_owned(), since(branch.pushed_at, now)),
        ("paused".to_owned(), if branch.paused { "yes" } else { "no" }.to_owned()),
        ("user".to_owned(), or_none(branch.user.clone())),
        ("password-file".to_owned(), or_none(branch.password_file.as_ref().map(|path| path.display().to_string()))),
    ];
    lines.extend(branch.settings.iter().map(|(name, value)| (name.replace('_', "-"), value.clone())));
    lines
}

/// What flows where, in words: a heading per direction with the names and patterns the policy lists under it.
pub(crate) fn policy_lines(name: &str, tables: &[(String, String)]) -> Vec<String> {
    const WORDS: [(&str, &str); 5] = [
        ("from-source", "office -> shops: the office's, shops receive every change"),
        ("from-target", "shops -> office: each shop's own rows, the office receives every change"),
        ("both", "both ways: changed on both sides, merged row by row"),
        ("initial", "office -> shop once: when it is cloned, then each side's own"),
        ("local", "nowhere: never leave their database"),
    ];
    let mut lines = vec![format!("policy {name}")];
    for (direction, words) in WORDS {
        let names: Vec<&str> =
            tables.iter().filter(|(_, written)| written == direction).map(|(table, _)| table.as_str()).collect();
        if !names.is_empty() {
            lines.push(format!("\n{words}"));
            lines.extend(wrapped(&names));
        }
    }
    lines
}

fn wrapped(names: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::from(" ");
    for (at, name) in names.iter().enumerate() {
        let comma = if at + 1 < names.len() { "," } else { "" };
        if line.len() + name.len() + 2 > 96 && line.len() > 1 {
            lines.push(std::mem::replace(&mut line, String::from(" ")));
        }
        line.push_str(&format!(" {name}{comma}"));
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::Difference;

    #[test]
    fn a_difference_is_named_with_both_counts() {
        let table = |name: &str, shop_rows, equal| Difference {
            table: name.into(),
            office_rows: 2,
            shop_rows,
            equal,
            quarantined: i64::from(!equal && shop_rows == Some(1)),
            ..Difference::default()
        };
        let comparison = Comparison {
            tables: vec![table("a", Some(2), true), table("b", Some(1), false), table("c", Some(2), false)],
            offered: true,
            waiting_rows: 0,
            quarantined: 1,
            ..Comparison::default()
        };
        let lines = comparison_lines("s", &comparison);
        assert_eq!(
            lines,
            [
                "s: b differs: office 2 rows, shop 1 row; 1 row in quarantine",
                "s: c differs: office 2 rows, shop 2 rows, other values",
                "s: 2 tables differ, with 1 row in quarantine"
            ]
        );
    }

    #[test]
    fn a_shop_without_digests_is_not_called_verified() {
        assert!(comparison_lines("s", &Comparison::default())[0].contains("not verified"));
    }

    #[test]
    fn a_policy_is_told_by_direction() {
        let tables = [("sale", "from-target"), ("till_*", "local")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        let text = policy_lines("p", &tables).join("\n");
        assert!(text.contains("shops -> office") && text.contains("  sale") && !text.contains("both ways"), "{text}");
    }
}
