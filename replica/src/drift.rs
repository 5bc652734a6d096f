//! Drift: the tables of the two ends are not alike. What a peer does not have is left out of what it is sent, and sent
//! when it has got it.

use std::collections::{BTreeMap, BTreeSet};

use protocol::layout::{ColumnLayout, TableLayout};
use protocol::names::{TableName, quote_identifier};
use protocol::policy::ResolvedPolicy;
use tokio_postgres::{GenericClient, Transaction};

use crate::ReplicaError;
use crate::capture::{self, CapturedTable};
use crate::catalogue::{Catalogue, Table};
use crate::digest;
use crate::error::classify;

/// Columns that a peer does not have, by table.
pub type LeftOut = BTreeMap<TableName, BTreeSet<String>>;

/// The tables that rows go from or to, as a peer has to know them.
pub fn layout(catalogue: &Catalogue, policy: &ResolvedPolicy) -> Vec<TableLayout> {
    let moves = |name: &TableName| {
        policy.get(name).is_some_and(|rules| rules.direction.flows_to_shop() || rules.direction.flows_to_office())
    };
    let tables = catalogue.tables.values().filter(|table| moves(&table.name));
    tables
        .map(|table| TableLayout {
            table: table.name.to_string(),
            columns: table
                .columns
                .iter()
                .map(|column| ColumnLayout {
                    name: column.name.clone(),
                    type_name: column.type_name.clone(),
                    optional: !column.not_null || column.has_default || column.generated,
                    generated: column.generated,
                })
                .collect(),
            key: table.key_columns().map(|column| column.name.clone()).collect(),
        })
        .collect()
}

/// Stores what a peer's tables look like; columns that it has got since it last told are sent, where they hold anything.
pub async fn remember(
    transaction: &Transaction<'_>,
    peer: i32,
    theirs: &[TableLayout],
    catalogue: &Catalogue,
    captured: &BTreeMap<TableName, CapturedTable>,
) -> Result<(), ReplicaError> {
    let failed = |error| classify("store what the tables of a peer look like", error);
    let before = left_out(transaction, Some(peer), catalogue).await?;
    let text = serde_json::to_string(theirs).unwrap_or_else(|_| "[]".to_owned());
    transaction
        .execute("update sync.peer set layout = $2::text::jsonb where peer = $1", &[&peer, &text])
        .await
        .map_err(failed)?;
    let now = left_out(transaction, Some(peer), catalogue).await?;
    for (name, columns) in &before {
        let still = now.get(name);
        let news: Vec<String> = columns
            .iter()
            .filter(|column| still.is_none_or(|still| !still.contains(*column)))
            .map(|column| format!("x.{} is not null", quote_identifier(column)))
            .collect();
        if let (false, Some(table), Some(captured)) = (news.is_empty(), catalogue.get(name), captured.get(name)) {
            capture::request(transaction, table, captured, &news.join(" or ")).await?;
        }
    }
    Ok(())
}

/// Whether a peer has ever told what its tables look like.
pub async fn has_told(client: &impl GenericClient, peer: i32) -> Result<bool, ReplicaError> {
    let row = client
        .query_opt("select layout is not null from sync.peer where peer = $1", &[&peer])
        .await
        .map_err(|error| classify("look at the tables of a peer", error))?;
    Ok(row.is_some_and(|row| row.get(0)))
}

/// The columns of ours that a peer (or any, without one) does not have, as far as it has told.
pub async fn left_out(
    client: &impl GenericClient,
    peer: Option<i32>,
    catalogue: &Catalogue,
) -> Result<LeftOut, ReplicaError> {
    let rows = client
        .query(
            "select layout::text from sync.peer where layout is not null and ($1::int is null or peer = $1)",
            &[&peer],
        )
        .await
        .map_err(|error| classify("look at the tables of a peer", error))?;
    let mut left_out = LeftOut::new();
    for row in rows {
        let theirs: Vec<TableLayout> = serde_json::from_str(row.get(0)).unwrap_or_default();
        for theirs in theirs {
            let Some(table) = catalogue.get(&digest::table_name(&theirs.table)) else { continue };
            let absent = table
                .columns
                .iter()
                .filter(|column| !table.is_key(&column.name))
                .filter(|column| theirs.columns.iter().all(|other| other.name != column.name));
            for column in absent {
                left_out.entry(table.name.clone()).or_default().insert(column.name.clone());
            }
        }
    }
    Ok(left_out)
}

/// The table without the columns that are left out.
pub fn reduced(table: &Table, left_out: &LeftOut) -> Table {
    let Some(columns) = left_out.get(&table.name) else { return table.clone() };
    let keys: Vec<String> = table.key_columns().map(|column| column.name.clone()).collect();
    let mut reduced = table.clone();
    reduced.columns.retain(|column| !columns.contains(&column.name));
    reduced.key = keys.iter().filter_map(|key| reduced.columns.iter().position(|column| column.name == *key)).collect();
    reduced
}

/// Forgets what a peer's tables look like: they are as ours.
pub async fn forget(client: &impl GenericClient, peer: i32) -> Result<(), ReplicaError> {
    client
        .execute("update sync.peer set layout = null where peer = $1", &[&peer])
        .await
        .map_err(|error| classify("store what the tables of a peer look like", error))?;
    Ok(())
}
