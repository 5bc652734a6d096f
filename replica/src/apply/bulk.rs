//! Loading empty tables at disk speed: no capture, no indexes, no foreign keys while rows stream in; all of
//! them are made again from their saved definitions before the transaction ends.

use std::collections::{BTreeMap, BTreeSet};

use protocol::names::{TableName, quote_identifier};
use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

use super::{ApplyOrder, failure, kept_keys, references};
use crate::ReplicaError;
use crate::capture;
use crate::catalogue::{Catalogue, ForeignKey, Table, column_list};
use crate::error::classify;

/// Tables that are being loaded, and what has to be made again.
#[derive(Default)]
pub(super) struct BulkLoad {
    tables: BTreeMap<TableName, bool>,
    indexes: Vec<(TableName, String)>,
    keys: BTreeMap<(TableName, String), ForeignKey>,
    local: Vec<TableName>,
    truncated: BTreeSet<TableName>,
    kept: BTreeMap<TableName, Kept>,
}

/// Constraints that stay while rows stream in, though those that triggers check look at none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Unique ones: something refers to the table.
    Uniques,
    /// All of them: it consists of several tables.
    All,
}

/// Locks every table that a clone may load, at once: a reader of several tables waits, instead of being the victim of a
/// deadlock half-way.
pub(super) async fn lock(transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<(), ReplicaError> {
    let tables: Vec<String> = order
        .policy
        .tables
        .iter()
        .filter(|(_, rules)| rules.direction.synchronised())
        .filter_map(|(name, _)| order.catalogue.get(name))
        .map(Table::target)
        .collect();
    if tables.is_empty() {
        return Ok(());
    }
    transaction
        .batch_execute(&format!("lock table {} in access exclusive mode", tables.join(", ")))
        .await
        .map_err(|error| classify("lock the tables of a clone", error))
}

/// Tables that are locked must be those that were read before they were: values in binary do not tell their type, so the
/// bits of a number would become a date.
pub(super) async fn check_layout(transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<(), ReplicaError> {
    let digest = |catalogue: &Catalogue| catalogue.layout_digest(order.policy.tables.keys());
    if digest(&Catalogue::discover(transaction).await?) == digest(&order.catalogue) {
        return Ok(());
    }
    Err(ReplicaError::Busy("a table of the clone has been altered at this moment; try again".into()))
}

impl BulkLoad {
    /// Whether rows of the table go straight into it: it was empty. Prepares it the first time.
    pub(super) async fn takes(
        &mut self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        table: &Table,
    ) -> Result<bool, ReplicaError> {
        if let Some(taken) = self.tables.get(&table.name) {
            return Ok(*taken);
        }
        let failed = |error| classify("prepare a bulk load", error);
        let sql = format!("select not exists (select from {})", table.target());
        let empty: bool = transaction.query_one(&sql, &[]).await.map_err(failed)?.get(0);
        let taken = empty && order.rights.quiet;
        self.tables.insert(table.name.clone(), taken);
        if taken {
            self.prepare(transaction, order, table).await?;
        }
        Ok(taken)
    }

    async fn prepare(
        &mut self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        table: &Table,
    ) -> Result<(), ReplicaError> {
        let failed = |error| classify("prepare a bulk load", error);
        if let Some(captured) = order.captured.get(&table.name) {
            capture::suspend(transaction, table, captured).await?;
        }
        if table.partitioned || table.inherits {
            self.kept.insert(table.name.clone(), Kept::All);
            return Ok(());
        }
        let keys =
            order.catalogue.foreign_keys.iter().filter(|key| key.child == table.name || key.parent == table.name);
        for key in keys {
            if self.keys.contains_key(&(key.child.clone(), key.name.clone())) {
                continue;
            }
            if order.catalogue.get(&key.child).is_none_or(|child| child.partitioned || child.inherits) {
                continue;
            }
            let sql = format!("alter table {} drop constraint {}", key.child.quoted(), quote_identifier(&key.name));
            transaction.batch_execute(&sql).await.map_err(failed)?;
            if !order.policy.tables.contains_key(&key.child) {
                self.local.push(key.child.clone());
            }
            self.keys.insert((key.child.clone(), key.name.clone()), key.clone());
        }
        let referenced = order.catalogue.keys_to(&table.name).any(|key| !self.rebuilds(key));
        for row in transaction.query(INDEXES, &[&table.oid]).await.map_err(failed)? {
            let (drop, create, constrains): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
            if constrains && referenced {
                continue;
            }
            // unless something else needs it: a view that groups by a key, for instance
            if may_fail(transaction, &drop, &SqlState::DEPENDENT_OBJECTS_STILL_EXIST).await.map_err(failed)? {
                self.indexes.push((table.name.clone(), create));
            }
        }
        if referenced {
            self.kept.insert(table.name.clone(), Kept::Uniques);
        } else {
            // rows copied with FREEZE into a table truncated in the same transaction need no later vacuum
            transaction.batch_execute(&format!("truncate {}", table.name.quoted())).await.map_err(failed)?;
            self.truncated.insert(table.name.clone());
        }
        Ok(())
    }

    /// The COPY that loads the table.
    pub(super) fn copy_statement(&self, table: &Table, columns: &[String], binary: bool) -> String {
        let columns = column_list(columns.iter().map(String::as_str));
        let freeze = self.truncated.contains(&table.name);
        let format = if binary { "binary" } else { "text" };
        format!("copy {} ({columns}) from stdin with (format {format}, freeze {freeze})", table.name.quoted())
    }

    /// Whether the foreign key is made again, and thereby checked, at the end.
    pub(super) fn rebuilds(&self, key: &ForeignKey) -> bool {
        self.keys.contains_key(&(key.child.clone(), key.name.clone()))
    }

    /// Makes indexes and foreign keys again, and looks whether constraints hold that were there all the time.
    pub(super) async fn finish(&self, transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<(), ReplicaError> {
        let failed = |error| classify("finish a bulk load", error);
        if self.tables.values().all(|taken| !taken) {
            return Ok(());
        }
        transaction
            .batch_execute("set local maintenance_work_mem = '128MB'; set local search_path = pg_catalog, public")
            .await
            .map_err(failed)?;
        for (name, index) in &self.indexes {
            let made = transaction.batch_execute(index).await;
            made.map_err(|error| failure::of_statement(error, name, None))?;
        }
        for key in self.keys.values() {
            self.restore(transaction, key).await?;
        }
        for (name, taken) in &self.tables {
            if *taken {
                transaction.batch_execute(&format!("analyze {}", name.quoted())).await.map_err(failed)?;
            }
        }
        transaction.batch_execute("set local search_path = pg_catalog").await.map_err(failed)?;
        for (name, kept) in &self.kept {
            let Some(table) = order.catalogue.get(name) else { continue };
            references::check_deferrable_uniques(transaction, table).await?;
            if *kept == Kept::All {
                kept_keys::check(transaction, table).await?;
            }
        }
        Ok(())
    }

    async fn restore(&self, transaction: &Transaction<'_>, key: &ForeignKey) -> Result<(), ReplicaError> {
        let failed = |error| classify("restore a foreign key", error);
        let definition = key.definition.strip_suffix(" NOT VALID").unwrap_or(&key.definition);
        let name = quote_identifier(&key.name);
        let add = format!("alter table {} add constraint {name} {definition}", key.child.quoted());
        if may_fail(transaction, &add, &SqlState::FOREIGN_KEY_VIOLATION).await.map_err(failed)? {
            return Ok(());
        }
        if self.local.contains(&key.child) {
            // rows that never leave the shop refer to ones the office no longer has: they stay, for new rows it holds
            tracing::warn!(table = %key.child, constraint = key.name, "local rows refer to rows that the office does not have");
            return transaction.batch_execute(&format!("{add} not valid")).await.map_err(failed);
        }
        Err(failure::of_key(&key.child, &key.name, &key.columns, &key.parent, references::NO_PARENT))
    }
}

/// Runs a statement that may fail in one way, which leaves everything as it was; whether it did its work.
async fn may_fail(
    transaction: &Transaction<'_>,
    statement: &str,
    in_this_way: &SqlState,
) -> Result<bool, tokio_postgres::Error> {
    transaction.batch_execute("savepoint may_fail").await?;
    match transaction.batch_execute(statement).await {
        Ok(()) => transaction.batch_execute("release savepoint may_fail").await.map(|()| true),
        Err(error) if error.code() == Some(in_this_way) => {
            transaction.batch_execute("rollback to savepoint may_fail; release savepoint may_fail").await?;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Indexes of a table, those of its key and unique constraints among them: how to drop them, how to make them again as
/// they are (options, tablespace, comments), and whether something may depend on them. Exclusion constraints and the
/// index of a replica identity stay.
const INDEXES: &str = "
select case when k.oid is null then format('drop index %I.%I', n.nspname, x.relname)
            else format('alter table %I.%I drop constraint %I', n.nspname, t.relname, k.conname) end,
       case when s.oid is null then '' else format('set local default_tablespace = %I; ', s.spcname) end
       || pg_get_indexdef(x.oid)
       || case when s.oid is null then '' else '; set local default_tablespace to default' end
       || case when k.oid is null then ''
               else format('; alter table %I.%I add constraint %I %s using index %I%s%s', n.nspname, t.relname, k.conname,
                           case k.contype when 'p' then 'primary key' else 'unique' end, x.relname,
                           case when k.condeferrable then ' deferrable' else '' end,
                           case when k.condeferred then ' initially deferred' else '' end) end
       || case when of_index.text is null then ''
               else format('; comment on index %I.%I is %L', n.nspname, x.relname, of_index.text) end
       || case when of_key.text is null then ''
               else format('; comment on constraint %I on %I.%I is %L', k.conname, n.nspname, t.relname, of_key.text) end,
       k.oid is not null
from pg_index i join pg_class x on x.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
join pg_namespace n on n.oid = t.relnamespace
left join pg_tablespace s on s.oid = x.reltablespace
left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('u', 'p', 'x')
cross join lateral obj_description(x.oid, 'pg_class') of_index(text)
cross join lateral obj_description(k.oid, 'pg_constraint') of_key(text)
where i.indrelid = $1 and not i.indisreplident and i.indisvalid and k.contype is distinct from 'x'
order by x.relname";
