//! The command line.

mod branch;
mod examples;
mod installation;
mod waiting;

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub(crate) use branch::*;
pub(crate) use installation::*;
pub(crate) use waiting::*;

use crate::units;

const EXAMPLES: &str = "\
Examples:
  office-client setup
  office-client branch add shop-17 --url http://10.0.17.2:9000 --user office --password-file ~/.shop-17
  office-client clone shop-17
  office-client update --all
  office-client status
";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 some branches failed,
4 refused to protect data, 5 unreachable, link lost or postponed (retry later), 130 interrupted";

/// Keeps the databases of an office and its shops in step, over lines that are slow, drop, or have to be dialled.
#[derive(Debug, Parser)]
#[command(name = "office-client", version, before_help = EXAMPLES, after_help = EXIT_CODES, propagate_version = true)]
#[command(disable_help_subcommand = true, max_term_width = 110)]
pub(crate) struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// What was typed, and what the environment says where nothing was.
    pub(crate) fn read() -> Self {
        Self::of(&Self::command().get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// Only what was typed together has to fit together: clap would count the environment too.
    fn of(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if let Some(("update", matches)) = matches.subcommand() {
            let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
            if typed("jobs") && typed("export") {
                let message =
                    "the argument '--export <FILE>' cannot be used with '--jobs <N>': a file is for one branch";
                return Err(Self::command().error(ErrorKind::ArgumentConflict, message));
            }
        }
        Self::from_arg_matches(matches)
    }
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Configuration file [default: ~/.config/office-client/office-client.toml or /etc/office-client/office-client.toml]
    #[arg(long, global = true, value_name = "FILE", env = "OFFICE_CLIENT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The office's database: a PostgreSQL URL, or embedded:DIR [default: embedded:STATE_DIR/database]
    #[arg(long, global = true, value_name = "URL", env = "OFFICE_CLIENT_DATABASE", hide_env_values = true)]
    pub(crate) database: Option<String>,
    /// Directory with PostgreSQL's server binaries, for an embedded database
    #[arg(long, global = true, value_name = "DIR", env = "OFFICE_CLIENT_PG_BINDIR")]
    pub(crate) pg_bindir: Option<PathBuf>,
    /// Policy of new branches: a file, or a name [default: shop]
    #[arg(long, global = true, value_name = "FILE|NAME", env = "OFFICE_CLIENT_POLICY")]
    pub(crate) policy: Option<String>,
    /// Directory for spools and received data [default: ~/.local/state/office-client; as root /var/lib/office-client]
    #[arg(long, global = true, value_name = "DIR", env = "OFFICE_CLIENT_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// How long a failing line is tried again without progress [default: 2m; first contact 10s]
    #[arg(long, global = true, value_name = "DURATION", env = "OFFICE_CLIENT_RETRY_FOR")]
    pub(crate) retry_for: Option<String>,
    /// How long a connection may stay silent [default: 60s]
    #[arg(long, global = true, value_name = "DURATION", env = "OFFICE_CLIENT_TIMEOUT")]
    pub(crate) timeout: Option<String>,
    /// Print JSON, one object per line (docs/JSON.md)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say nothing on success; errors still go to stderr
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "verbose")]
    pub(crate) quiet: u8,
    /// Say more on stderr; twice: every chunk
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Filled in by `update --jobs`.
    #[arg(skip)]
    pub(crate) jobs: Option<usize>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sets up the office: asks, or takes flags; writes the configuration, prepares the database, and checks
    #[command(before_help = examples::SETUP)]
    Setup(SetupArgs),
    /// A line for everything that must be right, with what mends it: configuration, database, rights, policies, capture, and
    /// the link to each branch; 1 when something is wrong
    #[command(before_help = examples::CHECK)]
    Check(CheckArgs),
    /// Installs capture and the sync schema into the office's database; repeatable
    #[command(before_help = examples::INIT)]
    Init,
    /// Adds, lists and changes branches
    #[command(subcommand, before_help = examples::BRANCH)]
    Branch(Box<BranchCommand>),
    /// Gives a shop its first full copy, or a new one: clean, id range, copy, BranchSynchronization, verify
    #[command(before_help = examples::CLONE)]
    Clone(CloneArgs),
    /// Takes in a shop that has its data already: verify, id range, watermarks; nothing is cleaned
    #[command(before_help = examples::ADOPT)]
    Adopt(AdoptArgs),
    /// Pulls a shop's changes and pushes the office's, for one branch or many
    #[command(visible_alias = "sync", before_help = examples::UPDATE)]
    Update(UpdateArgs),
    /// Writes the private database into a file, while it works
    #[command(before_help = examples::BACKUP)]
    Backup(BackupArgs),
    /// Puts a backup in the place of the private database, and begins a new history: every branch is repaired
    #[command(before_help = examples::RESTORE)]
    Restore(RestoreArgs),
    /// Says that the office's database was restored from a backup: a new history begins, and every branch is repaired
    #[command(before_help = examples::AFTER_RESTORE)]
    AfterRestore,
    /// Says that the office's database was moved whole, as by pg_upgrade: its history goes on
    #[command(before_help = examples::AFTER_UPGRADE)]
    AfterUpgrade,
    /// Takes in a file that a shop has written with `shop-agent export`
    #[command(before_help = examples::IMPORT)]
    Import(ImportArgs),
    /// A line per branch: freshness, backlog, last result
    #[command(before_help = examples::STATUS)]
    Status(StatusArgs),
    /// Past runs with rows, bytes, time and result, newest first
    #[command(before_help = examples::HISTORY)]
    History(HistoryArgs),
    /// Compares counts and digests of every table with the shop; 1 when something differs
    #[command(before_help = examples::VERIFY)]
    Verify(VerifyArgs),
    /// Lists, shows and resolves conflicts: what an office and a shop had both changed
    #[command(before_help = examples::CONFLICTS, after_help = waiting::CONFLICTS_HELP)]
    Conflicts(ConflictsArgs),
    /// Lists, shows, retries and drops rows of shops that wait because the office could not take them
    #[command(before_help = examples::QUARANTINE, after_help = waiting::QUARANTINE_HELP)]
    Quarantine(QuarantineArgs),
    /// Imports, lists, checks and shows policies
    #[command(subcommand, before_help = examples::POLICY)]
    Policy(PolicyCommand),
    /// The web console: how every branch stands, updates and clones to watch, conflicts to decide
    #[command(before_help = examples::CONSOLE, after_help = CONSOLE_HELP)]
    Console(ConsoleArgs),
    /// One XML-RPC call by hand
    #[command(before_help = examples::CALL, after_help = protocol::by_hand::SPELLINGS)]
    Call(CallArgs),
    /// Holds any server against the conformance vectors, rule by rule; 1 when it fails a required one
    #[command(before_help = examples::CONFORMANCE, after_help = CONFORMANCE_HELP)]
    Conformance(ConformanceArgs),
    /// Prints shell completions
    #[command(before_help = examples::COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Prints the manual page
    #[command(before_help = examples::MAN)]
    Man,
}

