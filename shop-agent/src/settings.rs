//! What the agent is set to, validated: command line before environment before file before default.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use protocol::policy::Policy;
use replica::database::DatabaseUrl;

use crate::cli::{NodeArgs, PlaceArgs};
use crate::config::{Config, ConfigError};
use crate::server::http::Hosts;
use crate::server::limits::ServerLimits;
use crate::server::monitor::Token;
use crate::session::store::SessionLimits;

const DEFAULT_LISTEN: &str = "127.0.0.1:9000";
const DEFAULT_POLICY: &str = "shop";
const DEFAULT_ID_SPAN: i64 = 1_000_000_000_000;

/// A setting that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SettingsError(String);

/// Where those who watch the agent may ask.
#[derive(Debug, Clone)]
pub(crate) struct Monitor {
    /// Where it listens.
    pub(crate) listen: SocketAddr,
    /// What they must know.
    pub(crate) token: Option<Token>,
}

/// Everything `run` needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) branch: String,
    pub(crate) database: DatabaseUrl,
    pub(crate) pg_bindir: Option<PathBuf>,
    pub(crate) policy: Policy,
    pub(crate) schema_sql: Option<String>,
    pub(crate) listen: SocketAddr,
    pub(crate) hosts: Hosts,
    pub(crate) state_dir: PathBuf,
    pub(crate) no_auth: bool,
    pub(crate) force_clean: bool,
    pub(crate) allow_quit: bool,
    pub(crate) id_span: i64,
    pub(crate) skew: Duration,
    pub(crate) retention_min: Duration,
    pub(crate) server: ServerLimits,
    pub(crate) sessions: SessionLimits,
    pub(crate) monitor: Option<Monitor>,
}

impl Settings {
    /// Settings from command line and environment (which clap has merged) and the file.
    pub(crate) fn resolve(args: NodeArgs) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let config = Config::load(args.place.config.as_deref())?;
        let state_dir = state_dir_of(&args.place, &config)?;
        Ok(Self::merge(args, config, state_dir)?)
    }

    fn merge(args: NodeArgs, config: Config, state_dir: PathBuf) -> Result<Self, SettingsError> {
        let tls = args.tls_cert.or(config.tls_cert).is_some()
            || args.tls_key.or(config.tls_key).is_some()
            || args.tls_self_signed
            || config.tls_self_signed == Some(true);
        if tls {
            return wrong("TLS is not built yet; use an SSH tunnel or a VPN, or plain HTTP with --insecure-http");
        }
        let branch = args.branch.or(config.branch).filter(|name| !name.trim().is_empty());
        let Some(branch) = branch else { return wrong("no branch: name it with --branch NAME") };
        let listen = address(&args.listen.or(config.listen).unwrap_or_else(|| DEFAULT_LISTEN.to_owned()))?;
        let is_loopback = listen.ip().is_loopback();
        let no_auth = args.no_auth || config.no_auth == Some(true);
        if no_auth && !is_loopback {
            return wrong(format!("--no-auth works on loopback only, and {listen} is not; add users instead"));
        }
        let is_meant = args.insecure_http || config.insecure_http == Some(true);
        if !is_loopback && !is_meant {
            return wrong(format!(
                "plain HTTP on {listen} can be read by others; say --insecure-http if that is meant"
            ));
        }
        let hosts = match (is_loopback, config.hosts) {
            (_, Some(names)) => Hosts::Local(names),
            (true, None) => Hosts::Local(Vec::new()),
            (false, None) => Hosts::Any,
        };
        let database = match args.database.or(config.database) {
            Some(url) => url.parse().map_err(|error: replica::ReplicaError| SettingsError(error.to_string()))?,
            None => DatabaseUrl::Embedded(state_dir.join("database")),
        };
        let schema_sql = match args.schema.or(config.schema) {
            None => None,
            Some(path) => Some(read(&path, "schema")?),
        };
        let defaults = ServerLimits::default();
        let server = ServerLimits {
            connections_max: config.connections_max.unwrap_or(defaults.connections_max).max(1),
            chunk_bytes_max: config.chunk_bytes_max.unwrap_or(defaults.chunk_bytes_max).max(64 << 10),
            stop_deadline: duration("stop_deadline", config.stop_deadline, defaults.stop_deadline)?,
            ..defaults
        };
        let sessions = SessionLimits {
            per_office: config.sessions_per_office.unwrap_or(4).max(1),
            bytes_max: config.session_bytes_max.unwrap_or(64 << 30),
            idle_max: duration("session_idle", config.session_idle, Duration::from_secs(24 * 3600))?,
        };
        let token_file = args.monitor_token_file.or(config.monitor_token_file);
        let monitor = monitor(args.monitor.or(config.monitor), token_file.as_deref())?;
        let id_span = config.id_span.unwrap_or(DEFAULT_ID_SPAN);
        if id_span < 1 {
            return wrong("id_span must be at least 1");
        }
        Ok(Self {
            branch,
            database,
            pg_bindir: args.pg_bindir.or(config.pg_bindir),
            policy: policy(args.policy.or(config.policy).as_deref().unwrap_or(DEFAULT_POLICY))?,
            schema_sql,
            listen,
            hosts,
            state_dir,
            no_auth,
            force_clean: config.force_clean.unwrap_or(false),
            allow_quit: config.allow_quit.unwrap_or(false),
            id_span,
            skew: duration("skew", config.skew, Duration::from_secs(300))?,
            retention_min: duration("retention_min", config.retention_min, Duration::from_secs(14 * 24 * 3600))?,
            server,
            sessions,
            monitor,
        })
    }
}

