//! What the program works with: command line over environment over file over default, all validated.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use replica::database::DatabaseUrl;
use replica::retention::Retention;

use crate::cli::Global;
use crate::config::{self, FileConfig};
use crate::error::CommandError;
use crate::link::Webhook;
use crate::{alerts, limits, units};

/// Where the console listens unless said otherwise.
pub(crate) const CONSOLE_LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8900);

/// The validated settings.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The office's database.
    pub(crate) database: DatabaseUrl,
    /// Directory with the server's binaries, for an embedded database.
    pub(crate) pg_bindir: Option<PathBuf>,
    /// The policy that a new branch gets, a file or a name.
    pub(crate) policy: String,
    /// Whether it was named on the command line or in the environment.
    pub(crate) policy_given: bool,
    /// Spools, received diffs, the witness.
    pub(crate) state_dir: PathBuf,
    /// Branches updated at one time, 1 to [`limits::JOBS_MAX`].
    pub(crate) jobs: usize,
    /// How long a failing line is tried again without progress.
    pub(crate) retry_for: Duration,
    /// Whether `retry_for` was asked for, so that it counts for the first contact too.
    pub(crate) retry_for_given: bool,
    /// How long a connection may stay silent.
    pub(crate) timeout: Duration,
    /// What the console runs for every new alert.
    pub(crate) alert_command: Option<String>,
    /// Where it posts them.
    pub(crate) alert_webhook: Option<Webhook>,
    /// Room on the disk of the state directory below which it is one.
    pub(crate) alert_room: u64,
    /// How the console is reached, as far as the file says.
    pub(crate) console: ConsoleSettings,
    /// Width of a branch's id range.
    pub(crate) id_span: i64,
    /// How long changes are kept for branches.
    pub(crate) retention: Retention,
    /// Who uses the program, for the record.
    pub(crate) user: String,
}

/// How the console is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ConsoleSettings {
    /// Where it listens.
    pub(crate) listen: Option<SocketAddr>,
    /// Its certificate.
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's key.
    pub(crate) tls_key: Option<PathBuf>,
    /// Whether it makes a certificate of its own.
    pub(crate) tls_self_signed: bool,
    /// Whether plain HTTP is wanted beyond this machine.
    pub(crate) insecure_http: bool,
}

impl ConsoleSettings {
    fn of(file: &FileConfig) -> Result<Self, CommandError> {
        let listen = file.listen.as_deref().map(|text| {
            text.parse()
                .map_err(|_| CommandError::usage(format!("`listen`: `{text}` is no address; write 127.0.0.1:8900")))
        });
        let console = Self {
            listen: listen.transpose()?,
            tls_cert: file.tls_cert.clone(),
            tls_key: file.tls_key.clone(),
            tls_self_signed: file.tls_self_signed == Some(true),
            insecure_http: file.insecure_http == Some(true),
        };
        if console.tls_cert.is_some() != console.tls_key.is_some() {
            return Err(CommandError::usage("`tls-cert` and `tls-key` belong together: one of them is missing"));
        }
        if console.tls_cert.is_some() && console.tls_self_signed {
            return Err(CommandError::usage(
                "`tls-cert` and `tls-self-signed` exclude each other: leave one of them out",
            ));
        }
        Ok(console)
    }
}

impl Settings {
    /// Reads the file and merges it with what was typed.
    pub(crate) fn load(global: &Global) -> Result<Self, CommandError> {
        Self::merge(global, config::load(global.config.as_deref())?)
    }

