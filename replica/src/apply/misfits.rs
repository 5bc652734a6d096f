//! Values that do not fit their columns: a block of rows is staged row by row, and what the types refuse waits.
//!
//! A COPY fails as a whole. Its rows are then copied as texts, and each is given to the columns of the staging table by
//! assignment in PL/pgSQL, which reads values as COPY does (a cast would cut texts silently).

use bytes::Bytes;
use protocol::names::quote_identifier;
use tokio_postgres::Transaction;

use super::staging::Staging;
use super::target::ShapeKind;
use super::{ApplyOrder, failure, pieces, quarantine};
use crate::ReplicaError;
use crate::catalogue::quote_literal;
use crate::error::classify;

/// Copies rows into their staging table; those that do not fit go into quarantine.
pub(super) async fn stage(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    staging: &Staging,
    text: Bytes,
) -> Result<(), ReplicaError> {
    let failed = |error| classify("stage rows", error);
    transaction.batch_execute("savepoint fit").await.map_err(failed)?;
    match copy(transaction, &staging.copy_statement(), text.clone()).await {
        Ok(()) => {
            transaction.batch_execute("release savepoint fit").await.map_err(failed)?;
            return Ok(());
        }
        Err(error) if !failure::is_of_a_row(&error) => {
            return Err(failure::of_statement(error, &staging.shape.table.name, None));
        }
        Err(_) => transaction.batch_execute("rollback to savepoint fit").await.map_err(failed)?,
    }
    let fields = fields(staging);
    let texts: Vec<String> = fields.iter().map(|name| format!("{} text", quote_identifier(name))).collect();
    transaction
        .batch_execute(&format!(
            "create temp table raw ({0}) on commit drop;
             create temp table misfit ({0}, sync$state text, sync$constraint text, sync$column text, sync$other text) on commit drop",
            texts.join(", ")
        ))
        .await
        .map_err(failed)?;
    copy(transaction, "copy pg_temp.raw from stdin", text)
        .await
        .map_err(|error| failure::of_statement(error, &staging.shape.table.name, None))?;
    transaction.batch_execute(&row_by_row(staging, &fields)).await.map_err(failed)?;
    quarantine::store(
        transaction,
        order,
        staging,
        "pg_temp.misfit s cross join lateral (select s.sync$state, s.sync$constraint, s.sync$column, s.sync$other) w",
    )
    .await?;
    transaction.batch_execute("drop table pg_temp.raw, pg_temp.misfit; release savepoint fit").await.map_err(failed)
}

/// Columns of the staging table.
pub(super) fn fields(staging: &Staging) -> Vec<String> {
    let shape = &staging.shape;
    let mut fields = vec!["sync$n".to_owned()];
    let engine: &[&str] = match shape.kind {
        ShapeKind::Insert | ShapeKind::InsertIgnore | ShapeKind::Upsert(_) => &[],
        ShapeKind::Delete => &["sync$was"],
        ShapeKind::Update => &["sync$was", "sync$has"],
        ShapeKind::GuardedUpdate => &["sync$was", "sync$has", "sync$guarded"],
    };
    fields.extend(engine.iter().map(|name| (*name).to_owned()));
    fields.extend(shape.columns.iter().cloned());
    if shape.kind == ShapeKind::GuardedUpdate {
        fields.extend((0..staging.others().len()).map(|index| format!("sync$guard_{index}")));
    }
    if shape.amounts {
        fields.push("sync$totals".to_owned());
    }
    if shape.stamped {
        fields.push("sync$stamp".to_owned());
    }
    fields
}

async fn copy(transaction: &Transaction<'_>, statement: &str, text: Bytes) -> Result<(), tokio_postgres::Error> {
    let mut sink = Box::pin(transaction.copy_in::<_, Bytes>(statement).await?);
    // the server's answer to what it refuses comes at the end
    let sent = pieces::feed(sink.as_mut(), text).await;
    sink.as_mut().finish().await?;
    sent
}

fn row_by_row(staging: &Staging, fields: &[String]) -> String {
    let assignments: String = fields
        .iter()
        .map(|name| {
            let quoted = quote_identifier(name);
            format!("sync$at := {}; sync$v.{quoted} := sync$r.{quoted}; ", quote_literal(name))
        })
        .collect();
    format!(
        "do $sync$ declare sync$r record; sync$v {0}%rowtype; sync$at text; sync$state text; sync$constraint text; begin
             for sync$r in select * from pg_temp.raw loop begin
                 {assignments}
                 insert into {0} select sync$v.*;
             exception when {1} then
                 get stacked diagnostics sync$state = returned_sqlstate, sync$constraint = constraint_name;
                 insert into pg_temp.misfit select {2}, sync$state, nullif(sync$constraint, ''), sync$at, null;
             end; end loop; end $sync$",
        staging.name(),
        failure::ROW_CONDITIONS,
        fields.iter().map(|name| format!("sync$r.{}", quote_identifier(name))).collect::<Vec<_>>().join(", ")
    )
}