/// The state directory alone, for commands that need nothing else.
pub(crate) fn state_dir(place: &PlaceArgs) -> Result<PathBuf, Box<dyn std::error::Error + Send + Sync>> {
    let config: Result<Config, ConfigError> = Config::load(place.config.as_deref());
    Ok(state_dir_of(place, &config?)?)
}

fn state_dir_of(place: &PlaceArgs, config: &Config) -> Result<PathBuf, SettingsError> {
    let named = place.state_dir.clone().or_else(|| config.state_dir.clone());
    let from_systemd = || std::env::var_os("STATE_DIRECTORY").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let dir = named.or_else(from_systemd).or_else(own_state_dir);
    match dir {
        Some(dir) => std::path::absolute(&dir).map_err(|error| SettingsError(format!("{}: {error}", dir.display()))),
        None => wrong("no state directory: name it with --state-dir DIR"),
    }
}

/// `/var/lib/shop-agent` for root, a directory of their own for everybody else.
fn own_state_dir() -> Option<PathBuf> {
    // SAFETY: geteuid has no preconditions and cannot fail
    if unsafe { libc::geteuid() } == 0 {
        return Some(PathBuf::from("/var/lib/shop-agent"));
    }
    let base = std::env::var_os("XDG_STATE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    base.or_else(|| std::env::home_dir().map(|home| home.join(".local/state"))).map(|dir| dir.join("shop-agent"))
}

fn wrong<T>(message: impl Into<String>) -> Result<T, SettingsError> {
    Err(SettingsError(message.into()))
}

fn read(path: &std::path::Path, what: &str) -> Result<String, SettingsError> {
    std::fs::read_to_string(path)
        .map_err(|error| SettingsError(format!("cannot read the {what} {}: {error}", path.display())))
}

fn address(text: &str) -> Result<SocketAddr, SettingsError> {
    let mut found = text
        .to_socket_addrs()
        .map_err(|error| SettingsError(format!("cannot listen on {text:?}: {error}; write ADDR:PORT")))?;
    found.next().ok_or_else(|| SettingsError(format!("cannot listen on {text:?}: it has no address")))
}

fn monitor(listen: Option<String>, token_file: Option<&std::path::Path>) -> Result<Option<Monitor>, SettingsError> {
    let Some(listen) = listen.filter(|listen| !listen.is_empty()) else { return Ok(None) };
    let listen = address(&listen)?;
    let token = match token_file {
        None if listen.ip().is_loopback() => None,
        None => return wrong(format!("monitor = {listen}: beyond loopback it needs monitor_token_file")),
        Some(path) => match read(path, "token")? {
            text if text.trim().len() < 16 => {
                return wrong(format!("{}: a token has at least 16 characters", path.display()));
            }
            text => Some(Token::new(&text)),
        },
    };
    Ok(Some(Monitor { listen, token }))
}

/// A preset by its name, else a file.
fn policy(name: &str) -> Result<Policy, SettingsError> {
    if let Some(policy) = Policy::preset(name) {
        return Ok(policy);
    }
    let path = PathBuf::from(name);
    if !path.exists() {
        let presets = Policy::presets().join(", ");
        return wrong(format!("policy {name:?} is neither a file nor a preset ({presets})"));
    }
    Policy::parse(&read(&path, "policy")?).map_err(|error| SettingsError(format!("{name}: {error}")))
}

/// `90s`, `15m`, `24h`, `14d`.
fn duration(key: &str, text: Option<String>, default: Duration) -> Result<Duration, SettingsError> {
    let Some(text) = text else { return Ok(default) };
    let parsed = text.char_indices().last().and_then(|(at, unit)| {
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            _ => return None,
        };
        text[..at].trim().parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
    });
    parsed.ok_or_else(|| SettingsError(format!("{key} = {text:?}: write a number and s, m, h or d, as in \"24h\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(args: NodeArgs, config: Config) -> Result<Settings, String> {
        let args = NodeArgs { branch: args.branch.or(Some("b".into())), ..args };
        Settings::merge(args, config, PathBuf::from("/state")).map_err(|error| error.to_string())
    }

    fn listen(address: &str) -> NodeArgs {
        NodeArgs { listen: Some(address.to_owned()), ..NodeArgs::default() }
    }

    #[test]
    fn nobody_gets_in_by_default() {
        assert!(
            merge(NodeArgs { no_auth: true, insecure_http: true, ..listen("0.0.0.0:1") }, Config::default()).is_err()
        );
        assert!(merge(listen("0.0.0.0:1"), Config::default()).is_err());
        assert!(merge(NodeArgs { insecure_http: true, ..listen("0.0.0.0:1") }, Config::default()).is_ok());
        let settings = merge(NodeArgs::default(), Config::default());
        assert!(settings.is_ok_and(|settings| settings.listen.ip().is_loopback() && !settings.no_auth));
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let config =
            Config { listen: Some("127.0.0.1:1".into()), session_idle: Some("2h".into()), ..Config::default() };
        let settings = merge(listen("127.0.0.1:2"), config.clone());
        assert_eq!(settings.map(|settings| settings.listen.port()), Ok(2));
        let settings = merge(NodeArgs::default(), config);
        assert_eq!(settings.as_ref().map(|settings| settings.listen.port()), Ok(1));
        assert_eq!(settings.map(|settings| settings.sessions.idle_max), Ok(Duration::from_secs(7200)));
    }

    #[test]
    fn the_database_is_a_private_one_unless_said() {
        let settings = merge(NodeArgs::default(), Config::default());
        assert_eq!(settings.map(|s| s.database), Ok(DatabaseUrl::Embedded("/state/database".into())));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "24", "h", "-1h", "5 weeks"] {
            assert!(duration("k", Some(text.into()), Duration::ZERO).is_err(), "{text}");
        }
        assert!(merge(NodeArgs { policy: Some("no-such".into()), ..NodeArgs::default() }, Config::default()).is_err());
        assert!(merge(NodeArgs { tls_self_signed: true, ..NodeArgs::default() }, Config::default()).is_err());
    }
}
