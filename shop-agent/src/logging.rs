//! The log: to stderr, plain or JSON, or to the journal with its fields. Never row values, never secrets.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::LogForm;

/// Starts logging. A filter that makes no sense is taken for `info`.
pub(crate) fn start(form: LogForm, level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    if form == LogForm::Journald
        && let Ok(journal) = tracing_journald::layer()
    {
        let _ = tracing_subscriber::registry().with(filter).with(journal).try_init();
        return;
    }
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // a log that nobody reads any more ends nothing
    let subscriber = subscriber.log_internal_errors(false);
    // a second start, as in tests, keeps the first
    let _ = match form {
        // a journal that is not there is no reason to be silent
        LogForm::Plain | LogForm::Journald => subscriber.with_ansi(is_colourful()).try_init(),
        LogForm::Json => subscriber.json().flatten_event(true).try_init(),
    };
}

/// Whether stderr is a terminal that shows colours, and nobody has asked for none (<https://no-color.org>).
fn is_colourful() -> bool {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !unwanted && std::io::stderr().is_terminal()
}
