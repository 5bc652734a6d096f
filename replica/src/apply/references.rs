//! Foreign keys: the engine's own checks, because `session_replication_role = replica` turns PostgreSQL's off.
//!
//! Checked at the end of the apply, so the order of statements and cycles do not matter. Parents are locked first, in
//! key order: a delete that runs at the same time is seen, or waits. Children of deleted rows are looked for, never
//! cascaded to: what the source's cascade removed arrives as deletes of its own.

use std::collections::BTreeSet;

use protocol::names::{TableName, quote_identifier};
use tokio_postgres::Transaction;

use super::ApplyOrder;
use super::bulk::BulkLoad;
use super::staging::Staging;
use super::target::{Incoming, ShapeKind};
use super::{failure, revive};
use crate::ReplicaError;
use crate::catalogue::{ForeignKey, Table, column_list};
use crate::error::{Failure, classify};

/// What is wrong with most foreign keys that do not hold.
pub(super) const NO_PARENT: &str = "a row refers to one that is not there";

/// Which rows have to be looked at.
#[derive(Default)]
pub(super) struct References {
    pub(super) written: BTreeSet<TableName>,
    pub(super) gone: BTreeSet<TableName>,
}

impl References {
    /// Remembers the keys of rows that are about to be merged.
    pub(super) async fn note(
        &mut self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        staging: &Staging,
    ) -> Result<(), ReplicaError> {
        let table = &staging.shape.table;
        let filtered = order.quarantine.as_ref().is_some_and(|rules| rules.rows.contains_key(&table.name));
        if (!order.rights.quiet && !filtered) || table.key.is_empty() {
            return Ok(());
        }
        let delete = staging.shape.kind == ShapeKind::Delete;
        let matters = if filtered {
            true
        } else if delete {
            order.catalogue.keys_to(&table.name).next().is_some()
        } else {
            !table.deferrable_uniques.is_empty()
                || order.catalogue.keys_of(&table.name).next().is_some()
                || order.catalogue.keys_to(&table.name).any(|key| !by_primary_key(table, key))
        };
        // an insert that did not name the key lets the database make it: no such statement comes from a peer of ours
        let named = table.key_columns().all(|column| staging.shape.columns.contains(&column.name));
        if !matters || !named {
            return Ok(());
        }
        let (set, name) = if delete { (&mut self.gone, gone(table)) } else { (&mut self.written, written(table)) };
        let keys = column_list(table.key_columns().map(|column| column.name.as_str()));
        let mut sql = String::new();
        if set.insert(table.name.clone()) {
            sql += &format!(
                "create temp table {name} on commit drop as select {keys} from {} with no data;",
                table.name.quoted()
            );
        }
        sql += &format!("insert into {name} select {keys} from {}", staging.name());
        transaction.batch_execute(&sql).await.map_err(|error| classify("note touched keys", error))
    }

    /// Checks every foreign key that may have been broken; returns how many deleted parents had to be brought back.
    pub(super) async fn check(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        bulk: &BulkLoad,
    ) -> Result<i64, ReplicaError> {
        let mut revived = 0;
        let mut queue: Vec<TableName> = self.written.iter().cloned().collect();
        while let Some(name) = queue.pop() {
            let Some(table) = order.catalogue.get(&name) else { continue };
            analyze(transaction, &written(table)).await?;
            for key in order.catalogue.keys_of(&name).filter(|key| !bulk.rebuilds(key)) {
                if order.incoming == Incoming::FromShop {
                    let found = revive::parents(transaction, order, table, key).await?;
                    if found > 0 {
                        revived += found;
                        // what came back may itself refer to something that is gone
                        queue.push(key.parent.clone());
                    }
                }
                check_parents(transaction, order, table, key).await?;
            }
            for key in order.catalogue.keys_to(&name).filter(|key| !by_primary_key(table, key)) {
                check_all(transaction, order, key).await?;
            }
            check_deferrable_uniques(transaction, table).await?;
        }
        for name in &self.gone {
            let Some(table) = order.catalogue.get(name) else { continue };
            analyze(transaction, &gone(table)).await?;
            for key in order.catalogue.keys_to(name).filter(|key| !bulk.rebuilds(key)) {
                if by_primary_key(table, key) {
                    check_children(transaction, order, table, key).await?;
                } else {
                    check_all(transaction, order, key).await?;
                }
            }
        }
        Ok(revived)
    }
}

pub(super) fn written(table: &Table) -> String {
    format!("pg_temp.written_{}", table.oid)
}

pub(super) fn gone(table: &Table) -> String {
    format!("pg_temp.gone_{}", table.oid)
}

pub(super) async fn analyze(transaction: &Transaction<'_>, name: &str) -> Result<(), ReplicaError> {
    transaction.batch_execute(&format!("analyze {name}")).await.map_err(|error| classify("check foreign keys", error))
}

/// Whether the foreign key points to exactly the table's primary key.
pub(super) fn by_primary_key(table: &Table, key: &ForeignKey) -> bool {
    key.parent_columns.len() == table.key.len() && key.parent_columns.iter().all(|column| table.is_key(column))
}

