//! The trigger functions of tables that flow one way: an entry holds the keys of a statement, and which columns an update
//! changed.
//!
//! They are part of every sale, so they are written for what tills do: few rows in a statement, and one statement of ours
//! for each. What costs is setting statements up, so each has as few nodes, functions and settings as can be
//! (docs/PERFORMANCE.md).

use protocol::names::quote_identifier;

use super::compare::{any, bits, data_columns, differs, groups};
use super::log::{key_arrays, log_type, numbered};
use super::system_types::system_type;
use super::triggers::{ORIGIN, PAIRING_MEMORY, SAFE_PATH, first_key, function, key_changed, single_arrays};
use crate::catalogue::{Column, Table};

/// Keys of one statement up to which its changed columns are looked for in tables that flow one way; rows of a larger
/// one travel whole. Comparing old with new rows is the dearest part of capture (docs/adr/0008).
const COMPARED_KEYS: usize = 50_000;

/// Keys of one statement up to which pairing, comparing and logging is tried as one statement: what tills do.
const FEW_KEYS: usize = 1000;

/// Whether PostgreSQL's own functions compare the keys of a table: these do not care about the search path.
fn system_key_types(table: &Table) -> bool {
    table.key_columns().all(|column| system_type(&column.type_name).is_some())
}

/// For each numbered column the condition that it differs; a column that is gone does not.
fn conditions(table: &Table, columns: &[String], old: &str, new: &str) -> Vec<String> {
    columns
        .iter()
        .map(|name| {
            data_columns(table)
                .find(|column| column.name == *name)
                .map_or_else(|| "false".to_owned(), |column| differs(column, old, new))
        })
        .collect()
}

/// How entries of a log are written.
struct Log {
    /// The log with its columns: of keys alone,
    logged: String,
    /// with those that changed,
    compared: String,
    /// and all of them in their order, for values that begin with `head`: with some left out a statement has one more
    /// node to set up.
    whole: String,
    head: String,
    /// What tells deletes apart in logs that do.
    is_gone: &'static str,
    is_there: &'static str,
}

impl Log {
    fn of(table: &Table, number: i32) -> Self {
        let keys = numbered(table.key.len());
        let (gone, is_gone, is_there) = if table.partitioned { ("gone, ", "true, ", "false, ") } else { ("", "", "") };
        Self {
            logged: format!("sync.log_{number}(origin, {gone}{keys})"),
            compared: format!("sync.log_{number}(origin, {gone}{keys}, changed)"),
            whole: format!("sync.log_{number}(xid, origin, target, {gone}{keys}, changed)"),
            head: format!("pg_catalog.pg_current_xact_id(), {ORIGIN}, null::integer, {is_there}"),
            is_gone,
            is_there,
        }
    }
}

/// The type of a variable that holds a key column's values.
fn variable_type(column: &Column) -> String {
    let name = log_type(column);
    system_type(&name).unwrap_or(name)
}

/// Tables that flow one way: keys, and which columns an update changed. Where that is not known rows travel whole, and
/// so they do where these functions and the table do not fit together (any more): capture never fails a statement
/// because a column was dropped or has got another type.
pub(super) fn key_functions(table: &Table, number: i32, columns: &[String]) -> String {
    let log = Log::of(table, number);
    let path = if system_key_types(table) { "" } else { SAFE_PATH };
    let Log { logged, compared, whole, head, is_gone, is_there } = &log;
    let from = table.target();
    let (origin, oid) = (ORIGIN.replace('\'', "''"), table.oid);
    let all = key_arrays(table, "gone.");
    let mut sql = format!(
        "{} begin
             insert into {whole} select {head}{}, null::bit varying where exists (select from changed);
             return null; end $sync$;",
        function(number, "keys", path),
        (table.key_columns())
            .map(|column| format!("array(select changed.{} from changed)", quote_identifier(&column.name)))
            .collect::<Vec<_>>()
            .join(", "),
    );
    sql += &update_of_keys(table, number, columns, path, &log);
    sql += &format!(
        "{} declare sync$changed varbit; begin
             if tg_op = 'UPDATE' and not ({rekeyed}) then
                 begin sync$changed := {}; exception when others then sync$changed := null; end;
                 if position(B'1' in sync$changed) = 0 then
                     if not (old *<> new) then return null; end if;
                     sync$changed := null;
                 end if;
                 insert into {compared} values ({ORIGIN}, {is_there}{new}, sync$changed);
                 return null;
             end if;
             if tg_op <> 'INSERT' then insert into {logged} values ({ORIGIN}, {is_gone}{}); end if;
             if tg_op <> 'DELETE' then insert into {logged} values ({ORIGIN}, {is_there}{new}); end if;
             return null; end $sync$;",
        function(number, "row", SAFE_PATH),
        bits(&groups(&conditions(table, columns, "old.", "new."))),
        single_arrays(table, "old."),
        rekeyed = key_changed(table),
        new = single_arrays(table, "new."),
    );
    sql += &format!(
        "{} begin
             if tg_nargs = 0 then
                 insert into {logged} select {ORIGIN}, {is_gone}{all} from {from} as gone having count(*) > 0;
             elsif pg_partition_root(tg_relid) = {oid}::oid::regclass then
                 execute format('insert into {logged} select {origin}, {is_gone}{} from %I.%I as gone having count(*) > 0', tg_table_schema, tg_table_name);
             end if; return null; end $sync$;",
        function(number, "all", SAFE_PATH),
        all.replace('\'', "''").replace('%', "%%"),
    );
    sql
}

