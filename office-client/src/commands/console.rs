//! `office-client console [--listen ADDR:PORT]` and `console user add|list|remove`

use super::{Opened, Outcome, password};
use crate::cli::{ConsoleArgs, ConsoleCommand, ConsoleUser};
use crate::console::{self, Certificate, ConsoleOptions, User, Users, users_path};
use crate::error::CommandError;
use crate::output::{Printer, Table};
use crate::settings::{CONSOLE_LISTEN_DEFAULT, Settings};
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
    let options = options(&args, settings);
    let result = console::serve(opened.office.clone(), settings, &options, printer, stop).await;
    opened.close(result.map(|()| Outcome::Done)).await
}

/// What the command line says goes before the file; about the certificate the whole of it does.
fn options(args: &ConsoleArgs, settings: &Settings) -> ConsoleOptions {
    let file = &settings.console;
    let typed = args.tls_cert.is_some() || args.tls_self_signed || args.insecure_http;
    let (certificate, key, self_signed) = if typed {
        (&args.tls_cert, &args.tls_key, args.tls_self_signed)
    } else {
        (&file.tls_cert, &file.tls_key, file.tls_self_signed)
    };
    let certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Certificate::Files(certificate.clone(), key.clone())),
        _ => self_signed.then_some(Certificate::SelfSigned),
    };
    ConsoleOptions {
        listen: args.listen.or(file.listen).unwrap_or(CONSOLE_LISTEN_DEFAULT),
        insecure_http: args.insecure_http || file.insecure_http,
        certificate,
    }
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
