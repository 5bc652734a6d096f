//! `office-client console [--listen ADDR:PORT]` and `console user add|list|remove`

use super::{Opened, Outcome, password};
use crate::cli::{ConsoleArgs, ConsoleCommand, ConsoleUser};
use crate::console::{self, Certificate, ConsoleOptions, User, Users, users_path};
use crate::error::CommandError;
use crate::output::{Printer, Table};
use crate::settings::Settings;
use crate::stop::Stop;

/// Runs the console, or changes who may log in.
pub(crate) async fn run(
    args: ConsoleArgs,
    settings: &Settings,
    printer: &Printer,
    stop: &Stop,
) -> Result<Outcome, CommandError> {
    if let Some(ConsoleCommand::User(command)) = args.command {
        return user(command, settings, printer);
    }
    let opened = Opened::open(settings).await?;
    stop.expect_graceful();
    let certificate = match (args.tls_cert, args.tls_key, args.tls_self_signed) {
        (Some(certificate), Some(key), _) => Some(Certificate::Files(certificate, key)),
        (_, _, true) => Some(Certificate::SelfSigned),
        _ => None,
    };
    let options = ConsoleOptions { listen: args.listen, insecure_http: args.insecure_http, certificate };
    let result = console::serve(opened.office.clone(), settings, &options, printer, stop).await;
    opened.close(result.map(|()| Outcome::Done)).await
}

fn user(command: ConsoleUser, settings: &Settings, printer: &Printer) -> Result<Outcome, CommandError> {
    let path = users_path(&settings.state_dir);
    let mut users = Users::load(&path)?;
    match command {
        ConsoleUser::Add { name, role, password_file } => {
            let password = password::new_password(&name, password_file.as_deref())?;
            users.put(User::new(&name, role, &password)?);
            users.save(&path)?;
            printer.line(&format!("{name} may log in, with the role `{}`", role.as_str()));
        }
        ConsoleUser::List => {
            let mut table = Table::new(&["user", "role"]);
            for user in &users.users {
                printer.object(&serde_json::json!({ "user": user.name, "role": user.role.as_str() }));
                table.line(vec![user.name.clone(), user.role.as_str().to_owned()]);
            }
            if table.is_empty() {
                printer.talk("nobody may log in: on this machine the console needs no login");
            } else {
                printer.table(&table);
            }
        }
        ConsoleUser::Remove { name } => {
            let before = users.users.len();
            users.users.retain(|user| user.name != name);
            if users.users.len() == before {
                return Err(CommandError::usage(format!("there is no user {name:?}")));
            }
            users.save(&path)?;
            printer.line(&format!("{name} may not log in any more"));
        }
    }
    Ok(Outcome::Done)
}
