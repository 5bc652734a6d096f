//! Entries of the quarantine are tried again, together with what has just come in.

use std::sync::Arc;

use protocol::names::{TableName, quote_identifier};
use protocol::policy::Direction;
use tokio_postgres::Transaction;

use super::staging::Staging;
use super::target::{Shape, ShapeKind};
use super::{ApplyOrder, amounts, failure, misfits, quarantine};
use crate::ReplicaError;
use crate::catalogue::{Table, quote_literal};
use crate::error::classify;
use crate::watermark::Snapshot;

/// Entries of a peer that one apply tries again; those that were tried longest ago come first.
const ENTRIES_MAX: i64 = 10_000;

/// Staging tables of entries have shapes of their own.
const FIRST_SHAPE: usize = 1_000_000;

/// Entries that are staged to be merged.
#[derive(Default)]
pub(super) struct Staged {
    /// A staging per table and kind of change.
    pub(super) segments: Vec<Staging>,
    /// What the peer had of our changes when the oldest of them came.
    pub(super) agreed: Option<Snapshot>,
}

/// Whether there is any entry of the peer.
pub(super) async fn anything_waits(transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<bool, ReplicaError> {
    let sql = "select exists (select from sync.quarantine where peer = $1)";
    let row = transaction.query_one(sql, &[&order.origin]).await;
    Ok(row.map_err(|error| classify("try the quarantine again", error))?.get(0))
}

/// Stages the entries of the peer that can be merged by what is known of their tables now.
pub(super) async fn stage(transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<Staged, ReplicaError> {
    let failed = |error| classify("try the quarantine again", error);
    transaction
        .batch_execute(&format!(
            "create temp table picked on commit drop as
                 select *, (select coalesce(array_agg(c order by c), '{{}}') from jsonb_object_keys(
                     case when operation in ('insert', 'insert-ignore', 'upsert') then image else '{{}}' end) c) as columns
                 from sync.quarantine where peer = {}
                 order by tried_at nulls first, entry limit {ENTRIES_MAX} for update;
             create temp table retried (entry bigint) on commit drop",
            order.origin
        ))
        .await
        .map_err(failed)?;
    let groups = transaction
        .query(
            "select schema_name, table_name, operation, columns, detail ->> 'updates' is not null,
                    array(select jsonb_array_elements_text(detail -> 'updates')) from pg_temp.picked
             group by schema_name, table_name, operation, columns, detail -> 'updates', 5, 6 order by 1, 2, 3, 4",
            &[],
        )
        .await
        .map_err(failed)?;
    let mut staged = Staged::default();
    for (index, row) in groups.iter().enumerate() {
        let name = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        let allowed = order.policy.get(&name).is_some_and(|rules| order.incoming.refusal(rules.direction).is_none());
        let Some(table) = order.catalogue.get(&name).filter(|table| allowed && !table.key.is_empty()) else { continue };
        let (operation, columns): (String, Vec<String>) = (row.get(2), row.get(3));
        let Some(shape) = shape(order, table, FIRST_SHAPE + index, &operation, &columns, row.get(5)) else { continue };
        let staging = Staging::create(transaction, order, Arc::new(shape), Some(index)).await?;
        transaction.batch_execute(&load(&staging, &operation, &columns)).await.map_err(failed)?;
        staged.segments.push(staging);
    }
    let agreed = transaction
        .query_opt(
            "select agreed::text from pg_temp.picked where agreed is not null
             order by pg_snapshot_xmin(agreed)::text::numeric, pg_snapshot_xmax(agreed)::text::numeric limit 1",
            &[],
        )
        .await
        .map_err(failed)?;
    staged.agreed = agreed.map(|row| Snapshot::parse(&row.get::<_, String>(0))).transpose()?;
    Ok(staged)
}

/// Takes the entries that have been merged out of the quarantine; returns how many there were.
pub(super) async fn settle(transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<i64, ReplicaError> {
    let released = transaction
        .execute(
            "delete from sync.quarantine q using pg_temp.retried r where q.entry = r.entry and q.peer = $1",
            &[&order.origin],
        )
        .await
        .map_err(|error| classify("release rows from quarantine", error))?;
    Ok(i64::try_from(released).unwrap_or(i64::MAX))
}

/// Notes the entries that failed again, and why; they are no longer among the staged ones.
pub(super) fn fail_again(order: &ApplyOrder, staging: &Staging) -> String {
    let table = &staging.shape.table;
    let culprits = quarantine::culprits(table);
    format!(
        "with again as (
             update sync.quarantine q set tries = tries + 1, tried_at = clock_timestamp(), state = coalesce(k.sync$state, q.state),
                 constraint_name = k.sync$constraint, column_name = k.sync$column, other_table = k.sync$other, reason = {}
             from {culprits} k where q.peer = {} and q.schema_name = {} and q.table_name = {} and q.key = {} returning q.entry)
         delete from pg_temp.retried r using again a where a.entry = r.entry;
         delete from {} s using {culprits} k where {}",
        quarantine::reason("k.sync$state"),
        order.origin,
        quote_literal(&table.name.schema),
        quote_literal(&table.name.name),
        quarantine::key_object(table, "k."),
        staging.name(),
        table.same_key("s.", "k.")
    )
}

fn shape(
    order: &ApplyOrder,
    table: &Table,
    id: usize,
    operation: &str,
    columns: &[String],
    updates: Vec<String>,
) -> Option<Shape> {
    let known = |name: &&String| table.column(name).is_some_and(|column| !column.generated);
    let keys = || table.key_columns().map(|column| column.name.clone());
    let others = table.written_columns().map(|column| column.name.clone()).filter(|name| !table.is_key(name));
    let columns: Vec<String> = match operation {
        "insert" | "insert-ignore" | "upsert" => columns.iter().filter(known).cloned().collect(),
        "delete" => keys().collect(),
        _ => keys().chain(others).collect(),
    };
    let kind = match operation {
        "insert" => ShapeKind::Insert,
        "insert-ignore" => ShapeKind::InsertIgnore,
        "upsert" => ShapeKind::Upsert(updates.into_iter().filter(|name| columns.contains(name)).collect()),
        "update" => ShapeKind::Update,
        "guarded-update" => ShapeKind::GuardedUpdate,
        "delete" => ShapeKind::Delete,
        _ => return None,
    };
    let travels = matches!(kind, ShapeKind::Upsert(_) | ShapeKind::Update | ShapeKind::GuardedUpdate);
    let amounts = travels && !amounts::columns(order, table).is_empty();
    let both = order.policy.get(&table.name).is_some_and(|rules| rules.direction == Direction::Both);
    let stamped = both && !matches!(kind, ShapeKind::Insert | ShapeKind::InsertIgnore);
    Some(Shape { id, table: Arc::new(table.clone()), kind, columns, binary: None, amounts, stamped })
}

/// The statement that stages a group of entries; what does not fit its column stays.
fn load(staging: &Staging, operation: &str, columns: &[String]) -> String {
    let shape = &staging.shape;
    let table = &shape.table;
    let partial = matches!(shape.kind, ShapeKind::Update | ShapeKind::GuardedUpdate);
    let bits = |object: &str| {
        let bits: Vec<String> = staging
            .others()
            .iter()
            .map(|name| format!("case when {object} ? {} then '1' else '0' end", quote_literal(name)))
            .collect();
        if bits.is_empty() { "''".to_owned() } else { bits.join(" || ") }
    };
    let value = |field: &str| match field {
        "sync$n" => "sync$e.entry".to_owned(),
        "sync$was" => "sync$e.base".to_owned(),
        "sync$has" => bits("sync$e.image"),
        "sync$guarded" => bits("(sync$e.detail -> 'guards')"),
        "sync$stamp" => "sync$e.detail ->> 'stamp'".to_owned(),
        "sync$totals" => "sync$e.detail -> 'totals'".to_owned(),
        name if partial && let Some(index) = name.strip_prefix("sync$guard_").and_then(|n| n.parse::<usize>().ok()) => {
            let other = staging.others().get(index).map_or("", String::as_str);
            format!("sync$e.detail -> 'guards' ->> {}", quote_literal(other))
        }
        name if table.is_key(name) => format!("sync$e.key ->> {}", quote_literal(name)),
        name => format!("sync$e.image ->> {}", quote_literal(name)),
    };
    let assignments: String = misfits::fields(staging)
        .iter()
        .map(|name| {
            format!("sync$at := {}; sync$v.{} := {}; ", quote_literal(name), quote_identifier(name), value(name))
        })
        .collect();
    let names: Vec<String> = columns.iter().map(|name| quote_literal(name)).collect();
    let mut group = format!(
        "schema_name = {} and table_name = {} and operation = {} and columns = array[{}]::text[]",
        quote_literal(&table.name.schema),
        quote_literal(&table.name.name),
        quote_literal(operation),
        names.join(", ")
    );
    if let ShapeKind::Upsert(updates) = &shape.kind {
        let updates: Vec<String> = updates.iter().map(|name| quote_literal(name)).collect();
        // columns that are gone do not tell groups apart
        group += &format!(" and detail -> 'updates' @> to_jsonb(array[{}]::text[])", updates.join(", "));
    }
    format!(
        "do $sync$ declare sync$e record; sync$v {0}%rowtype; sync$at text; sync$why text; begin
             for sync$e in select * from pg_temp.picked p where {group}
                 and not exists (select from pg_temp.retried r where r.entry = p.entry) loop begin
                 {assignments}
                 insert into {0} select sync$v.*;
                 insert into pg_temp.retried values (sync$e.entry);
             exception when {1} then
                 get stacked diagnostics sync$why = returned_sqlstate;
                 update sync.quarantine q set tries = tries + 1, tried_at = clock_timestamp(), state = sync$why,
                     column_name = sync$at, constraint_name = null, other_table = null, reason = {2} where q.entry = sync$e.entry;
             end; end loop; end $sync$",
        staging.name(),
        failure::ROW_CONDITIONS,
        quarantine::reason("sync$why")
    )
}
