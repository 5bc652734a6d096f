//! The configuration file: TOML, every key optional, unknown ones refused with a suggestion.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::CommandError;

/// What the file may say. Command line and environment override it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FileConfig {
    /// `database`: PostgreSQL URL, or `embedded:DIR`.
    pub(crate) database: Option<String>,
    /// `pg-bindir`: directory with the server's binaries, for an embedded database.
    pub(crate) pg_bindir: Option<PathBuf>,
    /// `policy`: the policy that a new branch gets, a file or a name.
    pub(crate) policy: Option<String>,
    /// `state-dir`: spools, received diffs, the witness.
    pub(crate) state_dir: Option<PathBuf>,
    /// `jobs`: branches updated at one time.
    pub(crate) jobs: Option<usize>,
    /// `retry-for`: how long a failing line is tried again without progress, as in `2m`.
    pub(crate) retry_for: Option<String>,
    /// `timeout`: how long a connection may stay silent, as in `60s`.
    pub(crate) timeout: Option<String>,
    /// `alert-command`: run for every new alert of the console, with ALERT_BRANCH, ALERT_KIND and ALERT_TEXT.
    pub(crate) alert_command: Option<String>,
    /// `alert-webhook`: the address that every new alert of the console is posted to, as JSON.
    pub(crate) alert_webhook: Option<String>,
    /// `alert-room`: room on the disk of the state directory below which it is an alert, as in `1GiB`.
    pub(crate) alert_room: Option<String>,
    /// `listen`: where the console listens.
    pub(crate) listen: Option<String>,
    /// `tls-cert`: certificate of the console, PEM.
    pub(crate) tls_cert: Option<PathBuf>,
    /// `tls-key`: its key.
    pub(crate) tls_key: Option<PathBuf>,
    /// `tls-self-signed`: a certificate of its own, made once.
    pub(crate) tls_self_signed: Option<bool>,
    /// `insecure-http`: plain HTTP beyond this machine.
    pub(crate) insecure_http: Option<bool>,
    /// `id-span`: width of a branch's id range.
    pub(crate) id_span: Option<i64>,
    /// `retention-min`: how long changes are kept at least, also when every branch has them, as in `14d`.
    pub(crate) retention_min: Option<String>,
    /// `retention-max`: how long they are kept at most for a branch that is not heard of, as in `90d`.
    pub(crate) retention_max: Option<String>,
}

/// The file that is shipped: every key explained, none set.
pub(crate) const TEMPLATE: &str = include_str!("../../packaging/office-client/office-client.toml");

/// The file that is read for everybody at this machine.
pub(crate) const MACHINE_PATH: &str = "/etc/office-client/office-client.toml";

const KEYS: &[&str] = &[
    "database",
    "pg-bindir",
    "policy",
    "state-dir",
    "jobs",
    "retry-for",
    "timeout",
    "alert-command",
    "alert-webhook",
    "alert-room",
    "listen",
    "tls-cert",
    "tls-key",
    "tls-self-signed",
    "insecure-http",
    "id-span",
    "retention-min",
    "retention-max",
];

/// Reads the file that was named, or the first default one that exists; nothing when there is none.
pub(crate) fn load(named: Option<&Path>) -> Result<FileConfig, CommandError> {
    let Some(path) = path(named) else { return Ok(FileConfig::default()) };
    let text = std::fs::read_to_string(&path).map_err(|error| {
        CommandError::usage(format!("the configuration {} cannot be read: {error}", path.display()))
    })?;
    parse(&text, &path.display().to_string())
}

/// The file that was named, or the first default one that exists.
pub(crate) fn path(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_owned).or_else(|| default_paths().into_iter().find(|path| path.exists()))
}

/// Every default one, the user's own first.
pub(crate) fn default_paths() -> Vec<PathBuf> {
    let user = crate::settings::config_home().map(|home| home.join("office-client/office-client.toml"));
    user.into_iter().chain([PathBuf::from(MACHINE_PATH)]).collect()
}

/// Reads the text of a file; `name` is for messages.
pub(crate) fn parse(text: &str, name: &str) -> Result<FileConfig, CommandError> {
    toml::from_str(text).map_err(|error| {
        let (line, reason) = installation::fault_in(text, &error);
        let unknown = error.message().strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        match unknown {
            Some(key) => {
                let error = CommandError::usage(format!("{name}: line {line}: unknown key `{key}`"));
                match nearest(key, KEYS.iter().copied()) {
                    Some(meant) => error.with_hint(format!("did you mean `{meant}`?")),
                    None => error.with_hint(format!("the keys are {}", KEYS.join(", "))),
                }
            }
            None => CommandError::usage(format!("{name}: line {line}: {reason}")),
        }
    })
}

/// The candidate that was probably meant, if one is near enough.
pub(crate) fn nearest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::normalized_damerau_levenshtein(written, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_is_shipped_explains_every_key_and_sets_none() {
        let shipped = TEMPLATE;
        assert_eq!(parse(shipped, "shipped").ok(), Some(FileConfig::default()));
        for key in KEYS {
            assert!(
                shipped.contains(&format!("\n#{key} = ")),
                "packaging/office-client/office-client.toml lacks {key}"
            );
        }
        let said = shipped.lines().filter_map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' ')));
        let said: Vec<&str> = said.collect();
        assert!(parse(&said.join("\n"), "shipped").is_ok_and(|config| config.jobs == Some(4)), "it is sound");
    }

    #[test]
    fn an_unknown_key_is_an_error_with_a_line_and_a_suggestion() {
        let error = parse("database = \"embedded:/x\"\nstatedir = \"/y\"\n", "c.toml").unwrap_err();
        assert_eq!(error.to_string(), "c.toml: line 2: unknown key `statedir`");
        assert_eq!(error.hint().as_deref(), Some("did you mean `state-dir`?"));
    }

    #[test]
    fn every_key_is_read_under_its_documented_name() {
        let text = "database='a'\npg-bindir='/b'\npolicy='shop'\nstate-dir='/s'\njobs=3\nretry-for='1m'\ntimeout='9s'\nalert-command='x'\nalert-webhook='https://a/b'\nalert-room='1GiB'\nlisten='127.0.0.1:1'\ntls-cert='/c'\ntls-key='/k'\ntls-self-signed=true\ninsecure-http=true\nid-span=7\nretention-min='14d'\nretention-max='90d'\n";
        let config = parse(text, "c.toml").unwrap();
        assert_eq!((config.jobs, config.id_span), (Some(3), Some(7)));
        assert!(KEYS.iter().all(|key| text.contains(&format!("{key}="))), "a key without a test");
    }

    #[test]
    fn a_value_of_the_wrong_kind_names_its_line() {
        let error = parse("\njobs = \"many\"\n", "c.toml").unwrap_err();
        assert!(error.to_string().starts_with("c.toml: line 2: "), "{error}");
        assert!(!error.to_string().contains("many"), "what stands there may be a password: {error}");
    }
}
