//! `shop-agent restore-before-clean`: brings back what the last clean put aside.

use std::process::ExitCode;

use super::{CommandError, open};
use crate::cli::NodeArgs;
use crate::control::{Question, ask};
use crate::service::StateDir;
use crate::settings::{Settings, state_dir};
use installation::said;

pub(super) async fn restore(args: NodeArgs) -> Result<ExitCode, CommandError> {
    let rows = match ask(&state_dir(&args.place)?, Question::RestoreBeforeClean)? {
        Some(answer) => match (answer.get("rows"), answer.get("error").and_then(|error| error.as_str())) {
            (Some(rows), None) => rows.to_string(),
            (_, error) => return Err(error.unwrap_or("the agent gave no answer").to_owned().into()),
        },
        None => {
            let settings = Settings::resolve(args)?;
            let _state = StateDir::take(&settings.state_dir)?;
            let database = open::database(&settings).await?;
            let shop = open::shop(&settings, database.clone()).await?;
            let restored = shop.restore_before_clean().await;
            drop(shop);
            database.close().await?;
            restored?.to_string()
        }
    };
    said::line(format_args!("{rows} rows brought back"));
    Ok(ExitCode::SUCCESS)
}
