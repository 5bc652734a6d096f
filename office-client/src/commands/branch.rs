//! `office-client branch add|list|show|set|pause|resume|remove`

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use replica::office::{Branch, NewBranch};
use replica::safety::SafetyStop;

use super::password::keep_for_service;
use super::{Opened, Outcome, policy};
use crate::cli::{BranchAdd, BranchCommand, BranchRemove, BranchSet, BranchSettings};
use crate::error::CommandError;
use crate::link::{Address, parse_fingerprint, read_password};
use crate::output::{self, Printer, Table};
use crate::schedule::Schedule;
use crate::settings::Settings;
use crate::{driver, units};

/// Runs `branch ...`.
pub(crate) async fn run(
    command: BranchCommand,
    settings: &Settings,
    printer: &Printer,
) -> Result<Outcome, CommandError> {
    let opened = Opened::open(settings).await?;
    let result = match command {
        BranchCommand::Add(args) => add(args, settings, printer, &opened).await,
        BranchCommand::List => list(printer, &opened).await,
        BranchCommand::Show(args) => show(&args.name, printer, &opened).await,
        BranchCommand::Set(args) => set(args, settings, printer, &opened).await,
        BranchCommand::Pause(args) => pause(&args.name, true, printer, &opened).await,
        BranchCommand::Resume(args) => pause(&args.name, false, printer, &opened).await,
        BranchCommand::Retire(args) => retire(&args.name, printer, &opened).await,
        BranchCommand::Remove(args) => remove(&args, printer, &opened).await,
    };
    opened.close(result).await
}

async fn add(
    args: BranchAdd,
    settings: &Settings,
    printer: &Printer,
    opened: &Opened,
) -> Result<Outcome, CommandError> {
    args.url.parse::<Address>()?;
    check(args.settings())?;
    let policy = policy::adopt(&opened.office, &settings.policy).await?;
    let mut written = BTreeMap::new();
    apply(args.settings(), &mut written)?;
    let new = NewBranch {
        name: args.name.clone(),
        id: args.id,
        url: args.url.clone(),
        policy,
        user: args.settings().user.clone(),
        password_file: absolute("password-file", args.settings().password_file.as_deref())?.map(PathBuf::from),
        settings: written,
    };
    check_trust(&new.url, &new.settings)?;
    let mut branch = opened.office.add_branch(new).await?;
    if let Some(kept) = keep_for_service(&settings.state_dir, branch.id, args.settings().password_file.as_deref())? {
        say_kept(&kept, printer);
        let keep = |branch: &mut Branch| {
            branch.password_file = Some(kept);
            Ok::<_, CommandError>(())
        };
        branch = opened.office.change_branch(branch.id, keep).await?;
    }
    printer.object(&output::branch_object(&branch));
    printer.line(&format!("branch `{}` has number {} and policy `{}`", branch.name, branch.id, branch.policy));
    Ok(Outcome::Done)
}

fn say_kept(file: &Path, printer: &Printer) {
    printer.talk(&format!("the password is kept in {}, where the service reads it", file.display()));
}

async fn list(printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    let branches = opened.office.branches().await?;
    let mut table = Table::new(&["id", "branch", "url", "policy", "cloned", "paused"]);
    for branch in &branches {
        printer.object(&output::branch_object(branch));
        let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        table.line(vec![
            branch.id.to_string(),
            branch.name.clone(),
            branch.url.clone(),
            branch.policy.clone(),
            word(branch.cloned_at.is_some()),
            word(branch.paused),
        ]);
    }
    if branches.is_empty() {
        printer.talk("there is no branch yet: `office-client branch add NAME --url URL`");
    } else {
        printer.table(&table);
    }
    Ok(Outcome::Done)
}

async fn show(name: &str, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    let branch = opened.office.branch(name).await?;
    printer.object(&output::branch_object(&branch));
    for (name, value) in output::branch_line(&branch) {
        printer.line(&format!("{name:<14} {value}"));
    }
    Ok(Outcome::Done)
}

