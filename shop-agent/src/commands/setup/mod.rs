//! `shop-agent setup`: asks, or takes flags, and leaves behind a shop that works: configuration, credential, certificate,
//! all of it checked, and what to type at the office.

mod answers;
mod next;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use installation::{Account, keep_beside, said, write_settings};

use super::{CommandError, check, on_runtime, user};
use crate::cli::{NodeArgs, SetupArgs};
use crate::config::{Config, DEFAULT_PATH, TEMPLATE};
use crate::server;
use crate::service::make_state_dir;
use crate::settings::{Settings, SettingsError};
use answers::Password;

/// The user that the packaged unit runs the agent as.
const SERVICE_USER: &str = "shop-agent";

/// Its group may read the configuration, which can hold a password; nobody else.
const MODE: u32 = 0o640;

pub(super) fn setup(args: SetupArgs) -> Result<ExitCode, CommandError> {
    let path = std::path::absolute(args.node.place.config.as_deref().unwrap_or(Path::new(DEFAULT_PATH)))?;
    let template = template(&path, args.force)?;
    // an agent of another place runs as whoever starts it
    let account = Account::of_service(SERVICE_USER).filter(|_| path == Path::new(DEFAULT_PATH));
    let force = args.force;
    let answers = answers::gather(args)?;

    let kept = |file: &Option<PathBuf>, name: &str| -> Result<Option<PathBuf>, CommandError> {
        let Some(file) = file else { return Ok(None) };
        let kept = keep_beside(&path, file, name, MODE, force)?;
        account.as_ref().map_or(Ok(()), |account| account.may_read(&kept))?;
        Ok(Some(kept))
    };
    let schema = kept(&answers.schema, "schema.sql")?;
    let policy_file = kept(&answers.policy_file, "policy.toml")?;
    let text = installation::fill(&template, &answers.settings(schema.as_deref(), policy_file.as_deref()));
    let written = write_settings(&path, &text, MODE, true)?;
    said::talk(format_args!("written: {}", path.display()));
    if let Some(before) = written.before.filter(|_| template == TEMPLATE && force) {
        said::talk(format_args!("what it was before: {}", before.display()));
    }
    match &account {
        None => make_state_dir(&answers.state_dir)?,
        Some(account) => {
            account.may_read(&path)?;
            account.own_dir(&answers.state_dir)?;
            said::talk(format_args!(
                "the agent will run as {}; from here on everything is done as that user",
                account.name()
            ));
            account.take()?;
        }
    }

    let mut node = NodeArgs::default();
    node.place.config = Some(path.clone());
    let settings = Settings::resolve(node.clone())?;
    if let Password::Known(password) | Password::Made(password) = &answers.password {
        user::put(&answers.state_dir, &answers.user, &answers.office, password)?;
    }
    let fingerprint = match &settings.tls {
        None => None,
        Some(files) => Some(server::tls::open(files, &settings)?.facts().fingerprint),
    };
    said::line("");
    let mut is_good = false;
    let checked = on_runtime(async {
        is_good = check::look(node, check::Before::Installed).await?.is_good;
        Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })?;
    next::print(&answers, &path, settings.policy.name(), fingerprint, is_good);
    Ok(checked)
}

/// The text that is filled in: the file that is there, as long as it sets nothing (as packages bring it), else the one that
/// is shipped.
fn template(path: &Path, force: bool) -> Result<String, CommandError> {
    let there = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(TEMPLATE.to_owned()),
        Err(error) => return Err(format!("cannot read {}: {error}", path.display()).into()),
        Ok(there) => there,
    };
    if Config::parse(&there, path).is_ok_and(|config| config == Config::default()) {
        return Ok(there);
    }
    if force {
        return Ok(TEMPLATE.to_owned());
    }
    let message = format!(
        "{} is there already, and sets something: nothing was changed. `shop-agent check` says whether it works; \
         --force replaces it and keeps it under a name that ends with .old",
        path.display()
    );
    Err(SettingsError::new(message).into())
}
