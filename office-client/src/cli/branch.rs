//! `branch ...`: the BranchSynchronization records.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `branch ...`
#[derive(Debug, Subcommand)]
pub(crate) enum BranchCommand {
    /// Adds a branch
    Add(BranchAdd),
    /// All branches
    List,
    /// One branch with all its settings
    Show(BranchName),
    /// Changes settings of a branch
    Set(BranchSet),
    /// Leaves a branch out of `update --all`
    Pause(BranchName),
    /// Takes a paused branch in again
    Resume(BranchName),
    /// Takes a branch out for good: nothing is kept for it any more. A repair or a clone takes it in again
    Retire(BranchName),
    /// Removes a branch and what is kept for it; its ids are never given out again
    Remove(BranchRemove),
}

/// A branch's name.
#[derive(Debug, Args)]
pub(crate) struct BranchName {
    /// Name of the branch
    pub(crate) name: String,
}

/// `branch remove`
#[derive(Debug, Args)]
pub(crate) struct BranchRemove {
    /// Name of the branch
    pub(crate) name: String,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `branch add`
#[derive(Debug, Args)]
pub(crate) struct BranchAdd {
    /// Name of the branch: letters, digits, dashes, underscores, dots
    pub(crate) name: String,
    /// Number of the branch [default: the next free one]
    #[arg(long)]
    pub(crate) id: Option<i64>,
    /// Where its agent listens, as in http://10.0.17.2:9000
    #[arg(long, value_name = "URL")]
    pub(crate) url: String,
    #[command(flatten)]
    settings: BranchSettings,
}

impl BranchAdd {
    /// The settings given.
    pub(crate) fn settings(&self) -> &BranchSettings {
        &self.settings
    }
}

/// `branch set`
#[derive(Debug, Args)]
pub(crate) struct BranchSet {
    /// Name of the branch
    pub(crate) name: String,
    /// Where its agent listens
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    settings: BranchSettings,
}

impl BranchSet {
    /// The settings given.
    pub(crate) fn settings(&self) -> &BranchSettings {
        &self.settings
    }
}

/// Settings of a branch that `add` and `set` share. An empty value takes a setting away.
#[derive(Debug, Default, Args)]
pub(crate) struct BranchSettings {
    /// User for HTTP Basic
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// File with the password, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// SHA-256 of the agent's certificate, as `shop-agent status` shows it at the shop: no other one is taken
    #[arg(long, value_name = "SHA256", conflicts_with = "ca")]
    pub(crate) fingerprint: Option<String>,
    /// Authorities one of which must have signed it, PEM [default: those this machine trusts]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Certificate to show to an agent that asks for one, PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Its private key, PEM, readable by its owner only
    #[arg(long, value_name = "FILE")]
    pub(crate) client_key: Option<PathBuf>,
    /// Bytes per second that a run may use, as in 3KiB/s
    #[arg(long, value_name = "RATE")]
    pub(crate) rate_limit: Option<String>,
    /// Bytes that may move, both ways together, as in 5MiB (each run), 5MiB/day, 200MiB/month
    #[arg(long, value_name = "SIZE[/day|/month]")]
    pub(crate) byte_budget: Option<String>,
    /// Times of day, local, in which the branch may be called, as in 22:00-06:00 or 22:00-06:00,12:30-13:30
    #[arg(long, value_name = "FROM-TO")]
    pub(crate) window: Option<String>,
    /// When the console updates it by itself: every 15m, at 06:00,13:30, with `jitter 5m` behind either to spread branches
    #[arg(long, value_name = "SCHEDULE")]
    pub(crate) schedule: Option<String>,
    /// Age of the shop's data from which on the console and `status` say so [default: 26h]
    #[arg(long, value_name = "DURATION")]
    pub(crate) alert_after: Option<String>,
    /// Share of a table's rows that one update may delete without asking, or off [default: 30%, from 100 rows on]
    #[arg(long, value_name = "PERCENT")]
    pub(crate) stop_deletes: Option<String>,
    /// The same for rows that it changes [default: off]
    #[arg(long, value_name = "PERCENT")]
    pub(crate) stop_changes: Option<String>,
    /// Command that brings the line up before a run, and again when it was lost
    #[arg(long, value_name = "CMD")]
    pub(crate) link_up: Option<String>,
    /// Command that takes the line down after a run, also after a failed or interrupted one
    #[arg(long, value_name = "CMD")]
    pub(crate) link_down: Option<String>,
    /// How long either command may take [default: 2m]
    #[arg(long, value_name = "DURATION")]
    pub(crate) link_timeout: Option<String>,
    /// Name of the line, where branches share one although their commands differ: they are called one after the other
    #[arg(long, value_name = "NAME")]
    pub(crate) line: Option<String>,
}
