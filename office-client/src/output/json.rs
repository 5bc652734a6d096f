//! JSON, as docs/JSON.md describes it: fields are added, never renamed or taken away.

use std::time::{SystemTime, UNIX_EPOCH};

use replica::office::{Branch, RunRecord};
use serde_json::{Value as Json, json};

use crate::alerts;
use crate::driver::{Adoption, Comparison, Moves, Plan, Repaired, Report};
use crate::standing::Standing;

/// A finished run.
pub(crate) fn report_object(report: &Report) -> Json {
    let mut object = json!({
        "branch": report.branch,
        "run": report.kind,
        "result": report.result.as_str(),
        "pulled_rows": report.pulled_rows,
        "pushed_rows": report.pushed_rows,
        "sent_bytes": report.sent_bytes,
        "received_bytes": report.received_bytes,
        "conflicts": report.conflicts,
        "quarantined": report.quarantined,
        "quarantined_at_shop": report.quarantined_at_shop,
        "released": report.released,
        "seconds": rounded(report.seconds),
        "redials": report.redials,
        "chunk_bytes": report.chunk_bytes,
        "send_rate": report.rates.send,
        "receive_rate": report.rates.receive,
        "totals": report.totals,
        "error": report.error.as_ref().map(|error| crate::error::chain(error)),
        "hint": report.error.as_ref().and_then(|error| error.hint(&report.branch)),
    });
    if let Some(comparison) = &report.comparison {
        object["verified"] = json!(comparison.offered && comparison.differing().next().is_none());
        object["differing"] = json!(comparison.differing().map(|table| table.table.as_str()).collect::<Vec<_>>());
        object["waiting_rows"] = json!(comparison.waiting_rows);
    }
    object
}

/// A branch with its state.
pub(crate) fn status_object(standing: &Standing, now: SystemTime) -> Json {
    let (branch, attention, last) = (&standing.branch, standing.attention, standing.last_run());
    let age =
        |moment: Option<SystemTime>| moment.map(|moment| now.duration_since(moment).unwrap_or_default().as_secs());
    json!({
        "branch": branch.name,
        "url": branch.url,
        "policy": branch.policy,
        "timestamp": branch.timestamp,
        "freshness_s": age(branch.pulled_at.or(branch.cloned_at)),
        "pushed_s": age(branch.pushed_at.or(branch.cloned_at)),
        "backlog_rows": standing.backlog,
        "state": standing.state.as_str(),
        "last_run": last.map(|run| run.kind.as_str()),
        "last_result": last.map(|run| run.result.as_str()),
        "last_error": last.and_then(|run| run.error.as_deref()),
        "conflicts": attention.conflicts,
        "quarantined": attention.quarantined,
        "quarantined_at_shop": attention.at_shop,
        "failures": standing.failures,
        "ids_used": standing.vitals.and_then(|vitals| vitals.ids).map(|ids| ids.used),
        "ids_days_left": standing.vitals.and_then(|vitals| vitals.ids?.days_left).map(f64::floor),
        "shop_disk_free": standing.vitals.and_then(|vitals| vitals.disk_free),
        "alerts": alerts::of(standing, now).iter().map(|alert| json!({ "kind": alert.kind, "words": alert.words })).collect::<Vec<_>>(),
    })
}

/// A branch with its settings.
pub(crate) fn branch_object(branch: &Branch) -> Json {
    json!({
        "branch": branch.name,
        "id": branch.id,
        "url": branch.url,
        "policy": branch.policy,
        "timestamp": branch.timestamp,
        "id_low": branch.id_range.map(|range| range.0),
        "id_high": branch.id_range.map(|range| range.1),
        "incarnation": branch.incarnation,
        "cloned_at": branch.cloned_at.map(moment),
        "pulled_at": branch.pulled_at.map(moment),
        "pushed_at": branch.pushed_at.map(moment),
        "paused": branch.paused,
        "retired": branch.retired,
        "user": branch.user,
        "password_file": branch.password_file,
        "settings": branch.settings,
    })
}

/// A past run.
pub(crate) fn history_object(branch: &str, run: &RunRecord) -> Json {
    json!({
        "branch": branch,
        "run": run.kind,
        "result": run.result,
        "started_at": moment(run.started_at),
        "seconds": rounded(run.seconds),
        "pulled_rows": run.pulled_rows,
        "pushed_rows": run.pushed_rows,
        "sent_bytes": run.sent_bytes,
        "received_bytes": run.received_bytes,
        "redials": run.redials,
        "chunk_bytes": run.chunk_bytes,
        "send_rate": run.send_rate,
        "receive_rate": run.receive_rate,
        "quarantined": run.quarantined,
        "started_by": run.started_by,
        "pulled_digest": run.pulled_digest,
        "totals": run.totals,
        "error": run.error,
    })
}

