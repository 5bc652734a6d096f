//! Policies: which table flows in which direction, and by which rules.
//!
//! A policy is a TOML file. Every table of a database is named in it or matched by a pattern of it; what is not, and
//! what is misspelt, is an error with a suggestion, so that no table is forgotten in silence.

mod canonical;
mod duration;
mod error;
mod filter;
mod options;
mod parse;
mod pattern;
mod preset;
mod resolve;
mod suggest;

use std::time::Duration;

pub use error::{PolicyError, PolicyErrors};
pub use resolve::{ReferenceProblem, ResolvedPolicy};

use crate::names::TableName;
use options::WrittenOptions;
use pattern::Entries;

/// Which way the rows of a table flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// The office owns the table; shops receive it.
    FromSource,
    /// Each shop owns its rows; the office receives them.
    FromTarget,
    /// Changed on both sides; merged by the table's conflict rule.
    Both,
    /// Sent to a shop once, when it is cloned.
    Initial,
    /// Never leaves the database.
    Local,
}

impl Direction {
    /// Every direction, in the order in which help and errors list them.
    pub const ALL: [Self; 5] = [Self::FromSource, Self::FromTarget, Self::Both, Self::Initial, Self::Local];

    /// The word of the policy file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FromSource => "from-source",
            Self::FromTarget => "from-target",
            Self::Both => "both",
            Self::Initial => "initial",
            Self::Local => "local",
        }
    }

    /// Whether changes made at the office are sent to shops after the clone.
    pub fn flows_to_shop(self) -> bool {
        matches!(self, Self::FromSource | Self::Both)
    }

    /// Whether changes made at a shop are sent to the office.
    pub fn flows_to_office(self) -> bool {
        matches!(self, Self::FromTarget | Self::Both)
    }

    /// Whether a clone brings rows of the table to a shop (those with `history` aside).
    pub fn cloned(self) -> bool {
        matches!(self, Self::FromSource | Self::Both | Self::Initial)
    }

    /// Whether the table takes part in synchronisation at all.
    pub fn synchronised(self) -> bool {
        self != Self::Local
    }

    /// Whether each branch needs id numbers of its own for the table.
    pub fn needs_id_range(self) -> bool {
        self.flows_to_office()
    }
}

/// Who is right when both sides changed one row of a `both` table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ConflictRule {
    /// The office's value stands.
    #[default]
    OfficeWins,
    /// The shop's value stands.
    ShopWins,
    /// The later change stands; a wrong clock can fool it.
    NewestWins,
    /// The office's value stands on both sides, flagged until someone decides.
    Manual,
}

impl ConflictRule {
    /// Every rule, in the order in which help and errors list them.
    pub const ALL: [Self; 4] = [Self::OfficeWins, Self::ShopWins, Self::NewestWins, Self::Manual];

    /// The word of the policy file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OfficeWins => "office-wins",
            Self::ShopWins => "shop-wins",
            Self::NewestWins => "newest-wins",
            Self::Manual => "manual",
        }
    }
}

/// Whether deletes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Deletes {
    /// A delete is a change like any other.
    Send,
    /// A delete is housekeeping of the side that makes it.
    Ignore,
}

impl Deletes {
    /// Every choice, in the order in which help and errors list them.
    pub const ALL: [Self; 2] = [Self::Send, Self::Ignore];

    /// The word of the policy file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Ignore => "ignore",
        }
    }

    /// The default of a direction: shops purge old sales, which must stay at the office.
    pub fn default_of(direction: Direction) -> Self {
        match direction {
            Direction::FromTarget => Self::Ignore,
            _ => Self::Send,
        }
    }
}

/// Whether the application's own triggers run on applied rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Triggers {
    /// They stay quiet: their effects arrive as data.
    #[default]
    Quiet,
    /// They run as for any other program.
    Fire,
}

impl Triggers {
    /// Every choice, in the order in which help and errors list them.
    pub const ALL: [Self; 2] = [Self::Quiet, Self::Fire];

    /// The word of the policy file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Fire => "fire",
        }
    }
}

