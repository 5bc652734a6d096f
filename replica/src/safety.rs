//! The safety stop: an update that would delete or change an uncommonly large part of a table stops and asks.

use std::collections::BTreeMap;

use protocol::names::TableName;

use crate::ReplicaError;

/// Which part of a branch's rows of a table one update may delete or change without asking.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SafetyStop {
    /// Percent of the rows that may be deleted; none: all.
    pub deletes: Option<f64>,
    /// Percent of the rows that may be changed; none: all.
    pub changes: Option<f64>,
}

/// Fewer rows than this are never worth a question.
const ROWS_MIN: i64 = 100;

impl Default for SafetyStop {
    /// A third less a little may go; prices change all at once, so changes are never asked about.
    fn default() -> Self {
        Self { deletes: Some(30.0), changes: None }
    }
}

impl SafetyStop {
    /// What the settings of a branch say (`stop_deletes`, `stop_changes`: a percentage, or `off`).
    pub fn of(settings: &BTreeMap<String, String>) -> Result<Self, ReplicaError> {
        let default = Self::default();
        let percent = |name: &str, default: Option<f64>| match settings.get(name) {
            Some(text) => Self::parse(text),
            None => Ok(default),
        };
        Ok(Self {
            deletes: percent("stop_deletes", default.deletes)?,
            changes: percent("stop_changes", default.changes)?,
        })
    }

    /// Reads `30%` or `off`.
    pub fn parse(text: &str) -> Result<Option<f64>, ReplicaError> {
        if text == "off" {
            return Ok(None);
        }
        let number = text.trim_end_matches('%').trim();
        match number.parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Some(percent)),
            _ => Err(ReplicaError::Invalid(format!("{text:?} is no percentage such as 30%, and not off"))),
        }
    }

    /// Refuses so many deletes among `all` rows of a table.
    pub fn check_deletes(&self, table: &TableName, rows: i64, all: i64) -> Result<(), ReplicaError> {
        check(self.deletes, "delete", table, rows, all)
    }

    /// Refuses so many changes among `all` rows of a table.
    pub fn check_changes(&self, table: &TableName, rows: i64, all: i64) -> Result<(), ReplicaError> {
        check(self.changes, "change", table, rows, all)
    }

    /// Whether so many rows could be too many at all: only then is it worth counting the table.
    pub fn concerns(&self, deletes: i64, changes: i64) -> bool {
        (self.deletes.is_some() && deletes >= ROWS_MIN) || (self.changes.is_some() && changes >= ROWS_MIN)
    }
}

#[allow(clippy::cast_precision_loss, reason = "a share needs no more digits than a double has")]
fn check(percent: Option<f64>, verb: &str, table: &TableName, rows: i64, all: i64) -> Result<(), ReplicaError> {
    let Some(percent) = percent else { return Ok(()) };
    if rows < ROWS_MIN || rows as f64 * 100.0 <= all as f64 * percent {
        return Ok(());
    }
    Err(ReplicaError::Protected(format!(
        "the update would {verb} {rows} of the {all} rows of table {table}, more than {percent} %: nothing was applied"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exceeded_by_many_rows_only() {
        let stop = SafetyStop::default();
        let table = TableName::new("public", "t");
        assert!(stop.check_deletes(&table, 99, 99).is_ok(), "few rows");
        assert!(stop.check_deletes(&table, 300, 1000).is_ok(), "as many as may be");
        assert!(stop.check_deletes(&table, 301, 1000).is_err());
        assert!(stop.check_changes(&table, 1000, 1000).is_ok(), "changes are not asked about unless it is set");
        assert!(stop.concerns(100, 0) && !stop.concerns(99, 1000));
    }

    #[test]
    fn settings_are_percentages_or_off() {
        let settings = |value: &str| BTreeMap::from([("stop_deletes".to_owned(), value.to_owned())]);
        assert_eq!(SafetyStop::of(&settings("off")).ok().map(|stop| stop.deletes), Some(None));
        assert_eq!(SafetyStop::of(&settings("12.5%")).ok().map(|stop| stop.deletes), Some(Some(12.5)));
        assert!(SafetyStop::of(&settings("120%")).is_err() && SafetyStop::of(&settings("many")).is_err());
    }
}
