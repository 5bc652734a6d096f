//! Amounts: columns that both sides add to (`delta` in the policy).
//!
//! Beside the value travels the sender's total: its value without what the receiver itself contributed. The receiver adds
//! the difference to the total it stored last, so a repeat adds nothing, whatever was lost or sent twice. A clone stores
//! at the shop, for every row, the value it brought: all of that is the office's. Where nothing is stored, the other side
//! has contributed nothing yet.

use std::collections::{BTreeMap, BTreeSet};

use protocol::names::{TableName, quote_identifier};
use protocol::policy::ResolvedPolicy;
use tokio_postgres::Transaction;

use super::ApplyOrder;
use super::staging::Staging;
use crate::ReplicaError;
use crate::capture::{CapturedTable, numbered};
use crate::catalogue::{Catalogue, Table, quote_literal};
use crate::error::classify;
use crate::watermark::Snapshot;

/// The delta columns of a table, by its policy.
pub(super) fn columns<'a>(order: &'a ApplyOrder, table: &Table) -> Vec<&'a str> {
    order
        .policy
        .get(&table.name)
        .map(|rules| rules.delta.iter().map(String::as_str).filter(|name| table.column(name).is_some()).collect())
        .unwrap_or_default()
}

/// Turns the staged totals into increments (`totals` holds these afterwards), and stores the totals.
pub(super) async fn settle(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    staging: &Staging,
) -> Result<(), ReplicaError> {
    let table = &staging.shape.table;
    let delta = columns(order, table);
    if delta.is_empty() {
        return Ok(());
    }
    let failed = |error| classify("settle amounts", error);
    let name = staging.name();
    let key: Vec<String> = table
        .key_columns()
        .map(|column| format!("{}, s.{}::text", quote_literal(&column.name), quote_identifier(&column.name)))
        .collect();
    let key = format!("jsonb_build_object({})", key.join(", "));
    let stored = |column: &str| {
        format!(
            "(select r.total from sync.total r where r.peer = {} and r.schema_name = {} and r.table_name = {} and r.key = {key} and r.column_name = {})",
            order.origin,
            quote_literal(&table.name.schema),
            quote_literal(&table.name.name),
            quote_literal(column)
        )
    };
    let increments: Vec<String> = delta
        .iter()
        .map(|column| {
            let name = quote_literal(column);
            format!(
                "case when s.sync$totals ? {name} then jsonb_build_object({name}, ((s.sync$totals ->> {name})::numeric - coalesce({}, 0))::text)
                      else '{{}}' end",
                stored(column)
            )
        })
        .collect();
    let totals: Vec<String> = delta
        .iter()
        .map(|column| {
            format!(
                "select {key} as key, {0} as column_name, (s.sync$totals ->> {0})::numeric as total from {name} s where s.sync$totals ? {0}",
                quote_literal(column)
            )
        })
        .collect();
    transaction
        .batch_execute(&format!(
            "create temp table fresh_totals on commit drop as {};
             update {name} s set sync$totals = jsonb_strip_nulls({}) where s.sync$totals is not null;
             insert into sync.total(peer, incarnation, schema_name, table_name, key, column_name, total)
                 select {}, '', {}, {}, key, column_name, max(total) from fresh_totals where total is not null group by key, column_name
                 on conflict (peer, incarnation, schema_name, table_name, key, column_name) do update set total = excluded.total;
             drop table fresh_totals",
            totals.join(" union all "),
            increments.join(" || "),
            order.origin,
            quote_literal(&table.name.schema),
            quote_literal(&table.name.name),
        ))
        .await
        .map_err(failed)
}