/// `clone`
#[derive(Debug, Args)]
pub(crate) struct CloneArgs {
    /// Name of the branch
    pub(crate) name: String,
    /// Say what would be sent; changes nothing on either side
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write a file instead of calling the shop; `shop-agent import` takes it in there
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "force"])]
    pub(crate) export: Option<PathBuf>,
    /// Clean even where the shop holds changes that no office has acknowledged: they are put aside, not merged
    #[arg(long)]
    pub(crate) force: bool,
}

/// `adopt`
#[derive(Debug, Args)]
pub(crate) struct AdoptArgs {
    /// Name of the branch
    pub(crate) name: String,
    /// Take it in where rows differ too: they are sent and pulled by the direction of their table, and no row that only
    /// one side has is lost
    #[arg(long)]
    pub(crate) repair: bool,
    /// Also outside the branch's time window, and when it is paused
    #[arg(long)]
    pub(crate) force: bool,
}

/// `update`
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Names of branches
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) names: Vec<String>,
    /// Every branch that is not paused
    #[arg(long)]
    pub(crate) all: bool,
    /// Branches updated at one time [default: 4]
    #[arg(long, value_name = "N", env = "OFFICE_CLIENT_JOBS")]
    pub(crate) jobs: Option<usize>,
    /// Say what would be pulled and pushed; changes nothing on either side
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go on until Ctrl-C: again after each EVERY [default: 1m], as in --watch=30s; tells what moved and what went wrong
    #[arg(long, value_name = "EVERY", num_args = 0..=1, require_equals = true, default_missing_value = "1m")]
    #[arg(value_parser = watch_interval, conflicts_with_all = ["dry_run", "export"])]
    pub(crate) watch: Option<Duration>,
    /// Write a file with all that the shop is not known to have, instead of calling it; for one branch
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "all"])]
    pub(crate) export: Option<PathBuf>,
    /// Also outside the branch's time window, over its byte budget, when it is paused, and where a large part of a table
    /// would be deleted
    #[arg(long)]
    pub(crate) force: bool,
}

