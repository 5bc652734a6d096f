//! The SQL of logs, trigger functions and triggers.
//!
//! The trigger functions are SECURITY DEFINER with a fixed search_path (pg_temp named last, or it would come first), and
//! nobody but their owner may attach them to anything: whoever changes a row may log it, and nobody can
//! slip another function or operator in. Names begin with `zz_sync_` so that they fire after the application's own.

use protocol::names::quote_identifier;

use super::Depth;
use crate::catalogue::{Column, Table, quote_literal};

/// Whether the table needs row-level triggers: statement-level ones with transition tables fire only on the table that
/// the statement names, and new partitions do not get them.
pub(super) fn by_row(table: &Table) -> bool {
    table.partitioned || table.inherits
}

/// What the functions depend on; another shape needs another log.
pub(super) fn shape(table: &Table, depth: Depth) -> String {
    let keys: Vec<String> = table.key_columns().map(|column| format!("{} {}", column.name, column.type_name)).collect();
    match depth {
        Depth::Tombstones => {
            let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            format!("{} tombstones({})", shape(table, Depth::Keys), columns.join(", "))
        }
        Depth::Keys => format!("keys({}) by {}", keys.join(", "), if by_row(table) { "row" } else { "statement" }),
        Depth::OldValues => {
            let columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            format!(
                "old({}) key({}) by {}",
                columns.join(", "),
                keys.join(", "),
                if by_row(table) { "row" } else { "statement" }
            )
        }
    }
}

/// What the columns of the log mean: other types or other columns of the table do not change that.
pub(super) fn log_shape(table: &Table, depth: Depth) -> String {
    let keys: Vec<&str> = table.key_columns().map(|column| column.name.as_str()).collect();
    let entry = match depth {
        Depth::OldValues => "row",
        Depth::Keys | Depth::Tombstones if table.partitioned => "arrays and deletes",
        Depth::Keys | Depth::Tombstones => "arrays",
    };
    format!("{entry} of ({})", keys.join(", "))
}

/// The type of a key column in the log.
pub(super) fn log_type(column: &Column, depth: Depth) -> String {
    if depth == Depth::OldValues { column.type_name.clone() } else { format!("{}[]", column.type_name) }
}

/// Logs the rows that fulfil a condition on alias `x` as changed, so that they are sent whole, or as deletes to those
/// who are not to have them.
pub(super) fn resend(table: &Table, depth: Depth, number: i32, condition: &str) -> String {
    let keys = names(table.key.len());
    let from = table.target();
    if depth == Depth::OldValues {
        format!(
            "insert into sync.log_{number}(op, {keys}) select 'R', {} from {from} as x where {condition}",
            table.key_list("x.")
        )
    } else {
        format!(
            "insert into sync.log_{number}({keys}) select {} from {from} as x where {condition} having count(*) > 0",
            key_arrays(table, "x.")
        )
    }
}

/// The log. `Keys`: an entry holds the keys of a whole statement, a parallel array per key column.
/// `OldValues`: an entry per row; `seq` orders the changes of one row (row locks serialise its writers).
pub(super) fn log_table(table: &Table, depth: Depth, number: i32) -> String {
    match depth {
        Depth::Keys | Depth::Tombstones => {
            let keys: String = table
                .key_columns()
                .enumerate()
                .map(|(index, column)| format!(", k{} {}[] not null", index + 1, column.type_name))
                .collect();
            // EXTERNAL: large arrays of keys go out of line without paying for compression
            let storage: String = table
                .key_columns()
                .enumerate()
                .map(|(index, _)| {
                    format!("alter table sync.log_{number} alter column k{} set storage external;", index + 1)
                })
                .collect();
            // a row that is gone with its partition was not deleted, so here deletes have to be told apart
            let gone = if table.partitioned { ", gone boolean" } else { "" };
            format!(
                "create table sync.log_{number}(xid xid8 not null default pg_current_xact_id(), origin int, target int{gone}{keys});
                 create index on sync.log_{number}(xid); {storage}"
            )
        }
        Depth::OldValues => {
            let keys: String = table
                .key_columns()
                .enumerate()
                .map(|(index, column)| format!(", k{} {} not null", index + 1, column.type_name))
                .collect();
            format!(
                "create table sync.log_{number}(seq bigint generated always as identity,
                     xid xid8 not null default pg_current_xact_id(), origin int, target int, op \"char\" not null{keys}, old jsonb,
                     changed_by text not null default session_user,
                     application text not null default current_setting('application_name'),
                     changed_at timestamptz not null default clock_timestamp());
                 create index on sync.log_{number}(xid)"
            )
        }
    }
}

