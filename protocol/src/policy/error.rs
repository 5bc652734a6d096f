//! What can be wrong with a policy, with its line and what was probably meant.

use std::fmt;

use crate::names::TableName;

/// One thing that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file is no TOML.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What the TOML reader says.
        reason: String,
    },
    /// A key that no policy has.
    #[error("line {line}: unknown key `{key}` in {place}{}", did_you_mean(.suggestion))]
    UnknownKey {
        /// Line, from 1.
        line: usize,
        /// The key as written.
        key: String,
        /// Where it stands.
        place: String,
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
    /// A key that every policy needs.
    #[error("the policy has no `{key}`; write {example}")]
    MissingKey {
        /// The key.
        key: &'static str,
        /// How it is written.
        example: &'static str,
    },
    /// A value of the wrong kind, or a word that is none of those possible.
    #[error("line {line}: `{key}` cannot be `{written}`; it is {expected}{}", did_you_mean(.suggestion))]
    WrongValue {
        /// Line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// The value as written, or its kind.
        written: String,
        /// What is possible.
        expected: String,
        /// The value that was probably meant.
        suggestion: Option<String>,
    },
    /// One name twice.
    #[error("line {line}: `{name}` is already in line {first_line}; keep one of them")]
    Doubled {
        /// Line of the second, from 1.
        line: usize,
        /// Line of the first.
        first_line: usize,
        /// The name.
        name: String,
    },
    /// A key or name that cannot be one of a table.
    #[error(
        "line {line}: `{name}` is no table name or pattern; write `table`, `\"schema.table\"` or a pattern with `*`"
    )]
    WrongName {
        /// Line, from 1.
        line: usize,
        /// What was written.
        name: String,
    },
    /// Options of a table that has no direction.
    #[error("line {line}: [table.{name}] has options, but `{name}` has no direction in \
     [tables]{}", did_you_mean(.suggestion))]
    OptionsWithoutDirection {
        /// Line, from 1.
        line: usize,
        /// The table.
        name: String,
        /// The table that was probably meant.
        suggestion: Option<String>,
    },
    /// An option that cannot stand with the table's direction or its other options.
    #[error("line {line}: option `{option}` of table `{table}`: {reason}")]
    WrongOption {
        /// Line, from 1.
        line: usize,
        /// The table.
        table: String,
        /// The option.
        option: &'static str,
        /// Why it cannot stand, and what to do.
        reason: String,
    },
    /// A name that the database has no table for.
    #[error("line {line}: the database has no table `{name}`{}", did_you_mean(.suggestion))]
    UnknownTable {
        /// Line, from 1.
        line: usize,
        /// The name as written.
        name: String,
        /// The table that was probably meant.
        suggestion: Option<String>,
    },
    /// A table of the database that the policy neither names nor matches.
    #[error("table `{table}` is not in the policy; give it a direction in [tables]{}", misspelt_as(.suggestion))]
    Unnamed {
        /// The table.
        table: TableName,
        /// A name of the policy that is alike and has no table.
        suggestion: Option<String>,
    },
    /// A table matched equally well by two patterns that say different things.
    #[error(
        "table `{table}` is matched by `{first}` (line {first_line}) and `{second}` (line {second_line}) alike; name it"
    )]
    Ambiguous {
        /// The table.
        table: TableName,
        /// One pattern.
        first: String,
        /// Its line.
        first_line: usize,
        /// The other.
        second: String,
        /// Its line.
        second_line: usize,
    },
}

impl PolicyError {
    /// The line of the policy file, from 1, where one is to blame.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Syntax { line, .. }
            | Self::UnknownKey { line, .. }
            | Self::WrongValue { line, .. }
            | Self::Doubled { line, .. }
            | Self::WrongName { line, .. }
            | Self::OptionsWithoutDirection { line, .. }
            | Self::WrongOption { line, .. }
            | Self::UnknownTable { line, .. } => Some(*line),
            Self::MissingKey { .. } | Self::Unnamed { .. } | Self::Ambiguous { .. } => None,
        }
    }

    /// What was probably meant.
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { suggestion, .. }
            | Self::WrongValue { suggestion, .. }
            | Self::OptionsWithoutDirection { suggestion, .. }
            | Self::UnknownTable { suggestion, .. }
            | Self::Unnamed { suggestion, .. } => suggestion.as_deref(),
            _ => None,
        }
    }
}

fn did_you_mean(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|word| format!("; did you mean `{word}`?")).unwrap_or_default()
}

fn misspelt_as(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|word| format!("; is it the `{word}` written there?")).unwrap_or_default()
}

/// Everything that is wrong between a policy and a database; never empty. One problem a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyErrors {
    /// The policy's name.
    pub policy: String,
    /// The problems, those with a line first and in their order.
    pub errors: Vec<PolicyError>,
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "policy `{}` does not fit the database:", self.policy)?;
        self.errors.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for PolicyErrors {}