async fn set(
    args: BranchSet,
    settings: &Settings,
    printer: &Printer,
    opened: &Opened,
) -> Result<Outcome, CommandError> {
    let branch = opened.office.branch(&args.name).await?;
    let _lease = opened.office.lease(&branch).await?;
    let policy = match settings.policy_given {
        true => Some(policy::adopt(&opened.office, &settings.policy).await?),
        false => None,
    };
    let change = |branch: &mut Branch| {
        if let Some(url) = args.url.clone() {
            branch.url = url;
        }
        branch.policy = policy.unwrap_or_else(|| branch.policy.clone());
        change_settings(args.settings(), branch)?;
        let file = args.settings().password_file.as_deref();
        if let Some(kept) = keep_for_service(&settings.state_dir, branch.id, file)? {
            say_kept(&kept, printer);
            branch.password_file = Some(kept);
        }
        Ok::<_, CommandError>(())
    };
    let branch = opened.office.change_branch(branch.id, change).await?;
    saved(&branch, "is changed", printer);
    Ok(Outcome::Done)
}

async fn pause(name: &str, paused: bool, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    let branch = opened.office.branch(name).await?;
    let branch = opened.office.pause_branch(branch.id, paused).await?;
    saved(&branch, if paused { "is paused" } else { "takes part again" }, printer);
    Ok(Outcome::Done)
}

async fn retire(name: &str, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    let branch = opened.office.branch(name).await?;
    opened.office.retire_branch(&branch).await?;
    saved(&opened.office.branch(name).await?, "is retired; nothing is kept for it any more", printer);
    Ok(Outcome::Done)
}

async fn remove(args: &BranchRemove, printer: &Printer, opened: &Opened) -> Result<Outcome, CommandError> {
    let branch = opened.office.branch(&args.name).await?;
    if !args.yes {
        confirm(&branch.name)?;
    }
    opened.office.remove_branch(&branch.name).await?;
    saved(&branch, "is removed", printer);
    Ok(Outcome::Done)
}

fn saved(branch: &Branch, what: &str, printer: &Printer) {
    printer.object(&output::branch_object(branch));
    printer.line(&format!("branch `{}` {what}", branch.name));
}

/// What is kept for a branch cannot be brought back: its name must be typed.
fn confirm(name: &str) -> Result<(), CommandError> {
    if !std::io::stdin().is_terminal() {
        return Err(
            CommandError::usage(format!("removing `{name}` cannot be undone")).with_hint("confirm it with --yes")
        );
    }
    use std::io::Write as _;
    let mut line = String::new();
    let _ = write!(std::io::stderr(), "what is kept for `{name}` cannot be brought back; type its name to remove it: ");
    std::io::stdin().read_line(&mut line).map_err(|error| CommandError::failed(error.to_string()))?;
    if line.trim() == name { Ok(()) } else { Err(CommandError::usage("the name is another one; nothing was removed")) }
}

/// Refuses settings that could never work.
fn check(settings: &BranchSettings) -> Result<(), CommandError> {
    let wrong = |key: &str, error: String| CommandError::usage(format!("--{key}: {error}"));
    if let Some(rate) = settings.rate_limit.as_deref().filter(|rate| !rate.is_empty()) {
        units::parse_rate(rate).map_err(|error| wrong("rate-limit", error))?;
    }
    if let Some(window) = settings.window.as_deref().filter(|window| !window.is_empty()) {
        driver::parse_windows(window).map_err(|error| wrong("window", error))?;
    }
    if let Some(schedule) = settings.schedule.as_deref().filter(|schedule| !schedule.is_empty()) {
        Schedule::parse(schedule).map_err(|error| wrong("schedule", error))?;
    }
    if let Some(age) = settings.alert_after.as_deref().filter(|age| !age.is_empty()) {
        units::parse_duration(age).map_err(|error| wrong("alert-after", error))?;
    }
    if let Some(budget) = settings.byte_budget.as_deref().filter(|budget| !budget.is_empty()) {
        driver::parse_budget(budget).map_err(|error| wrong("byte-budget", error))?;
    }
    if let Some(timeout) = settings.link_timeout.as_deref().filter(|timeout| !timeout.is_empty()) {
        units::parse_duration(timeout).map_err(|error| wrong("link-timeout", error))?;
    }
    for (key, share) in [("stop-deletes", &settings.stop_deletes), ("stop-changes", &settings.stop_changes)] {
        if let Some(share) = share.as_deref().filter(|share| !share.is_empty()) {
            SafetyStop::parse(share).map_err(|error| wrong(key, error.to_string()))?;
        }
    }
    if let Some(file) = settings.password_file.as_deref().filter(|file| !file.as_os_str().is_empty()) {
        read_password(file)?;
    }
    if settings.user.as_deref().is_some_and(|user| user.contains(':')) {
        return Err(CommandError::usage("--user: a colon cannot be part of it"));
    }
    Ok(())
}

