//! Amounts: columns that both sides add to (`delta` in the policy).
//!
//! Beside the value travels the sender's total: its value without what the receiver itself contributed. The receiver adds
//! the difference to the total it stored last, so a repeat adds nothing, whatever was lost or sent twice. A clone stores
//! at the shop, for every row, the value it brought: all of that is the office's. Where nothing is stored, the other side
//! has contributed nothing yet.

use protocol::names::quote_identifier;
use tokio_postgres::Transaction;

use super::ApplyOrder;
use super::staging::Staging;
use crate::ReplicaError;
use crate::catalogue::{Table, quote_literal};
use crate::error::classify;

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
    for table in order.policy.tables.keys().filter_map(|name| order.catalogue.get(name)) {
        for column in columns(order, table) {
            let key: Vec<String> = table
                .key_columns()
                .map(|column| format!("{}, x.{}::text", quote_literal(&column.name), quote_identifier(&column.name)))
                .collect();
            let quoted = quote_identifier(column);
            transaction
                .batch_execute(&format!(
                    "insert into sync.total(peer, incarnation, schema_name, table_name, key, column_name, total)
                     select {}, '', {}, {}, jsonb_build_object({}), {}, x.{quoted} from {} x where x.{quoted} is not null
                     on conflict (peer, incarnation, schema_name, table_name, key, column_name) do update set total = excluded.total",
                    order.origin,
                    quote_literal(&table.name.schema),
                    quote_literal(&table.name.name),
                    key.join(", "),
                    quote_literal(column),
                    table.target()
                ))
                .await
                .map_err(|error| classify("begin amounts", error))?;
        }
    }
    Ok(())
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
