//! What the agent is set to, validated: command line before environment before file before default.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use protocol::policy::Policy;
use replica::database::DatabaseUrl;
use replica::retention::Retention;

use crate::cli::{NodeArgs, PlaceArgs};
use crate::config::{Config, ConfigError};
use crate::limits::{ServerLimits, SessionLimits};
use crate::server::http::Hosts;
use crate::server::monitor::Token;

pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:9000";
pub(crate) const DEFAULT_POLICY: &str = "shop";
/// The state directory of the service, as its unit has it.
pub(crate) const SERVICE_STATE_DIR: &str = "/var/lib/shop-agent";
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

/// What decides where the agent may listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exposure {
    no_auth: bool,
    insecure_http: bool,
    tls: bool,
}

impl Exposure {
    /// Refuses an address that others can reach, without authentication or without encryption. Asked for the address
    /// that was configured, and again for the one that is listened on: systemd may have opened another one.
    pub(crate) fn check(self, listen: SocketAddr) -> Result<(), SettingsError> {
        if listen.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        if self.no_auth {
            return wrong(format!("--no-auth works on loopback only, and {listen} is not; add users instead"));
        }
        if !self.tls && !self.insecure_http {
            return wrong(format!(
                "plain HTTP on {listen} can be read by others; use --tls-self-signed, or --tls-cert and --tls-key, \
                 or say --insecure-http if that is meant"
            ));
        }
        Ok(())
    }
}

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) files: tls::ServerFiles,
    /// The directory in which it is made, if it is self-signed.
    pub(crate) made_in: Option<PathBuf>,
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
    pub(crate) exposure: Exposure,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) force_clean: bool,
    pub(crate) allow_quit: bool,
    /// The time zone of a `since` that names none.
    pub(crate) time_zone: TimeZone,
    pub(crate) id_span: i64,
    pub(crate) skew: Duration,
    pub(crate) retention: Retention,
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
        let encryption = Encryption::merged(&args, &config)?;
        let insecure_http = encryption.insecure;
        let client_authorities = args.tls_client_ca.clone().or_else(|| config.tls_client_ca.clone());
        let tls = encryption.files(client_authorities, &state_dir)?;
        let branch = args.branch.or(config.branch).filter(|name| !name.trim().is_empty());
        let Some(branch) = branch else { return wrong("no branch: name it with --branch NAME") };
        let listen = address(&args.listen.or(config.listen).unwrap_or_else(|| DEFAULT_LISTEN.to_owned()))?;
        let is_loopback = listen.ip().is_loopback();
        let no_auth = args.no_auth.or(config.no_auth) == Some(true);
        let exposure = Exposure { no_auth, insecure_http, tls: tls.is_some() };
        exposure.check(listen)?;
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
            disk_reserve: config.disk_reserve.unwrap_or(defaults.disk_reserve),
            stop_deadline: duration("stop_deadline", config.stop_deadline, defaults.stop_deadline)?,
            ..defaults
        };
        let defaults = SessionLimits::default();
        let sessions = SessionLimits {
            sessions_per_office_max: config.sessions_per_office.unwrap_or(defaults.sessions_per_office_max).max(1),
            session_bytes_max: config.session_bytes_max.unwrap_or(defaults.session_bytes_max),
            row_bytes_max: config.row_bytes_max.unwrap_or(defaults.row_bytes_max).max(64 << 10),
            session_idle: duration("session_idle", config.session_idle, defaults.session_idle)?,
            disk_reserve: server.disk_reserve,
            ..defaults
        };
        let token_file = args.monitor_token_file.or(config.monitor_token_file);
        let monitor = monitor(args.monitor.or(config.monitor), token_file.as_deref())?;
        let retention = Retention {
            min: duration("retention_min", config.retention_min, Retention::default().min)?,
            max: duration("retention_max", config.retention_max, Retention::default().max)?,
        };
        if retention.min > retention.max {
            return wrong(
                "retention_min is longer than retention_max: changes are kept at least for the one and at most for the \
                 other (unless set, 14d and 90d); lower retention_min or raise retention_max",
            );
        }
        let time_zone = match config.time_zone.as_deref() {
            // needs no files of the system
            None | Some("UTC") => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|error| {
                SettingsError(format!("time_zone {name:?}: {error}; write a name like \"Europe/Lisbon\" or \"UTC\""))
            })?,
        };
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
            exposure,
            tls,
            force_clean: config.force_clean.unwrap_or(false),
            allow_quit: config.allow_quit.unwrap_or(false),
            time_zone,
            id_span,
            skew: duration("skew", config.skew, Duration::from_secs(300))?,
            retention,
            server,
            sessions,
            monitor,
        })
    }
}

