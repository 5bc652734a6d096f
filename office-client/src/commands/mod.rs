//! The subcommands, one file each.

mod adopt;
mod backup;
mod branch;
mod bundle;
mod call;
mod check;
mod clone;
mod completions;
mod conflicts;
mod conformance;
mod console;
mod history;
mod import;
mod init;
mod lines;
mod man;
mod password;
mod policy;
mod quarantine;
mod renewal;
mod setup;
mod status;
mod update;
mod verify;
mod watch;

pub(crate) use branch::change_settings;
pub(crate) use password::keep as keep_password;
pub(crate) use policy::{adopt as adopt_policy, directions as policy_directions};

use replica::ReplicaError;
use replica::database::Database;
use replica::office::{Office, OfficeOptions};

use crate::cli::{Cli, Command};
use crate::error::CommandError;
use crate::limits;
use crate::output::Printer;
use crate::settings::Settings;
use crate::stop::Stop;

/// How a command that ran to its end has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was done.
    Done,
    /// A comparison has found differences.
    Differences,
    /// Of several branches some have failed.
    SomeFailed,
    /// What went wrong has been told already; this is its exit code.
    Reported(u8),
}

/// Runs a command.
pub(crate) async fn run(mut cli: Cli, printer: &Printer, stop: &Stop) -> Result<Outcome, CommandError> {
    if let Command::Update(args) = &cli.command {
        cli.global.jobs = args.jobs;
    }
    // these need neither a configuration nor a database
    match &cli.command {
        Command::Completions(args) => return completions::run(args, printer),
        Command::Man => return man::run(printer),
        Command::Setup(args) => return setup::run(args, &cli.global, printer, stop).await,
        Command::Check(args) => return check::run(args, &cli.global, printer, stop).await,
        _ => {}
    }
    let settings = Settings::load(&cli.global)?;
    // what root does by hand must not lock the service out of its own files
    let _hand_over = installation::HandOver::of(&settings.state_dir);
    match cli.command {
        Command::Init => init::run(&settings, printer).await,
        Command::Branch(command) => branch::run(*command, &settings, printer).await,
        Command::Clone(args) => clone::run(args, &settings, printer, stop).await,
        Command::Adopt(args) => adopt::run(args, &settings, printer, stop).await,
        Command::Update(args) => update::run(args, &settings, printer, stop).await,
        Command::Backup(args) => backup::backup(&args, &settings, printer).await,
        Command::Restore(args) => backup::restore(&args, &settings, printer).await,
        Command::AfterRestore => renewal::after_restore(&settings, printer).await,
        Command::AfterUpgrade => renewal::after_upgrade(&settings, printer).await,
        Command::Import(args) => import::run(args, &settings, printer).await,
        Command::Status(args) => status::run(args, &settings, printer).await,
        Command::History(args) => history::run(args, &settings, printer).await,
        Command::Verify(args) => verify::run(args, &settings, printer, stop).await,
        Command::Conflicts(args) => conflicts::run(args, &settings, printer).await,
        Command::Quarantine(args) => quarantine::run(args, &settings, printer).await,
        Command::Policy(command) => policy::run(command, &settings, printer).await,
        Command::Console(args) => console::run(args, &settings, printer, stop).await,
        Command::Call(args) => call::run(args, &settings, printer).await,
        Command::Conformance(args) => conformance::run(args, printer).await,
        Command::Setup(_) | Command::Check(_) | Command::Completions(_) | Command::Man => Ok(Outcome::Done),
    }
}

/// The open database of the office.
struct Opened {
    office: Office,
    database: Database,
}

impl Opened {
    /// Opens it; `init` must have been run.
    async fn open(settings: &Settings) -> Result<Self, CommandError> {
        let database = open_database(settings).await?;
        let office = Office::open(options(settings, &database)).await;
        Self::both(office, database).await
    }

    /// Installs the product's schema and opens it.
    async fn init(settings: &Settings) -> Result<Self, CommandError> {
        let database = open_database(settings).await?;
        let office = Office::init(options(settings, &database)).await;
        Self::both(office, database).await
    }

    /// A private cluster must not outlive an office that could not be opened.
    async fn both(office: Result<Office, ReplicaError>, database: Database) -> Result<Self, CommandError> {
        match office {
            Ok(office) => Ok(Self { office, database }),
            Err(error) => {
                close(database).await;
                Err(error.into())
            }
        }
    }

    /// Lets a private cluster go in an orderly way, and passes a result on.
    async fn close<T>(self, result: Result<T, CommandError>) -> Result<T, CommandError> {
        drop(self.office);
        close(self.database).await;
        result
    }
}

async fn close(database: Database) {
    if let Err(error) = database.close().await {
        tracing::warn!(error = %crate::error::chain(&error), "the private cluster did not stop in an orderly way");
    }
}

async fn open_database(settings: &Settings) -> Result<Database, CommandError> {
    std::fs::create_dir_all(&settings.state_dir).map_err(|error| {
        CommandError::usage(format!("the state directory {} cannot be made: {error}", settings.state_dir.display()))
            .with_hint("name another one with --state-dir")
    })?;
    Ok(Database::open(&settings.database, settings.pg_bindir.clone()).await?)
}

fn options(settings: &Settings, database: &Database) -> OfficeOptions {
    OfficeOptions {
        database: database.clone(),
        state_dir: settings.state_dir.clone(),
        id_span: settings.id_span,
        retention: settings.retention,
        recheck: limits::RECHECK,
    }
}
