//! Capture: triggers that write the keys of changed rows into a change log per table.
//!
//! It happens in the database, so any program and any hand with psql is covered. `install` brings the triggers in line
//! with what should be captured, and finds out whether they were tampered with since they were installed.

mod both_ways;
mod compare;
mod log;
mod moved;
mod one_way;
mod system_types;
mod triggers;

use std::collections::BTreeMap;

use protocol::names::TableName;
use tokio_postgres::{GenericClient, Transaction};

use crate::ReplicaError;
use crate::catalogue::{Catalogue, Table};
use crate::error::classify;

/// What is captured of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The keys of changed rows, and which columns changed (tables that flow one way).
    Keys,
    /// The same, and the images of deleted rows (what the office owns and shops refer to).
    Tombstones,
    /// Keys, the old values of changed columns, who and when (tables with direction `both`).
    OldValues,
}

impl Depth {
    fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Tombstones => "tombstones",
            Self::OldValues => "old-values",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "tombstones" => Self::Tombstones,
            "old-values" => Self::OldValues,
            _ => Self::Keys,
        }
    }
}

/// A table under capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturedTable {
    /// Number that its log and functions carry.
    pub number: i32,
    /// The table.
    pub name: TableName,
    /// What is captured.
    pub depth: Depth,
    /// The columns that entries can tell apart, in the order in which the log numbers them.
    pub columns: Vec<String>,
}

pub(crate) use log::numbered;
pub(crate) use moved::recognise;

impl CapturedTable {
    /// The table's change log.
    pub fn log(&self) -> String {
        format!("sync.log_{}", self.number)
    }
}

/// What `install` found and did.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    /// Tables whose triggers were made (again).
    pub installed: Vec<TableName>,
    /// Tables whose triggers had been there before and were missing, disabled or replaced: changes may have been missed.
    pub gaps: Vec<TableName>,
}

/// Reads which tables are under capture.
pub async fn captured(client: &impl GenericClient) -> Result<BTreeMap<TableName, CapturedTable>, ReplicaError> {
    let rows = client
        .query("select number, schema_name, table_name, depth, columns from sync.captured_table where active", &[])
        .await
        .map_err(|error| classify("read the captured tables", error))?;
    Ok(rows
        .iter()
        .map(|row| {
            let name = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
            let depth = Depth::parse(row.get(3));
            (name.clone(), CapturedTable { number: row.get(0), name, depth, columns: row.get(4) })
        })
        .collect())
}

struct Installed {
    number: i32,
    relation: u32,
    shape: String,
    log_shape: String,
    active: bool,
    triggers: String,
    present: String,
    parts: Vec<u32>,
    columns: Vec<String>,
}

impl Installed {
    /// Whether a trigger that was installed for this relation is missing, disabled or another one. Partitions come with
    /// triggers of their own and take them along when they go: that is no gap. Nor is another table in the place of the
    /// one that was captured, which is sent whole.
    fn has_gap(&self, relation: u32) -> bool {
        if !self.active || self.relation != relation {
            return false;
        }
        let read = |text: &str| serde_json::from_str::<BTreeMap<String, String>>(text).unwrap_or_default();
        let present = read(&self.present);
        read(&self.triggers).iter().any(|(trigger, state)| {
            let relation = trigger.split('.').next().and_then(|oid| oid.parse::<u32>().ok());
            relation.is_none_or(|oid| self.parts.contains(&oid)) && present.get(trigger) != Some(state)
        })
    }
}

/// Tables among `wanted` whose triggers were installed and are missing, switched off or replaced now: changes may have been
/// missed. Whatever is wrong is left as it is.
pub(crate) async fn gaps(
    client: &impl GenericClient,
    catalogue: &Catalogue,
    wanted: &BTreeMap<TableName, Depth>,
) -> Result<Vec<TableName>, ReplicaError> {
    let entries = installed(client).await?;
    let is_gap = |name: &TableName| {
        let table = catalogue.get(name)?;
        Some(entries.get(name)?.has_gap(table.oid))
    };
    Ok(wanted.keys().filter(|name| is_gap(name) == Some(true)).cloned().collect())
}