/// How others are kept from reading along, as one place says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Encryption {
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) self_signed: bool,
    pub(crate) insecure: bool,
}

impl Encryption {
    /// As the command line and the environment have it.
    ///
    /// # Errors
    /// If they contradict themselves.
    pub(crate) fn typed(args: &NodeArgs) -> Result<Self, SettingsError> {
        Self {
            certificate: args.tls_cert.clone(),
            key: args.tls_key.clone(),
            self_signed: args.tls_self_signed == Some(true),
            insecure: args.insecure_http == Some(true),
        }
        .checked()
    }

    /// The same with the file behind it: what was typed goes before the whole of what the file says, and a plain no takes
    /// the file's yes away.
    fn merged(args: &NodeArgs, config: &Config) -> Result<Self, SettingsError> {
        let typed = Self::typed(args)?;
        if typed != Self::default() {
            return Ok(typed);
        }
        Self {
            certificate: config.tls_cert.clone(),
            key: config.tls_key.clone(),
            self_signed: args.tls_self_signed.or(config.tls_self_signed) == Some(true),
            insecure: args.insecure_http.or(config.insecure_http) == Some(true),
        }
        .checked()
    }

    fn checked(self) -> Result<Self, SettingsError> {
        match (&self.certificate, &self.key) {
            (Some(_), None) => return wrong("tls_cert and tls_key belong together: tls_key is missing"),
            (None, Some(_)) => return wrong("tls_cert and tls_key belong together: tls_cert is missing"),
            _ => {}
        }
        match (self.certificate.is_some(), self.self_signed, self.insecure) {
            (true, true, _) => wrong("tls_self_signed and tls_cert exclude each other: leave one of them out"),
            (true, _, true) | (_, true, true) => {
                wrong("--insecure-http and TLS exclude each other: leave one of them out")
            }
            _ => Ok(self),
        }
    }

    /// The certificate: from files, self-signed, or none.
    fn files(self, client_authorities: Option<PathBuf>, state_dir: &Path) -> Result<Option<TlsFiles>, SettingsError> {
        match (self.certificate, self.key, self.self_signed) {
            (Some(certificate), Some(key), _) => {
                Ok(Some(TlsFiles { files: tls::ServerFiles { certificate, key, client_authorities }, made_in: None }))
            }
            (_, _, true) => {
                let dir = state_dir.join("tls");
                let made = tls::SelfSigned::in_dir(&dir);
                let files = tls::ServerFiles { certificate: made.certificate, key: made.key, client_authorities };
                Ok(Some(TlsFiles { files, made_in: Some(dir) }))
            }
            _ if client_authorities.is_some() => {
                wrong("tls_client_ca needs a certificate too: tls_self_signed, or tls_cert and tls_key")
            }
            _ => Ok(None),
        }
    }
}