/// Which rows of a table go to, or may come from, which branch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowFilter {
    /// An immutable SQL expression over the row's own columns and `:branch`. It is the administrator's own SQL: the
    /// database judges it.
    Expression(String),
    /// The rows whose parent in this table (as the policy writes its name) passes that table's filter.
    Via(String),
}

/// The group of tables that travel first, to which all belong that the policy does not put into another one.
pub const GROUP_FIRST: u8 = 1;

/// The last group that can be written.
pub const GROUP_LAST: u8 = 9;

/// How one table takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePolicy {
    /// Which way its rows flow.
    pub direction: Direction,
    /// Who wins a conflict; meaningful for `both`.
    pub conflict: ConflictRule,
    /// Numeric columns that move as increments, sorted; only with `both`.
    pub delta: Vec<String>,
    /// Numeric columns whose sums are compared at the end of an update, sorted.
    pub money: Vec<String>,
    /// Which rows go to which branch; all when `None`.
    pub rows: Option<RowFilter>,
    /// Freshness that people may rely on; zero means always fresh.
    pub max_age: Option<Duration>,
    /// Whether deletes travel.
    pub deletes: Deletes,
    /// How much of its own rows a re-cloned shop gets back; only with `from-target`, together with `history_column`.
    pub history: Option<Duration>,
    /// The column that `history` looks at.
    pub history_column: Option<String>,
    /// Whether the application's triggers run on applied rows.
    pub triggers: Triggers,
    /// With which tables its changes travel to shops: those of a lower group go first, and are applied first. Only
    /// with `from-source`; all others are in the first group.
    pub group: u8,
}

impl TablePolicy {
    /// A table of the given direction with every option at its default.
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            conflict: ConflictRule::default(),
            delta: Vec::new(),
            money: Vec::new(),
            rows: None,
            max_age: None,
            deletes: Deletes::default_of(direction),
            history: None,
            history_column: None,
            triggers: Triggers::default(),
            group: GROUP_FIRST,
        }
    }
}

/// What happens to a name of the policy that the database has no table for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// It is an error, since it is probably misspelt.
    Refuse,
    /// It is passed over: the policy fits several schemas. A misspelt name still shows, as a table without a policy.
    Ignore,
}

/// A policy as written, not yet held against a database.
#[derive(Debug, Clone)]
pub struct Policy {
    name: String,
    source: String,
    missing: Missing,
    directions: Entries<Direction>,
    options: Entries<WrittenOptions>,
}

impl Policy {
    /// Reads a policy file. The error names the first thing that is wrong, its line, and what was probably meant.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        parse::parse(text)
    }

    /// A policy compiled in, by name.
    pub fn preset(name: &str) -> Option<Self> {
        preset::preset(name)
    }

    /// The names of the policies compiled in.
    pub fn presets() -> &'static [&'static str] {
        preset::NAMES
    }

    /// The name that BranchSynchronization stores.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text that was parsed, comments and all.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// SHA-256, in hex, of what the policy means: two policies have the same one if they treat every table alike,
    /// whatever their names, comments, order and written defaults.
    pub fn digest(&self) -> String {
        canonical::digest(self)
    }

    /// The policy as TOML in a canonical order and without comments.
    pub fn to_toml(&self) -> String {
        canonical::to_toml(self)
    }

    /// Holds the policy against the tables of a database: each gets its direction and options.
    ///
    /// `tables` are the tables that can take part: partitioned tables by their root, without partitions, and without
    /// the product's own. All problems are reported together.
    pub fn resolve(&self, tables: &[TableName]) -> Result<ResolvedPolicy, PolicyErrors> {
        resolve::resolve(self, tables)
    }

    /// As [`Policy::resolve`], for a database that is in use: tables that the policy does not mention are taken as
    /// local and returned besides. Somebody who makes a table for a quick look must not stop the synchronisation of all
    /// others; when a policy is checked or imported it is an error all the same.
    ///
    /// # Errors
    /// Those of [`Policy::resolve`] but for tables that are not in the policy.
    pub fn resolve_known(&self, tables: &[TableName]) -> Result<(ResolvedPolicy, Vec<TableName>), PolicyErrors> {
        resolve::resolve_known(self, tables)
    }
}

#[cfg(test)]
mod tests;
