//! Private databases from the outside: keeps them running, and runs SQL in them where there is no `psql`.
//!
//! ```text
//! database keep DIR         keeps the cluster of `embedded:DIR` running until it is ended; prints its URL for psql
//! database load URL         runs the script on standard input, as pg_dump writes them; stops at the first error
//! database query URL SQL    prints the rows of a query, columns separated by tabs
//! ```

use std::io::Read;
use std::process::ExitCode;

use replica::database::{Database as Kept, DatabaseUrl, EMBEDDED_DATABASE};
use tests::database::Database;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    // the harness panics with a readable reason; a program says it without a trace
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text =
            payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
        eprintln!("error: {}", text.unwrap_or("the database did not do it"));
    }));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["keep", dir] => keep(dir),
        ["load", url] => load(url),
        ["query", url, sql] => query(url, sql),
        _ => {
            eprintln!("usage: database keep DIR | load URL | query URL SQL");
            ExitCode::from(2)
        }
    }
}

fn keep(dir: &str) -> ExitCode {
    let url = DatabaseUrl::Embedded(dir.into());
    let kept = async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        let database = Kept::open(&url, None).await?;
        let cluster = database.cluster().ok_or("an embedded database has a cluster")?.clone();
        println!("{}", cluster.url(EMBEDDED_DATABASE));
        drop(cluster);
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        database.close().await?;
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(kept)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let cause = error.source().map_or_else(String::new, |cause| format!(": {cause}"));
            eprintln!("error: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

fn load(url: &str) -> ExitCode {
    let mut script = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut script) {
        eprintln!("error: cannot read the script: {error}");
        return ExitCode::FAILURE;
    }
    Database::at(url).load(&script);
    ExitCode::SUCCESS
}

#[allow(clippy::print_stdout, reason = "the rows are what was asked for")]
fn query(url: &str, sql: &str) -> ExitCode {
    for row in Database::at(url).rows(sql) {
        let values: Vec<&str> = row.iter().map(|value| value.as_deref().unwrap_or("")).collect();
        println!("{}", values.join("\t"));
    }
    ExitCode::SUCCESS
}
