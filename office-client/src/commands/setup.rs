//! `office-client setup`: asks, or takes flags, and leaves behind an office that works: configuration, database, policy, the
//! console's login and certificate, all of it checked, and what to type at a shop.

use std::path::{Path, PathBuf};

use installation::{Account, keep_beside, made_password, write_settings};
use protocol::policy::Policy;
use toml::Value;

use super::{Opened, Outcome, check, password, policy};
use crate::cli::{CheckArgs, Global, SetupArgs};
use crate::config::{self, FileConfig, MACHINE_PATH, TEMPLATE};
use crate::console::{Role, User, Users, users_path};
use crate::error::CommandError;
use crate::output::Printer;
use crate::settings::{self, CONSOLE_LISTEN_DEFAULT, Settings};
use crate::stop::Stop;

/// The user that the packaged unit runs the console as.
const SERVICE_USER: &str = "office-client";

/// Its group may read the configuration of the machine, which can hold a password; a user's own is for nobody else.
const MACHINE_MODE: u32 = 0o640;
const OWN_MODE: u32 = 0o600;

/// What was typed, or asked.
struct Answers {
    database: String,
    state_dir: PathBuf,
    policy: String,
    schema: Option<PathBuf>,
    listen: std::net::SocketAddr,
    console_user: Option<(String, String)>,
    made_password: bool,
}

/// Sets up the office.
pub(crate) async fn run(
    args: &SetupArgs,
    global: &Global,
    printer: &Printer,
    stop: &Stop,
) -> Result<Outcome, CommandError> {
    let path = place(global)?;
    let template = template(&path, args.force)?;
    let account = Account::of_service(SERVICE_USER).filter(|_| path == Path::new(MACHINE_PATH));
    let answers = gather(args, global)?;
    let mode = if path == Path::new(MACHINE_PATH) { MACHINE_MODE } else { OWN_MODE };

    let wrong = |error: std::io::Error| CommandError::usage(error.to_string());
    let policy_file = match is_file(&answers.policy) {
        true => Some(keep_beside(&path, Path::new(&answers.policy), "policy.toml", mode, args.force).map_err(wrong)?),
        false => None,
    };
    let schema = match &answers.schema {
        Some(file) => Some(read(file, "schema")?),
        None => None,
    };
    let text = installation::fill(&template, &keys(args, global, &answers, policy_file.as_deref())?);
    config::parse(&text, &path.display().to_string())?;
    let written = write_settings(&path, &text, mode, true).map_err(wrong)?;
    printer.talk(&format!("written: {}", path.display()));
    if let Some(before) = written.before.filter(|_| template == TEMPLATE && args.force) {
        printer.talk(&format!("what it was before: {}", before.display()));
    }
    if let Some(account) = &account {
        let become_it = || {
            for file in policy_file.iter().chain([&path]) {
                account.may_read(file)?;
            }
            account.own_dir(&answers.state_dir)?;
            account.take()
        };
        become_it().map_err(|error| CommandError::failed(error.to_string()))?;
        printer.talk(&format!(
            "the console will run as {0}; from here on everything is done as that user",
            account.name()
        ));
    }

    let from_file = Global { config: Some(path.clone()), ..Global::default() };
    let settings = Settings::load(&from_file)?;
    prepare(&settings, schema.as_deref(), printer).await?;
    if let Some((name, password)) = &answers.console_user {
        let file = users_path(&settings.state_dir);
        let mut users = Users::load(&file)?;
        users.put(User::new(name, Role::Decide, password)?);
        users.save(&file)?;
        if answers.made_password {
            printer.line(&format!("\nPassword of {name} at the console (shown this once):\n\n    {password}"));
        }
    }
    printer.line("");
    let mut findings = check::Findings::new(printer);
    check::look(&CheckArgs { names: Vec::new(), offline: true, bundle: None }, &from_file, stop, &mut findings).await;
    say_next(&path, &settings, printer).await?;
    Ok(if findings.is_good() { Outcome::Done } else { Outcome::Differences })
}

/// The file that is written: the one named, the machine's for root, else the user's own.
fn place(global: &Global) -> Result<PathBuf, CommandError> {
    let usual = || match settings::is_root() {
        true => Some(PathBuf::from(MACHINE_PATH)),
        false => config::default_paths().into_iter().next(),
    };
    let path = global.config.clone().or_else(usual);
    let path = path.ok_or_else(|| CommandError::usage("there is no home directory: name a file with --config"))?;
    std::path::absolute(&path).map_err(|error| CommandError::usage(format!("{}: {error}", path.display())))
}