async fn installed(client: &impl GenericClient) -> Result<BTreeMap<TableName, Installed>, ReplicaError> {
    let rows = client.query(INSTALLED, &[]).await.map_err(|error| classify("look at what is captured", error))?;
    let entry = |row: &tokio_postgres::Row| {
        let name = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let entry = Installed {
            number: row.get(2),
            relation: row.get(3),
            shape: row.get(4),
            active: row.get(5),
            triggers: row.get(6),
            present: row.get(7),
            log_shape: row.get(8),
            parts: row.get(9),
            columns: row.get(10),
        };
        (name, entry)
    };
    Ok(rows.iter().map(entry).collect())
}

/// Brings triggers and logs in line with `wanted`, in the caller's transaction.
///
/// A table is touched only where something differs, so the usual call takes no lock on business tables.
pub async fn install(
    transaction: &Transaction<'_>,
    catalogue: &Catalogue,
    wanted: &BTreeMap<TableName, Depth>,
) -> Result<Coverage, ReplicaError> {
    let failed = |error| classify("install capture", error);
    let mut coverage = Coverage::default();
    let installed = installed(transaction).await?;
    for (name, entry) in &installed {
        if entry.active && !wanted.contains_key(name) {
            if let Some(table) = catalogue.get(name) {
                remove(transaction, table, entry.number).await?;
            }
            transaction
                .execute(
                    // without a shape: what happens from now on is missed, so if it is ever wanted again, all is sent
                    "update sync.captured_table set active = false, triggers = '{}', shape = '' where number = $1",
                    &[&entry.number],
                )
                .await
                .map_err(failed)?;
        }
    }
    // rows of a table that comes to the others' notice only now
    let known: bool = transaction.query_one(IN_USE, &[]).await.map_err(failed)?.get(0);
    for (name, &depth) in wanted {
        let Some(table) = catalogue.get(name) else { continue };
        if table.key.is_empty() {
            return Err(ReplicaError::Schema(format!(
                "table {name} has no primary key: rows cannot be told apart; add one, or make the table \"local\" in the policy"
            )));
        }
        let shape = triggers::shape(table, depth);
        let mut resend = false;
        let mut columns = log::columns_known(&[], table);
        let number = match installed.get(name) {
            Some(entry) if entry.shape == shape && entry.relation == table.oid && entry.active => {
                if entry.triggers == entry.present {
                    continue;
                }
                if entry.has_gap(table.oid) {
                    coverage.gaps.push(name.clone());
                }
                columns = log::columns_known(&entry.columns, table);
                entry.number
            }
            Some(entry)
                if entry.log_shape == log::log_shape(table, depth)
                    || Some(&entry.log_shape) == log::entry_per_row(table, depth).as_ref() =>
            {
                if entry.has_gap(table.oid) {
                    coverage.gaps.push(name.clone());
                }
                // what waits in the log stays valid, only the functions have to be made anew; a table that took the
                // place of another is sent whole
                resend = entry.active && entry.relation != table.oid || entry.shape.is_empty() && known;
                columns = log::columns_known(&entry.columns, table);
                if adapt(transaction, table, depth, entry, &shape, &columns).await? {
                    entry.number
                } else {
                    resend = true;
                    columns = log::columns_known(&[], table);
                    forget(transaction, entry.number).await?;
                    register(transaction, table, depth, &shape, &columns).await?
                }
            }
            Some(entry) => {
                // another key: the log of the old one cannot say which rows changed, so all of them are sent
                if entry.active {
                    coverage.gaps.push(name.clone());
                    resend = true;
                }
                forget(transaction, entry.number).await?;
                register(transaction, table, depth, &shape, &columns).await?
            }
            None => {
                resend = known;
                register(transaction, table, depth, &shape, &columns).await?
            }
        };
        if resend {
            transaction.batch_execute(&log::resend(table, depth, number, "true")).await.map_err(failed)?;
        }
        create(transaction, table, depth, number, &columns).await?;
        coverage.installed.push(name.clone());
    }
    Ok(coverage)
}

/// Logs the rows that fulfil a condition on alias `x` as changed, although nobody has changed them: they, or others in
/// their place, concern a receiver now.
pub async fn request(
    client: &impl GenericClient,
    table: &Table,
    captured: &CapturedTable,
    condition: &str,
) -> Result<(), ReplicaError> {
    client
        .batch_execute(&log::resend(table, captured.depth, captured.number, condition))
        .await
        .map_err(|error| classify("ask for rows to be sent", error))
}