/// A line per table, then one about the branch.
pub(crate) fn comparison_objects(branch: &str, comparison: &Comparison) -> Vec<Json> {
    let tables = comparison.tables.iter().map(|table| {
        json!({
            "branch": branch,
            "table": table.table,
            "office_rows": table.office_rows,
            "shop_rows": table.shop_rows,
            "equal": table.equal,
            "quarantined": table.quarantined,
            "differing_rows": table.differing_rows,
            "kept_rows": table.kept_rows,
            "sums": table.sums.iter().map(|(column, office, shop)| {
                (column.clone(), json!({ "office": office, "shop": shop }))
            }).collect::<serde_json::Map<String, Json>>(),
        })
    });
    let rows = comparison.rows.iter().map(|row| {
        json!({
            "branch": branch,
            "table": row.table,
            "key": serde_json::from_str::<Json>(&row.key).unwrap_or(Json::Null),
            "side": row.side,
            "columns": row.columns,
        })
    });
    let differing: Vec<&str> = comparison.differing().map(|table| table.table.as_str()).collect();
    let summary = json!({
        "branch": branch,
        "tables": comparison.tables.len(),
        "verified": comparison.offered && differing.is_empty(),
        "offered": comparison.offered,
        "sent_bytes": comparison.sent_bytes,
        "received_bytes": comparison.received_bytes,
        "differing": differing,
        "waiting_rows": comparison.waiting_rows,
        "quarantined": comparison.quarantined,
    });
    tables.chain(rows).chain([summary]).collect()
}

/// What a repair has marked to be carried.
pub(crate) fn repaired_object(branch: &str, repaired: &Repaired) -> Json {
    json!({
        "branch": branch,
        "repaired": true,
        "sent_again": repaired.sent,
        "pulled_again": repaired.pulled,
        "taken_back": repaired.taken_back,
        "fresh_range": repaired.fresh_range,
    })
}

/// What came of taking a shop in with its data.
pub(crate) fn adoption_object(branch: &str, adoption: &Adoption) -> Json {
    let comparison = &adoption.comparison;
    json!({
        "branch": branch,
        "run": "adopt",
        "result": if adoption.taken_in { "done" } else { "refused" },
        "repeated": adoption.repeated,
        "differing": comparison.differing().map(|table| table.table.as_str()).collect::<Vec<_>>(),
        "sent_again": adoption.marked.sent,
        "pulled_again": adoption.marked.pulled,
        "id_low": adoption.range.map(|range| range.0),
        "id_high": adoption.range.map(|range| range.1),
        "sent_bytes": comparison.sent_bytes,
        "received_bytes": comparison.received_bytes,
        "seconds": rounded(adoption.seconds),
    })
}

/// What a run would do.
pub(crate) fn plan_object(branch: &str, kind: &str, plan: &Plan) -> Json {
    let rows = |tables: &[(String, Moves)]| -> serde_json::Map<String, Json> {
        tables.iter().map(|(table, moves)| (table.clone(), json!(moves.rows))).collect()
    };
    let counts = |tables: &[(String, i64)]| -> serde_json::Map<String, Json> {
        tables.iter().map(|(table, rows)| (table.clone(), json!(rows))).collect()
    };
    let changes = |tables: &[(String, Moves)]| -> serde_json::Map<String, Json> {
        let of =
            |moves: &Moves| json!({ "inserts": moves.inserts(), "updates": moves.updates, "deletes": moves.deletes });
        tables.iter().map(|(table, moves)| (table.clone(), of(moves))).collect()
    };
    json!({
        "branch": branch,
        "run": kind,
        "dry_run": true,
        "pull_rows": plan.pull_rows,
        "pull_bytes": plan.pull_bytes,
        "pull_tables": rows(&plan.pull_tables),
        "pull_changes": changes(&plan.pull_tables),
        "conflicts": plan.at_office.map(|clashes| clashes.conflicts),
        "quarantined": plan.at_office.map(|clashes| clashes.quarantined),
        "conflicts_at_shop": plan.at_shop.map(|clashes| clashes.conflicts),
        "quarantined_at_shop": plan.at_shop.map(|clashes| clashes.quarantined),
        "kept_aside": plan.emptied.as_ref().map(|emptied| counts(&emptied.aside)),
        "unacknowledged": plan.emptied.as_ref().and_then(|emptied| emptied.unacknowledged.as_deref()).map(counts),
        "stop": plan.stop,
        "push_rows": plan.push_rows,
        "push_bytes": plan.push_bytes,
        "push_tables": rows(&plan.push_tables),
        "push_changes": changes(&plan.push_tables),
        "seconds": plan.seconds.map(rounded),
    })
}

/// A branch that could not be looked at.
pub(crate) fn error_object(branch: &str, error: &str, hint: Option<&str>) -> Json {
    json!({ "branch": branch, "result": "failed", "error": error, "hint": hint })
}

/// ISO 8601 in UTC.
pub(super) fn moment(moment: SystemTime) -> String {
    let elapsed = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_microsecond(micros).map(|time| time.to_string()).unwrap_or_default()
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_a_comparison_comes_last() {
        let objects = comparison_objects("s", &Comparison { offered: true, ..Comparison::default() });
        assert_eq!(objects.last().unwrap()["verified"], json!(true));
        let objects = comparison_objects("s", &Comparison::default());
        assert_eq!(objects.last().unwrap()["verified"], json!(false));
    }
}