/// The text that is filled in: the file that is there, as long as it sets nothing (as packages bring it), else the one that
/// is shipped.
fn template(path: &Path, force: bool) -> Result<String, CommandError> {
    let there = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(TEMPLATE.to_owned()),
        Err(error) => return Err(CommandError::usage(format!("cannot read {}: {error}", path.display()))),
        Ok(there) => there,
    };
    if config::parse(&there, "").is_ok_and(|config| config == FileConfig::default()) {
        return Ok(there);
    }
    if force {
        return Ok(TEMPLATE.to_owned());
    }
    let message = format!("{} is there already, and sets something: nothing was changed", path.display());
    Err(CommandError::usage(message).with_hint(
        "`office-client check` says whether it works; --force replaces it and keeps it under a name that ends with .old",
    ))
}

/// Takes the flags, and asks for the rest where there is somebody to ask.
fn gather(args: &SetupArgs, global: &Global) -> Result<Answers, CommandError> {
    let asks = !args.yes && installation::terminal_is_there();
    let state_dir = settings::state_dir(global);
    let state_dir = std::path::absolute(&state_dir)
        .map_err(|error| CommandError::usage(format!("{}: {error}", state_dir.display())))?;
    let private = format!("embedded:{}", state_dir.join("database").display());
    if asks {
        eprint_intro();
    }
    let question = |given: Option<String>, question: &str, default: &str, check: Check<'_>| match given {
        None if asks => installation::ask_until(question, Some(default), |text| check(text).map(|()| text.to_owned()))
            .map_err(|error| CommandError::failed(error.to_string())),
        given => {
            let text = given.unwrap_or_else(|| default.to_owned());
            check(&text).map_err(|reason| CommandError::usage(format!("{question}: {reason}")))?;
            Ok(text)
        }
    };
    let database = question(
        global.database.clone(),
        "The office's database: a PostgreSQL URL, or Enter for a private one that the program keeps by itself",
        &private,
        &|text| text.parse::<replica::database::DatabaseUrl>().map(drop).map_err(|error| error.to_string()),
    )?;
    let is_new = |dir: &str| !Path::new(dir).join("data/PG_VERSION").exists();
    let schema = match &args.schema {
        None if asks && database.strip_prefix("embedded:").is_some_and(is_new) => {
            let words = "SQL file with the application's tables, created now since the database is new (Enter: none)";
            let file = question(None, words, "", &|text| is_readable_or_empty(text))?;
            (!file.is_empty()).then(|| PathBuf::from(file))
        }
        given => given.clone(),
    };
    let words = "Policy of new branches: a file, or the name of a preset";
    let policy = question(global.policy.clone(), words, "shop", &|text| match is_file(text) {
        true => Policy::parse(&read(Path::new(text), "policy").map_err(|error| error.to_string())?)
            .map(drop)
            .map_err(|error| error.to_string()),
        false if Policy::preset(text).is_some() => Ok(()),
        false => Err(format!(
            "it is neither a file nor a preset ({}); a file is named with its path, as in ./shop.toml",
            Policy::presets().join(", ")
        )),
    })?;
    let listen = question(
        args.listen.map(|listen| listen.to_string()),
        "Where the web console listens (0.0.0.0:8900 where it is to be reached from other machines)",
        &CONSOLE_LISTEN_DEFAULT.to_string(),
        &|text| text.parse::<std::net::SocketAddr>().map(drop).map_err(|_| "write it as in 127.0.0.1:8900".to_owned()),
    )?;
    let listen: std::net::SocketAddr =
        listen.parse().map_err(|_| CommandError::usage(format!("{listen} is no address")))?;
    let mut name = args.console_user.clone();
    if name.is_none() && asks && !listen.ip().is_loopback() {
        let named = |text: &str| if text.is_empty() { Err("somebody has to log in".to_owned()) } else { Ok(()) };
        name = Some(question(None, "Who may log in at the console (with the role `decide`)", "", &named)?);
    }
    missing(args, asks, &listen, name.is_some())?;
    let (mut console_user, mut made) = (None, false);
    if let Some(name) = name {
        let known = match (&args.password_file, args.generate_password) {
            (Some(file), _) => Some(password::new_password(&name, Some(file))?),
            (None, false) if asks => {
                Some(password::ask(&format!("password for `{name}` (Enter: one is made, and shown once): "))?)
            }
            _ => None,
        };
        made = known.as_ref().is_none_or(String::is_empty);
        console_user = Some((name, known.filter(|known| !known.is_empty()).unwrap_or_else(made_password)));
    }
    Ok(Answers { database, state_dir, policy, schema, listen, console_user, made_password: made })
}

