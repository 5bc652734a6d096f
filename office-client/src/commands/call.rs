//! `office-client call URL METHOD [ARG...]`

use protocol::by_hand;

use super::{Outcome, password};
use crate::cli::CallArgs;
use crate::error::CommandError;
use crate::link::{Client, LinkSettings, Patience};
use crate::output::Printer;
use crate::settings::Settings;

/// Makes one call, once, and prints the answer as JSON.
pub(crate) async fn run(args: CallArgs, settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    let params = args.args.iter().map(|text| by_hand::argument(text, |path| std::fs::read(path)));
    let params = params.collect::<Result<Vec<_>, _>>().map_err(|error| CommandError::usage(error.to_string()))?;
    let credentials = password::credentials(args.user.as_deref(), args.password_file.as_deref())?;
    let mut client = Client::new(LinkSettings {
        address: args.url.parse()?,
        trust: args.trust.into(),
        credentials,
        silence_max: settings.timeout,
        rate_limit: None,
        temporary_dir: std::env::temp_dir(),
    })?;
    let value = client.call_value(&args.method, &params, Patience::Work).await?;
    let json = by_hand::answer(&value);
    if printer.is_json() {
        printer.object(&json);
    } else {
        let text = serde_json::to_string_pretty(&json).unwrap_or_else(|_| json.to_string());
        printer.line(&text);
    }
    Ok(Outcome::Done)
}