impl SettingsError {
    /// What cannot work, and what to do.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// The state directory alone, for commands that need nothing else.
pub(crate) fn state_dir(place: &PlaceArgs) -> Result<PathBuf, Box<dyn std::error::Error + Send + Sync>> {
    let config: Result<Config, ConfigError> = Config::load(place.config.as_deref());
    Ok(state_dir_of(place, &config?)?)
}

/// The same where there is no configuration yet.
pub(crate) fn new_state_dir(place: &PlaceArgs) -> Result<PathBuf, SettingsError> {
    state_dir_of(place, &Config::default())
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
        return Some(PathBuf::from(SERVICE_STATE_DIR));
    }
    let base = std::env::var_os("XDG_STATE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    base.or_else(|| std::env::home_dir().map(|home| home.join(".local/state"))).map(|dir| dir.join("shop-agent"))
}

fn wrong<T>(message: impl Into<String>) -> Result<T, SettingsError> {
    Err(SettingsError(message.into()))
}

fn read(path: &Path, what: &str) -> Result<String, SettingsError> {
    std::fs::read_to_string(path)
        .map_err(|error| SettingsError(format!("cannot read the {what} {}: {error}", path.display())))
}

/// An address to listen on.
pub(crate) fn address(text: &str) -> Result<SocketAddr, SettingsError> {
    let mut found = text
        .to_socket_addrs()
        .map_err(|error| SettingsError(format!("cannot listen on {text:?}: {error}; write ADDR:PORT")))?;
    found.next().ok_or_else(|| SettingsError(format!("cannot listen on {text:?}: it has no address")))
}

fn monitor(listen: Option<String>, token_file: Option<&Path>) -> Result<Option<Monitor>, SettingsError> {
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
pub(crate) fn policy(name: &str) -> Result<Policy, SettingsError> {
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
            merge(
                NodeArgs { no_auth: Some(true), insecure_http: Some(true), ..listen("0.0.0.0:1") },
                Config::default()
            )
            .is_err()
        );
        assert!(merge(listen("0.0.0.0:1"), Config::default()).is_err());
        assert!(merge(NodeArgs { insecure_http: Some(true), ..listen("0.0.0.0:1") }, Config::default()).is_ok());
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
        assert_eq!(settings.map(|settings| settings.sessions.session_idle), Ok(Duration::from_secs(7200)));
    }

    #[test]
    fn a_no_takes_the_files_yes_away_and_one_kind_of_encryption_the_files_other_one() {
        let config = Config { no_auth: Some(true), tls_self_signed: Some(true), ..Config::default() };
        let settings = merge(NodeArgs::default(), config.clone());
        assert!(settings.is_ok_and(|settings| settings.no_auth && settings.tls.is_some()));
        let no = NodeArgs { no_auth: Some(false), tls_self_signed: Some(false), ..NodeArgs::default() };
        let settings = merge(no, config.clone());
        assert!(settings.is_ok_and(|settings| !settings.no_auth && settings.tls.is_none()));
        let plain = NodeArgs { insecure_http: Some(true), no_auth: Some(false), ..listen("0.0.0.0:1") };
        assert!(merge(plain, config).is_ok_and(|settings| settings.tls.is_none()));
        let insecure = Config { insecure_http: Some(true), ..Config::default() };
        let own = NodeArgs { tls_self_signed: Some(true), ..listen("0.0.0.0:1") };
        assert!(merge(own, insecure).is_ok_and(|settings| settings.tls.is_some()));
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
        for (name, is_known) in [("UTC", true), ("Mars/Olympus", false), ("", false)] {
            let config = Config { time_zone: Some(name.into()), ..Config::default() };
            assert_eq!(merge(NodeArgs::default(), config).is_ok(), is_known, "{name}");
        }
        assert!(merge(NodeArgs { policy: Some("no-such".into()), ..NodeArgs::default() }, Config::default()).is_err());
        let kept = |min: &str, max: Option<&str>| Config {
            retention_min: Some(min.into()),
            retention_max: max.map(str::to_owned),
            ..Config::default()
        };
        assert!(merge(NodeArgs::default(), kept("90d", Some("1d"))).is_err_and(|why| why.contains("retention_max")));
        assert!(merge(NodeArgs::default(), kept("91d", None)).is_err(), "longer than the usual one");
        assert!(merge(NodeArgs::default(), kept("2d", Some("2d"))).is_ok());
    }

    #[test]
    fn tls_takes_the_place_of_insecure_http_and_half_a_certificate_is_none() {
        let tls = NodeArgs { tls_self_signed: Some(true), ..listen("0.0.0.0:1") };
        let settings = merge(tls.clone(), Config::default());
        let made = settings.ok().and_then(|settings| settings.tls).and_then(|tls| tls.made_in);
        assert_eq!(made, Some("/state/tls".into()));
        assert!(merge(NodeArgs { insecure_http: Some(true), ..tls }, Config::default()).is_err());
        let half = Config { tls_cert: Some("/c".into()), ..Config::default() };
        assert!(merge(NodeArgs::default(), half).is_err());
        let both = Config {
            tls_cert: Some("/c".into()),
            tls_key: Some("/k".into()),
            tls_self_signed: Some(true),
            ..Config::default()
        };
        assert!(merge(NodeArgs::default(), both).is_err());
        assert!(
            merge(NodeArgs { tls_client_ca: Some("/a".into()), ..NodeArgs::default() }, Config::default()).is_err()
        );
    }
}
