//! Id ranges: every branch draws the ids of its new rows from a range of its own.

use protocol::policy::ResolvedPolicy;
use tokio_postgres::{GenericClient, Transaction};

use crate::ReplicaError;
use crate::catalogue::{Catalogue, Column, Table, quote_literal};
use crate::error::classify;
use crate::node::Incarnation;
use protocol::names::quote_identifier;

/// A column whose ids come from a sequence, in a table that gets rows at shops.
pub struct IdColumn<'a> {
    /// The table.
    pub table: &'a Table,
    /// The column; its `sequence` is set.
    pub column: &'a Column,
}

/// The id columns of tables with direction `both` or `from-target`.
pub fn id_columns<'a>(catalogue: &'a Catalogue, policy: &ResolvedPolicy) -> Vec<IdColumn<'a>> {
    policy
        .tables
        .iter()
        .filter(|(_, policy)| policy.direction.needs_id_range())
        .filter_map(|(name, _)| catalogue.get(name))
        .flat_map(|table| {
            table
                .columns
                .iter()
                .filter(|column| column.sequence.is_some())
                .map(move |column| IdColumn { table, column })
        })
        .collect()
}

/// Largest value of an integer type.
fn largest(type_name: &str) -> i64 {
    match type_name {
        "smallint" => i64::from(i16::MAX),
        "integer" => i64::from(i32::MAX),
        _ => i64::MAX,
    }
}

/// Columns too narrow for a range that ends at `high`, each with the statement that widens it.
pub fn too_narrow(columns: &[IdColumn<'_>], high: i64) -> Vec<String> {
    columns
        .iter()
        .filter(|id| largest(&id.column.type_name) < high)
        .map(|id| {
            format!(
                "column {} of table {} is {}, too narrow for ids up to {high}: alter table {} alter column {} type bigint",
                id.column.name,
                id.table.name,
                id.column.type_name,
                id.table.name.quoted(),
                quote_identifier(&id.column.name)
            )
        })
        .collect()
}

/// Starts every id sequence in `(low, high]`: the next row gets `low + 1`, unless ids of the range are used already.
/// Idempotent; a sequence inside the range never moves back over ids that were used.
pub async fn set_range(
    transaction: &Transaction<'_>,
    catalogue: &Catalogue,
    policy: &ResolvedPolicy,
    low: i64,
    high: i64,
) -> Result<(), ReplicaError> {
    let failed = |error| classify("set the id range", error);
    if low < 0 || high <= low {
        return Err(ReplicaError::IdRange(format!("({low}, {high}] is no id range")));
    }
    let columns = id_columns(catalogue, policy);
    let narrow = too_narrow(&columns, high);
    if !narrow.is_empty() {
        return Err(ReplicaError::IdRange(narrow.join("; ")));
    }
    for id in &columns {
        let Some(sequence) = &id.column.sequence else { continue };
        let column = quote_identifier(&id.column.name);
        let used: Option<i64> = transaction
            .query_one(
                &format!(
                    "select max({column})::bigint from {} where {column} > $1 and {column} <= $2",
                    id.table.target()
                ),
                &[&low, &high],
            )
            .await
            .map_err(failed)?
            .get(0);
        let row = transaction
            .query_one(&format!("select last_value, is_called from {}", sequence.quoted()), &[])
            .await
            .map_err(failed)?;
        let (last, called): (i64, bool) = (row.get(0), row.get(1));
        // a value that was set but not yet handed out has used nothing
        let handed_out = if called { last } else { last - 1 };
        let start = [low, used.unwrap_or(low), if handed_out > low && handed_out <= high { handed_out } else { low }]
            .into_iter()
            .max()
            .unwrap_or(low);
        let quoted = sequence.quoted();
        let (value, handed_out) = if start == 0 { (1, false) } else { (start, true) };
        // the bounds open first: ALTER refuses bounds that do not hold the present value
        transaction
            .batch_execute(&format!(
                "alter sequence {quoted} as bigint no minvalue no maxvalue;
                 select setval({}, {value}, {handed_out});
                 alter sequence {quoted} maxvalue {high}",
                quote_literal(&quoted)
            ))
            .await
            .map_err(failed)?;
    }
    transaction
        .execute(
            "update sync.node set id_low = $1, id_high = $2, sequences_of = (select max(number) from sync.incarnation)",
            &[&low, &high],
        )
        .await
        .map_err(failed)?;
    Ok(())
}

/// Share of a range that is left out after a restore.
const GAP_SHARE: i64 = 1000;

/// After a restore nobody knows which ids the lost rows had: the sequences go on beyond a gap, once per incarnation, so
/// that a row made before the office gives a fresh range has no id of another one.
pub async fn leave_gap(
    transaction: &Transaction<'_>,
    catalogue: &Catalogue,
    policy: &ResolvedPolicy,
    incarnation: &Incarnation,
) -> Result<bool, ReplicaError> {
    let failed = |error| classify("leave a gap in the ids", error);
    let row =
        transaction.query_one("select id_low, id_high, sequences_of from sync.node", &[]).await.map_err(failed)?;
    if row.get::<_, Option<i32>>(2) == Some(incarnation.number) {
        return Ok(false);
    }
    let range = row.get::<_, Option<i64>>(0).zip(row.get::<_, Option<i64>>(1));
    // the incarnation that was in force when the ranges had no such note yet lost nothing
    if let (Some((low, high)), Some(_)) = (range, row.get::<_, Option<i32>>(2)) {
        for sequence in id_columns(catalogue, policy).iter().filter_map(|id| id.column.sequence.as_ref()) {
            let quoted = sequence.quoted();
            let last: i64 =
                transaction.query_one(&format!("select last_value from {quoted}"), &[]).await.map_err(failed)?.get(0);
            if last < low || last > high {
                continue;
            }
            let gap = ((high - low) / GAP_SHARE).min((high - last) / 2);
            transaction
                .execute("select setval($1::text::regclass, $2)", &[&quoted, &last.saturating_add(gap).max(1)])
                .await
                .map_err(failed)?;
        }
    }
    transaction.execute("update sync.node set sequences_of = $1", &[&incarnation.number]).await.map_err(failed)?;
    Ok(row.get::<_, Option<i32>>(2).is_some())
}

/// How far a branch has come in its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeUse {
    /// Ids handed out of the sequence that is furthest.
    pub used: i64,
    /// Ids of the range.
    pub of: i64,
}

/// How far the furthest sequence has come in its range; none without a range.
pub async fn range_use(
    client: &impl GenericClient,
    catalogue: &Catalogue,
    policy: &ResolvedPolicy,
) -> Result<Option<RangeUse>, ReplicaError> {
    let failed = |error| classify("look at the ids", error);
    let row = client.query_one("select id_low, id_high from sync.node", &[]).await.map_err(failed)?;
    let Some((low, high)) = row.get::<_, Option<i64>>(0).zip(row.get::<_, Option<i64>>(1)) else { return Ok(None) };
    let sequences: Vec<String> = id_columns(catalogue, policy)
        .iter()
        .filter_map(|id| id.column.sequence.as_ref())
        .map(|sequence| format!("select last_value from {}", sequence.quoted()))
        .collect();
    if sequences.is_empty() {
        return Ok(None);
    }
    let sql =
        format!("select max(last_value) from ({}) s where last_value between $1 and $2", sequences.join(" union all "));
    let last: Option<i64> = client.query_one(&sql, &[&low, &high]).await.map_err(failed)?.get(0);
    Ok(Some(RangeUse { used: last.map_or(0, |last| last - low), of: high - low }))
}
