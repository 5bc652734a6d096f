//! What has to be known to set up a shop: from flags, the rest from whoever sits at the terminal.

use std::path::{Path, PathBuf};

use installation::said;
use replica::database::DatabaseUrl;
use toml::Value;

use super::super::{CommandError, password};
use crate::cli::{NodeArgs, SetupArgs};
use crate::settings::{self, DEFAULT_LISTEN, DEFAULT_POLICY, SettingsError};

/// Where the agent of a shop listens unless said otherwise, when somebody is asked: the office comes over a network.
const ASKED_LISTEN: &str = "0.0.0.0:9000";

/// Name under which the office calls unless said otherwise.
const DEFAULT_USER: &str = "office";

/// The password of the office's credential.
pub(super) enum Password {
    /// From a file, or typed: whoever gave it knows it.
    Known(String),
    /// Made here: to be shown once.
    Made(String),
    /// None: everybody on this machine is let in.
    None,
}

/// How others are kept from reading along.
enum Encryption {
    SelfSigned,
    Files(PathBuf, PathBuf),
    Insecure,
    /// Plain HTTP that does not leave the machine.
    Loopback,
}

/// Everything that is written down, or made.
pub(super) struct Answers {
    pub(super) branch: String,
    database: String,
    pg_bindir: Option<PathBuf>,
    policy: String,
    /// The policy, if it is a file.
    pub(super) policy_file: Option<PathBuf>,
    pub(super) schema: Option<PathBuf>,
    listen: String,
    encryption: Encryption,
    client_authorities: Option<PathBuf>,
    monitor: Option<String>,
    monitor_token_file: Option<PathBuf>,
    pub(super) state_dir: PathBuf,
    pub(super) url: String,
    pub(super) user: String,
    pub(super) office: String,
    pub(super) password: Password,
}

