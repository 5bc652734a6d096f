//! Change logs: what their entries hold, how they are read, and how those of an earlier version become these.
//!
//! An entry holds the keys of a whole statement (or of a part of it), an array per key column. Of tables that flow one
//! way it also says which columns the statement changed; of tables with direction `both` it has, beside the keys, the old
//! values of what each row changed. See docs/adr/0008.

use protocol::names::quote_identifier;

use super::compare::data_columns;
use super::{CapturedTable, Depth};
use crate::catalogue::{Column, Table, quote_literal};

/// Bytes of one entry with old values, about, where a key counts [`KEY_BYTES`]: so much is in memory at a time, whatever
/// a statement changes.
pub(super) const ENTRY_BYTES: usize = 1_000_000;

/// What a key adds to an entry, at most, save for very long ones.
pub(super) const KEY_BYTES: usize = 1000;

/// What the columns of the log mean: other types or other columns of the table do not change that.
pub(super) fn log_shape(table: &Table, depth: Depth) -> String {
    let entry = match depth {
        Depth::OldValues => "rows",
        Depth::Keys | Depth::Tombstones if table.partitioned => "arrays and deletes",
        Depth::Keys | Depth::Tombstones => "arrays",
    };
    format!("{entry} of ({})", key_names(table))
}

/// The same of a log with an entry per row and all its old values in one column, as version 0.1 made them.
pub(super) fn entry_per_row(table: &Table, depth: Depth) -> Option<String> {
    (depth == Depth::OldValues).then(|| format!("row of ({})", key_names(table)))
}

/// Whether the functions that wrote such a log knew the columns that the table has now.
pub(super) fn knew_columns(table: &Table, shape: &str) -> bool {
    let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    shape.starts_with(&format!("old({}) ", columns.join(", ")))
}

fn key_names(table: &Table) -> String {
    table.key_columns().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The type of a key column in the log.
pub(super) fn log_type(column: &Column) -> String {
    format!("{}[]", column.type_name)
}

/// `k1, k2, ...`: the key columns of the log.
pub(crate) fn numbered(count: usize) -> String {
    (1..=count).map(|index| format!("k{index}")).collect::<Vec<_>>().join(", ")
}

/// The log.
pub(super) fn log_table(table: &Table, depth: Depth, number: i32) -> String {
    let log = format!("sync.log_{number}");
    let keys: String = table
        .key_columns()
        .enumerate()
        .map(|(index, column)| format!(", k{} {} not null", index + 1, log_type(column)))
        .collect();
    // EXTERNAL: large arrays go out of line without paying for compression
    let storage = |names: Vec<String>| -> String {
        names.iter().map(|name| format!("alter table {log} alter column {name} set storage external;")).collect()
    };
    let key_storage = storage((1..=table.key.len()).map(|index| format!("k{index}")).collect());
    match depth {
        Depth::Keys | Depth::Tombstones => {
            // a row that is gone with its partition was not deleted, so here deletes have to be told apart
            let gone = if table.partitioned { ", gone boolean" } else { "" };
            format!(
                "create table {log}(xid xid8 not null default pg_current_xact_id(), origin int, target int{gone}{keys}, changed varbit);
                 create index on {log}(xid); {key_storage}"
            )
        }
        Depth::OldValues => {
            // `olds`: per row a JSON object of texts as text (an array of jsonb would be checked twice), or null
            format!(
                "create table {log}(seq bigint generated always as identity,
                     xid xid8 not null default pg_current_xact_id(), origin int, target int, op \"char\" not null{keys},
                     changed_by text not null default session_user,
                     application text not null default current_setting('application_name'),
                     changed_at timestamptz not null default clock_timestamp(), stamps text[], olds text[]);
                 create index on {log}(xid); {key_storage} {}",
                storage(vec!["olds".to_owned()])
            )
        }
    }
}

/// Lets a log of keys alone, as version 0.1 made them, say which columns changed.
pub(super) fn widen(depth: Depth, number: i32) -> String {
    if depth == Depth::OldValues {
        return String::new();
    }
    format!("alter table sync.log_{number} add column if not exists changed varbit;")
}

/// What entries say about columns is void: the functions that wrote them knew others.
pub(super) fn distrust(depth: Depth, number: i32) -> String {
    if depth == Depth::OldValues {
        format!("update sync.log_{number} set op = 'R' where op = 'U';")
    } else {
        format!("update sync.log_{number} set changed = null where changed is not null;")
    }
}

