//! Finding the rows that cannot be merged, once a merge has failed.
//!
//! By halving under savepoints down to a few rows, then row by row in the server, so that one bad row among many costs
//! little, and many cost no round trip each. Whatever a search merges is thrown away: afterwards everything is
//! merged anew without the culprits.

use protocol::names::quote_identifier;
use tokio_postgres::Transaction;

use super::quarantine::culprits;
use super::staging::{PLACE, Part, Staging, run};
use super::target::ShapeKind;
use super::{ApplyOrder, amounts, failure};
use crate::ReplicaError;
use crate::catalogue::column_list;
use crate::error::classify;

/// Rows that are no longer halved.
const LEAF_ROWS: i64 = 256;

/// Merges what can be merged and notes the keys of the other rows; returns how many there are.
pub(super) async fn search(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    staging: &Staging,
) -> Result<i64, ReplicaError> {
    let failed = |error| classify("find rows that cannot be merged", error);
    let sql = format!(
        "select place::text from (select ctid as place, row_number() over (order by ctid) as n from {}) x where n % {LEAF_ROWS} = 0 order by place",
        staging.name()
    );
    let places: Vec<String> =
        transaction.query(&sql, &[]).await.map_err(failed)?.iter().map(|row| row.get(0)).collect();
    let before = count(transaction, staging, "true").await?;
    // leaf i lies behind places[i - 1] and up to places[i]
    let mut parts = vec![(0, places.len() + 1)];
    while let Some((first, end)) = parts.pop() {
        let place = |index: usize| index.checked_sub(1).and_then(|index| places.get(index)).cloned();
        let part = Part::Between(place(first), place(end));
        transaction.batch_execute("savepoint part").await.map_err(failed)?;
        match staging.try_merge(transaction, order, &part).await {
            Ok(_) => transaction.batch_execute("release savepoint part").await.map_err(failed)?,
            Err(error) if !failure::is_of_a_row(&error) => {
                return Err(failure::of_statement(error, &staging.shape.table.name, None));
            }
            Err(_) => {
                transaction
                    .batch_execute("rollback to savepoint part; release savepoint part")
                    .await
                    .map_err(failed)?;
                if end - first == 1 {
                    row_by_row(transaction, order, staging, &part).await?;
                } else {
                    let middle = usize::midpoint(first, end);
                    // the earlier half is merged first
                    parts.push((middle, end));
                    parts.push((first, middle));
                }
            }
        }
    }
    if count(transaction, staging, "k.sync$state in ('23505', '23P01')").await? > 0 {
        exchange(transaction, order, staging).await?;
    }
    Ok(count(transaction, staging, "true").await? - before)
}

async fn count(transaction: &Transaction<'_>, staging: &Staging, which: &str) -> Result<i64, ReplicaError> {
    let sql = format!("select count(*) from {} k where {which}", culprits(&staging.shape.table));
    let row = transaction.query_one(&sql, &[]).await.map_err(|error| classify("count culprits", error))?;
    Ok(row.get(0))
}

async fn row_by_row(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    staging: &Staging,
    part: &Part,
) -> Result<(), ReplicaError> {
    let refused = |error| failure::of_statement(error, &staging.shape.table.name, None);
    let statements = staging.statements(transaction, order, part, true).await.map_err(refused)?;
    let places = format!("select ctid from {} where {} order by ctid", staging.name(), part.condition());
    let block = guarded(staging, &places, &format!("{};", statements.join("; ")));
    run(transaction, order, &staging.shape.table, &[block]).await.map_err(refused)?;
    Ok(())
}

