//! Clean: the synchronised tables emptied, their rows put aside, missing tables created, in one transaction.

use std::collections::BTreeSet;

use protocol::names::{TableName, quote_identifier};
use protocol::policy::ResolvedPolicy;
use tokio_postgres::Transaction;

use crate::ReplicaError;
use crate::capture::{self, CapturedTable};
use crate::catalogue::Catalogue;
use crate::error::classify;
use crate::watermark::Snapshot;

/// What `clean` did.
#[derive(Debug, Clone, Default)]
pub struct CleanReport {
    /// Tables emptied.
    pub tables: usize,
    /// Rows put aside.
    pub rows_aside: i64,
    /// Tables created by the basic schema.
    pub created: usize,
}

/// Rows that were changed here and that no office has acknowledged, by the change log: an upper bound.
pub async fn unacknowledged(
    transaction: &Transaction<'_>,
    captured: impl Iterator<Item = &CapturedTable>,
) -> Result<i64, ReplicaError> {
    let failed = |error| classify("look for unacknowledged changes", error);
    let row = transaction
        .query_opt(
            "select coalesce((select w.snapshot from sync.watermark w where w.acknowledged_at is not null order by w.issued desc limit 1),
                             n.base_snapshot)::text from sync.node n",
            &[],
        )
        .await
        .map_err(failed)?;
    let Some(since) = row.and_then(|row| row.get::<_, Option<String>>(0)) else { return Ok(0) };
    let since = Snapshot::parse(&since)?;
    crate::diff::count_local(transaction, captured, &since).await
}

/// Locks the tables that a clean empties, all at once: whatever was being written is committed and seen afterwards.
pub async fn lock(
    transaction: &Transaction<'_>,
    catalogue: &Catalogue,
    policy: &ResolvedPolicy,
) -> Result<(), ReplicaError> {
    let list: Vec<String> = synchronised(catalogue, policy)
        .iter()
        .filter_map(|name| catalogue.get(name))
        .map(crate::catalogue::Table::target)
        .collect();
    if list.is_empty() {
        return Ok(());
    }
    transaction
        .batch_execute(&format!("lock table {} in access exclusive mode", list.join(", ")))
        .await
        .map_err(|error| classify("clean", error))
}

fn synchronised(catalogue: &Catalogue, policy: &ResolvedPolicy) -> BTreeSet<TableName> {
    policy
        .tables
        .iter()
        .filter(|(name, policy)| policy.direction.synchronised() && catalogue.get(name).is_some())
        .map(|(name, _)| name.clone())
        .collect()
}

/// Copies the tables aside and empties them. Foreign keys of other tables that point into them survive, not validated.
pub async fn empty(
    transaction: &Transaction<'_>,
    catalogue: &Catalogue,
    policy: &ResolvedPolicy,
) -> Result<CleanReport, ReplicaError> {
    let failed = |error| classify("clean", error);
    let tables = synchronised(catalogue, policy);
    let mut report = CleanReport { tables: tables.len(), ..CleanReport::default() };
    if tables.is_empty() {
        return Ok(report);
    }
    report.rows_aside = put_aside(transaction, catalogue, &tables).await?;
    let captured = capture::captured(transaction).await?;
    for (name, captured) in &captured {
        if let Some(table) = catalogue.get(name) {
            capture::suspend(transaction, table, captured).await?;
        }
    }
    let foreign: Vec<_> = catalogue
        .foreign_keys
        .iter()
        .filter(|key| tables.contains(&key.parent) && !tables.contains(&key.child))
        .collect();
    for key in &foreign {
        let sql = format!("alter table {} drop constraint {}", key.child.quoted(), quote_identifier(&key.name));
        transaction.batch_execute(&sql).await.map_err(failed)?;
    }
    let list: Vec<String> = tables.iter().map(TableName::quoted).collect();
    transaction.batch_execute(&format!("truncate {}", list.join(", "))).await.map_err(failed)?;
    for key in &foreign {
        let definition = key.definition.strip_suffix(" NOT VALID").unwrap_or(&key.definition);
        let sql = format!(
            "alter table {} add constraint {} {definition} not valid",
            key.child.quoted(),
            quote_identifier(&key.name)
        );
        transaction.batch_execute(&sql).await.map_err(failed)?;
    }
    Ok(report)
}

