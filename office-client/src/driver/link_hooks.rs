//! The line of a branch, as its settings describe it.

use std::sync::Arc;

use replica::office::Branch;

use super::DriveError;
use crate::link::{Line, LineSettings};
use crate::units;

/// What a branch's settings say about its line.
pub(crate) fn line_settings(branch: &Branch) -> Result<LineSettings, DriveError> {
    let setting = |name: &str| branch.settings.get(name).cloned();
    let timeout = match setting("link_timeout") {
        Some(text) => Some(units::parse_duration(&text).map_err(DriveError::Unusable)?),
        None => None,
    };
    Ok(LineSettings { name: setting("line"), up: setting("link_up"), down: setting("link_down"), timeout })
}

/// The line of a branch that shares it with nobody in this run.
pub(super) fn own_line(branch: &Branch) -> Result<Arc<Line>, DriveError> {
    Ok(Line::new(line_settings(branch)?))
}
