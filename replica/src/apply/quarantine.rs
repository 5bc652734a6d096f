//! Entries of the quarantine: rows of a script that wait, one entry per key, the newest image of it.

use protocol::names::quote_identifier;
use tokio_postgres::Transaction;

use super::ApplyOrder;
use super::failure;
use super::staging::Staging;
use super::target::ShapeKind;
use crate::ReplicaError;
use crate::catalogue::{Table, column_list, quote_literal};
use crate::error::classify;

/// Stores staged rows as entries. `rows` is a FROM list in which `s` has the columns of the staging table (as they are or
/// as texts) and `w` says why, in the columns of [`CULPRIT_COLUMNS`]; a row whose state is null is a newer change of a row
/// that waits already.
///
/// An update of a row that waits is merged into what is known of it: the image stays whole. Everything else replaces it.
pub(super) async fn store(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    staging: &Staging,
    rows: &str,
) -> Result<(), ReplicaError> {
    let failed = |error| classify("put rows into quarantine", error);
    let table = &staging.shape.table;
    let partial = matches!(staging.shape.kind, ShapeKind::Update | ShapeKind::GuardedUpdate);
    let keys = table.key_list("s.");
    let rounds: i64 = if partial {
        let sql = format!("select coalesce(max(n), 0) from (select count(*) as n from {rows} group by {keys}) x");
        transaction.query_one(&sql, &[]).await.map_err(failed)?.get(0)
    } else {
        1
    };
    // several updates of one row are merged one after the other; of whole rows the last one counts
    for round in 1..=rounds {
        let numbered = format!(
            "(select s.*, w.sync$state as sync$w_state, w.sync$constraint as sync$w_constraint, w.sync$column as sync$w_column,
                     w.sync$other as sync$w_other, row_number() over (partition by {keys} order by s.sync$n::bigint {}) as sync$round
              from {rows}) s where s.sync$round = {round}",
            if partial { "" } else { "desc" }
        );
        transaction.batch_execute(&insert(order, staging, &numbered)).await.map_err(failed)?;
    }
    Ok(())
}

/// Columns behind the key that say why a row waits. Every pull makes tables of them: of bounded types, so that they need no
/// TOAST table and its index, which cost more than all else of a small pull. (A table's name is two identifiers, quoted.)
pub(super) const CULPRIT_COLUMNS: &str = "null::name as sync$state, null::name as sync$constraint, null::name as sync$column, null::varchar(260) as sync$other";

/// The table with keys of rows that must wait, as found by the pass that is under way.
pub(super) fn culprits(table: &Table) -> String {
    format!("pg_temp.culprit_{}", table.oid)
}

/// A key as the quarantine has it, of alias `prefix`.
pub(super) fn key_object(table: &Table, prefix: &str) -> String {
    object(table.key_columns().map(|column| {
        (column.name.clone(), format!("{prefix}{}::text", quote_identifier(&column.name)), "true".to_owned())
    }))
}

/// The reason in plain words, for an SQL expression with the SQLSTATE.
pub(super) fn reason(state: &str) -> String {
    let cases: String = failure::REASONS
        .iter()
        .map(|(code, words)| format!(" when {} then {}", quote_literal(code), quote_literal(words)))
        .collect();
    format!("case {state}{cases} else {} end", quote_literal(failure::reason("")))
}

fn object(members: impl Iterator<Item = (String, String, String)>) -> String {
    let rows: Vec<String> =
        members.map(|(name, value, when)| format!("({}, {value}, {when})", quote_literal(&name))).collect();
    if rows.is_empty() {
        return "'{}'::jsonb".to_owned();
    }
    format!(
        "(select coalesce(jsonb_object_agg(c, v) filter (where h), '{{}}') from (values {}) as x(c, v, h))",
        rows.join(", ")
    )
}

