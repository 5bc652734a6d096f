//! Why a run of one branch ended early.

use protocol::history::History;
use replica::ReplicaError;

use crate::link::LinkError;

/// A run ended early. Nothing is half applied on either side, and the next run goes on where this one stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriveError {
    /// The line, or the agent at its end.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The office's database.
    #[error("{whose}{0}", whose = crate::error::whose(.0))]
    Replica(#[from] ReplicaError),
    /// The user stopped it.
    #[error("interrupted at a clean place")]
    Interrupted,
    /// The agent serves another branch.
    #[error("the agent at this URL is branch `{theirs}`")]
    WrongShop {
        /// What it calls itself.
        theirs: String,
    },
    /// The agent speaks another version of the protocol.
    #[error("its agent speaks version {theirs} of the protocol, this program version {ours}")]
    ProtocolDiffers {
        /// Version of this program.
        ours: i32,
        /// Version of the agent.
        theirs: i32,
    },
    /// The two ends would treat tables differently.
    #[error("the shop works under another policy: `{theirs}` there, `{ours}` here, and they do not mean the same")]
    PolicyDiffers {
        /// Name of the office's policy for the branch.
        ours: String,
        /// Name of the shop's.
        theirs: String,
    },
    /// Rows cannot go between the tables of the two ends.
    #[error("the tables of office and shop do not fit together; nothing was moved:\n  {}", .0.join("\n  "))]
    SchemasDiffer(Vec<String>),
    /// The shop's database is not the one that was cloned: restored from a backup, or replaced.
    #[error("the shop's database has another history than the one that was cloned: it was restored or replaced")]
    OtherIncarnation,
    /// One end knows less than it has told the other.
    #[error("{}", histories(.0))]
    Histories(History),
    /// A repair needs extensions that the peer does not offer.
    #[error("its agent offers no comparison row by row, so nothing can be repaired")]
    CannotRepair,
    /// Taking in a shop with its data needs extensions that the peer does not offer.
    #[error("its agent offers no comparison row by row, so it cannot be taken in with the data it has")]
    CannotAdopt,
    /// An adoption of a branch that is synchronised.
    #[error("it is synchronised already")]
    TakenIn,
    /// An adoption of a shop whose rows are not the office's.
    #[error("it was not taken in: {0} of its tables differ from the office's")]
    Disagree(usize),
    /// A shop's own rows have ids that the office has for another branch.
    #[error(
        "table {table}: {rows} rows of this shop have ids under which the office has rows of another branch; nothing was taken in"
    )]
    IdsOfOthers {
        /// The table.
        table: String,
        /// How many rows of those looked at.
        rows: usize,
    },
    /// An update of a branch that was never cloned.
    #[error("it has never been cloned")]
    NeverCloned,
    /// An update of a branch whose clone was begun and not finished.
    #[error("its clone was begun and never finished")]
    CloneUnfinished,
    /// The branch was taken out for good.
    #[error("it was retired, and nothing is kept for it any more")]
    Retired,
    /// The branch was not heard of for longer than changes are kept.
    #[error("it was not heard of for too long: changes that it has not got are no longer kept")]
    Outlived,
    /// The branch is paused.
    #[error("it is paused")]
    Paused,
    /// It may not be called now, or no longer.
    #[error("it may be called in the window {window} only")]
    OutsideWindow {
        /// The window as configured.
        window: String,
    },
    /// It has used up the bytes that it may use.
    #[error("its byte budget of {budget} is used up")]
    BudgetUsed {
        /// The budget as configured.
        budget: String,
    },
    /// Its settings cannot work.
    #[error("{0}")]
    Unusable(String),
    /// The shop kept asking to come back later.
    #[error("the shop is busy: {0}")]
    Busy(String),
    /// What was received is not what the shop had announced, more than once.
    #[error("what arrives is damaged again and again: its SHA-256 is not the announced one")]
    Damaged,
    /// One of the two programs is wrong.
    #[error("the two ends do not understand each other ({0})")]
    Confused(String),
    /// A file of ours cannot be read or written.
    #[error("cannot {what}")]
    File {
        /// What was tried, and on which file.
        what: String,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// After a clone, both ends do not agree.
    #[error("tables that differ from the office's after the clone: {0}")]
    Differs(usize),
}

/// How the two histories lie to each other, in words.
fn histories(history: &History) -> &'static str {
    match history {
        History::Same => "both ends share one history",
        History::CallerOlder => {
            "the office's database knows less than it has told this shop: it was restored from a backup, or it is one of two copies"
        }
        History::AgentOlder => {
            "the shop's database knows less than it has told the office: it was restored from a backup, or it is one of two copies"
        }
        History::Forked => {
            "a copy of this shop's or of this office's database has been in contact as well: it is used from two places"
        }
    }
}

impl DriveError {
    /// What to do about it.
    pub(crate) fn hint(&self, branch: &str) -> Option<String> {
        if let Some(hint) = crate::error::full_disk_hint(self) {
            return Some(hint);
        }
        Some(match self {
            Self::Link(error) => return error.hint(),
            Self::Replica(error) => return crate::error::replica_hint(error),
            Self::Interrupted => "the same command goes on where this one stopped".to_owned(),
            Self::WrongShop { .. } => {
                format!("correct the URL with `office-client branch set {branch} --url URL`, or the agent's `--branch`")
            }
            Self::ProtocolDiffers { ours, theirs } => {
                let behind = if ours < theirs { "the office" } else { "the shop" };
                format!("nothing was moved, and nothing is lost: install the newer version at {behind}")
            }
            Self::PolicyDiffers { ours, .. } => {
                format!("give both the same file: `office-client policy show {ours} --toml` prints the office's")
            }
            Self::OtherIncarnation | Self::Histories(_) => format!(
                "`office-client verify {branch}` shows what differs, with --repair it brings both sides together and loses nothing; \
                 of a database in use from two places, stop one first"
            ),
            Self::TakenIn => {
                format!("`office-client update {branch}` goes on, `office-client verify {branch} --repair` mends what differs")
            }
            Self::Disagree(_) => format!(
                "mend the rows above at either side, or run `office-client adopt {branch} --repair`: it pulls and sends them by the direction of their table and loses none"
            ),
            Self::IdsOfOthers { .. } => {
                "give these rows other ids at the shop (their foreign keys with ON UPDATE CASCADE follow), then run it again".to_owned()
            }
            Self::CannotRepair | Self::CannotAdopt => format!("`office-client clone {branch}` makes the shop anew"),
            Self::NeverCloned => {
                format!("run `office-client clone {branch}`, or `office-client adopt {branch}` when the shop has its data already")
            }
            Self::CloneUnfinished => format!("run `office-client clone {branch}`"),
            Self::Retired | Self::Outlived => format!(
                "run `office-client verify {branch} --repair`, which keeps what either side has, or `office-client clone {branch}`"
            ),
            Self::Paused => format!("run `office-client branch resume {branch}`, or insist with --force"),
            Self::OutsideWindow { .. } => {
                "the next run inside the window goes on where this one stopped; --force insists".to_owned()
            }
            Self::BudgetUsed { .. } => "the next run goes on where this one stopped; --force insists".to_owned(),
            Self::Unusable(_) => format!("mend it with `office-client branch set {branch}`"),
            Self::Busy(_) => "try again later: nothing was lost".to_owned(),
            Self::Differs(_) => format!("`office-client verify {branch}` lists them"),
            Self::Damaged | Self::Confused(_) => "run it again with -vv and look at the agent's log too".to_owned(),
            Self::SchemasDiffer(_) | Self::File { .. } => return None,
        })
    }
}