    fn merge(global: &Global, file: FileConfig) -> Result<Self, CommandError> {
        let console = ConsoleSettings::of(&file)?;
        let state_dir = global.state_dir.clone().or(file.state_dir).unwrap_or_else(default_state_dir);
        let database = match global.database.clone().or(file.database) {
            Some(text) => text.parse().map_err(|error| CommandError::usage(format!("{error}")))?,
            None => DatabaseUrl::Embedded(state_dir.join("database")),
        };
        let retry_for = global.retry_for.clone().or(file.retry_for);
        let retry_for_given = retry_for.is_some();
        let jobs = global.jobs.or(file.jobs).unwrap_or(limits::JOBS_DEFAULT);
        if !(1..=limits::JOBS_MAX).contains(&jobs) {
            return Err(CommandError::usage(format!("`jobs` is 1 to {}, not {jobs}", limits::JOBS_MAX)));
        }
        let kept = |key: &str, written: &Option<String>, usual| match written {
            Some(text) => units::parse_duration(text).map_err(|error| CommandError::usage(format!("`{key}`: {error}"))),
            None => Ok(usual),
        };
        let retention = Retention {
            min: kept("retention-min", &file.retention_min, Retention::default().min)?,
            max: kept("retention-max", &file.retention_max, Retention::default().max)?,
        };
        if retention.min > retention.max {
            return Err(CommandError::usage(
                "`retention-min` is longer than `retention-max`: changes are kept at least for the one and at most for the \
                 other (unless set, 14d and 90d)",
            )
            .with_hint("lower `retention-min` or raise `retention-max`"));
        }
        let id_span = file.id_span.unwrap_or(limits::ID_SPAN_DEFAULT);
        if id_span < 1 {
            return Err(CommandError::usage(format!("`id-span` is at least 1, not {id_span}")));
        }
        Ok(Self {
            database,
            pg_bindir: global.pg_bindir.clone().or(file.pg_bindir),
            policy_given: global.policy.is_some(),
            policy: global.policy.clone().or(file.policy).unwrap_or_else(|| "shop".to_owned()),
            state_dir,
            jobs,
            retry_for: duration("retry-for", retry_for, limits::RETRY_DURATION_MAX)?,
            retry_for_given,
            timeout: duration("timeout", global.timeout.clone().or(file.timeout), limits::SILENCE_DURATION_MAX)?,
            alert_command: file.alert_command,
            alert_webhook: file
                .alert_webhook
                .map(|text| text.parse().map_err(|error| CommandError::usage(format!("`alert-webhook`: {error}"))))
                .transpose()?,
            alert_room: match file.alert_room {
                Some(text) => units::parse_rate(&text)
                    .map_err(|_| CommandError::usage(format!("`alert-room`: `{text}` is no size; write 1GiB")))?,
                None => alerts::ROOM_MIN,
            },
            console,
            id_span,
            retention,
            user: user(),
        })
    }
}

fn duration(key: &str, written: Option<String>, default: Duration) -> Result<Duration, CommandError> {
    match written {
        Some(text) => units::parse_duration(&text).map_err(|error| CommandError::usage(format!("{key}: {error}"))),
        None => Ok(default),
    }
}

/// `/var/lib/office-client` for root, otherwise below `~/.local/state`.
fn default_state_dir() -> PathBuf {
    if is_root() {
        return PathBuf::from("/var/lib/office-client");
    }
    let below_home = || home().map(|home| home.join(".local/state"));
    variable("XDG_STATE_HOME").map(PathBuf::from).or_else(below_home).unwrap_or_default().join("office-client")
}

/// Where the user's configuration lives, if the user has a home.
pub(crate) fn config_home() -> Option<PathBuf> {
    variable("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home().map(|home| home.join(".config")))
}

fn home() -> Option<PathBuf> {
    variable("HOME").map(PathBuf::from)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The system's name for whoever uses the program; their number where it has none.
fn user() -> String {
    use std::os::unix::fs::MetadataExt as _;
    let named = || variable("LOGNAME").or_else(|| variable("USER"));
    let numbered = || std::fs::metadata("/proc/self").map(|metadata| format!("user {}", metadata.uid()));
    named().or_else(|| numbered().ok()).unwrap_or_else(|| "unknown".to_owned())
}

/// Where the office keeps its files: typed, or the default.
pub(crate) fn state_dir(global: &Global) -> PathBuf {
    global.state_dir.clone().unwrap_or_else(default_state_dir)
}

/// Whether the program runs as root: its own directory in /proc belongs to user 0.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_default() {
        let file = FileConfig { jobs: Some(2), timeout: Some("9s".into()), ..FileConfig::default() };
        let global = Global { jobs: Some(7), ..Global::default() };
        let settings = Settings::merge(&global, file).unwrap();
        assert_eq!(settings.jobs, 7);
        assert_eq!(settings.timeout, Duration::from_secs(9));
        assert_eq!(settings.retry_for, limits::RETRY_DURATION_MAX);
    }

    #[test]
    fn a_fresh_install_has_its_database_in_the_state_directory() {
        let global = Global { state_dir: Some("/tmp/o".into()), ..Global::default() };
        let settings = Settings::merge(&global, FileConfig::default()).unwrap();
        assert_eq!(settings.database, DatabaseUrl::Embedded("/tmp/o/database".into()));
    }

    #[test]
    fn changes_are_kept_at_most_for_longer_than_at_least() {
        let kept = |min: &str, max: Option<&str>| {
            let file = FileConfig {
                retention_min: Some(min.into()),
                retention_max: max.map(str::to_owned),
                ..FileConfig::default()
            };
            Settings::merge(&Global::default(), file)
        };
        assert!(kept("90d", Some("1d")).is_err_and(|error| error.to_string().contains("retention-max")));
        assert!(kept("91d", None).is_err(), "longer than the usual one");
        assert!(kept("2d", Some("2d")).is_ok());
    }

    #[test]
    fn the_number_of_jobs_is_bounded() {
        let jobs = |jobs| Settings::merge(&Global { jobs: Some(jobs), ..Global::default() }, FileConfig::default());
        assert!(jobs(0).is_err());
        assert!(jobs(limits::JOBS_MAX).is_ok());
        assert!(jobs(limits::JOBS_MAX + 1).is_err());
    }
}
