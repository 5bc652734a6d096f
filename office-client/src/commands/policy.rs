//! `office-client policy import|list|check|show`

use std::path::Path;

use protocol::policy::Policy;
use replica::ReplicaError;
use replica::office::Office;

use super::{Opened, Outcome};
use crate::cli::PolicyCommand;
use crate::config::nearest;
use crate::error::CommandError;
use crate::output::{self, Printer, Table};
use crate::settings::Settings;

/// Runs `policy ...`.
pub(crate) async fn run(
    command: PolicyCommand,
    settings: &Settings,
    printer: &Printer,
) -> Result<Outcome, CommandError> {
    if let PolicyCommand::Show { name, toml } = &command {
        let name = name.as_deref().unwrap_or(&settings.policy);
        // a file or a preset can be shown without any database
        if is_file(name) {
            return show(&read(name)?, *toml, printer);
        }
        if let Some(policy) = Policy::preset(name) {
            return show(&policy, *toml, printer);
        }
        let opened = Opened::open(settings).await?;
        let result = stored(&opened.office, name).await.and_then(|policy| show(&policy, *toml, printer));
        return opened.close(result).await;
    }
    let opened = Opened::open(settings).await?;
    let result = match &command {
        PolicyCommand::Import { file } => import(file, printer, &opened.office).await,
        PolicyCommand::List => list(printer, &opened.office).await,
        PolicyCommand::Check { name } => check(name.as_deref(), printer, &opened.office).await,
        PolicyCommand::Show { .. } => Ok(Outcome::Done),
    };
    opened.close(result).await
}

/// Whether a word names a file rather than a policy.
pub(super) fn is_file(word: &str) -> bool {
    word.contains('/') || word.ends_with(".toml")
}

fn read(path: &str) -> Result<Policy, CommandError> {
    let text = std::fs::read_to_string(Path::new(path))
        .map_err(|error| CommandError::usage(format!("the policy file {path} cannot be read: {error}")))?;
    Policy::parse(&text).map_err(|error| CommandError::usage(format!("{path}: {error}")))
}

/// Finds a policy by file, stored name or preset. A file or preset is stored, so that a branch can use it; returns its name.
pub(crate) async fn adopt(office: &Office, word: &str) -> Result<String, CommandError> {
    if is_file(word) {
        let policy = read(word)?;
        office.import_policy(&policy).await?;
        return Ok(policy.name().to_owned());
    }
    let stored = office.policies().await?;
    if stored.iter().any(|name| name == word) {
        return Ok(word.to_owned());
    }
    match Policy::preset(word) {
        Some(policy) => {
            office.import_policy(&policy).await?;
            Ok(policy.name().to_owned())
        }
        None => Err(unknown(word, &stored)),
    }
}

fn unknown(word: &str, stored: &[String]) -> CommandError {
    let candidates = || stored.iter().map(String::as_str).chain(Policy::presets().iter().copied());
    let error = CommandError::usage(format!("there is no policy `{word}`"));
    match nearest(word, candidates()) {
        Some(meant) => error.with_hint(format!("did you mean `{meant}`?")),
        None => error.with_hint(
            "a file is named with its path, as in ./shop.toml; `office-client policy list` names the others",
        ),
    }
}

async fn stored(office: &Office, name: &str) -> Result<Policy, CommandError> {
    match office.policy(name).await {
        Ok(policy) => Ok(policy),
        Err(error @ (ReplicaError::Unavailable(_) | ReplicaError::Query { .. })) => Err(error.into()),
        Err(_) => match Policy::preset(name) {
            Some(policy) => Ok(policy),
            None => Err(unknown(name, &office.policies().await?)),
        },
    }
}

async fn import(word: &str, printer: &Printer, office: &Office) -> Result<Outcome, CommandError> {
    let policy = match Policy::preset(word) {
        Some(policy) if !Path::new(word).exists() => policy,
        _ => read(word)?,
    };
    office.import_policy(&policy).await?;
    printer.object(&serde_json::json!({ "policy": policy.name(), "digest": policy.digest() }));
    printer.line(&format!("policy `{}` is stored", policy.name()));
    Ok(Outcome::Done)
}

async fn list(printer: &Printer, office: &Office) -> Result<Outcome, CommandError> {
    let stored = office.policies().await?;
    let mut table = Table::new(&["policy", "where"]);
    let presets = Policy::presets().iter().filter(|preset| !stored.iter().any(|name| name == *preset));
    let all = stored.iter().map(|name| (name.as_str(), "stored")).chain(presets.map(|name| (*name, "preset")));
    for (name, place) in all {
        printer.object(&serde_json::json!({ "policy": name, "stored": place == "stored" }));
        table.line(vec![name.to_owned(), place.to_owned()]);
    }
    printer.table(&table);
    Ok(Outcome::Done)
}

async fn check(word: Option<&str>, printer: &Printer, office: &Office) -> Result<Outcome, CommandError> {
    let policies = match word {
        Some(word) if is_file(word) => vec![read(word)?],
        Some(name) => vec![stored(office, name).await?],
        None => {
            let mut policies = Vec::new();
            for name in office.policies().await? {
                policies.push(office.policy(&name).await?);
            }
            policies
        }
    };
    if policies.is_empty() {
        printer.talk("no policy is stored yet; name a file or a preset");
    }
    let mut bad = 0;
    for policy in &policies {
        let (resolved, findings) = match office.check_policy(policy).await {
            Ok(checked) => checked,
            Err(ReplicaError::Schema(message) | ReplicaError::Invalid(message)) => {
                bad += 1;
                printer.object(&serde_json::json!({ "policy": policy.name(), "ok": false, "finding": message }));
                printer.line(&format!("{}: FAIL {message}", policy.name()));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for finding in &findings {
            let (ok, text) = match finding {
                Ok(text) => (true, text),
                Err(text) => (false, text),
            };
            bad += usize::from(!ok);
            printer.object(&serde_json::json!({ "policy": policy.name(), "ok": ok, "finding": text }));
            printer.line(&format!("{}: {} {text}", policy.name(), if ok { "ok  " } else { "FAIL" }));
        }
        printer.line(&format!("{}: {} tables", policy.name(), resolved.tables.len()));
    }
    Ok(if bad > 0 { Outcome::Differences } else { Outcome::Done })
}

fn show(policy: &Policy, source: bool, printer: &Printer) -> Result<Outcome, CommandError> {
    let tables = directions(policy)?;
    if printer.is_json() {
        let directions: serde_json::Map<String, serde_json::Value> =
            tables.into_iter().map(|(table, direction)| (table, direction.into())).collect();
        printer.object(&serde_json::json!({
            "policy": policy.name(), "digest": policy.digest(), "tables": directions, "source": policy.source(),
        }));
    } else if source {
        printer.raw(policy.source());
    } else {
        output::policy_lines(policy.name(), &tables).iter().for_each(|line| printer.line(line));
    }
    Ok(Outcome::Done)
}

/// Names and patterns with their directions, in the canonical order.
pub(crate) fn directions(policy: &Policy) -> Result<Vec<(String, String)>, CommandError> {
    let document: toml::Table = policy
        .to_toml()
        .parse()
        .map_err(|error| CommandError::failed(format!("the policy `{}` cannot be shown: {error}", policy.name())))?;
    let tables = document.get("tables").and_then(toml::Value::as_table).cloned().unwrap_or_default();
    Ok(tables.into_iter().map(|(name, value)| (name, value.as_str().unwrap_or_default().to_owned())).collect())
}