pub(super) fn pairs(left: &str, left_columns: &[String], right: &str, right_columns: &[String]) -> String {
    left_columns
        .iter()
        .zip(right_columns)
        .map(|(l, r)| format!("{left}.{} = {right}.{}", quote_identifier(l), quote_identifier(r)))
        .collect::<Vec<_>>()
        .join(" and ")
}

pub(super) fn not_null(alias: &str, columns: &[String]) -> String {
    columns
        .iter()
        .map(|column| format!("{alias}.{} is not null", quote_identifier(column)))
        .collect::<Vec<_>>()
        .join(" and ")
}

pub(super) fn key_names(table: &Table) -> Vec<String> {
    table.key_columns().map(|column| column.name.clone()).collect()
}

pub(super) fn target(order: &ApplyOrder, name: &TableName) -> String {
    order.catalogue.get(name).map_or_else(|| name.quoted(), Table::target)
}

async fn check_parents(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    table: &Table,
    key: &ForeignKey,
) -> Result<(), ReplicaError> {
    lock_parents(transaction, order, table, key).await?;
    let orphans = format!("select exists (select {})", orphans(order, table, key));
    demand(transaction, &orphans, key, NO_PARENT).await
}

/// Locks the parents of touched rows in key order: a delete that runs at the same time is seen, or waits.
pub(super) async fn lock_parents(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    table: &Table,
    key: &ForeignKey,
) -> Result<(), ReplicaError> {
    let keys = key_names(table);
    let order_by =
        key.parent_columns.iter().map(|column| format!("p.{}", quote_identifier(column))).collect::<Vec<_>>();
    let lock = format!(
        "select count(*) from (select 1 from {} p where exists (select from {} c join {} k on {} where {})
         order by {} for key share of p) locked",
        target(order, &key.parent),
        table.target(),
        written(table),
        pairs("c", &keys, "k", &keys),
        pairs("p", &key.parent_columns, "c", &key.columns),
        order_by.join(", ")
    );
    transaction.query_one(&lock, &[]).await.map_err(|error| classify("lock parents", error))?;
    Ok(())
}

/// The touched rows `c` without the parent that they refer to, from FROM on.
pub(super) fn orphans(order: &ApplyOrder, table: &Table, key: &ForeignKey) -> String {
    let keys = key_names(table);
    format!(
        "from {} c join {} k on {} where {} and not exists (select from {} p where {})",
        table.target(),
        written(table),
        pairs("c", &keys, "k", &keys),
        not_null("c", &key.columns),
        target(order, &key.parent),
        pairs("p", &key.parent_columns, "c", &key.columns)
    )
}

async fn check_children(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    table: &Table,
    key: &ForeignKey,
) -> Result<(), ReplicaError> {
    let child = target(order, &key.child);
    let orphans = format!(
        "select exists (select from {child} c join {} g on {} where not exists (select from {} p where {}))",
        gone(table),
        pairs("c", &key.columns, "g", &key.parent_columns),
        table.target(),
        pairs("p", &key.parent_columns, "g", &key.parent_columns)
    );
    demand(transaction, &orphans, key, "a row to be deleted is still referred to").await
}

pub(super) async fn check_all(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    key: &ForeignKey,
) -> Result<(), ReplicaError> {
    let orphans = format!(
        "select exists (select from {} c where {} and not exists (select from {} p where {}))",
        target(order, &key.child),
        not_null("c", &key.columns),
        target(order, &key.parent),
        pairs("p", &key.parent_columns, "c", &key.columns)
    );
    demand(transaction, &orphans, key, NO_PARENT).await
}

async fn demand(
    transaction: &Transaction<'_>,
    orphans: &str,
    key: &ForeignKey,
    reason: &str,
) -> Result<(), ReplicaError> {
    let found: bool =
        transaction.query_one(orphans, &[]).await.map_err(|error| classify("check foreign keys", error))?.get(0);
    if !found {
        return Ok(());
    }
    Err(failure::of_key(&key.child, &key.name, &key.columns, &key.parent, reason))
}

/// Deferrable unique constraints are enforced by triggers, which are off as well.
pub(super) async fn check_deferrable_uniques(transaction: &Transaction<'_>, table: &Table) -> Result<(), ReplicaError> {
    for columns in &table.deferrable_uniques {
        let list = column_list(columns.iter().map(String::as_str));
        let sql = format!(
            "select exists (select from {} x where {} group by {list} having count(*) > 1)",
            table.target(),
            not_null("x", columns)
        );
        let clash: bool =
            transaction.query_one(&sql, &[]).await.map_err(|error| classify("check unique values", error))?.get(0);
        if clash {
            return Err(ReplicaError::Failed(Box::new(Failure {
                statement: None,
                table: Some(table.name.clone()),
                column: Some(columns.join(", ")),
                constraint: None,
                state: "23505".into(),
                reason: "two rows have the same unique value".into(),
                redacted: None,
            })));
        }
    }
    Ok(())
}
