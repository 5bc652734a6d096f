//! The options of a table as written, and whether they can stand with its direction.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::PolicyError;
use super::{ConflictRule, Deletes, Direction, GROUP_FIRST, RowFilter, TablePolicy, Triggers};

/// Names of the options, as errors and the canonical form list them.
pub(super) const NAMES: [&str; 10] =
    ["conflict", "delta", "money", "rows", "max_age", "deletes", "history", "history_column", "triggers", "group"];

/// One `[table.x]`.
#[derive(Debug, Clone)]
pub(super) struct WrittenOptions {
    pub(super) values: OptionValues,
    /// Line of each option that is written.
    pub(super) lines: BTreeMap<&'static str, usize>,
    /// Line of its head.
    pub(super) line: usize,
}

/// Where options stand in the file is no part of what they say.
impl PartialEq for WrittenOptions {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

/// What a `[table.x]` says; `None` or empty where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OptionValues {
    pub(super) conflict: Option<ConflictRule>,
    /// Sorted.
    pub(super) delta: Vec<String>,
    /// Sorted.
    pub(super) money: Vec<String>,
    pub(super) rows: Option<RowFilter>,
    pub(super) max_age: Option<Duration>,
    pub(super) deletes: Option<Deletes>,
    pub(super) history: Option<Duration>,
    pub(super) history_column: Option<String>,
    pub(super) triggers: Option<Triggers>,
    pub(super) group: Option<u8>,
}

impl WrittenOptions {
    /// The table's policy, or everything that cannot stand with its direction.
    pub(super) fn apply(&self, table: &str, direction: Direction) -> Result<TablePolicy, Vec<PolicyError>> {
        let errors: Vec<PolicyError> = self
            .values
            .problems(direction)
            .into_iter()
            .map(|(option, reason)| self.wrong(table, option, reason))
            .collect();
        match errors.is_empty() {
            true => Ok(self.values.policy(direction)),
            false => Err(errors),
        }
    }

    /// An error about one option of this table.
    pub(super) fn wrong(&self, table: &str, option: &'static str, reason: String) -> PolicyError {
        let line = self.lines.get(option).copied().unwrap_or(self.line);
        PolicyError::WrongOption { line, table: table.to_owned(), option, reason }
    }
}

impl OptionValues {
    /// The same with everything left out that is the default of `direction` anyway.
    pub(super) fn without_defaults(&self, direction: Option<Direction>) -> Self {
        let default_deletes = direction.map(Deletes::default_of);
        Self {
            conflict: self.conflict.filter(|rule| *rule != ConflictRule::default()),
            deletes: self.deletes.filter(|deletes| Some(*deletes) != default_deletes),
            triggers: self.triggers.filter(|triggers| *triggers != Triggers::default()),
            group: self.group.filter(|group| *group != GROUP_FIRST),
            ..self.clone()
        }
    }

    fn policy(&self, direction: Direction) -> TablePolicy {
        TablePolicy {
            direction,
            conflict: self.conflict.unwrap_or_default(),
            delta: self.delta.clone(),
            money: self.money.clone(),
            rows: self.rows.clone(),
            max_age: self.max_age,
            deletes: self.deletes.unwrap_or(Deletes::default_of(direction)),
            history: self.history,
            history_column: self.history_column.clone(),
            triggers: self.triggers.unwrap_or_default(),
            group: self.group.unwrap_or(GROUP_FIRST),
        }
    }

    fn problems(&self, direction: Direction) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut only = |written: bool, option: &'static str, possible: &[Direction], why: &str| {
            if written && !possible.contains(&direction) {
                let words: Vec<&str> = possible.iter().map(|direction| direction.as_str()).collect();
                let reason = format!(
                    "it needs the direction {}, and this table is {}: {why}",
                    words.join(" or "),
                    direction.as_str()
                );
                found.push((option, reason));
            }
        };
        use Direction::{Both, FromSource, FromTarget, Initial};
        let flowing = [FromSource, FromTarget, Both];
        only(self.conflict.is_some(), "conflict", &[Both], "only rows changed on both sides can be in conflict");
        only(!self.delta.is_empty(), "delta", &[Both], "an amount that one side alone changes needs no adding up");
        only(!self.money.is_empty(), "money", &flowing, "control totals are of rows that move");
        only(self.rows.is_some(), "rows", &[FromSource, FromTarget, Both, Initial], "a local table sends no rows");
        only(self.max_age.is_some(), "max_age", &flowing, "nothing newer will ever arrive");
        only(self.deletes.is_some(), "deletes", &flowing, "it sends no deletes");
        only(self.history.is_some(), "history", &[FromTarget], "the other directions are cloned in full");
        only(self.history_column.is_some(), "history_column", &[FromTarget], "it belongs to history");
        only(self.triggers.is_some(), "triggers", &[FromSource, FromTarget, Both, Initial], "no rows are applied");
        let why = "only what the office alone owns can wait for its turn";
        only(self.group.is_some_and(|group| group != GROUP_FIRST), "group", &[FromSource], why);
        match (self.history.is_some(), self.history_column.is_some()) {
            (true, false) => {
                found.push(("history", "it needs history_column, the column that tells a row's age".to_owned()))
            }
            (false, true) => found.push(("history_column", "it needs history, such as \"90d\"".to_owned())),
            _ => {}
        }
        found
    }
}
