//! One database of a throwaway cluster, with the few ways a test talks to it.

use std::pin::pin;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::runtime;

/// A database. Every call uses a connection of its own, so that nothing of a session lingers.
#[derive(Debug, Clone)]
pub struct Database {
    name: String,
    config: tokio_postgres::Config,
    url: String,
}

impl Database {
    pub(crate) fn new(name: &str, config: tokio_postgres::Config, url: String) -> Self {
        Self { name: name.to_owned(), config, url }
    }

    /// A database anywhere, by its URL as `psql` takes it.
    ///
    /// # Panics
    /// If it is no URL of PostgreSQL.
    pub fn at(url: &str) -> Self {
        let config: tokio_postgres::Config = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        let name = config.get_dbname().unwrap_or("postgres").to_owned();
        Self { name, config, url: url.to_owned() }
    }

    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As `--database` and `psql` take it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connection settings.
    pub fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    /// A connection to keep, for transactions that overlap with others. It is driven by the harness.
    ///
    /// # Panics
    /// If the server does not answer.
    pub fn connect(&self) -> Client {
        self.try_connect().unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let mut config = self.config.clone();
        // the product's own programs have names too, and tests look for them
        config.application_name("test");
        runtime::run(async move {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(connection);
            Ok(client)
        })
    }

    /// Runs SQL statements, several separated by `;` in one transaction.
    ///
    /// # Panics
    /// If one fails.
    pub fn execute(&self, sql: &str) {
        self.try_execute(sql).unwrap_or_else(|error| panic!("{}", explain(&error, sql)));
    }

    /// Runs SQL statements that may fail.
    pub fn try_execute(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        let (client, sql) = (self.try_connect()?, sql.to_owned());
        runtime::run(async move { client.batch_execute(&sql).await })
    }

    /// The rows of a query, every value in its text form.
    ///
    /// # Panics
    /// If it fails.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.try_rows(sql).unwrap_or_else(|error| panic!("{}", explain(&error, sql)))
    }

    /// The rows of a query that may fail.
    pub fn try_rows(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
        let (client, query) = (self.try_connect()?, sql.to_owned());
        let messages = runtime::run(async move { client.simple_query(&query).await })?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }

    /// First value of the first row in its text form; `None` where that is null.
    ///
    /// # Panics
    /// If it fails or gives no row.
    pub fn value(&self, sql: &str) -> Option<String> {
        let mut rows = self.rows(sql);
        assert!(!rows.is_empty(), "no row: {sql}");
        rows.swap_remove(0).swap_remove(0)
    }

    /// First value of the first row as a number.
    ///
    /// # Panics
    /// If it fails or gives none.
    pub fn int(&self, sql: &str) -> i64 {
        let value = self.value(sql);
        value.as_deref().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value:?} is no number: {sql}"))
    }

    /// Runs a script as `pg_dump` writes it: statements, and `COPY .. FROM stdin;` with its lines after it, in one
    /// session. Other commands of psql are not understood.
    ///
    /// # Panics
    /// If a statement fails.
    pub fn load(&self, script: &str) {
        let (client, script) = (self.connect(), script.to_owned());
        let failure = runtime::run(async move {
            for part in parts(&script) {
                let result = match part {
                    Part::Statements(sql) => client.batch_execute(sql).await,
                    Part::Copy { statement, lines } => copy(&client, statement, lines).await,
                };
                if let Err(error) = result {
                    return Some(explain(&error, part.sql()));
                }
            }
            None
        });
        if let Some(failure) = failure {
            panic!("{failure}");
        }
    }
}

async fn copy(client: &Client, statement: &str, lines: &str) -> Result<(), tokio_postgres::Error> {
    let sink = client.copy_in(statement).await?;
    let mut sink = pin!(sink);
    sink.send(Bytes::from(lines.to_owned())).await?;
    sink.finish().await?;
    Ok(())
}

/// A stretch of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    Statements(&'a str),
    Copy { statement: &'a str, lines: &'a str },
}

impl<'a> Part<'a> {
    fn sql(&self) -> &'a str {
        match self {
            Self::Statements(sql) => sql,
            Self::Copy { statement, .. } => statement,
        }
    }
}

/// Cuts a script at its COPY blocks. A block begins with a line `COPY ... FROM stdin;` and ends with the line `\.`.
fn parts(script: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut rest, mut from) = (script, 0);
    while let Some(length) = rest[from..].find('\n').map(|at| at + 1) {
        let line = rest[from..from + length].trim_end();
        let is_copy = line.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("copy "))
            && line.to_ascii_lowercase().ends_with("from stdin;");
        if !is_copy {
            from += length;
            continue;
        }
        parts.push(Part::Statements(&rest[..from]));
        let body = &rest[from + length..];
        let (lines, after) = match body.strip_prefix("\\.") {
            Some(after) => ("", after),
            None => body.split_once("\n\\.").map_or((body, ""), |(lines, after)| (&body[..=lines.len()], after)),
        };
        parts.push(Part::Copy { statement: line.trim_end_matches(';'), lines });
        (rest, from) = (after, 0);
    }
    parts.push(Part::Statements(rest));
    parts.retain(|part| !part.sql().trim().is_empty());
    parts
}

/// The server's words with the start of the statement.
fn explain(error: &tokio_postgres::Error, sql: &str) -> String {
    let words = error.as_db_error().map_or_else(
        || error.to_string(),
        |error| {
            let detail = error.detail().map_or_else(String::new, |detail| format!(" ({detail})"));
            format!("{}: {}{detail} [SQLSTATE {}]", error.severity(), error.message(), error.code().code())
        },
    );
    let start: String = sql.trim().chars().take(500).collect();
    format!("{words}\n  in: {start}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_cut_at_its_copy_blocks() {
        let script = "create table a (b int);\nCOPY a (b) FROM stdin;\n1\n2\n\\.\n\nselect 1;\ncopy a from stdin;\n\\.\nselect 2";
        assert_eq!(
            parts(script),
            [
                Part::Statements("create table a (b int);\n"),
                Part::Copy { statement: "COPY a (b) FROM stdin", lines: "1\n2\n" },
                Part::Statements("\n\nselect 1;\n"),
                Part::Copy { statement: "copy a from stdin", lines: "" },
                Part::Statements("\nselect 2"),
            ]
        );
    }

    #[test]
    fn a_script_is_loaded() {
        let database = crate::cluster::shared().database("harness");
        database.load("create table a (b int);\nCOPY a (b) FROM stdin;\n1\n\\N\n\\.\ninsert into a values (3);\n");
        let one = |text: &str| vec![Some(text.to_owned())];
        assert_eq!(database.rows("select b from a order by b"), [one("1"), one("3"), vec![None]]);
    }
}
