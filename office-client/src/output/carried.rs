//! What was written into a file for a shop, and what came out of one.

use std::path::Path;

use protocol::session::office::Task;
use replica::office::{Exported, Imported};
use serde_json::{Value as Json, json};

use crate::units;

/// A file was written.
pub(crate) fn export_line(branch: &str, task: Task, path: &Path, exported: &Exported) -> String {
    let rows = units::count(i64::try_from(exported.rows).unwrap_or(i64::MAX), "row");
    let (what, bytes) = (word(task), units::bytes(exported.bytes));
    format!("{branch}: {what} of {rows}, {bytes}, written to {}", path.display())
}

/// The same as JSON.
pub(crate) fn export_object(branch: &str, task: Task, path: &Path, exported: &Exported) -> Json {
    json!({
        "branch": branch,
        "run": word(task),
        "result": "exported",
        "file": path.display().to_string(),
        "push_rows": exported.rows,
        "push_bytes": exported.bytes,
    })
}

/// A shop's file was taken in.
pub(crate) fn import_line(branch: &str, imported: &Imported) -> String {
    let mut line = if imported.applied.repeated {
        format!("{branch}: the office has all that is in this file already")
    } else {
        format!("{branch}: {} taken in", units::count(imported.applied.rows, "row"))
    };
    if imported.cloned {
        line.push_str("; the shop has taken in its clone");
    } else if let Some(rows) = imported.acknowledged_rows {
        let rows = units::count(i64::try_from(rows).unwrap_or(i64::MAX), "row");
        line.push_str(&format!("; the shop has applied the {rows} that were on their way"));
    }
    if imported.applied.conflicts > 0 {
        line.push_str(&format!("; {}", units::count(imported.applied.conflicts, "conflict")));
    }
    if imported.applied.quarantined > 0 {
        line.push_str(&format!("; {} in quarantine", units::count(imported.applied.quarantined, "row")));
    }
    line
}

/// The same as JSON.
pub(crate) fn import_object(branch: &str, imported: &Imported, seconds: f64) -> Json {
    json!({
        "branch": branch,
        "run": "import",
        "result": "done",
        "repeated": imported.applied.repeated,
        "pulled_rows": imported.applied.rows,
        "pushed_rows": imported.acknowledged_rows.unwrap_or(0),
        "cloned": imported.cloned,
        "conflicts": imported.applied.conflicts,
        "quarantined": imported.applied.quarantined,
        "seconds": (seconds * 1000.0).round() / 1000.0,
    })
}

fn word(task: Task) -> &'static str {
    match task {
        Task::Clone => "clone",
        Task::Update => "update",
    }
}