/// Begins the amounts of a freshly cloned shop: what the rows hold is the office's contribution.
pub async fn begin(transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<(), ReplicaError> {
    begin_of(transaction, &order.catalogue, &order.policy, order.origin).await
}

/// The same towards one peer, whatever is applied.
pub async fn begin_of(
    transaction: &Transaction<'_>,
    catalogue: &Catalogue,
    policy: &ResolvedPolicy,
    peer: i32,
) -> Result<(), ReplicaError> {
    for (name, rules) in &policy.tables {
        let Some(table) = catalogue.get(name) else { continue };
        for column in rules.delta.iter().filter(|column| table.column(column).is_some()) {
            let from = format!("{} x", table.target());
            let value = format!("x.{}", quote_identifier(column));
            begin_column(transaction, table, column, peer, &from, &value, "true").await?;
        }
    }
    Ok(())
}

/// Begins the amounts that a shop's policy has gained, and ends those that it has lost.
///
/// What both agreed on is the office's contribution: the values as the snapshot saw them that the office's `since` stands
/// for. What the shop changed after it is the shop's own. So no new clone is needed.
pub async fn begin_new(
    transaction: &Transaction<'_>,
    catalogue: &Catalogue,
    policy: &ResolvedPolicy,
    captured: &BTreeMap<TableName, CapturedTable>,
    since: &Snapshot,
    peer: i32,
) -> Result<(), ReplicaError> {
    let failed = |error| classify("begin amounts", error);
    let mut begun: BTreeSet<(TableName, String)> = transaction
        .query("select schema_name, table_name, column_name from sync.amount where peer = $1", &[&peer])
        .await
        .map_err(failed)?
        .iter()
        .map(|row| (TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)), row.get(2)))
        .collect();
    for (name, rules) in &policy.tables {
        let (Some(table), Some(captured)) = (catalogue.get(name), captured.get(name)) else { continue };
        for column in rules.delta.iter().filter(|column| table.column(column).is_some()) {
            if begun.remove(&(name.clone(), column.clone())) {
                continue;
            }
            let numbers = numbered(table.key.len());
            let literal = quote_literal(column);
            let window = format!("{} and {}", since.unseen(), crate::diff::meant_for(peer));
            let from = format!(
                "{} x left join (
                     select {numbers}, (array_agg(op order by seq))[1] as first, bool_or(old ? {literal}) as known,
                            (array_agg(old ->> {literal} order by seq) filter (where old ? {literal}))[1] as before
                     from (select seq, op, old::jsonb as old, {numbers} from ({}) e) l group by {numbers}) d on {}",
                table.target(),
                captured.rows(table.key.len(), &window),
                table.same_numbered_key("d.", "x.")
            );
            let value = format!("case when d.known then d.before::numeric else x.{} end", quote_identifier(column));
            begin_column(transaction, table, column, peer, &from, &value, "d.first is distinct from 'I'").await?;
        }
    }
    for (table, column) in begun {
        for from in ["sync.amount", "sync.total"] {
            let sql = format!(
                "delete from {from} where peer = $1 and schema_name = $2 and table_name = $3 and column_name = $4"
            );
            transaction.execute(&sql, &[&peer, &table.schema, &table.name, &column]).await.map_err(failed)?;
        }
    }
    Ok(())
}

async fn begin_column(
    transaction: &Transaction<'_>,
    table: &Table,
    column: &str,
    peer: i32,
    from: &str,
    value: &str,
    condition: &str,
) -> Result<(), ReplicaError> {
    let key: Vec<String> = table
        .key_columns()
        .map(|column| format!("{}, x.{}::text", quote_literal(&column.name), quote_identifier(&column.name)))
        .collect();
    let (schema, name, column) =
        (quote_literal(&table.name.schema), quote_literal(&table.name.name), quote_literal(column));
    transaction
        .batch_execute(&format!(
            "insert into sync.total(peer, incarnation, schema_name, table_name, key, column_name, total)
             select {peer}, '', {schema}, {name}, jsonb_build_object({}), {column}, {value}
             from {from} where {condition} and {value} is not null
             on conflict (peer, incarnation, schema_name, table_name, key, column_name) do update set total = excluded.total;
             insert into sync.amount values ({peer}, {schema}, {name}, {column}) on conflict do nothing",
            key.join(", "),
        ))
        .await
        .map_err(|error| classify("begin amounts", error))
}

/// The value of a delta column of an update: ours and the increment, or the sender's where there is none.
pub(super) fn added(column: &str, type_name: &str, otherwise: &str) -> String {
    let quoted = quote_identifier(column);
    let name = quote_literal(column);
    format!(
        "case when s.sync$totals ? {name} then (t.{quoted} + (s.sync$totals ->> {name})::numeric)::{type_name} else {otherwise} end"
    )
}

/// The same for the DO UPDATE of an insert, which cannot see the staging row: it is looked up by its key.
pub(super) fn added_on_conflict(staging: &Staging, column: &str, type_name: &str) -> String {
    let table = &staging.shape.table;
    let quoted = quote_identifier(column);
    let name = quote_literal(column);
    let same: Vec<String> =
        table.key_columns().map(|key| format!("s.{0} = excluded.{0}", quote_identifier(&key.name))).collect();
    format!(
        "coalesce((t.{quoted} + (select (s.sync$totals ->> {name})::numeric from {} s where {} order by s.ctid desc limit 1))::{type_name}, excluded.{quoted})",
        staging.name(),
        same.join(" and ")
    )
}
