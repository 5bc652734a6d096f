//! `office-client conformance URL`

use serde_json::json;

use super::{Outcome, password};
use crate::cli::ConformanceArgs;
use crate::conformance::{self, Finding, Level, Verdict, vectors};
use crate::error::CommandError;
use crate::link::Address;
use crate::output::Printer;

/// Runs the vectors and tells of each; the outcome speaks of the required ones.
pub(crate) async fn run(args: ConformanceArgs, printer: &Printer) -> Result<Outcome, CommandError> {
    let address: Address = args.url.parse()?;
    let credentials = password::credentials(args.user.as_deref(), args.password_file.as_deref())?;
    let mut vectors = vectors().map_err(CommandError::failed)?;
    let is_wanted = |rule: &str| args.rules.is_empty() || args.rules.iter().any(|prefix| rule.starts_with(prefix));
    vectors.retain(|vector| is_wanted(&vector.rule));
    if vectors.is_empty() {
        return Err(CommandError::usage(format!("no rule begins with {}", args.rules.join(" or "))));
    }
    let tell = |finding: &Finding| {
        if printer.is_json() {
            printer.object(&object(finding));
        } else {
            printer.line(&line(finding));
        }
    };
    let found =
        conformance::run(&vectors, &address, &args.trust.into(), credentials.as_ref(), args.destructive, tell).await?;
    let count = |verdict: Verdict| found.iter().filter(|finding| finding.verdict == verdict).count();
    let failed = |finding: &&Finding| match finding.level {
        _ if args.strict => finding.verdict != Verdict::Pass || finding.note.is_some(),
        Level::Required => matches!(finding.verdict, Verdict::Fail | Verdict::Unsupported),
        Level::Recommended | Level::Optional => false,
    };
    let required = found.iter().filter(failed).count();
    let summary = json!({
        "passed": count(Verdict::Pass), "failed": count(Verdict::Fail), "unsupported": count(Verdict::Unsupported),
        "skipped": count(Verdict::Skipped), "required_failed": required, "conforms": required == 0,
    });
    if printer.is_json() {
        printer.object(&summary);
    } else {
        printer.line(&format!(
            "{} passed, {} failed, {} unsupported, {} skipped: {}",
            summary["passed"],
            summary["failed"],
            summary["unsupported"],
            summary["skipped"],
            if required == 0 { "conforms".to_owned() } else { format!("{required} required rules are not met") },
        ));
    }
    Ok(if required == 0 { Outcome::Done } else { Outcome::Differences })
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Required => "required",
        Level::Recommended => "recommended",
        Level::Optional => "optional",
    }
}

fn line(finding: &Finding) -> String {
    let Finding { rule, name, verdict, note, .. } = finding;
    let note = note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
    format!("{:11} {:11} {rule:14} {name}{note}", verdict.as_str(), level(finding.level))
}

fn object(finding: &Finding) -> serde_json::Value {
    let Finding { rule, name, verdict, note, .. } = finding;
    json!({ "rule": rule, "name": name, "level": level(finding.level), "result": verdict.as_str(), "note": note })
}
