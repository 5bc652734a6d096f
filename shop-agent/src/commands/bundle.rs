//! `shop-agent check --bundle`: what a support archive holds.

use std::path::Path;

use installation::Bundle;

use super::CommandError;
use super::check::Report;
use crate::cli::NodeArgs;
use crate::config::{Config, DEFAULT_PATH};
use crate::control::{Question, ask};
use crate::settings::new_state_dir;

/// Sessions that are told.
const SESSIONS: i64 = 200;

/// Writes it.
pub(super) async fn write(path: &Path, node: &NodeArgs, report: &Report) -> Result<(), CommandError> {
    let place = &node.place;
    let mut bundle = Bundle::new();
    bundle.add_machine("shop-agent", env!("CARGO_PKG_VERSION"));
    let configuration = place.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    let text = std::fs::read_to_string(configuration).unwrap_or_default();
    bundle.add_settings(&text, &[]);
    let config = Config::parse(&text, configuration).unwrap_or_default();
    bundle.keep_out_password_of(node.database.as_deref().unwrap_or_default());
    if let Some(token) = config.monitor_token_file.as_deref().and_then(|file| std::fs::read_to_string(file).ok()) {
        bundle.keep_out(token.trim());
    }
    bundle.add("check.txt", report.lines.clone());
    let dir = place.state_dir.clone().or(config.state_dir).map_or_else(|| new_state_dir(place), Ok)?;
    // a running agent is asked: it alone knows of its open sessions
    for (name, question) in [("status.json", Question::Status), ("sessions.json", Question::Audit(SESSIONS))] {
        let asked = dir.clone();
        let told = tokio::task::spawn_blocking(move || ask(&asked, question)).await?;
        let told = match told {
            Ok(Some(told)) => serde_json::to_string_pretty(&told)?,
            Ok(None) => "\"no agent runs\"".to_owned(),
            Err(error) => serde_json::json!({ "error": error.to_string() }).to_string(),
        };
        bundle.add(name, told + "\n");
    }
    bundle.add_server_log(&dir.join("database/server.log"));
    bundle.add_journal("shop-agent");
    bundle.write(path)?;
    Ok(())
}
