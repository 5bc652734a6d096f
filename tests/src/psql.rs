//! The real `psql`: the judge of whether our SQL is SQL.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::read::MultiGzDecoder;

use crate::database::Database;
use crate::process::{self, Finished};

/// Where `psql` is: beside the server's programs, or on `PATH`. Not every installation has it.
pub fn find() -> Option<PathBuf> {
    let beside = replica::embedded::find_binaries(None).ok().map(|found| found.program("psql"));
    beside.filter(|path| path.is_file()).or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|dir| dir.join("psql")).find(|path| path.is_file())
    })
}

/// Runs a script from standard input, stopping at the first error.
///
/// # Panics
/// If there is no `psql`.
pub fn run(database: &Database, script: &[u8]) -> Finished {
    let program = find().unwrap_or_else(|| panic!("no psql: install the package postgresql-client"));
    let mut command = Command::new(program);
    command
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--dbname"])
        .arg(database.url())
        .env("LC_ALL", "C");
    process::run_with_input(&mut command, script.to_vec())
}

/// Runs a file with one or several gzip members, as `gunzip | psql` would.
///
/// # Panics
/// If there is no `psql`, or the file is no gzip.
pub fn run_gzip(database: &Database, file: &Path) -> Finished {
    let packed = std::fs::File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut script = Vec::new();
    MultiGzDecoder::new(packed).read_to_end(&mut script).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    run(database, &script)
}

/// What `pg_dump --data-only --inserts` makes of a table.
///
/// # Panics
/// If there is no `pg_dump`, or it fails.
pub fn dump_inserts(database: &Database, table: &str) -> String {
    let psql = find().unwrap_or_else(|| panic!("no psql: install the package postgresql-client"));
    let mut command = Command::new(psql.with_file_name("pg_dump"));
    command.args(["--data-only", "--inserts", "--table", table, "--dbname"]).arg(database.url()).env("LC_ALL", "C");
    process::run(&mut command).succeeded()
}

/// A backup of a database as `pg_dump` writes it, to be run by [`run`] in an empty one.
///
/// # Panics
/// If there is no `pg_dump` beside the server's programs, or it fails.
pub fn dump(database: &Database) -> Vec<u8> {
    let program = replica::embedded::find_binaries(None).unwrap_or_else(|error| panic!("{error}")).program("pg_dump");
    let output = Command::new(program).arg("--dbname").arg(database.url()).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("pg_dump: {error}"));
    assert!(output.status.success(), "pg_dump: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psql_answers_and_stops_at_an_error() {
        if find().is_none() {
            crate::not_run::because("psql");
            return;
        }
        let database = crate::cluster::shared().database("harness");
        assert_eq!(run(&database, b"select 6 * 7;").succeeded(), "42\n");
        let failed = run(&database, b"select 1/0; create table never ();").ended_with(3);
        assert!(failed.stderr.contains("division by zero"), "{}", failed.stderr);
        assert_eq!(database.int("select count(*) from pg_class where relname = 'never'"), 0);
    }
}