/// Takes the triggers of a table away (for a bulk load that must not be captured); [`install`] brings them back.
pub async fn suspend(
    transaction: &Transaction<'_>,
    table: &Table,
    captured: &CapturedTable,
) -> Result<(), ReplicaError> {
    remove(transaction, table, captured.number).await?;
    transaction
        .execute(
            "update sync.captured_table set active = false, triggers = '{}' where number = $1",
            &[&captured.number],
        )
        .await
        .map_err(|error| classify("suspend capture", error))?;
    Ok(())
}

/// Empties the change logs of all tables.
pub async fn empty_logs(transaction: &Transaction<'_>) -> Result<(), ReplicaError> {
    let failed = |error| classify("empty the change logs", error);
    let rows = transaction.query("select number from sync.captured_table", &[]).await.map_err(failed)?;
    let logs: Vec<String> = rows.iter().map(|row| format!("sync.log_{}", row.get::<_, i32>(0))).collect();
    if !logs.is_empty() {
        transaction.batch_execute(&format!("truncate {}", logs.join(", "))).await.map_err(failed)?;
    }
    Ok(())
}

async fn register(
    transaction: &Transaction<'_>,
    table: &Table,
    depth: Depth,
    shape: &str,
    columns: &[String],
) -> Result<i32, ReplicaError> {
    let failed = |error| classify("register a captured table", error);
    let style = if triggers::by_row(table) { "row" } else { "statement" };
    let row = transaction
        .query_one(
            "insert into sync.captured_table(schema_name, table_name, relation, style, depth, shape, log_shape, columns)
             values ($1, $2, $3, $4, $5, $6, $7, $8) returning number",
            &[
                &table.name.schema,
                &table.name.name,
                &table.oid,
                &style,
                &depth.as_str(),
                &shape,
                &log::log_shape(table, depth),
                &columns,
            ],
        )
        .await
        .map_err(failed)?;
    let number: i32 = row.get(0);
    transaction.batch_execute(&log::log_table(table, depth, number)).await.map_err(failed)?;
    Ok(number)
}

/// Keeps the log of a table whose columns or types have changed, or that an earlier version made; false where the keys in
/// it cannot be converted.
async fn adapt(
    transaction: &Transaction<'_>,
    table: &Table,
    depth: Depth,
    entry: &Installed,
    shape: &str,
    columns: &[String],
) -> Result<bool, ReplicaError> {
    let failed = |error| classify("adapt a change log", error);
    let number = entry.number;
    // whoever is writing ends first: then nobody is on the way to the log with the functions that are about to go
    let sql = format!("lock table {} in share row exclusive mode", table.target());
    transaction.batch_execute(&sql).await.map_err(failed)?;
    if Some(&entry.log_shape) == log::entry_per_row(table, depth).as_ref() {
        let sql = log::convert(table, depth, number);
        transaction.batch_execute(&sql).await.map_err(failed)?;
    } else {
        let sql = log::widen(depth, number);
        transaction.batch_execute(&sql).await.map_err(failed)?;
    }
    for (index, column) in table.key_columns().enumerate() {
        let name = format!("k{}", index + 1);
        let row = transaction
            .query_one(
                "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = $1::text::regclass and attname = $2",
                &[&format!("sync.log_{number}"), &name],
            )
            .await
            .map_err(failed)?;
        let wanted = log::log_type(column);
        if row.get::<_, String>(0) != wanted {
            let sql = format!(
                "savepoint adapt; alter table sync.log_{number} alter column {name} type {wanted} using {name}::{wanted}; release savepoint adapt"
            );
            if transaction.batch_execute(&sql).await.is_err() {
                transaction
                    .batch_execute("rollback to savepoint adapt; release savepoint adapt")
                    .await
                    .map_err(failed)?;
                return Ok(false);
            }
        }
    }
    if !log::knew_columns(table, &entry.shape) {
        // the functions did not know what became of the columns: rows updated meanwhile go whole
        transaction.batch_execute(&log::distrust(depth, number)).await.map_err(failed)?;
    }
    transaction
        .execute(
            "update sync.captured_table set shape = $2, depth = $3, log_shape = $4, columns = $5 where number = $1",
            &[&number, &shape, &depth.as_str(), &log::log_shape(table, depth), &columns],
        )
        .await
        .map_err(failed)?;
    Ok(true)
}

