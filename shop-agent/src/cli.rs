//! The command line.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

/// Examples first: most people who ask for help want to see one.
const EXAMPLES: &str = "\
Examples:
  shop-agent setup                                   asks what it has to know, and writes the configuration
  shop-agent run --branch lisbon --no-auth           try it out: private database, loopback only
  shop-agent user add centre --password-file pw      let the office in
  shop-agent check                                   is everything as it should be?
  shop-agent check --bundle support.tar.gz           for whoever is asked for help
  shop-agent status                                  who is sending what, and since when
  shop-agent call http://127.0.0.1:9000/RPC2 diff i:0";

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed (check: something is wrong, purge-ok: no),
2 wrong usage or configuration, 4 refused to protect data,
5 unreachable or link lost (call; retry later), 130 stopped at once by a second signal";

const SETUP_EXAMPLES: &str = "\
Examples:
  shop-agent setup                                   asks
  shop-agent setup --branch lisbon --schema shop.sql --listen 0.0.0.0:9000 --tls-self-signed --generate-password
  shop-agent setup --branch lisbon --database postgresql:///shop --policy retail.toml --password-file pw --yes";

/// The service at each shop: listens for calls of the office and carries them out on the shop's database.
#[derive(Debug, Parser)]
#[command(name = "shop-agent", version, before_help = EXAMPLES, after_help = EXIT_CODES)]
#[command(arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Form of the log on stderr
    #[arg(long, global = true, value_enum, env = "SHOP_AGENT_LOG", default_value = "plain")]
    pub(crate) log: LogForm,
    /// What is logged, as in `info` or `debug,hyper=warn`
    #[arg(long, global = true, env = "SHOP_AGENT_LOG_LEVEL", default_value = "info")]
    pub(crate) log_level: String,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// Lines for people.
    Plain,
    /// One JSON object per line.
    Json,
    /// Entries with fields for the journal of systemd.
    Journald,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Set up this shop: asks, or takes flags; writes the configuration, makes credential and certificate, and checks
    #[command(before_help = SETUP_EXAMPLES)]
    Setup(SetupArgs),
    /// Serve until SIGTERM or SIGINT
    Run(NodeArgs),
    /// Check configuration, disk, certificate, database, clock, rights, policy and capture, and change nothing: a line each; exit code 0 or 1
    Check(CheckArgs),
    /// Show sessions, watermarks, id range, what waits for each office and when it last called, of the running agent
    Status {
        #[command(flatten)]
        place: PlaceArgs,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show who wrote to the shop, from where, when, and what: the newest sessions first
    Audit {
        #[command(flatten)]
        place: PlaceArgs,
        /// Sessions that are shown
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Print one JSON object per session
        #[arg(long)]
        json: bool,
    },
    /// Manage the credentials of offices
    #[command(subcommand)]
    User(UserCommand),
    /// Bring back what the last clean put aside
    RestoreBeforeClean(NodeArgs),
    /// Write the private database into a file, while the agent works
    Backup(BackupArgs),
    /// Put a backup in the place of the private database, and begin a new history: the office repairs
    Restore(RestoreArgs),
    /// Say that the database was restored from a backup: a new history begins, and the office repairs
    AfterRestore(NodeArgs),
    /// Say that the database was moved whole, as by pg_upgrade: its history goes on
    AfterUpgrade(NodeArgs),
    /// Take everything of ours out of the shop's database: triggers, schema sync and role; refused (exit code 4) while an
    /// office lacks changes
    Uninstall(UninstallArgs),
    /// Take in a file of `office-client clone|update --export`
    Import(ImportArgs),
    /// Write a file with all that the office is not known to have, for `office-client import`
    Export(ExportArgs),
    /// Say whether the office has a row, so that it may be deleted here: exit code 0 (yes) or 1 (no)
    PurgeOk(PurgeOkArgs),
    /// Make one XML-RPC call by hand
    #[command(after_help = protocol::by_hand::SPELLINGS)]
    Call(CallArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
}

impl Cli {
    /// What was typed, and what the environment says where nothing was.
    pub(crate) fn read() -> Self {
        Self::of(Self::command().get_matches()).unwrap_or_else(|error| error.exit())
    }

    fn of(matches: ArgMatches) -> Result<Self, clap::Error> {
        let mut cli = Self::from_arg_matches(&matches)?;
        if let (Some(node), Some((_, matches))) = (cli.command.node(), matches.subcommand()) {
            node.put_typed_before_environment(matches);
        }
        Ok(cli)
    }
}

impl NodeArgs {
    /// Certificate, self-signed certificate and plain HTTP exclude each other. Where one of them was typed, what the
    /// environment says of the others does not count.
    fn put_typed_before_environment(&mut self, matches: &ArgMatches) {
        let typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let is_own = typed("tls_self_signed") && self.tls_self_signed == Some(true);
        let is_plain = typed("insecure_http") && self.insecure_http == Some(true);
        let is_files = typed("tls_cert") || typed("tls_key");
        if !(is_own || is_plain || is_files) {
            return;
        }
        if !is_files {
            (self.tls_cert, self.tls_key) = (None, None);
        }
        if !typed("tls_self_signed") {
            self.tls_self_signed = None;
        }
        if !typed("insecure_http") {
            self.insecure_http = None;
        }
    }
}

impl Command {
    /// How the agent is set up, for the commands that are told.
    fn node(&mut self) -> Option<&mut NodeArgs> {
        match self {
            Self::Run(node) | Self::RestoreBeforeClean(node) | Self::AfterRestore(node) | Self::AfterUpgrade(node) => {
                Some(node)
            }
            Self::Setup(args) => Some(&mut args.node),
            Self::Check(args) => Some(&mut args.node),
            Self::Backup(args) => Some(&mut args.node),
            Self::Restore(args) => Some(&mut args.node),
            Self::Uninstall(args) => Some(&mut args.node),
            Self::Import(args) => Some(&mut args.node),
            Self::Export(args) => Some(&mut args.node),
            Self::PurgeOk(args) => Some(&mut args.node),
            Self::Status { .. } | Self::Audit { .. } | Self::User(_) => None,
            Self::Call(_) | Self::Completions { .. } | Self::Man => None,
        }
    }

    /// Where the agent's files are that the command works on.
    pub(crate) fn place(&self) -> Option<&PlaceArgs> {
        match self {
            Self::Run(node) | Self::RestoreBeforeClean(node) | Self::AfterRestore(node) | Self::AfterUpgrade(node) => {
                Some(&node.place)
            }
            Self::Check(args) => Some(&args.node.place),
            Self::Backup(args) => Some(&args.node.place),
            Self::Restore(args) => Some(&args.node.place),
            Self::Uninstall(args) => Some(&args.node.place),
            Self::Import(args) => Some(&args.node.place),
            Self::Export(args) => Some(&args.node.place),
            Self::PurgeOk(args) => Some(&args.node.place),
            Self::Status { place, .. } | Self::Audit { place, .. } => Some(place),
            Self::User(
                UserCommand::Add { place, .. } | UserCommand::Remove { place, .. } | UserCommand::List { place },
            ) => Some(place),
            Self::Setup(_) | Self::Call(_) | Self::Completions { .. } | Self::Man => None,
        }
    }
}

/// Where the agent keeps its files.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlaceArgs {
    /// Configuration file [default: /etc/shop-agent/shop-agent.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "SHOP_AGENT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Directory for sessions, spools and credentials
    #[arg(long, value_name = "DIR", env = "SHOP_AGENT_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// How the agent is set up.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// Name of the branch
    #[arg(long, value_name = "NAME", env = "SHOP_AGENT_BRANCH")]
    pub(crate) branch: Option<String>,
    /// PostgreSQL URL, or embedded:DIR for a private cluster [default: embedded:STATE_DIR/database]
    #[arg(long, value_name = "URL", env = "SHOP_AGENT_DATABASE", hide_env_values = true)]
    pub(crate) database: Option<String>,
    /// Directory of PostgreSQL's programs, for embedded databases
    #[arg(long, value_name = "DIR", env = "SHOP_AGENT_PG_BINDIR")]
    pub(crate) pg_bindir: Option<PathBuf>,
    /// Policy: a file, or the name of a preset [default: shop]
    #[arg(long, value_name = "FILE|NAME", env = "SHOP_AGENT_POLICY")]
    pub(crate) policy: Option<String>,
    /// SQL that creates the basic schema where tables are missing
    #[arg(long, value_name = "FILE", env = "SHOP_AGENT_SCHEMA")]
    pub(crate) schema: Option<PathBuf>,
    /// Address to listen on; port 0 picks one [default: 127.0.0.1:9000]
    #[arg(long, value_name = "ADDR:PORT", env = "SHOP_AGENT_LISTEN")]
    pub(crate) listen: Option<String>,
    /// Address for /healthz, /readyz and /metrics [default: none]
    #[arg(long, value_name = "ADDR:PORT", env = "SHOP_AGENT_MONITOR")]
    pub(crate) monitor: Option<String>,
    /// File with the token that those who watch must send; needed beyond loopback
    #[arg(long, value_name = "FILE", env = "SHOP_AGENT_MONITOR_TOKEN_FILE")]
    pub(crate) monitor_token_file: Option<PathBuf>,
    /// Let everybody in; only on loopback
    #[arg(long, env = "SHOP_AGENT_NO_AUTH", value_parser = FalseyValueParser::new(), value_name = "true|false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) no_auth: Option<bool>,
    /// Serve plain HTTP on an address that is not loopback
    #[arg(long, env = "SHOP_AGENT_INSECURE_HTTP", value_parser = FalseyValueParser::new(), value_name = "true|false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) insecure_http: Option<bool>,
    /// Certificate and the chain above it, PEM; taken up again when it changes, and at SIGHUP
    #[arg(long, value_name = "FILE", env = "SHOP_AGENT_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key, PEM, readable by its owner only
    #[arg(long, value_name = "FILE", env = "SHOP_AGENT_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Make a certificate at the first start; `status` and `check` show the fingerprint that offices pin
    #[arg(long, env = "SHOP_AGENT_TLS_SELF_SIGNED", value_parser = FalseyValueParser::new(), value_name = "true|false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) tls_self_signed: Option<bool>,
    /// Authorities, PEM: whoever calls must show a certificate that one of them has signed
    #[arg(long, value_name = "FILE", env = "SHOP_AGENT_TLS_CLIENT_CA")]
    pub(crate) tls_client_ca: Option<PathBuf>,
}