impl Answers {
    /// The keys of the configuration. Files are named by where they are kept.
    pub(super) fn settings(&self, schema: Option<&Path>, policy_file: Option<&Path>) -> Vec<(&'static str, Value)> {
        let text = |path: &Path| Value::String(path.display().to_string());
        let mut settings = vec![
            ("branch", Value::String(self.branch.clone())),
            ("database", Value::String(self.database.clone())),
            ("policy", policy_file.map_or_else(|| Value::String(self.policy.clone()), text)),
            ("listen", Value::String(self.listen.clone())),
            ("state_dir", text(&self.state_dir)),
        ];
        settings.extend(self.pg_bindir.as_deref().map(|dir| ("pg_bindir", text(dir))));
        settings.extend(schema.map(|file| ("schema", text(file))));
        match &self.encryption {
            Encryption::SelfSigned => settings.push(("tls_self_signed", Value::Boolean(true))),
            Encryption::Files(certificate, key) => {
                settings.extend([("tls_cert", text(certificate)), ("tls_key", text(key))]);
            }
            Encryption::Insecure => settings.push(("insecure_http", Value::Boolean(true))),
            Encryption::Loopback => {}
        }
        settings.extend(self.client_authorities.as_deref().map(|file| ("tls_client_ca", text(file))));
        settings.extend(self.monitor.as_ref().map(|listen| ("monitor", Value::String(listen.clone()))));
        settings.extend(self.monitor_token_file.as_deref().map(|file| ("monitor_token_file", text(file))));
        if matches!(self.password, Password::None) {
            settings.push(("no_auth", Value::Boolean(true)));
        }
        // on loopback only known names are answered: a tunnel brings its own
        let host = host(&self.url).filter(|host| !["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str()));
        if let (Some(host), true) = (host, is_loopback(&self.listen)) {
            settings.push(("hosts", Value::Array(vec![Value::String(host)])));
        }
        settings
    }
}

/// Takes the flags, asks for the rest where there is somebody to ask; else says what is missing.
pub(super) fn gather(args: SetupArgs) -> Result<Answers, CommandError> {
    let asks = !args.yes && installation::terminal_is_there();
    let SetupArgs { node, url, user, office, password_file, generate_password, .. } = args;
    if !asks {
        let missing = missing(&node, password_file.is_some() || generate_password)?;
        if !missing.is_empty() {
            let message = format!("nobody is here to be asked, and these are missing:\n  {}", missing.join("\n  "));
            return Err(SettingsError::new(message).into());
        }
    } else {
        said::talk("Enter takes what stands in brackets. Nothing is written before the last question.\n");
    }
    let encryption = settings::Encryption::typed(&node)?;
    let question =
        |given: Option<String>, question: &str, default: &str, check: Check| -> Result<String, CommandError> {
            match given {
                None if asks => {
                    Ok(installation::ask_until(question, Some(default), |text| check(text).map(|()| text.to_owned()))?)
                }
                given => {
                    let text = given.unwrap_or_else(|| default.to_owned());
                    check(&text).map_err(|reason| SettingsError::new(format!("{question}: {reason}")))?;
                    Ok(text)
                }
            }
        };

    let branch = question(node.branch, "Name of this branch, as the office calls it", "", &is_named)?;
    let state_dir = settings::new_state_dir(&node.place)?;
    let private = format!("embedded:{}", state_dir.join("database").display());
    let database = question(
        node.database,
        "Database of this shop: a PostgreSQL URL, or Enter for a private one that the agent keeps by itself",
        &private,
        &is_database,
    )?;
    let policy = question(
        node.policy,
        "Policy, the same as the office's for this branch: a file, or the name of a preset",
        DEFAULT_POLICY,
        &is_policy,
    )?;
    let policy_file = Path::new(&policy).exists().then(|| PathBuf::from(&policy));
    let policy_file = policy_file.filter(|_| protocol::policy::Policy::preset(&policy).is_none());
    let schema = match node.schema {
        None if asks && !has_data(&database) => question(
            None,
            "SQL file with the application's tables, which the first clone creates where they are missing (Enter: none)",
            "",
            &is_readable_or_empty,
        )
        .map(|text| (!text.is_empty()).then(|| PathBuf::from(text)))?,
        given => {
            let readable = given.as_deref().map_or(Ok(()), |file| is_readable_or_empty(&file.to_string_lossy()));
            readable.map_err(SettingsError::new)?;
            given
        }
    };
    let default = if asks { ASKED_LISTEN } else { DEFAULT_LISTEN };
    let listen = question(
        node.listen,
        "Address to listen on (127.0.0.1:9000 where the office comes through a tunnel that ends on this machine)",
        default,
        &|text| settings::address(text).map(drop).map_err(|error| error.to_string()),
    )?;
    let encryption = match (encryption.certificate, encryption.key, encryption.self_signed, encryption.insecure) {
        (Some(certificate), Some(key), ..) => Encryption::Files(absolute(&certificate)?, absolute(&key)?),
        (_, _, true, _) => Encryption::SelfSigned,
        (_, _, _, true) => Encryption::Insecure,
        _ if is_loopback(&listen) => Encryption::Loopback,
        _ => {
            let words = "Certificate, PEM (Enter: one of its own is made, and the office pins its fingerprint)";
            match question(None, words, "", &is_readable_or_empty)? {
                file if file.is_empty() => Encryption::SelfSigned,
                file => {
                    let key = question(None, "Its private key, PEM", "", &is_readable)?;
                    Encryption::Files(absolute(Path::new(&file))?, absolute(Path::new(&key))?)
                }
            }
        }
    };
    let scheme = if matches!(encryption, Encryption::SelfSigned | Encryption::Files(..)) { "https" } else { "http" };
    let usual = format!("{scheme}://{}", usual_address(&listen));
    let url = question(url, "Where the office reaches this shop", &usual, &is_url)?;
    let user = question(user, "Name under which the office logs in", DEFAULT_USER, &is_user)?;
    let password = match (password_file, node.no_auth) {
        (Some(file), _) => Password::Known(password::in_file(&file)?),
        (None, Some(true)) => Password::None,
        (None, _) if generate_password || !asks => Password::Made(installation::made_password()),
        (None, _) => loop {
            let first = installation::ask_hidden("Its password (Enter: one is made, and shown once): ")?;
            if first.is_empty() {
                break Password::Made(installation::made_password());
            }
            if installation::ask_hidden("Again: ")? == first {
                break Password::Known(first);
            }
            said::talk("  the two passwords differ");
        },
    };
    Ok(Answers {
        branch,
        database: absolute_database(&database)?,
        pg_bindir: node.pg_bindir.as_deref().map(absolute).transpose()?,
        policy,
        policy_file,
        schema,
        listen,
        encryption,
        client_authorities: node.tls_client_ca.as_deref().map(absolute).transpose()?,
        monitor: node.monitor,
        monitor_token_file: node.monitor_token_file.as_deref().map(absolute).transpose()?,
        state_dir,
        url,
        user,
        office,
        password,
    })
}

/// Why an answer cannot be used.
type Check<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// What flags have to say when nobody can be asked.
fn missing(node: &NodeArgs, has_password: bool) -> Result<Vec<String>, CommandError> {
    let mut missing = Vec::new();
    if node.branch.is_none() {
        missing.push("--branch NAME: as the office calls this shop");
    }
    let state_dir = settings::new_state_dir(&node.place)?;
    let private = format!("embedded:{}", state_dir.join("database").display());
    let database = node.database.as_deref().unwrap_or(&private);
    if node.schema.is_none() && database.starts_with("embedded:") && !has_data(database) {
        missing.push("--schema FILE: SQL that creates the application's tables, since a private database has none yet");
    }
    let is_said = settings::Encryption::typed(node)? != settings::Encryption::default();
    if !is_said && node.listen.as_deref().is_some_and(|listen| !is_loopback(listen)) {
        missing
            .push("--tls-self-signed, or --tls-cert FILE --tls-key FILE: beyond this machine, others could read along");
    }
    if !has_password && node.no_auth != Some(true) {
        missing.push("--password-file FILE or --generate-password: what the office logs in with");
    }
    Ok(missing.into_iter().map(str::to_owned).collect())
}

fn is_named(text: &str) -> Result<(), String> {
    let is_usable = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text {
        "" => Err("a branch has a name".to_owned()),
        _ if text.chars().all(is_usable) => Ok(()),
        _ => Err("a name has letters, digits, dashes, underscores and dots".to_owned()),
    }
}

fn is_database(text: &str) -> Result<(), String> {
    text.parse::<DatabaseUrl>().map(drop).map_err(|error| error.to_string())
}

fn is_policy(text: &str) -> Result<(), String> {
    settings::policy(text).map(drop).map_err(|error| error.to_string())
}

fn is_readable(text: &str) -> Result<(), String> {
    std::fs::File::open(text).map(drop).map_err(|error| format!("{text}: {error}"))
}

fn is_readable_or_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { is_readable(text) }
}

fn is_url(text: &str) -> Result<(), String> {
    match host(text) {
        Some(_) => Ok(()),
        None => Err("write it as in https://lisbon.example:9000".to_owned()),
    }
}

fn is_user(text: &str) -> Result<(), String> {
    let is_bad = text.is_empty() || text.contains(':') || text.chars().any(char::is_control);
    if is_bad { Err("a name has at least one character and no colon".to_owned()) } else { Ok(()) }
}

/// The host of a URL, without its port.
fn host(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    (!host.is_empty() && !host.contains(char::is_whitespace)).then(|| host.to_owned())
}

fn is_loopback(listen: &str) -> bool {
    settings::address(listen).is_ok_and(|address| address.ip().is_loopback())
}

/// Whether a private cluster is there already: then its tables may be too.
fn has_data(database: &str) -> bool {
    database.strip_prefix("embedded:").is_none_or(|dir| Path::new(dir).join("data/PG_VERSION").exists())
}

/// The name and port under which others probably reach this machine.
fn usual_address(listen: &str) -> String {
    match settings::address(listen) {
        Ok(address) if address.ip().is_unspecified() => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{}:{}", Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("localhost"), address.port())
        }
        _ => listen.to_owned(),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// A private database wherever the agent is started later.
fn absolute_database(database: &str) -> Result<String, CommandError> {
    match database.strip_prefix("embedded:") {
        Some(dir) => Ok(format!("embedded:{}", absolute(Path::new(dir))?.display())),
        None => Ok(database.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_listed_at_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut node = NodeArgs { listen: Some("0.0.0.0:1".into()), ..NodeArgs::default() };
        node.place.state_dir = Some(dir.path().to_owned());
        node.place.config = Some("/dev/null".into());
        let all = missing(&node, false).expect("a list").join("\n");
        for flag in ["--branch", "--schema", "--tls-self-signed", "--generate-password"] {
            assert!(all.contains(flag), "{flag} in {all}");
        }
        let fine = NodeArgs {
            branch: Some("b".into()),
            database: Some("postgresql:///shop".into()),
            tls_self_signed: Some(true),
            ..node
        };
        assert_eq!(missing(&fine, true).ok(), Some(Vec::new()));
    }

    #[test]
    fn a_host_is_found_in_every_address() {
        for (url, wanted) in [
            ("https://lisbon.example:9000", Some("lisbon.example")),
            ("http://127.0.0.1:9000/RPC2", Some("127.0.0.1")),
            ("http://[::1]:9000", Some("[::1]")),
            ("https://shop", Some("shop")),
            ("lisbon:9000", None),
            ("https://:9000", None),
        ] {
            assert_eq!(host(url).as_deref(), wanted, "{url}");
        }
    }
}
