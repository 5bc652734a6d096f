//! `office-client check --bundle`: what a support archive holds.

use std::path::Path;

use installation::Bundle;

use super::Opened;
use super::check::Findings;
use crate::cli::Global;
use crate::config;
use crate::error::CommandError;
use crate::output;
use crate::settings::Settings;

/// Runs that are told.
const RUNS: i64 = 500;

/// Keys of the configuration whose values are nobody's business: commands and addresses may carry tokens.
const HIDDEN_KEYS: [&str; 2] = ["alert-command", "alert-webhook"];

/// Settings of a branch that are commands.
const HIDDEN_SETTINGS: [&str; 2] = ["link_up", "link_down"];

/// Writes it.
pub(super) async fn write(path: &Path, global: &Global, findings: &Findings<'_>) -> Result<(), CommandError> {
    let mut bundle = Bundle::new();
    bundle.add_machine("office-client", env!("CARGO_PKG_VERSION"));
    let text = config::path(global.config.as_deref()).and_then(|path| std::fs::read_to_string(path).ok());
    bundle.add_settings(&text.unwrap_or_default(), &HIDDEN_KEYS);
    bundle.keep_out_password_of(global.database.as_deref().unwrap_or_default());
    bundle.add("check.txt", findings.lines());
    if let Ok(settings) = Settings::load(global) {
        if let Err(error) = add_records(&mut bundle, &settings).await {
            bundle.add("records.txt", format!("{}\n", error.chain()));
        }
        bundle.add_server_log(&settings.state_dir.join("database/server.log"));
    }
    bundle.add_journal("office-client");
    bundle.write(path).map_err(|error| CommandError::usage(error.to_string()))
}

/// Branches and runs, as `branch show` and `history` tell them with --json.
async fn add_records(bundle: &mut Bundle, settings: &Settings) -> Result<(), CommandError> {
    let opened = Opened::open(settings).await?;
    let read = async { Ok((opened.office.branches().await?, opened.office.history(None, RUNS).await?)) };
    let read = read.await;
    let (branches, runs) = opened.close(read).await?;
    let mut lines = String::new();
    for mut branch in branches {
        for name in HIDDEN_SETTINGS {
            if let Some(command) = branch.settings.get_mut(name) {
                *command = installation::HIDDEN.to_owned();
            }
        }
        if let Some(password) = branch.password_file.as_deref().and_then(|file| std::fs::read_to_string(file).ok()) {
            bundle.keep_out(password.lines().next().unwrap_or_default());
        }
        lines += &format!("{}\n", output::branch_object(&branch));
    }
    bundle.add("branches.jsonl", lines);
    let runs: String = runs.iter().map(|(branch, run)| format!("{}\n", output::history_object(branch, run))).collect();
    bundle.add("runs.jsonl", runs);
    Ok(())
}
