//! The SQL of trigger functions and triggers.
//!
//! The trigger functions are SECURITY DEFINER, and nobody but their owner may attach them to anything: whoever changes a
//! row may log it, and nobody can slip another function or operator in. For that they fix the search path (pg_temp named
//! last, or it would come first); those that fire with every sale qualify every name instead, which costs less, as long
//! as only functions of PostgreSQL can run in them (`one_way::system_key_types`).
//! Names of triggers begin with `zz_sync_` so that they fire after the application's own.
//!
//! Names of their own inside the functions begin with `sync$`: what is written without an alias could be a column of the
//! application.

use protocol::names::quote_identifier;

use super::Depth;
use super::both_ways::old_value_functions;
use super::one_way::key_functions;
use crate::catalogue::{Column, Table, quote_literal};

/// Memory for pairing old with new rows, instead of temporary files.
pub(super) const PAIRING_MEMORY: &str = "64MB";

/// Keeps whoever changes a row from slipping other functions and operators in.
pub(super) const SAFE_PATH: &str = "set search_path = pg_catalog, pg_temp";

/// Whether the table needs row-level triggers: statement-level ones with transition tables fire only on the table that
/// the statement names, and new partitions do not get them.
pub(super) fn by_row(table: &Table) -> bool {
    table.partitioned || table.inherits
}

/// What the functions depend on; where it differs they have to be made anew.
pub(super) fn shape(table: &Table, depth: Depth) -> String {
    let listed = |columns: &mut dyn Iterator<Item = &Column>| {
        columns.map(|column| format!("{} {}", column.name, column.type_name)).collect::<Vec<_>>().join(", ")
    };
    format!(
        "{} 3 key({}) columns({}) by {}",
        depth.as_str(),
        listed(&mut table.key_columns()),
        listed(&mut table.columns.iter()),
        if by_row(table) { "row" } else { "statement" }
    )
}

/// Origin of an entry, by `sync.origin` (migration 19): set by the engine for its own statements.
pub(super) const ORIGIN: &str = "sync.origin(pg_catalog.current_setting('sync.origin', true))";

/// Text forms must not depend on the settings of the session that changes the row.
pub(super) const TEXT_SETTINGS: &str = "set DateStyle = 'ISO, YMD' set IntervalStyle = 'postgres' set TimeZone = 'UTC' \
                             set extra_float_digits = 3 set bytea_output = 'hex' set lc_monetary = 'C'";

pub(super) fn single_arrays(table: &Table, prefix: &str) -> String {
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
pub(super) fn key_changed(table: &Table) -> String {
    format!("record_image_ne(row({}), row({}))", table.key_list("old."), table.key_list("new."))
}

/// Functions and triggers of a table; repeatable. `columns`: the names that the log numbers.
pub(super) fn definition(table: &Table, depth: Depth, number: i32, columns: &[String]) -> String {
    let mut sql = removal(table, number);
    // of an earlier version
    sql += &format!("drop function if exists sync.rekeyed_{number}(anyelement, anyelement);");
    sql += &match depth {
        Depth::Keys | Depth::Tombstones => key_functions(table, number, columns),
        Depth::OldValues => old_value_functions(table, number),
    };
    if depth == Depth::Tombstones {
        sql += &tombstone_function(table, number);
        sql += &format!("revoke all on function sync.capture_{number}_gone() from public;");
    }
    for name in ["keys", "update", "row", "all"] {
        // firing a trigger needs no right to its function, attaching it to a table of one's own does
        sql += &format!("revoke all on function sync.capture_{number}_{name}() from public;");
    }
    sql += &trigger_statements(table, depth, number, &table.name.quoted());
    sql
}

/// Head of a trigger function.
pub(super) fn function(number: i32, name: &str, settings: &str) -> String {
    format!(
        "create or replace function sync.capture_{number}_{name}() returns trigger language plpgsql security definer {settings} as $sync$"
    )
}

/// The first key column of an alias, to tell whether a join has found its row.
pub(super) fn first_key(table: &Table, prefix: &str) -> String {
    table
        .key_columns()
        .next()
        .map_or_else(|| "null".to_owned(), |column| format!("{prefix}{}", quote_identifier(&column.name)))
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
             {SAFE_PATH} {TEXT_SETTINGS} as $sync$ begin
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
        trigger(
            "update",
            format!(
                "after update on {target} referencing old table as before new table as changed
                     for each statement execute function sync.capture_{number}_update()"
            ),
        );
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