/// Reads the time between two updates.
fn watch_interval(text: &str) -> Result<Duration, String> {
    let every = units::parse_duration(text)?;
    if every < Duration::from_secs(1) {
        return Err("at least a second".to_owned());
    }
    Ok(every)
}

/// `import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file; it names its branch
    pub(crate) file: PathBuf,
}

/// `status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Names of branches [default: all]
    pub(crate) names: Vec<String>,
}

/// `history`
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Name of a branch [default: all]
    pub(crate) name: Option<String>,
    /// Most lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = crate::limits::HISTORY_LINES_DEFAULT)]
    pub(crate) limit: i64,
}

/// `verify`
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Names of branches
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) names: Vec<String>,
    /// Every branch that has been cloned
    #[arg(long)]
    pub(crate) all: bool,
    /// Bring both sides together: rows are sent and pulled again by their direction, and no row that only one side has is
    /// lost; also after one of the databases was restored from a backup
    #[arg(long)]
    pub(crate) repair: bool,
    /// With --repair: also outside the branch's time window, and when it is paused
    #[arg(long, requires = "repair")]
    pub(crate) force: bool,
}

/// `policy ...`
#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Stores a policy file (or a preset) under its name in the office's database
    Import {
        /// A file, or the name of a preset
        file: String,
    },
    /// Names of the stored policies and of the presets
    List,
    /// Holds a policy against the office's database
    Check {
        /// A file or a name [default: every stored policy]
        name: Option<String>,
    },
    /// Says what flows where
    Show {
        /// A file or a name [default: --policy]
        name: Option<String>,
        /// The source instead
        #[arg(long)]
        toml: bool,
    },
}

const CONSOLE_HELP: &str = "\
On this machine nobody has to log in, as long as there are no users. Beyond it everybody has to. Roles: look (see
everything), sync (also update and stop), decide (also clone, conflicts, quarantine, branches). docs/CONSOLE.md";

/// `console`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ConsoleArgs {
    /// Where it listens [default: 127.0.0.1:8900]
    #[arg(long, value_name = "ADDR:PORT", env = "OFFICE_CLIENT_LISTEN")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Certificate to speak TLS with, and the chain above it (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key (PEM), readable by its owner only
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// TLS with a certificate of its own, made once and kept in the state directory; browsers ask about it once
    #[arg(long, conflicts_with = "tls_cert")]
    pub(crate) tls_self_signed: bool,
    /// Plain HTTP beyond this machine: passwords can be read on the way
    #[arg(long)]
    pub(crate) insecure_http: bool,
    /// Who may log in
    #[command(subcommand)]
    pub(crate) command: Option<ConsoleCommand>,
}

/// `console ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ConsoleCommand {
    /// Adds, lists and removes those who may log in; a running console takes it up by itself
    #[command(subcommand)]
    User(ConsoleUser),
}

/// `console user ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ConsoleUser {
    /// Adds somebody, or gives them another role and password
    Add {
        /// Name at the login
        name: String,
        /// What they may do
        #[arg(long, value_enum)]
        role: crate::console::Role,
        /// File with the password, readable by its owner only [default: asks]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Everybody who may log in
    List,
    /// Takes somebody's login away, also where they are logged in
    Remove {
        /// Name at the login
        name: String,
    },
}

