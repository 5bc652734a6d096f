//! `shop-agent status`: asks the running agent.

use std::process::ExitCode;

use installation::said;
use serde_json::Value;

use super::CommandError;
use crate::cli::PlaceArgs;
use crate::control::{Question, ask, nobody};
use crate::settings::state_dir;

pub(super) fn status(place: &PlaceArgs, json: bool) -> Result<ExitCode, CommandError> {
    let dir = state_dir(place)?;
    let Some(status) = ask(&dir, Question::Status)? else {
        return Err(nobody(&dir).into());
    };
    let failed = status.get("error").is_some();
    if json {
        said::line(status);
    } else {
        print(&status);
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(status: &Value) {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for (name, label) in [
        ("branch", "branch"),
        ("policy", "policy"),
        ("error", "error"),
        ("incarnation", "incarnation"),
        ("database_version", "PostgreSQL"),
        ("id_low", "ids above"),
        ("id_high", "ids up to"),
    ] {
        if let Some(value) = status.get(name) {
            said::line(format_args!("{label:<12} {}", text(value)));
        }
    }
    if let Some(tls) = status.get("tls").filter(|tls| !tls.is_null()) {
        said::line(format_args!("{:<12} {}", "fingerprint", tls.get("fingerprint").map(text).unwrap_or_default()));
    }
    let number = |name: &str| status.get(name).and_then(Value::as_i64);
    if let (Some(low), Some(high), Some(used)) = (number("id_low"), number("id_high"), number("ids_used")) {
        said::line(format_args!(
            "{:<12} {used}, {:.1} % of the range",
            "ids used",
            used as f64 * 100.0 / (high - low).max(1) as f64
        ));
    }
    for (office, watermark) in status.get("watermarks").and_then(Value::as_object).into_iter().flatten() {
        said::line(format_args!("{:<12} {office} has seen {}", "watermark", text(watermark)));
    }
    let array = |name: &str| status.get(name).and_then(Value::as_array).into_iter().flatten();
    for office in array("offices") {
        let member = |name: &str| office.get(name).unwrap_or(&Value::Null);
        let contact = match member("last_contact") {
            Value::Null => "the office has not called yet".to_owned(),
            at => format!("last contact {}", text(at)),
        };
        let waiting = text(member("backlog_rows"));
        said::line(format_args!("{:<12} {}: {waiting} changes wait, {contact}", "office", text(member("office"))));
    }
    let days = |name: &str| status.pointer(&format!("/retention/{name}")).and_then(Value::as_u64).map(|s| s / 86_400);
    if let (Some(min), Some(max)) = (days("min_s"), days("max_s")) {
        let bytes = number("change_log_bytes").unwrap_or_default();
        said::line(format_args!(
            "{:<12} {min} days at least, {max} days at most, change logs of {bytes} bytes",
            "retention"
        ));
    }
    for gap in array("capture_gaps") {
        let member = |name: &str| gap.get(name).map(text).unwrap_or_default();
        said::line(format_args!(
            "{:<12} {}: changes may have been missed before {}; the office has to verify it with --repair",
            "capture gap",
            member("table"),
            member("noticed_at")
        ));
    }
    for waiting in status.get("quarantine").and_then(Value::as_array).into_iter().flatten() {
        let member = |name: &str| waiting.get(name).map(text).unwrap_or_default();
        said::line(format_args!(
            "{:<12} {} of {}: {}",
            "waiting rows",
            member("rows"),
            member("table"),
            member("reason")
        ));
    }
    for session in status.get("sessions").and_then(Value::as_array).into_iter().flatten() {
        let member = |name: &str| session.get(name).map(text).unwrap_or_default();
        said::line(format_args!(
            "{:<12} {} {}, {} chunks, {} bytes, {} s old",
            "session",
            member("sid"),
            member("state"),
            member("next_seq"),
            member("bytes"),
            member("age_s")
        ));
    }
}