/// An UPDATE: the keys of what it changed, and which columns; the old keys too where keys have changed.
fn update_of_keys(table: &Table, number: i32, columns: &[String], path: &str, log: &Log) -> String {
    let Log { logged, compared, whole, head, is_gone, is_there } = log;
    let variables: Vec<String> = (1..=table.key.len()).map(|index| format!("sync$k{index}")).collect();
    let before: Vec<String> = (1..=table.key.len()).map(|index| format!("sync$b{index}")).collect();
    let declared: String = (table.key_columns().zip(variables.iter().zip(&before)))
        .map(|(column, (now, before))| format!("{now} {0}; {before} {0}; ", variable_type(column)))
        .collect();
    let (variables, before) = (variables.join(", "), before.join(", "));
    let columns: Vec<_> = groups(&conditions(table, columns, "sync$o.", "sync$n."))
        .into_iter()
        .map(|(number, count)| (format!("pg_catalog.bit_or({number})"), count))
        .collect();
    let (bits, any_changed) = (bits(&columns), any(&columns));
    let (same, new_keys, old_keys) =
        (table.same_key_on_any_path("sync$n.", "sync$o."), key_arrays(table, "sync$n."), key_arrays(table, "sync$o."));
    let paired = format!("pg_catalog.count({})", first_key(table, "sync$o."));
    format!(
        "{} declare {declared} sync$many bigint; sync$paired bigint; sync$changed bit varying; sync$memory pg_catalog.text; begin
             begin
                 insert into {whole} select {head}{new_keys}, {bits}
                     from (select * from changed limit {few}) sync$n left join (select * from before limit {few}) sync$o on {same}
                     having pg_catalog.count(*) operator(pg_catalog.<=) {FEW_KEYS} and pg_catalog.count(*) operator(pg_catalog.=) {paired} and ({any_changed});
                 if found then return null; end if;
             exception when others then null; end;
             select pg_catalog.count(*) into sync$many from (select from changed limit {many}) sync$x;
             if sync$many operator(pg_catalog.=) 0 then return null; end if;
             if sync$many operator(pg_catalog.>) {FEW_KEYS} then
                 sync$memory := pg_catalog.current_setting('work_mem');
                 perform pg_catalog.set_config('work_mem', '{PAIRING_MEMORY}', true);
             end if;
             if sync$many operator(pg_catalog.<=) {COMPARED_KEYS} then begin
                 select {new_keys}, {paired}, {bits} into {variables}, sync$paired, sync$changed
                     from changed sync$n left join before sync$o on {same};
             exception when others then sync$k1 := null; end; end if;
             if sync$k1 is null then
                 select {new_keys} into {variables} from changed sync$n;
                 select {old_keys} into {before} from before sync$o;
                 sync$changed := null;
                 if pg_catalog.record_image_ne(row({variables}), row({before})) then
                     insert into {logged} values ({ORIGIN}, {is_gone}{before}); end if;
             elsif sync$paired operator(pg_catalog.<) sync$many then
                 insert into {logged} select {ORIGIN}, {is_gone}{old_keys} from before sync$o
                     where not exists (select from changed sync$n where {same}) having pg_catalog.count(*) operator(pg_catalog.>) 0;
                 sync$changed := null;
             elsif position(B'1' in sync$changed) operator(pg_catalog.=) 0 then
                 sync$changed := null;
                 if not exists (select from changed sync$n join before sync$o on {same} where sync$n operator(pg_catalog.*<>) sync$o) then
                     sync$k1 := null;
                 end if;
             end if;
             if sync$k1 is not null then
                 insert into {compared} values ({ORIGIN}, {is_there}{variables}, sync$changed);
             end if;
             if sync$memory is not null then perform pg_catalog.set_config('work_mem', sync$memory, true); end if;
             return null; end $sync$;",
        function(number, "update", path),
        few = FEW_KEYS + 1,
        many = COMPARED_KEYS + 1,
    )
}