/// Origin of an entry: set by the engine for its own statements; what triggers do on the side is local.
/// Only the engine's own login may claim one: the functions run as their owner, which is that login.
const ORIGIN: &str = "case when pg_trigger_depth() = 1 and session_user = current_user \
                      then nullif(current_setting('sync.origin', true), '')::int end";

/// Text forms must not depend on the settings of the session that changes the row.
const TEXT_SETTINGS: &str = "set DateStyle = 'ISO, YMD' set IntervalStyle = 'postgres' set TimeZone = 'UTC' \
                             set extra_float_digits = 3 set bytea_output = 'hex' set lc_monetary = 'C'";

fn names(count: usize) -> String {
    (1..=count).map(|index| format!("k{index}")).collect::<Vec<_>>().join(", ")
}

fn key_arrays(table: &Table, prefix: &str) -> String {
    table
        .key_columns()
        .map(|column| format!("array_agg({prefix}{})", quote_identifier(&column.name)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn single_arrays(table: &Table, prefix: &str) -> String {
    table
        .key_columns()
        .map(|column| format!("array[{prefix}{}]::{}[]", quote_identifier(&column.name), column.type_name))
        .collect::<Vec<_>>()
        .join(", ")
}

/// All values of a row as a JSON object of texts.
fn image(columns: &[Column], prefix: &str) -> String {
    let pairs: Vec<String> = columns
        .iter()
        .filter(|column| !column.generated)
        .map(|column| format!("({}, {prefix}{}::text)", quote_literal(&column.name), quote_identifier(&column.name)))
        .collect();
    format!("(select jsonb_object_agg(c, v) from (values {}) as x(c, v))", pairs.join(", "))
}

/// Written as the function behind the operator `*<>`: a backup prints the operator on rows in a form that it cannot read.
fn key_changed(table: &Table) -> String {
    format!("record_image_ne(row({}), row({}))", table.key_list("old."), table.key_list("new."))
}

/// Whether an update changed the key, for the condition of a trigger. Written as a condition on columns it would forbid
/// to change their types. PostgreSQL inlines it, so it costs no call; it runs with the caller's search_path, hence the
/// names in full.
fn rekeyed_function(table: &Table, number: i32) -> String {
    let side = |parameter: &str| {
        let columns: Vec<String> =
            table.key_columns().map(|column| format!("({parameter}).{}", quote_identifier(&column.name))).collect();
        format!("row({})::pg_catalog.record", columns.join(", "))
    };
    format!(
        "create or replace function sync.rekeyed_{number}(anyelement, anyelement) returns boolean language sql immutable as
             $sync$ select {} operator(pg_catalog.*<>) {} $sync$;",
        side("$1"),
        side("$2")
    )
}

/// Functions and triggers of a table; repeatable.
pub(super) fn definition(table: &Table, depth: Depth, number: i32) -> String {
    let header = "language plpgsql security definer set search_path = pg_catalog, pg_temp";
    let keys = names(table.key.len());
    let target = table.name.quoted();
    let from = table.target();
    let mut sql = removal(table, number);
    match depth {
        Depth::Keys | Depth::Tombstones => {
            let (gone, is_gone, is_there) =
                if table.partitioned { ("gone, ", "true, ", "false, ") } else { ("", "", "") };
            let logged = format!("sync.log_{number}(origin, {gone}{keys})");
            let (origin, oid) = (ORIGIN.replace('\'', "''"), table.oid);
            let all = key_arrays(table, "gone.");
            sql += &rekeyed_function(table, number);
            sql += &format!(
                "create or replace function sync.capture_{number}_keys() returns trigger {header} as $sync$ begin
                     insert into {logged} select {ORIGIN}, {is_there}{} from changed having count(*) > 0;
                     return null; end $sync$;
                 create or replace function sync.capture_{number}_row() returns trigger {header} as $sync$ begin
                     if tg_op <> 'INSERT' and (tg_op = 'DELETE' or {}) then
                         insert into {logged} values ({ORIGIN}, {is_gone}{}); end if;
                     if tg_op <> 'DELETE' and not (tg_level = 'ROW' and tg_nargs = 1) then
                         insert into {logged} values ({ORIGIN}, {is_there}{}); end if;
                     return null; end $sync$;
                 create or replace function sync.capture_{number}_all() returns trigger {header} as $sync$ begin
                     if tg_nargs = 0 then
                         insert into {logged} select {ORIGIN}, {is_gone}{all} from {from} as gone having count(*) > 0;
                     elsif pg_partition_root(tg_relid) = {oid}::oid::regclass then
                         execute format('insert into {logged} select {origin}, {is_gone}{} from %I.%I as gone having count(*) > 0', tg_table_schema, tg_table_name);
                     end if; return null; end $sync$;",
                key_arrays(table, "changed."),
                key_changed(table),
                single_arrays(table, "old."),
                single_arrays(table, "new."),
                all.replace('\'', "''").replace('%', "%%"),
            );
        }
        Depth::OldValues => {
            let changes: Vec<String> = table
                .columns
                .iter()
                .filter(|column| !column.generated)
                .map(|column| {
                    let quoted = quote_identifier(&column.name);
                    format!("({}, old.{quoted}::text, new.{quoted}::text)", quote_literal(&column.name))
                })
                .collect();
            // an update of a column that was added since these functions were made asks for the whole row (R)
            sql += &format!(
                "create or replace function sync.capture_{number}_keys() returns trigger {header} {TEXT_SETTINGS} as $sync$ begin
                     if tg_op = 'INSERT' then
                         insert into sync.log_{number}(origin, op, {keys}) select {ORIGIN}, 'I', {} from changed;
                     else
                         insert into sync.log_{number}(origin, op, {keys}, old) select {ORIGIN}, 'D', {}, {} from changed;
                     end if; return null; end $sync$;
                 create or replace function sync.capture_{number}_row() returns trigger {header} {TEXT_SETTINGS} as $sync$ begin
                     if tg_op = 'UPDATE' and not ({}) then
                         insert into sync.log_{number}(origin, op, {keys}, old)
                             select {ORIGIN}, case when count(*) = 0 then 'R' else 'U' end, {}, jsonb_object_agg(c, o)
                             from (values {}) as x(c, o, n) where o is distinct from n;
                         return null;
                     end if;
                     if tg_op <> 'INSERT' then
                         insert into sync.log_{number}(origin, op, {keys}, old) values ({ORIGIN}, 'D', {}, {}); end if;
                     if tg_op <> 'DELETE' then
                         insert into sync.log_{number}(origin, op, {keys}) values ({ORIGIN}, 'I', {}); end if;
                     return null; end $sync$;
                 create or replace function sync.capture_{number}_all() returns trigger {header} {TEXT_SETTINGS} as $sync$ begin
                     if tg_nargs = 0 then
                         insert into sync.log_{number}(origin, op, {keys}, old) select {ORIGIN}, 'D', {}, {} from {from} as gone;
                     elsif pg_partition_root(tg_relid) = {}::oid::regclass then
                         execute format('insert into sync.log_{number}(origin, op, {keys}, old) select {}, ''D'', {}, {} from %I.%I as gone', tg_table_schema, tg_table_name);
                     end if; return null; end $sync$;",
                table.key_list("changed."),
                table.key_list("changed."),
                image(&table.columns, "changed."),
                key_changed(table),
                table.key_list("new."),
                changes.join(", "),
                table.key_list("old."),
                image(&table.columns, "old."),
                table.key_list("new."),
                table.key_list("gone."),
                image(&table.columns, "gone."),
                table.oid,
                ORIGIN.replace('\'', "''"),
                table.key_list("gone.").replace('\'', "''").replace('%', "%%"),
                image(&table.columns, "gone.").replace('\'', "''").replace('%', "%%"),
            );
        }
    }
    if depth == Depth::Tombstones {
        sql += &tombstone_function(table, number);
        sql += &format!("revoke all on function sync.capture_{number}_gone() from public;");
    }
    for name in ["keys", "row", "all"] {
        // firing a trigger needs no right to its function, attaching it to a table of one's own does
        sql += &format!("revoke all on function sync.capture_{number}_{name}() from public;");
    }
    sql += &trigger_statements(table, depth, number, &target);
    sql
}

/// Keeps the images of deleted rows.
fn tombstone_function(table: &Table, number: i32) -> String {
    let (prefix, from) = if by_row(table) { ("old.", "") } else { ("changed.", " from changed") };
    let key: Vec<String> = table
        .key_columns()
        .map(|column| format!("{}, {prefix}{}::text", quote_literal(&column.name), quote_identifier(&column.name)))
        .collect();
    format!(
        "create or replace function sync.capture_{number}_gone() returns trigger language plpgsql security definer
             set search_path = pg_catalog, pg_temp {TEXT_SETTINGS} as $sync$ begin
             insert into sync.tombstone(schema_name, table_name, key, image)
                 select {}, {}, jsonb_build_object({}), {}{from};
             return null; end $sync$;",
        quote_literal(&table.name.schema),
        quote_literal(&table.name.name),
        key.join(", "),
        image(&table.columns, prefix)
    )
}

fn trigger_statements(table: &Table, depth: Depth, number: i32, target: &str) -> String {
    let mut made = Vec::new();
    let mut sql = String::new();
    let mut trigger = |suffix: &str, definition: String| {
        made.push(format!("zz_sync_{number}_{suffix}"));
        sql += &format!("create trigger zz_sync_{number}_{suffix} {definition};");
    };
    if by_row(table) {
        trigger(
            "row",
            format!(
                "after insert or update or delete on {target} for each row execute function sync.capture_{number}_row()"
            ),
        );
    } else {
        let keys = format!("for each statement execute function sync.capture_{number}_keys()");
        trigger("insert", format!("after insert on {target} referencing new table as changed {keys}"));
        trigger("delete", format!("after delete on {target} referencing old table as changed {keys}"));
        match depth {
            Depth::Keys | Depth::Tombstones => {
                trigger("update", format!("after update on {target} referencing new table as changed {keys}"));
                // the new keys are in the statement's entry; the argument says that only the old key is to be logged
                trigger(
                    "rekey",
                    format!(
                        "after update on {target} for each row when (sync.rekeyed_{number}(old, new)) execute function sync.capture_{number}_row('old')"
                    ),
                );
            }
            Depth::OldValues => trigger(
                "update",
                format!(
                    "after update on {target} for each row when (old *<> new) execute function sync.capture_{number}_row()"
                ),
            ),
        }
    }
    if depth == Depth::Tombstones {
        let level = if by_row(table) { "for each row" } else { "referencing old table as changed for each statement" };
        trigger("gone", format!("after delete on {target} {level} execute function sync.capture_{number}_gone()"));
    }
    trigger(
        "truncate",
        format!("before truncate on {target} for each statement execute function sync.capture_{number}_all()"),
    );
    for name in made {
        // fires under session_replication_role = replica too
        sql += &format!("alter table {target} enable always trigger {name};");
    }
    sql
}

/// The TRUNCATE trigger of one partition (given as regclass text).
pub(super) fn partition_truncate(partition: &str, number: i32) -> String {
    format!(
        "drop trigger if exists zz_sync_{number}_truncate on {partition};
         create trigger zz_sync_{number}_truncate before truncate on {partition} for each statement
             execute function sync.capture_{number}_all('partition');
         alter table {partition} enable always trigger zz_sync_{number}_truncate;"
    )
}

/// Takes the triggers away.
pub(super) fn removal(table: &Table, number: i32) -> String {
    ["row", "insert", "delete", "update", "rekey", "gone", "truncate"]
        .iter()
        .map(|suffix| format!("drop trigger if exists zz_sync_{number}_{suffix} on {};", table.name.quoted()))
        .collect()
}