/// Copies rows into schema `sync_aside`. A copy that is there already came from before an earlier clean whose clone was
/// applied: it is the good one and stays.
async fn put_aside(
    transaction: &Transaction<'_>,
    catalogue: &Catalogue,
    tables: &BTreeSet<TableName>,
) -> Result<i64, ReplicaError> {
    let failed = |error| classify("put rows aside", error);
    let kept: i64 = transaction
        .query_one(
            "select coalesce((select sum(rows) from sync.aside where (select awaiting_clone from sync.node)), 0)::bigint",
            &[],
        )
        .await
        .map_err(failed)?
        .get(0);
    if kept > 0 {
        return Ok(kept);
    }
    transaction
        .batch_execute("drop schema if exists sync_aside cascade; create schema sync_aside; delete from sync.aside")
        .await
        .map_err(failed)?;
    let mut total = 0;
    for (number, name) in tables.iter().enumerate() {
        let Some(table) = catalogue.get(name) else { continue };
        let copy = format!("copy_{number}");
        let columns = crate::catalogue::column_list(table.written_columns().map(|column| column.name.as_str()));
        let rows = transaction
            .execute(&format!("create table sync_aside.{copy} as select {columns} from {}", table.target()), &[])
            .await
            .map_err(failed)?;
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        total += rows;
        transaction
            .execute(
                "insert into sync.aside(schema_name, table_name, copy, rows) values ($1, $2, $3, $4)",
                &[&name.schema, &name.name, &copy, &rows],
            )
            .await
            .map_err(failed)?;
    }
    Ok(total)
}

/// Brings back what was put aside into tables that are emptied for it, and forgets the copy.
pub async fn bring_back(transaction: &Transaction<'_>, catalogue: &Catalogue) -> Result<i64, ReplicaError> {
    let failed = |error| classify("bring back what was put aside", error);
    let rows = transaction.query("select schema_name, table_name, copy from sync.aside", &[]).await.map_err(failed)?;
    if rows.is_empty() {
        return Err(ReplicaError::Invalid(
            "nothing is kept aside: there was no clean, or its clone has been verified".into(),
        ));
    }
    let copies: Vec<(TableName, String)> =
        rows.iter().map(|row| (TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)), row.get(2))).collect();
    let tables: BTreeSet<TableName> = copies.iter().map(|(name, _)| name.clone()).collect();
    // keys of all tables involved hold at the end: the copies were one consistent state
    transaction.batch_execute("set local session_replication_role = replica").await.map_err(failed)?;
    let mut total = 0;
    for name in catalogue.parents_first(&tables) {
        let Some(table) = catalogue.get(&name) else { continue };
        let Some((_, copy)) = copies.iter().find(|(copied, _)| *copied == name) else { continue };
        let columns = crate::catalogue::column_list(table.written_columns().map(|column| column.name.as_str()));
        transaction.execute(&format!("delete from {}", table.target()), &[]).await.map_err(failed)?;
        let rows = transaction
            .execute(
                &format!(
                    "insert into {} ({columns}) overriding system value select {columns} from sync_aside.{copy}",
                    name.quoted()
                ),
                &[],
            )
            .await
            .map_err(failed)?;
        total += i64::try_from(rows).unwrap_or(i64::MAX);
    }
    forget_aside(transaction).await?;
    Ok(total)
}

/// Forgets what was put aside: the clone that followed has been verified.
pub async fn forget_aside(transaction: &Transaction<'_>) -> Result<(), ReplicaError> {
    transaction
        .batch_execute("delete from sync.aside; drop schema if exists sync_aside cascade")
        .await
        .map_err(|error| classify("forget what was put aside", error))
}
