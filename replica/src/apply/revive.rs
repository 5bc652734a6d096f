//! Sales never wait for the catalogue: a row that refers to a deleted parent brings it back from its tombstone.

use protocol::names::quote_identifier;
use tokio_postgres::Transaction;

use super::ApplyOrder;
use super::references::{by_primary_key, key_names, not_null, pairs, written};
use crate::ReplicaError;
use crate::capture::Depth;
use crate::catalogue::{ForeignKey, Table, quote_literal};
use crate::error::classify;

/// Brings back the deleted parents that touched rows of `table` refer to; returns how many there were.
///
/// What comes back is a change of our own: it travels to every shop. It is recorded as a conflict, since somebody had
/// wanted it gone.
pub(super) async fn parents(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    table: &Table,
    key: &ForeignKey,
) -> Result<i64, ReplicaError> {
    let failed = |error| classify("bring back deleted parents", error);
    let Some(parent) = order.catalogue.get(&key.parent).filter(|parent| by_primary_key(parent, key)) else {
        return Ok(0);
    };
    let Some(captured) = order.captured.get(&key.parent) else { return Ok(0) };
    let keys = key_names(table);
    let missing = format!(
        "select distinct {} as key from {} c join {} k on {} where {} and not exists (select from {} p where {})",
        key_object(parent, key),
        table.target(),
        written(table),
        pairs("c", &keys, "k", &keys),
        not_null("c", &key.columns),
        parent.target(),
        pairs("p", &key.parent_columns, "c", &key.columns)
    );
    let tombstones = match captured.depth {
        Depth::Keys => return Ok(0),
        Depth::Tombstones => format!(
            "select distinct on (d.key) d.key, d.image from sync.tombstone d join ({missing}) m on m.key = d.key
             where d.schema_name = {} and d.table_name = {} order by d.key, d.deleted_at desc",
            quote_literal(&parent.name.schema),
            quote_literal(&parent.name.name)
        ),
        Depth::OldValues => format!(
            "select distinct on (m.key) m.key, d.old::jsonb as image from ({missing}) m join ({}) d on {} order by m.key, d.seq desc",
            captured.rows(parent.key.len(), "op = 'D'"),
            parent
                .key_columns()
                .enumerate()
                .map(|(index, column)| format!("d.k{}::text = m.key ->> {}", index + 1, quote_literal(&column.name)))
                .collect::<Vec<_>>()
                .join(" and ")
        ),
    };
    // hardly ever is there one, and a table for them costs more than to look
    let sql = format!("select exists ({tombstones})");
    if !transaction.query_one(&sql, &[]).await.map_err(failed)?.get::<_, bool>(0) {
        return Ok(0);
    }
    let found = transaction
        .execute(&format!("create temp table revived on commit drop as {tombstones}"), &[])
        .await
        .map_err(failed)?;
    if found > 0 {
        insert(transaction, order, parent).await.map_err(failed)?;
    }
    transaction.batch_execute("drop table revived").await.map_err(failed)?;
    Ok(i64::try_from(found).unwrap_or(i64::MAX))
}

async fn insert(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    parent: &Table,
) -> Result<(), tokio_postgres::Error> {
    let columns: Vec<String> = parent.written_columns().map(|column| quote_identifier(&column.name)).collect();
    let values: Vec<String> = parent
        .written_columns()
        .map(|column| format!("(r.image ->> {})::{}", quote_literal(&column.name), column.type_name))
        .collect();
    let keys: Vec<String> = parent
        .key_columns()
        .map(|column| {
            format!(
                "(r.key ->> {})::{} as {}",
                quote_literal(&column.name),
                column.type_name,
                quote_identifier(&column.name)
            )
        })
        .collect();
    let written = written(parent);
    transaction
        .batch_execute(&format!(
            "select set_config('sync.origin', '', true);
             insert into {} ({}) overriding system value select {} from revived r on conflict do nothing;
             select set_config('sync.origin', '{}', true);
             create temp table if not exists {written} on commit drop as select {} from {} with no data;
             insert into {written} select {} from revived r;
             insert into sync.conflict(schema_name, table_name, key, kind, rule, theirs, winner, peer)
                 select {}, {}, r.key, 'revived', 'sales first', r.image, 'shop', {} from revived r",
            parent.name.quoted(),
            columns.join(", "),
            values.join(", "),
            order.origin,
            key_names(parent).iter().map(|name| quote_identifier(name)).collect::<Vec<_>>().join(", "),
            parent.name.quoted(),
            keys.join(", "),
            quote_literal(&parent.name.schema),
            quote_literal(&parent.name.name),
            order.origin
        ))
        .await
}

/// The parent's key as the tombstones keep it, out of the child's columns.
fn key_object(parent: &Table, key: &ForeignKey) -> String {
    let pairs: Vec<String> = parent
        .key_columns()
        .filter_map(|column| {
            let place = key.parent_columns.iter().position(|name| *name == column.name)?;
            Some(format!(
                "{}, c.{}::{}::text",
                quote_literal(&column.name),
                quote_identifier(&key.columns[place]),
                column.type_name
            ))
        })
        .collect();
    format!("jsonb_build_object({})", pairs.join(", "))
}
