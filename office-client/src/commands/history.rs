//! `office-client history [NAME]`

use jiff::Timestamp;

use super::{Opened, Outcome};
use crate::cli::HistoryArgs;
use crate::error::CommandError;
use crate::output::{self, Printer, Table};
use crate::settings::Settings;
use crate::units;

/// Past runs, newest first.
pub(crate) async fn run(args: HistoryArgs, settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    if args.limit < 1 {
        return Err(CommandError::usage("`--limit` is at least 1"));
    }
    let opened = Opened::open(settings).await?;
    let result = history(&args, printer, &opened).await;
    opened.close(result).await
}

async fn history(args: &HistoryArgs, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    if let Some(name) = &args.name {
        opened.office.branch(name).await?;
    }
    let runs = opened.office.history(args.name.as_deref(), args.limit).await?;
    let mut table = Table::new(&[
        "started", "branch", "run", "result", "pulled", "pushed", "sent", "received", "chunks", "redials", "time",
        "totals", "error",
    ]);
    for (branch, run) in &runs {
        printer.object(&output::history_object(branch, run));
        let bytes = |count: i64| units::bytes(u64::try_from(count).unwrap_or(0));
        table.line(vec![
            started(run.started_at),
            branch.clone(),
            run.kind.clone(),
            run.result.clone(),
            run.pulled_rows.to_string(),
            run.pushed_rows.to_string(),
            bytes(run.sent_bytes),
            bytes(run.received_bytes),
            run.chunk_bytes.map_or_else(|| "-".to_owned(), bytes),
            run.redials.to_string(),
            format!("{:.1} s", run.seconds),
            output::totals::summary(&run.totals),
            run.error.clone().unwrap_or_default(),
        ]);
    }
    if runs.is_empty() {
        printer.talk("nothing has run yet");
    } else {
        printer.table(&table);
    }
    for (branch, run) in &runs {
        for total in run.totals.iter().filter(|total| total.differs()) {
            let line = output::totals::line(total);
            printer.talk(&format!(
                "{branch}, {}: {line}; 'office-client verify {branch}' shows the rows",
                started(run.started_at)
            ));
        }
    }
    Ok(Outcome::Done)
}

/// The local time of a run, to the second.
fn started(moment: std::time::SystemTime) -> String {
    match Timestamp::try_from(moment) {
        Ok(moment) => moment.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => "?".to_owned(),
    }
}