/// Makes a log of [`entry_per_row`] one of today, entry by entry.
pub(super) fn convert(table: &Table, depth: Depth, number: i32) -> String {
    let log = format!("sync.log_{number}");
    let count = table.key.len();
    let keys: Vec<String> = (1..=count).map(|index| format!("array[k{index}]")).collect();
    format!(
        "alter table {log} rename to log_{number}_before;
         {}
         insert into {log}(xid, origin, target, op, {}, changed_by, application, changed_at, olds)
             select xid, origin, target, op, {}, changed_by, application, changed_at, array[old::text] from sync.log_{number}_before order by seq;
         drop table sync.log_{number}_before;",
        log_table(table, depth, number),
        numbered(count),
        keys.join(", ")
    )
}

/// Logs the rows that fulfil a condition on alias `x` as changed, so that they are sent whole, or as deletes to those
/// who are not to have them.
pub(super) fn resend(table: &Table, depth: Depth, number: i32, condition: &str) -> String {
    let keys = numbered(table.key.len());
    let from = table.target();
    let arrays = key_arrays(table, "x.");
    if depth == Depth::OldValues {
        format!(
            "insert into sync.log_{number}(op, {keys}) select 'R', {arrays}
                 from (select {}, (row_number() over () - 1) / {} as sync$part from {from} as x where {condition}) x
                 group by sync$part",
            table.key_list("x."),
            ENTRY_BYTES / KEY_BYTES
        )
    } else {
        format!(
            "insert into sync.log_{number}({keys}) select {arrays} from {from} as x where {condition} having count(*) > 0"
        )
    }
}

/// An array per key column of the rows of an alias such as `x.`.
pub(super) fn key_arrays(table: &Table, prefix: &str) -> String {
    table
        .key_columns()
        .map(|column| format!("pg_catalog.array_agg({prefix}{})", quote_identifier(&column.name)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// The old values of some columns as the JSON object that the log keeps, as text; null where there are none of them.
/// Of each column its name, and the condition that its value belongs to the object.
///
/// Made of texts, for each of the functions that build JSON does so through dearer detours.
pub(super) fn old_object(columns: &[(&Column, String)], prefix: &str) -> String {
    if columns.is_empty() {
        return "null::text".to_owned();
    }
    let pairs: Vec<String> = columns
        .iter()
        .map(|(column, condition)| {
            let name = quote_literal(&format!("{}:", serde_json::Value::from(column.name.as_str())));
            let value = format!("{prefix}{}::text", quote_identifier(&column.name));
            format!("case when {condition} then {name} || coalesce(to_json({value})::text, 'null') end")
        })
        .collect();
    // a function takes a hundred arguments
    let groups: Vec<String> =
        pairs.chunks(50).map(|group| format!("nullif(concat_ws(',', {}), '')", group.join(", "))).collect();
    format!("nullif('{{' || concat_ws(',', {}) || '}}', '{{}}')", groups.join(", "))
}

impl CapturedTable {
    /// The keys of a window as columns k1, k2, ... behind other columns of the log.
    pub(crate) fn keys(&self, key_columns: usize, others: &str, window: &str) -> String {
        let keys: Vec<String> = (1..=key_columns).map(|index| format!("unnest(k{index}) as k{index}")).collect();
        format!("select {others}{} from {} where {window}", keys.join(", "), self.log())
    }

    /// A log with old values row by row: `seq, op, xid, origin, stamp, old, k1, k2, ...`. The condition is one on entries.
    /// `stamp` says who and when, as the note of that name does; requests have none. `old` is the text of a JSON
    /// object of texts: of an update the values of what it changed, of a delete the whole row.
    pub(crate) fn rows(&self, key_columns: usize, condition: &str) -> String {
        let keys = numbered(key_columns);
        let prefixed = |prefix: &str| (1..=key_columns).map(|index| format!(", {prefix}k{index}")).collect::<String>();
        format!(
            "select l.seq, l.op, l.xid, l.origin, coalesce(u.stamp, l.stamp) as stamp, u.old{} from
                 (select seq, op, xid, origin, stamps, olds, {keys}, case when op <> 'R' then
                      jsonb_build_object('at', (extract(epoch from changed_at) * 1000000)::bigint, 'by', changed_by,
                                         'application', application)::text end as stamp
                  from {} where {condition} offset 0) l
             cross join lateral unnest(l.stamps, l.olds{}) as u(stamp, old, {keys})",
            prefixed("u."),
            self.log(),
            prefixed("l."),
        )
    }
}

/// The names of the columns that entries can tell apart, in the order of their numbers: those that are known, and new
/// ones behind them.
pub(super) fn columns_known(known: &[String], table: &Table) -> Vec<String> {
    let mut columns = known.to_vec();
    for column in data_columns(table) {
        if !columns.contains(&column.name) {
            columns.push(column.name.clone());
        }
    }
    columns
}