fn insert(order: &ApplyOrder, staging: &Staging, rows: &str) -> String {
    let shape = &staging.shape;
    let table = &shape.table;
    let value = |name: &String| format!("s.{}::text", quote_identifier(name));
    let mut detail = vec!["'{}'::jsonb".to_owned()];
    let (operation, image, base) = match &shape.kind {
        ShapeKind::Insert | ShapeKind::InsertIgnore | ShapeKind::Upsert(_) => {
            if let ShapeKind::Upsert(updates) = &shape.kind {
                let names: Vec<String> = updates.iter().map(|name| quote_literal(name)).collect();
                detail.push(format!("jsonb_build_object('updates', array[{}]::text[])", names.join(", ")));
            }
            let image = object(shape.columns.iter().map(|name| (name.clone(), value(name), "true".to_owned())));
            (shape.kind.word(), image, "null::jsonb")
        }
        ShapeKind::Update | ShapeKind::GuardedUpdate => {
            let has = |bits: &str, index: usize| format!("get_bit(s.{bits}::text::varbit, {index}) = 1");
            let set = staging.others().iter().enumerate();
            let image = object(set.clone().map(|(index, name)| (name.clone(), value(name), has("sync$has", index))));
            if shape.kind == ShapeKind::GuardedUpdate {
                let guards = object(set.map(|(index, name)| {
                    (name.clone(), format!("s.sync$guard_{index}::text"), has("sync$guarded", index))
                }));
                detail.push(format!("jsonb_build_object('guards', {guards})"));
            }
            (shape.kind.word(), image, "s.sync$was::text::jsonb")
        }
        ShapeKind::Delete => (shape.kind.word(), "null::jsonb".to_owned(), "s.sync$was::text::jsonb"),
    };
    if shape.amounts {
        detail.push(
            "case when s.sync$totals is null then '{}'::jsonb else jsonb_build_object('totals', s.sync$totals::text::jsonb) end"
                .to_owned(),
        );
    }
    if shape.stamped {
        detail.push(
            "case when s.sync$stamp is null then '{}'::jsonb else jsonb_build_object('stamp', s.sync$stamp::text) end"
                .to_owned(),
        );
    }
    let agreed = order.agreed.as_ref().map_or_else(
        || "null::pg_snapshot".to_owned(),
        |snapshot| format!("{}::pg_snapshot", quote_literal(snapshot.as_str())),
    );
    // which of the two images is the older one: a script may change a row that waits since one of its earlier statements
    let later = "(q.xid = excluded.xid and q.statement > excluded.statement)";
    let fold = |what: fn(&str, &str) -> String| {
        format!("case when {later} then {} else {} end", what("excluded", "q"), what("q", "excluded"))
    };
    format!(
        "insert into sync.quarantine as q (schema_name, table_name, key, peer, operation, image, base, detail, state,
             constraint_name, column_name, other_table, reason, agreed, statement)
         select {}, {}, {}, {}, '{operation}', {image}, {base}, {}, s.sync$w_state, s.sync$w_constraint, s.sync$w_column,
             s.sync$w_other, case when s.sync$w_state is null then '' else {} end, {agreed}, s.sync$n::bigint
         from {rows}
         on conflict (schema_name, table_name, key, peer) do update set
             operation = {}, image = {}, base = {}, detail = {},
             state = coalesce(excluded.state, q.state),
             constraint_name = case when excluded.state is null then q.constraint_name else excluded.constraint_name end,
             column_name = case when excluded.state is null then q.column_name else excluded.column_name end,
             other_table = case when excluded.state is null then q.other_table else excluded.other_table end,
             reason = case when excluded.state is null then q.reason else excluded.reason end,
             agreed = coalesce(q.agreed, excluded.agreed),
             statement = case when {later} then q.statement else excluded.statement end,
             xid = excluded.xid, tried_at = null",
        quote_literal(&table.name.schema),
        quote_literal(&table.name.name),
        key_object(table, "s."),
        order.origin,
        detail.join(" || "),
        reason("s.sync$w_state"),
        fold(folded_operation),
        fold(folded_image),
        fold(folded_base),
        fold(folded_detail),
    )
}

fn is_partial(alias: &str) -> String {
    format!("{alias}.operation in ('update', 'guarded-update')")
}

fn folded_operation(older: &str, newer: &str) -> String {
    format!("case when {} then {older}.operation else {newer}.operation end", is_partial(newer))
}

fn folded_image(older: &str, newer: &str) -> String {
    format!(
        // an update of a row that is to be deleted finds nothing
        "case when {} and {older}.operation = 'delete' then {older}.image
              when {} then coalesce({older}.image, '{{}}') || {newer}.image else {newer}.image end",
        is_partial(newer),
        is_partial(newer)
    )
}

fn folded_base(older: &str, newer: &str) -> String {
    format!(
        "case when {} and {} then coalesce({newer}.base, '{{}}') || coalesce({older}.base, '{{}}')
              when {} then {older}.base else {newer}.base end",
        is_partial(newer),
        is_partial(older),
        is_partial(newer)
    )
}

fn folded_detail(older: &str, newer: &str) -> String {
    format!(
        "case when {} then {older}.detail || case when {older}.detail ? 'totals' or {newer}.detail ? 'totals'
                  then jsonb_build_object('totals', coalesce({older}.detail -> 'totals', '{{}}') || coalesce({newer}.detail -> 'totals', '{{}}'))
                  else '{{}}'::jsonb end || case when {newer}.detail ? 'stamp'
                  then jsonb_build_object('stamp', {newer}.detail -> 'stamp') else '{{}}'::jsonb end
              else {newer}.detail end",
        is_partial(newer)
    )
}

/// Makes the empty table of culprits of a table.
pub(super) fn create_culprits(order: &ApplyOrder, table: &Table) -> String {
    let keys = column_list(table.key_columns().map(|column| column.name.as_str()));
    let name = culprits(table);
    let mut sql = format!(
        "create temp table if not exists culprit_{} on commit drop as select {keys}, {CULPRIT_COLUMNS} from {} with no data;",
        table.oid,
        table.name.quoted()
    );
    if let Some(role) = &order.rights.role {
        sql += &format!("grant select, insert on {name} to {};", quote_identifier(role));
    }
    sql
}