/// A block that runs statements for every place, and notes the key of the row there when they fail.
fn guarded(staging: &Staging, places: &str, statements: &str) -> String {
    let table = &staging.shape.table;
    // a block is one statement to whoever splits them
    format!(
        "do $sync$ declare {PLACE} tid; sync$state text; sync$constraint text; sync$column text; begin
             for {PLACE} in {places} loop begin
                 {statements}
             exception when {} then
                 get stacked diagnostics sync$state = returned_sqlstate, sync$constraint = constraint_name, sync$column = column_name;
                 insert into {} select {}, sync$state, nullif(sync$constraint, ''), nullif(sync$column, ''), null
                     from {} s where s.ctid = {PLACE};
             end; end loop; end $sync$",
        failure::ROW_CONDITIONS,
        culprits(table),
        table.key_list("s."),
        staging.name()
    )
}

/// Rows that fail alone are tried together: all out, then in again one by one. Those that still fail stay culprits.
async fn exchange(transaction: &Transaction<'_>, order: &ApplyOrder, staging: &Staging) -> Result<(), ReplicaError> {
    let table = &staging.shape.table;
    if !order.rights.quiet {
        return Ok(());
    }
    let delta = if staging.shape.amounts { amounts::columns(order, table) } else { Vec::new() };
    // what was added to an amount meanwhile stays in it
    let value = |name: &str, theirs: String| match table.column(name).filter(|_| delta.contains(&name)) {
        Some(column) => amounts::added(name, &column.type_name, &theirs),
        None => theirs,
    };
    let whole = table.written_columns().all(|column| staging.shape.columns.contains(&column.name));
    let names: Vec<&str> = table.written_columns().map(|column| column.name.as_str()).collect();
    let columns = column_list(names.iter().copied());
    let new: Vec<String> = match staging.shape.kind {
        ShapeKind::Upsert(_) if whole => names
            .iter()
            .map(|name| {
                let theirs = format!("s.{}", quote_identifier(name));
                // a row that is not there yet has no amount to add to
                if delta.contains(name) {
                    format!("coalesce({}, {theirs})", value(name, theirs.clone()))
                } else {
                    theirs
                }
            })
            .collect(),
        ShapeKind::Update | ShapeKind::GuardedUpdate => names
            .iter()
            .map(|name| {
                let quoted = quote_identifier(name);
                match staging.others().iter().position(|other| other == name) {
                    Some(index) => value(
                        name,
                        format!("case when get_bit(s.sync$has, {index}) = 1 then s.{quoted} else t.{quoted} end"),
                    ),
                    None => format!("t.{quoted}"),
                }
            })
            .collect(),
        _ => return Ok(()),
    };
    let from = match staging.shape.kind {
        ShapeKind::Upsert(_) => {
            format!("{} left join {} t on {}", staging.last_rows("true"), table.target(), table.same_key("t.", "s."))
        }
        _ => format!("{} s join {} t on {}", staging.name(), table.target(), table.same_key("t.", "s.")),
    };
    let failed = |error| classify("exchange values", error);
    let new: Vec<String> =
        new.iter().zip(&names).map(|(value, name)| format!("{value} as {}", quote_identifier(name))).collect();
    let new = new.join(", ");
    let name = culprits(table);
    let mut sql = format!(
        "create temp table moved on commit drop as select {new} from {from} where exists (
             select from {name} k where k.sync$state in ('23505', '23P01') and {});
         delete from {name} where sync$state in ('23505', '23P01');
         delete from {} t using pg_temp.moved m where {};",
        table.same_key("k.", "s."),
        table.target(),
        table.same_key("t.", "m.")
    );
    if let Some(role) = &order.rights.role {
        sql += &format!("grant select on pg_temp.moved to {}", quote_identifier(role));
    }
    transaction.batch_execute(&sql).await.map_err(failed)?;
    let insert = format!(
        "insert into {} ({columns}) overriding system value select {columns} from pg_temp.moved where ctid = {PLACE};",
        table.name.quoted()
    );
    let block = guarded(staging, "select ctid from pg_temp.moved order by ctid", &insert)
        .replace(&format!("from {} s where s.ctid", staging.name()), "from pg_temp.moved s where s.ctid");
    run(transaction, order, table, &[block]).await.map_err(|error| failure::of_statement(error, &table.name, None))?;
    transaction.batch_execute("drop table pg_temp.moved").await.map_err(failed)
}