async fn forget(transaction: &Transaction<'_>, number: i32) -> Result<(), ReplicaError> {
    transaction
        .batch_execute(&format!(
            "drop table if exists sync.log_{number};
             drop function if exists sync.capture_{number}_keys() cascade;
             drop function if exists sync.capture_{number}_update() cascade;
             drop function if exists sync.capture_{number}_row() cascade;
             drop function if exists sync.capture_{number}_all() cascade;
             drop function if exists sync.capture_{number}_gone() cascade;
             drop function if exists sync.rekeyed_{number}(anyelement, anyelement) cascade;
             delete from sync.captured_table where number = {number}"
        ))
        .await
        .map_err(|error| classify("drop a change log", error))
}

async fn create(
    transaction: &Transaction<'_>,
    table: &Table,
    depth: Depth,
    number: i32,
    columns: &[String],
) -> Result<(), ReplicaError> {
    let failed = |error| classify("create capture triggers", error);
    transaction.batch_execute(&triggers::definition(table, depth, number, columns)).await.map_err(failed)?;
    if table.partitioned {
        // TRUNCATE of one partition fires only that partition's triggers, and they are not inherited
        let partitions = transaction
            .query(
                "select relid::regclass::text from pg_partition_tree($1::oid::regclass) where level > 0",
                &[&table.oid],
            )
            .await
            .map_err(failed)?;
        for partition in partitions {
            transaction
                .batch_execute(&triggers::partition_truncate(&partition.get::<_, String>(0), number))
                .await
                .map_err(failed)?;
        }
    }
    transaction
        .execute(
            "update sync.captured_table c set active = true, relation = $2, installed_at = clock_timestamp(),
             triggers = coalesce((select jsonb_object_agg(t.tgrelid || '.' || t.tgname, t.xmin::text || t.tgenabled::text order by t.tgrelid, t.tgname)
                from pg_trigger t where starts_with(t.tgname::text, 'zz_sync_' || c.number || '_')), '{}')
             where c.number = $1",
            &[&number, &table.oid],
        )
        .await
        .map_err(failed)?;
    Ok(())
}

async fn remove(transaction: &Transaction<'_>, table: &Table, number: i32) -> Result<(), ReplicaError> {
    transaction
        .batch_execute(&triggers::removal(table, number))
        .await
        .map_err(|error| classify("remove capture triggers", error))?;
    if table.partitioned {
        let failed = |error| classify("remove capture triggers", error);
        let partitions = transaction
            .query(
                "select relid::regclass::text from pg_partition_tree($1::oid::regclass) where level > 0",
                &[&table.oid],
            )
            .await
            .map_err(failed)?;
        for partition in partitions {
            let sql = format!("drop trigger if exists zz_sync_{number}_truncate on {}", partition.get::<_, String>(0));
            transaction.batch_execute(&sql).await.map_err(failed)?;
        }
    }
    Ok(())
}

const INSTALLED: &str = "
select c.schema_name, c.table_name, c.number, c.relation, c.shape, c.active, c.triggers::text,
       coalesce((select jsonb_object_agg(t.tgrelid || '.' || t.tgname, t.xmin::text || t.tgenabled::text order by t.tgrelid, t.tgname)
                 from pg_trigger t where starts_with(t.tgname::text, 'zz_sync_' || c.number || '_')), '{}')::text, c.log_shape,
       array(select p.relid::oid from pg_partition_tree(c.relation::regclass) p) || c.relation, c.columns
from sync.captured_table c";

/// Whether somebody already counts on what is captured: a branch was cloned, or the shop has a watermark.
const IN_USE: &str = "
select exists (select from sync.branch_synchronization where pushed_snapshot is not null)
    or exists (select from sync.watermark)";

/// Whether the triggers of every captured table are as they were installed.
pub(crate) const COVERED: &str = "
select coalesce(bool_and(c.triggers = coalesce((select jsonb_object_agg(t.tgrelid || '.' || t.tgname, t.xmin::text || t.tgenabled::text order by t.tgrelid, t.tgname)
                 from pg_trigger t where starts_with(t.tgname::text, 'zz_sync_' || c.number || '_')), '{}')), true)
from sync.captured_table c where c.active";
