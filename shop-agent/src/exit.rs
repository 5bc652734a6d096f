//! Exit codes, the same as the office's: 0 done, 1 failed, 2 usage, 4 refused to protect data, 5 unreachable, 130 stopped at
//! once.

use crate::commands::CommandError;
use crate::config::ConfigError;
use crate::settings::SettingsError;

/// Failed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage or configuration.
pub(crate) const USAGE: u8 = 2;
/// Refused to protect data.
pub(crate) const PROTECTED: u8 = 4;
/// Unreachable, or the link was lost: retry later.
pub(crate) const UNREACHABLE: u8 = 5;

/// An end that has an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Ended {
    code: u8,
    message: String,
}

impl Ended {
    /// What happened, and the code.
    pub(crate) fn with(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The exit code of a command that failed.
pub(crate) fn code_of(error: &CommandError) -> u8 {
    if let Some(ended) = error.downcast_ref::<Ended>() {
        return ended.code;
    }
    if error.is::<SettingsError>() || error.is::<ConfigError>() { USAGE } else { FAILED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_end_has_its_code() {
        assert_eq!(code_of(&"no".into()), FAILED);
        assert_eq!(code_of(&SettingsError::new("no").into()), USAGE);
        assert_eq!(code_of(&Ended::with(UNREACHABLE, "no").into()), UNREACHABLE);
    }
}