/// `call`
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// Where the server listens
    pub(crate) url: String,
    /// The method
    pub(crate) method: String,
    /// Its arguments, see below
    #[arg(allow_negative_numbers = true)]
    pub(crate) args: Vec<String>,
    /// User for HTTP Basic
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// File with the password, readable by its owner only
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
}

/// Whose certificate is taken at an https:// address, and which one is shown.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TrustArgs {
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
}

const CONFORMANCE_HELP: &str = "\
Safe for a server at work: nothing it holds is changed. A few sessions are opened and ended without rows.
--destructive adds what does change it: clean, id ranges, rows that are written. Only for a server made for it.

Each rule passes, fails, or is unsupported where the server does not offer what it is about. Required rules are
those without which a peer of the protocol cannot work; a note says where a server differs where it may.";

/// `conformance`
#[derive(Debug, Args)]
pub(crate) struct ConformanceArgs {
    /// Where the server listens
    pub(crate) url: String,
    /// User for HTTP Basic
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// File with the password, readable by its owner only
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: TrustArgs,
    /// Only rules that begin with this, for instance T or H18; repeatable
    #[arg(long = "rule", value_name = "PREFIX")]
    pub(crate) rules: Vec<String>,
    /// Runs what changes the server's data too
    #[arg(long)]
    pub(crate) destructive: bool,
    /// Fails on everything that is not exactly as the product does it
    #[arg(long)]
    pub(crate) strict: bool,
}

/// `completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: Shell,
}

/// Shells with completions.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(missing_docs, clippy::enum_variant_names, reason = "the names of the shells are what they are")]
pub(crate) enum Shell {
    Bash,
    Elvish,
    Fish,
    #[value(name = "powershell")]
    PowerShell,
    Zsh,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sync_is_another_word_for_update() {
        let cli = Cli::try_parse_from(["office-client", "sync", "a", "b", "--jobs", "2"]).unwrap();
        let Command::Update(args) = cli.command else { panic!("not update") };
        assert_eq!((args.names.len(), args.jobs, args.all), (2, Some(2), false));
    }

    #[test]
    fn update_wants_names_or_all_and_not_both() {
        assert!(Cli::try_parse_from(["office-client", "update"]).is_err());
        assert!(Cli::try_parse_from(["office-client", "update", "a", "--all"]).is_err());
        assert!(Cli::try_parse_from(["office-client", "update", "--all"]).is_ok());
    }

    #[test]
    fn a_misspelt_flag_is_answered_with_a_suggestion() {
        let error = Cli::try_parse_from(["office-client", "clone", "a", "--forse"]).unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
    }

    #[test]
    fn there_is_no_way_to_write_a_password_on_the_command_line() {
        let help = |command: &mut clap::Command| command.render_long_help().to_string();
        let mut command = Cli::command();
        let mut texts = vec![help(&mut command)];
        for sub in command.get_subcommands_mut() {
            texts.push(help(sub));
            texts.extend(sub.get_subcommands_mut().map(help));
        }
        assert!(texts.iter().all(|text| !text.contains("--password ")), "{texts:?}");
    }

    #[test]
    fn conflicts_alone_lists_them_and_resolving_wants_one_choice() {
        let conflicts = |line: &str| match Cli::try_parse_from(line.split(' ')).map(|cli| cli.command) {
            Ok(Command::Conflicts(args)) => Ok(args),
            Ok(_) => panic!("not conflicts"),
            Err(error) => Err(error.to_string()),
        };
        assert!(
            conflicts("office-client conflicts --all -n 5").is_ok_and(|args| args.command.is_none() && args.list.all)
        );
        assert!(conflicts("office-client conflicts list --branch a --json").is_ok_and(|args| args.command.is_some()));
        assert!(conflicts("office-client conflicts resolve 12 --take -3.50").is_ok());
        assert!(conflicts("office-client conflicts resolve 12").is_err());
        assert!(conflicts("office-client conflicts resolve 12 --take shop --value x").is_err());
    }

    #[test]
    fn global_options_may_follow_the_command() {
        let cli = Cli::try_parse_from(["office-client", "status", "--json", "--state-dir", "/x", "-v"]).unwrap();
        assert!(cli.global.json);
        assert_eq!(cli.global.verbose, 1);
    }
}