/// Takes the settings over; an empty value takes one away.
fn apply(settings: &BranchSettings, into: &mut BTreeMap<String, String>) -> Result<(), CommandError> {
    let fingerprint = match settings.fingerprint.as_deref() {
        // in one spelling, so that it can be compared with what the shop shows
        Some(text) if !text.is_empty() => Some(parse_fingerprint(text)?.to_string()),
        other => other.map(str::to_owned),
    };
    let given = [
        ("rate_limit", settings.rate_limit.clone()),
        ("byte_budget", settings.byte_budget.clone()),
        ("window", settings.window.clone()),
        ("schedule", settings.schedule.clone()),
        ("alert_after", settings.alert_after.clone()),
        ("stop_deletes", settings.stop_deletes.clone()),
        ("stop_changes", settings.stop_changes.clone()),
        ("link_up", settings.link_up.clone()),
        ("link_down", settings.link_down.clone()),
        ("link_timeout", settings.link_timeout.clone()),
        ("line", settings.line.clone()),
        ("fingerprint", fingerprint),
        ("ca", absolute("ca", settings.ca.as_deref())?),
        ("client_cert", absolute("client-cert", settings.client_cert.as_deref())?),
        ("client_key", absolute("client-key", settings.client_key.as_deref())?),
    ];
    for (name, value) in given {
        match value.as_deref() {
            Some("") => {
                into.remove(name);
            }
            Some(value) => {
                into.insert(name.to_owned(), value.to_owned());
            }
            None => {}
        }
    }
    Ok(())
}

/// Changes the settings of a branch (whose address may have been changed before), at the command line or elsewhere; an
/// empty value takes one away.
///
/// # Errors
/// If one can never work; the branch is not to be saved then.
pub(crate) fn change_settings(settings: &BranchSettings, branch: &mut Branch) -> Result<(), CommandError> {
    check(settings)?;
    branch.url.parse::<Address>()?;
    if let Some(user) = &settings.user {
        branch.user = (!user.is_empty()).then(|| user.clone());
    }
    match &settings.password_file {
        Some(file) if file.as_os_str().is_empty() => branch.password_file = None,
        Some(file) => branch.password_file = absolute("password-file", Some(file))?.map(PathBuf::from),
        None => {}
    }
    apply(settings, &mut branch.settings)?;
    check_trust(&branch.url, &branch.settings)
}

/// Refuses certificates that do not fit the address, or cannot be read.
fn check_trust(url: &str, settings: &BTreeMap<String, String>) -> Result<(), CommandError> {
    Ok(driver::trust(settings).caller(&url.parse()?).map(drop)?)
}

/// A file from wherever the program is started later; one that is taken away stays empty.
fn absolute(flag: &str, file: Option<&Path>) -> Result<Option<String>, CommandError> {
    match file {
        Some(file) if !file.as_os_str().is_empty() => std::path::absolute(file)
            .map(|file| Some(file.display().to_string()))
            .map_err(|error| CommandError::usage(format!("--{flag} {}: {error}", file.display()))),
        other => Ok(other.map(|_| String::new())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_value_takes_a_setting_away() {
        let mut into = BTreeMap::from([("window".to_owned(), "1".to_owned())]);
        let settings =
            BranchSettings { window: Some(String::new()), rate_limit: Some("3k".into()), ..BranchSettings::default() };
        apply(&settings, &mut into).unwrap();
        assert_eq!(into, BTreeMap::from([("rate_limit".to_owned(), "3k".to_owned())]));
    }

    #[test]
    fn settings_that_cannot_work_are_refused_at_once() {
        let rate = BranchSettings { rate_limit: Some("fast".into()), ..BranchSettings::default() };
        let window = BranchSettings { window: Some("night".into()), ..BranchSettings::default() };
        let file = BranchSettings { password_file: Some("/does/not/exist".into()), ..BranchSettings::default() };
        assert!(check(&rate).is_err() && check(&window).is_err() && check(&file).is_err());
    }
}