/// Why an answer cannot be used.
type Check<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// Says what flags have to say when nobody can be asked.
fn missing(args: &SetupArgs, asks: bool, listen: &std::net::SocketAddr, has_user: bool) -> Result<(), CommandError> {
    let mut missing = Vec::new();
    if !asks && !listen.ip().is_loopback() {
        if !has_user {
            missing.push("--console-user NAME: beyond this machine somebody has to log in");
        }
        if args.tls_cert.is_none() && !args.tls_self_signed && !args.insecure_http {
            missing.push("--tls-self-signed, or --tls-cert FILE --tls-key FILE: others could read along");
        }
    }
    if !asks && has_user && args.password_file.is_none() && !args.generate_password {
        missing.push("--password-file FILE or --generate-password: what the console's user logs in with");
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(CommandError::usage(format!(
            "nobody is here to be asked, and these are missing:\n  {}",
            missing.join("\n  ")
        ))),
    }
}

/// The keys of the configuration.
fn keys(
    args: &SetupArgs,
    global: &Global,
    answers: &Answers,
    policy_file: Option<&Path>,
) -> Result<Vec<(&'static str, Value)>, CommandError> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map(|path| Value::String(path.display().to_string()))
            .map_err(|error| CommandError::usage(format!("{}: {error}", path.display())))
    };
    let database = match answers.database.strip_prefix("embedded:") {
        Some(dir) => format!("embedded:{}", absolute(Path::new(dir))?.as_str().unwrap_or(dir)),
        None => answers.database.clone(),
    };
    let mut keys = vec![
        ("database", Value::String(database)),
        ("state-dir", absolute(&answers.state_dir)?),
        ("policy", policy_file.map_or_else(|| Ok(Value::String(answers.policy.clone())), absolute)?),
        ("listen", Value::String(answers.listen.to_string())),
    ];
    if let Some(dir) = &global.pg_bindir {
        keys.push(("pg-bindir", absolute(dir)?));
    }
    match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            keys.extend([("tls-cert", absolute(certificate)?), ("tls-key", absolute(key)?)]);
        }
        _ if args.insecure_http => keys.push(("insecure-http", Value::Boolean(true))),
        _ if args.tls_self_signed || !answers.listen.ip().is_loopback() => {
            keys.push(("tls-self-signed", Value::Boolean(true)));
        }
        _ => {}
    }
    Ok(keys)
}

/// The database made ready: the application's tables where there are none, the product's schema, the policy.
async fn prepare(settings: &Settings, schema: Option<&str>, printer: &Printer) -> Result<(), CommandError> {
    let opened = Opened::init(settings).await?;
    let prepared = async {
        if let Some(sql) = schema {
            let tables = opened.office.create_tables(sql).await?;
            printer.talk(&format!("the database has {tables} tables"));
        }
        let name = policy::adopt(&opened.office, &settings.policy).await?;
        printer.talk(&format!("policy `{name}` is stored in the database"));
        Ok(())
    };
    let result = prepared.await;
    opened.close(result).await
}

/// What to type next, here and at a shop.
async fn say_next(path: &Path, settings: &Settings, printer: &Printer) -> Result<(), CommandError> {
    let is_usual = config::default_paths().iter().any(|usual| usual == path);
    let config = if is_usual { String::new() } else { format!(" --config {}", path.display()) };
    let is_service = path == Path::new(MACHINE_PATH) && Path::new("/run/systemd/system").exists();
    let policy = match is_file(&settings.policy) {
        true => format!(
            " --policy {}        # the same file: take it along",
            installation::file_name(Path::new(&settings.policy))
        ),
        false => format!(" --policy {}", settings.policy),
    };
    printer.line("\nNext, at each shop (it ends with the line to type here):\n");
    printer.line(&format!("    shop-agent setup --branch NAME --schema SCHEMA.sql{policy}"));
    printer.line("\nThen, here:\n");
    printer.line(&format!(
        "    office-client{config} branch add NAME --url URL ...\n    office-client{config} clone NAME"
    ));
    match is_service {
        true => {
            printer.line("    systemctl enable --now office-client        # the web console, and updates by schedule")
        }
        false => {
            printer.line(&format!("    office-client{config} console        # in a browser, and updates by schedule"))
        }
    }
    Ok(())
}

fn eprint_intro() {
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        b"Enter takes what stands in brackets. Nothing is written before the last question.\n\n",
    );
}

/// Whether a word names a file rather than a policy.
fn is_file(word: &str) -> bool {
    policy::is_file(word)
}

fn read(path: &Path, what: &str) -> Result<String, CommandError> {
    std::fs::read_to_string(path)
        .map_err(|error| CommandError::usage(format!("the {what} {} cannot be read: {error}", path.display())))
}

fn is_readable_or_empty(text: &str) -> Result<(), String> {
    if text.is_empty() {
        Ok(())
    } else {
        std::fs::File::open(text).map(drop).map_err(|error| format!("{text}: {error}"))
    }
}
