//! `office-client import FILE`: takes in what a shop has written with `shop-agent export`.

use std::time::SystemTime;

use replica::carried::CarriedFile;
use replica::office::{Imported, RunRecord};

use super::{Opened, Outcome};
use crate::cli::ImportArgs;
use crate::driver;
use crate::error::{CommandError, chain};
use crate::output::{self, Printer};
use crate::settings::Settings;

/// Checks the file, and applies it to the branch that it names.
pub(crate) async fn run(args: ImportArgs, settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    let path = args.file;
    let opened_file = tokio::task::spawn_blocking(move || CarriedFile::open(&path)).await;
    let file = opened_file.map_err(|error| CommandError::failed(error.to_string()))??;
    let opened = Opened::open(settings).await?;
    let result = import(&file, settings, printer, &opened).await;
    opened.close(result).await
}

async fn import(
    file: &CarriedFile,
    settings: &Settings,
    printer: &Printer,
    opened: &Opened,
) -> Result<Outcome, CommandError> {
    let branch = opened.office.branch(&file.header.branch).await?;
    let (started_at, began) = (SystemTime::now(), std::time::Instant::now());
    let imported = driver::import(&opened.office, &branch, file).await;
    let seconds = began.elapsed().as_secs_f64();
    let ok = imported.as_ref().ok();
    let record = RunRecord {
        kind: "import".to_owned(),
        result: if ok.is_some() { "done" } else { "refused" }.to_owned(),
        pulled_rows: ok.map_or(0, |imported| imported.applied.rows),
        pushed_rows: ok
            .and_then(|imported| imported.acknowledged_rows)
            .map_or(0, |rows| i64::try_from(rows).unwrap_or(i64::MAX)),
        sent_bytes: 0,
        received_bytes: i64::try_from(file.header.bytes).unwrap_or(i64::MAX),
        quarantined: ok.map_or(0, |imported| imported.applied.quarantined),
        started_at,
        seconds,
        error: imported.as_ref().err().map(|error| chain(error)),
        redials: 0,
        chunk_bytes: None,
        send_rate: None,
        receive_rate: None,
        started_by: Some(settings.user.clone()),
        pulled_digest: ok.map(|_| file.header.sha256.clone()),
        totals: Vec::new(),
    };
    opened.office.record_run(&branch, &record).await?;
    let imported: Imported = imported.map_err(|error| CommandError::Drive { branch: branch.name.clone(), error })?;
    printer.object(&output::import_object(&branch.name, &imported, seconds));
    printer.line(&output::import_line(&branch.name, &imported));
    Ok(Outcome::Done)
}