/// `setup`
#[derive(Debug, Args)]
pub(crate) struct SetupArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Where the office reaches this shop, as in https://lisbon.example:9000 [default: this machine's name and the port]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Name under which the office calls [default: office]
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Office it speaks for; several credentials may name one
    #[arg(long, value_name = "OFFICE", default_value = crate::server::authentication::DEFAULT_OFFICE)]
    pub(crate) office: String,
    /// File whose first line is the password that the office will use
    #[arg(long, value_name = "FILE", conflicts_with = "generate_password")]
    pub(crate) password_file: Option<PathBuf>,
    /// Make a password, and show it once
    #[arg(long)]
    pub(crate) generate_password: bool,
    /// Ask nothing: what no flag says has its default
    #[arg(long)]
    pub(crate) yes: bool,
    /// Replace a configuration that is there; it is kept under a name that ends with .old
    #[arg(long)]
    pub(crate) force: bool,
}

/// `backup`
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write: a gzipped tar
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// `restore`
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// A file of `shop-agent backup`
    pub(crate) file: PathBuf,
    /// Even where there is a database: it is put aside, and kept
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// `check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Also write an archive (tar.gz) for whoever is asked for help: versions, settings, these lines, sessions, logs; no
    /// secrets and no values of rows
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
}

/// `uninstall`
#[derive(Debug, Args)]
pub(crate) struct UninstallArgs {
    /// Even where an office has not acknowledged all changes, sends some, or has not confirmed its last clone: nobody knows
    /// of them any more afterwards, though the rows stay in the shop's tables
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// `import`
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file
    pub(crate) file: PathBuf,
    /// The office it comes from, as its credential names it
    #[arg(long, value_name = "OFFICE", default_value = crate::server::authentication::DEFAULT_OFFICE)]
    pub(crate) office: String,
    /// Take in a clone even where that throws away changes that no office has acknowledged; they are put aside
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// `export`
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The file to write
    pub(crate) file: PathBuf,
    /// The office it goes to, as its credential names it
    #[arg(long, value_name = "OFFICE", default_value = crate::server::authentication::DEFAULT_OFFICE)]
    pub(crate) office: String,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

/// `purge-ok`
#[derive(Debug, Args)]
pub(crate) struct PurgeOkArgs {
    /// The table, as `sale` or `schema.table`
    pub(crate) table: String,
    /// The values of its key, in the key's order; all flags and -- before one that begins with a dash and is no number
    #[arg(required = true, allow_negative_numbers = true)]
    pub(crate) key: Vec<String>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a credential, or give it a new password
    Add {
        /// Name at the login
        name: String,
        /// Office it speaks for; several credentials may name one
        #[arg(long, default_value = crate::server::authentication::DEFAULT_OFFICE)]
        office: String,
        /// File whose first line is the password; else it is asked for
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Its client cannot take nil: answer with an empty string instead
        #[arg(long)]
        no_nil: bool,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Remove a credential
    Remove {
        /// Name at the login
        name: String,
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// List credentials: name and office
    List {
        #[command(flatten)]
        place: PlaceArgs,
    },
}

/// One call by hand.
#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// Where to, as in http://127.0.0.1 or https://shop:9000/RPC2
    pub(crate) url: String,
    /// Method
    pub(crate) method: String,
    /// Its arguments, see below
    #[arg(allow_negative_numbers = true)]
    pub(crate) args: Vec<String>,
    /// User
    #[arg(long, env = "SHOP_AGENT_USER")]
    pub(crate) user: Option<String>,
    /// File whose first line is the password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub(crate) password_file: Option<PathBuf>,
    /// SHA-256 of the server's certificate: no other one is taken
    #[arg(long, value_name = "SHA256", conflicts_with = "ca")]
    pub(crate) fingerprint: Option<tls::Fingerprint>,
    /// Authorities one of which must have signed it, PEM [default: those this machine trusts]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Certificate to show to a server that asks for one, PEM
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Its private key, PEM, readable by its owner only
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
    /// Write a base64 answer to this file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_behind_a_key_are_no_part_of_it() {
        let purge_ok = |line: &str| match Cli::try_parse_from(line.split(' ')).map(|cli| cli.command) {
            Ok(Command::PurgeOk(args)) => Some((args.key, args.node.branch)),
            _ => None,
        };
        let key = |key: &[&str]| key.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        let found = purge_ok("shop-agent purge-ok sale 12 -5 --branch lisbon");
        assert_eq!(found, Some((key(&["12", "-5"]), Some("lisbon".to_owned()))));
        assert_eq!(purge_ok("shop-agent purge-ok till --branch b -- -x"), Some((key(&["-x"]), Some("b".to_owned()))));
        assert_eq!(purge_ok("shop-agent purge-ok till -x"), None);
    }

    #[test]
    fn what_was_typed_goes_before_what_the_environment_says() {
        let matches = |line: &str| Cli::command().try_get_matches_from(line.split(' ')).expect("a sound line");
        let node = |line: &str| {
            let mut cli = Cli::of(matches(line)).expect("a sound line");
            cli.command.node().map(|node| node.clone()).expect("its settings")
        };
        let own = node("shop-agent run --tls-self-signed");
        assert_eq!((own.tls_self_signed, own.insecure_http), (Some(true), None));
        let both = node("shop-agent check --tls-self-signed --insecure-http");
        assert_eq!((both.tls_self_signed, both.insecure_http), (Some(true), Some(true)), "told where they are merged");
        assert_eq!(node("shop-agent run --no-auth=false").no_auth, Some(false));
    }
}
