//! `conflicts ...` and `quarantine ...`: what waits for a decision.

use clap::{Args, Subcommand};

pub(super) const CONFLICTS_HELP: &str = "\
A resolution is an ordinary change of the office's row, and travels to every shop. It can be reversed: resolve the
conflict again with the other side. docs/CONFLICTS.md has the rules.";

/// `conflicts`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ConflictsArgs {
    /// What to do [default: list]
    #[command(subcommand)]
    pub(crate) command: Option<ConflictsCommand>,
    #[command(flatten)]
    pub(crate) list: ConflictsList,
}

/// `conflicts ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ConflictsCommand {
    /// The open ones, newest first
    List(ConflictsList),
    /// One with both sides' values and the row as it is now
    Show {
        /// Number of the conflict
        id: i64,
    },
    /// Decides; also where it has been decided before, or the row has changed since
    #[command(before_help = super::examples::CONFLICTS, after_help = CONFLICTS_HELP)]
    Resolve(ConflictsResolve),
}

/// `conflicts list`
#[derive(Debug, Args)]
pub(crate) struct ConflictsList {
    /// The resolved ones too
    #[arg(long)]
    pub(crate) all: bool,
    /// Those with one branch only
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,
    /// Most lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = crate::limits::CONFLICT_LINES_DEFAULT)]
    pub(crate) limit: i64,
}

/// `conflicts resolve`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("choice").required(true).args(["take", "value"])))]
pub(crate) struct ConflictsResolve {
    /// Number of the conflict
    pub(crate) id: i64,
    /// What stands from now on: what the office had, what the shop had, or a value for the one contended column
    #[arg(long, value_name = "office|shop|VALUE", allow_hyphen_values = true)]
    pub(crate) take: Option<String>,
    /// A value, whatever it looks like
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    pub(crate) value: Option<String>,
}

pub(super) const QUARANTINE_HELP: &str = "\
A row that breaks a constraint of the office waits with the rows that refer to it; all others flow. It is tried again
with every update of its branch, so it comes in by itself once the cause is gone. docs/QUARANTINE.md has the rules.";

/// `quarantine`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct QuarantineArgs {
    /// What to do [default: list]
    #[command(subcommand)]
    pub(crate) command: Option<QuarantineCommand>,
    #[command(flatten)]
    pub(crate) list: QuarantineList,
}

/// `quarantine ...`
#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// The rows that wait, oldest first
    List(QuarantineList),
    /// One with its values and the reason
    Show {
        /// Number of the row
        id: i64,
    },
    /// Tries it again now, with all else that waits of its branch; 1 when it still waits
    Retry {
        /// Number of the row
        id: i64,
    },
    /// Drops it for good: the shop keeps the row, the office never gets this change
    Drop {
        /// Number of the row
        id: i64,
        /// It may be lost
        #[arg(long)]
        yes: bool,
    },
}

/// `quarantine list`
#[derive(Debug, Args)]
pub(crate) struct QuarantineList {
    /// Those of one branch only
    #[arg(long, value_name = "NAME")]
    pub(crate) branch: Option<String>,
    /// Most lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = crate::limits::CONFLICT_LINES_DEFAULT)]
    pub(crate) limit: i64,
}
