//! The log: to stderr, plain or JSON. Never row values, never secrets.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::LogForm;

/// Starts logging. A filter that makes no sense is taken for `info`.
pub(crate) fn start(form: LogForm, level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // a second start, as in tests, keeps the first
    let _ = match form {
        LogForm::Plain => subscriber.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogForm::Json => subscriber.json().flatten_event(true).try_init(),
    };
}
