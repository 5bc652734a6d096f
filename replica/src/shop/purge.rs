//! Whether a row may be purged: every office has it as it is, and its delete will not travel.

use protocol::names::TableName;
use protocol::policy::{Deletes, Direction};
use tokio_postgres::Client;

use super::Shop;
use super::backlog;
use super::state::State;
use crate::ReplicaError;
use crate::capture::CapturedTable;
use crate::catalogue::Table;
use crate::digest;
use crate::error::classify;
use crate::watermark::Snapshot;

/// Whether a row may be purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purgeable {
    /// The offices have it as it is.
    Yes,
    /// There is no such row, and no word of it on its way.
    Gone,
    /// Why not.
    No(String),
}

impl Shop {
    /// Whether a row, named by the values of its key in the key's order, may be purged.
    ///
    /// # Errors
    /// When there is no such table, or the values do not fit its key.
    pub async fn may_purge(&self, table: &str, key: &[String]) -> Result<Purgeable, ReplicaError> {
        let state = self.state().await?;
        let name = digest::table_name(table);
        let Some(found) = state.catalogue.get(&name) else {
            return Err(ReplicaError::Invalid(format!("there is no table {name}")));
        };
        let columns: Vec<&str> = found.key_columns().map(|column| column.name.as_str()).collect();
        if columns.len() != key.len() || columns.is_empty() {
            return Err(ReplicaError::Invalid(format!(
                "rows of table {name} are told apart by ({}): give {} in that order, not {}",
                columns.join(", "),
                if columns.len() == 1 { "one value".to_owned() } else { format!("{} values", columns.len()) },
                key.len()
            )));
        }
        if let Some(why) = forbidden(&state, &name) {
            return Ok(Purgeable::No(why));
        }
        let Some(captured) = state.captured.get(&name) else {
            return Ok(Purgeable::No("changes of this table are not captured yet: it needs a clone first".into()));
        };
        let client = self.inner.pool.get().await?;
        let is_there = is_there(&client, found, key).await?;
        for (office, since) in backlog::acknowledged(&*client, state.incarnation.number).await? {
            let Some(since) = since else {
                return Ok(Purgeable::No(format!("office {office:?} has not acknowledged anything yet: update first")));
            };
            if has_news(&client, found, captured, key, &since).await? {
                return Ok(Purgeable::No(format!("office {office:?} does not have it as it is yet: update first")));
            }
        }
        Ok(if is_there { Purgeable::Yes } else { Purgeable::Gone })
    }
}

/// Why rows of a table may never be purged.
fn forbidden(state: &State, name: &TableName) -> Option<String> {
    let rules = state.policy.get(name)?;
    match (rules.direction, rules.deletes) {
        (Direction::FromTarget, Deletes::Ignore) => None,
        (Direction::FromTarget, Deletes::Send) => {
            Some("deletes of this table travel (deletes = \"send\"): the office would delete it too".into())
        }
        (Direction::Both, _) => Some("the table is changed on both sides: a delete here is a delete there".into()),
        (Direction::FromSource, _) => Some("the office owns the table, and would not send the row again".into()),
        (Direction::Initial | Direction::Local, _) => Some("no office has the row: the table is not sent".into()),
    }
}

fn is_key(table: &Table, left: &str) -> String {
    table
        .key_columns()
        .enumerate()
        .map(|(index, column)| {
            format!(
                "{left}{} = ${}::text::{}",
                protocol::names::quote_identifier(&column.name),
                index + 1,
                column.type_name
            )
        })
        .collect::<Vec<_>>()
        .join(" and ")
}

fn parameters(key: &[String]) -> Vec<&(dyn tokio_postgres::types::ToSql + Sync)> {
    key.iter().map(|value| value as &(dyn tokio_postgres::types::ToSql + Sync)).collect()
}

async fn is_there(client: &Client, table: &Table, key: &[String]) -> Result<bool, ReplicaError> {
    let sql = format!("select exists (select from {} x where {})", table.target(), is_key(table, "x."));
    let row = client.query_one(&sql, &parameters(key)).await.map_err(|error| match error.as_db_error() {
        Some(db) if db.code().code().starts_with("22") => {
            ReplicaError::Invalid(format!("the value is none that the key of table {} can have", table.name))
        }
        _ => classify("look for the row", error),
    })?;
    Ok(row.get(0))
}

/// Whether the row was changed after that snapshot.
async fn has_news(
    client: &Client,
    table: &Table,
    captured: &CapturedTable,
    key: &[String],
    since: &Snapshot,
) -> Result<bool, ReplicaError> {
    let same: Vec<String> = table
        .key_columns()
        .enumerate()
        .map(|(index, column)| format!("k{0} = ${0}::text::{1}", index + 1, column.type_name))
        .collect();
    let sql = format!(
        "select exists (select from ({}) k where {})",
        captured.keys(table.key.len(), "", &since.unseen()),
        same.join(" and ")
    );
    let row = client
        .query_one(&sql, &parameters(key))
        .await
        .map_err(|error| classify("look for changes of the row", error))?;
    Ok(row.get(0))
}
