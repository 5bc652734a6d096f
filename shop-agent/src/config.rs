//! The configuration file.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where it is looked for when none is named.
pub(crate) const DEFAULT_PATH: &str = "/etc/shop-agent/shop-agent.toml";

/// The file as it is written; everything is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    pub(crate) branch: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) pg_bindir: Option<PathBuf>,
    pub(crate) policy: Option<String>,
    pub(crate) schema: Option<PathBuf>,
    pub(crate) listen: Option<String>,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) no_auth: Option<bool>,
    pub(crate) insecure_http: Option<bool>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) tls_self_signed: Option<bool>,
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Names under which the agent is reached on loopback, beside `localhost`.
    pub(crate) hosts: Option<Vec<String>>,
    pub(crate) force_clean: Option<bool>,
    /// Whether any caller may stop the agent with the legacy method `quit`.
    pub(crate) allow_quit: Option<bool>,
    /// The time zone of a `since` that names none.
    pub(crate) time_zone: Option<String>,
    pub(crate) id_span: Option<i64>,
    pub(crate) skew: Option<String>,
    pub(crate) retention_min: Option<String>,
    pub(crate) retention_max: Option<String>,
    pub(crate) session_idle: Option<String>,
    pub(crate) sessions_per_office: Option<usize>,
    pub(crate) session_bytes_max: Option<u64>,
    pub(crate) row_bytes_max: Option<usize>,
    pub(crate) chunk_bytes_max: Option<u64>,
    pub(crate) connections_max: Option<usize>,
    /// Bytes that stay free on the disk of the state directory.
    pub(crate) disk_reserve: Option<u64>,
    pub(crate) stop_deadline: Option<String>,
    pub(crate) monitor: Option<String>,
    pub(crate) monitor_token_file: Option<PathBuf>,
}

/// The file that is shipped: every key explained, none set.
pub(crate) const TEMPLATE: &str = include_str!("../../packaging/shop-agent/shop-agent.toml");

/// Every key, in the order of the documentation.
const KEYS: &[&str] = &[
    "branch",
    "database",
    "pg_bindir",
    "policy",
    "schema",
    "listen",
    "state_dir",
    "no_auth",
    "insecure_http",
    "tls_cert",
    "tls_key",
    "tls_self_signed",
    "tls_client_ca",
    "hosts",
    "force_clean",
    "allow_quit",
    "time_zone",
    "id_span",
    "skew",
    "retention_min",
    "retention_max",
    "session_idle",
    "sessions_per_office",
    "session_bytes_max",
    "row_bytes_max",
    "chunk_bytes_max",
    "connections_max",
    "disk_reserve",
    "stop_deadline",
    "monitor",
    "monitor_token_file",
];

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// It is no TOML, or a value has the wrong type.
    #[error("{path}: line {line}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// What is wrong; never what stands there.
        reason: String,
    },
    /// A key that means nothing.
    #[error("{path}: unknown key {key:?}{suggestion}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What may have been meant, as the end of the sentence.
        suggestion: String,
    },
}

impl Config {
    /// Reads the file that was named; else the default one, if it is there.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let named = path.unwrap_or(Path::new(DEFAULT_PATH));
        match std::fs::read_to_string(named) {
            Ok(text) => Self::parse(&text, named),
            Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: named.to_owned(), source }),
        }
    }

    /// Reads the text of a file; `path` is for messages.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let syntax = |error: toml::de::Error| {
            let (line, reason) = installation::fault_in(text, &error);
            ConfigError::Syntax { path: path.to_owned(), line, reason }
        };
        let table: toml::Table = text.parse().map_err(syntax)?;
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            let suggestion = suggest(key).map(|known| format!("; did you mean {known:?}?")).unwrap_or_default();
            return Err(ConfigError::UnknownKey { path: path.to_owned(), key: key.clone(), suggestion });
        }
        toml::from_str(text).map_err(syntax)
    }
}

fn suggest(key: &str) -> Option<&'static str> {
    let wanted = key.replace('-', "_").to_lowercase();
    let score = |known: &str| strsim::jaro_winkler(&wanted, known);
    KEYS.iter().copied().max_by(|a, b| score(a).total_cmp(&score(b))).filter(|known| score(known) > 0.75)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_is_shipped_explains_every_key_and_sets_none() {
        let shipped = TEMPLATE;
        assert_eq!(parse(shipped), Ok(Config::default()));
        for key in KEYS {
            assert!(shipped.contains(&format!("\n#{key} = ")), "packaging/shop-agent/shop-agent.toml lacks {key}");
        }
        let said = shipped.lines().filter_map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')));
        let said: Vec<&str> = said.collect();
        let file = toml::from_str::<Config>(&said.join("\n"));
        assert!(file.is_ok_and(|config| config.branch.as_deref() == Some("lisbon")), "what is commented out is sound");
    }

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("f.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_unknown_key_is_an_error_with_a_suggestion() {
        let error = parse("stat_dir = \"/x\"").err();
        assert_eq!(error.as_deref(), Some("f.toml: unknown key \"stat_dir\"; did you mean \"state_dir\"?"));
        let error = parse("no-auth = true").err().unwrap_or_default();
        assert!(error.contains("\"no_auth\""), "{error}");
        let error = parse("zzz = 1").err();
        assert_eq!(error.as_deref(), Some("f.toml: unknown key \"zzz\""));
    }

    #[test]
    fn a_file_that_is_no_toml_is_not_quoted() {
        let error = parse("branch = \"b\"\ndatabase = \"postgresql://shop:TOPSECRET@h/db\n").err().unwrap_or_default();
        assert!(error.starts_with("f.toml: line 2: invalid") && !error.contains("TOPSECRET"), "{error}");
        let error = parse("no_auth = \"TOPSECRET\"").err().unwrap_or_default();
        assert_eq!(error, "f.toml: line 1: invalid type: string, expected a boolean");
    }

    #[test]
    fn every_key_is_a_field() -> Result<(), String> {
        for key in KEYS {
            // of all the types at least one must be taken, and none may be ignored
            let taken = ["\"1\"", "1", "true", "[\"1\"]"]
                .iter()
                .filter_map(|value| parse(&format!("{key} = {value}")).ok())
                .any(|config| config != Config::default());
            assert!(taken, "{key}");
        }
        Ok(())
    }
}
