//! The SQL of trigger functions and triggers.
//!
//! The trigger functions are SECURITY DEFINER with a fixed search_path (pg_temp named last, or it would come first), and
//! nobody but their owner may attach them to anything: whoever changes a row may log it, and nobody can
//! slip another function or operator in. Names begin with `zz_sync_` so that they fire after the application's own.
//!
//! Names of their own inside the functions begin with `sync$`: what is written without an alias could be a column of the
//! application.

use protocol::names::quote_identifier;

use super::Depth;
use super::compare::{bits, data_columns, differs};
use super::log::{ENTRY_BYTES, KEY_BYTES, key_arrays, log_type, numbered, old_object};
use crate::catalogue::{Column, Table, quote_literal};

/// Keys of one statement up to which its changed columns are looked for in tables that flow one way; rows of a larger
/// one travel whole. Comparing old with new rows is the dearest part of capture (docs/adr/0008).
const COMPARED_KEYS: usize = 50_000;

/// Memory for pairing old with new rows, instead of temporary files.
const PAIRING: &str = "set work_mem = '64MB'";

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
        "{} 2 key({}) columns({}) by {}",
        depth.as_str(),
        listed(&mut table.key_columns()),
        listed(&mut table.columns.iter()),
        if by_row(table) { "row" } else { "statement" }
    )
}

/// Origin of an entry: set by the engine for its own statements; what triggers do on the side is local.
/// Only the engine's own login may claim one: the functions run as their owner, which is that login.
const ORIGIN: &str = "case when pg_trigger_depth() = 1 and session_user = current_user \
                      then nullif(current_setting('sync.origin', true), '')::int end";

/// Text forms must not depend on the settings of the session that changes the row.
const TEXT_SETTINGS: &str = "set DateStyle = 'ISO, YMD' set IntervalStyle = 'postgres' set TimeZone = 'UTC' \
                             set extra_float_digits = 3 set bytea_output = 'hex' set lc_monetary = 'C'";

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
fn function(number: i32, name: &str, settings: &str) -> String {
    format!(
        "create or replace function sync.capture_{number}_{name}() returns trigger language plpgsql security definer
             set search_path = pg_catalog, pg_temp {settings} as $sync$"
    )
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

/// The first key column of an alias, to tell whether a join has found its row.
fn first_key(table: &Table, prefix: &str) -> String {
    table
        .key_columns()
        .next()
        .map_or_else(|| "null".to_owned(), |column| format!("{prefix}{}", quote_identifier(&column.name)))
}

/// Tables that flow one way: keys, and which columns an update changed. Where that is not known rows travel whole, and
/// so they do where these functions and the table do not fit together (any more): capture never fails a statement
/// because a column was dropped or has got another type.
fn key_functions(table: &Table, number: i32, columns: &[String]) -> String {
    let keys = numbered(table.key.len());
    let from = table.target();
    let (gone, is_gone, is_there) = if table.partitioned { ("gone, ", "true, ", "false, ") } else { ("", "", "") };
    let logged = format!("sync.log_{number}(origin, {gone}{keys})");
    let compared = format!("sync.log_{number}(origin, {gone}{keys}, changed)");
    let (origin, oid) = (ORIGIN.replace('\'', "''"), table.oid);
    let all = key_arrays(table, "gone.");
    let variables: Vec<String> = (1..=table.key.len()).map(|index| format!("sync$k{index}")).collect();
    let before: Vec<String> = (1..=table.key.len()).map(|index| format!("sync$b{index}")).collect();
    let declared: String = table
        .key_columns()
        .zip(variables.iter().zip(&before))
        .map(|(column, (now, before))| format!("{now} {0}; {before} {0}; ", log_type(column)))
        .collect();
    let (variables, before) = (variables.join(", "), before.join(", "));
    let any: Vec<String> = conditions(table, columns, "sync$o.", "sync$n.")
        .into_iter()
        .map(|differs| format!("bool_or({differs})"))
        .collect();
    let (same, new_keys, old_keys) =
        (table.same_key("sync$n.", "sync$o."), key_arrays(table, "sync$n."), key_arrays(table, "sync$o."));
    let mut sql = format!(
        "{} begin
             insert into {logged} select {ORIGIN}, {is_there}{} from changed having count(*) > 0;
             return null; end $sync$;",
        function(number, "keys", ""),
        key_arrays(table, "changed."),
    );
    sql += &format!(
        "{} declare {declared} sync$many bigint; sync$paired bigint; sync$changed varbit; begin
             select count(*) into sync$many from (select from changed limit {COMPARED_KEYS} + 1) sync$x;
             if sync$many = 0 then return null; end if;
             if sync$many <= {COMPARED_KEYS} then begin
                 select {new_keys}, count({}), {} into {variables}, sync$paired, sync$changed
                     from changed sync$n left join before sync$o on {same};
             exception when others then sync$k1 := null; end; end if;
             if sync$k1 is null then
                 select {new_keys} into {variables} from changed sync$n;
                 select {old_keys} into {before} from before sync$o;
                 sync$changed := null;
                 if row({variables})::record *<> row({before})::record then
                     insert into {logged} values ({ORIGIN}, {is_gone}{before}); end if;
             elsif sync$paired < sync$many then
                 insert into {logged} select {ORIGIN}, {is_gone}{old_keys} from before sync$o
                     where not exists (select from changed sync$n where {same}) having count(*) > 0;
                 sync$changed := null;
             elsif position(B'1' in sync$changed) = 0 then
                 if not exists (select from changed sync$n join before sync$o on {same} where sync$n *<> sync$o) then return null; end if;
                 sync$changed := null;
             end if;
             insert into {compared} values ({ORIGIN}, {is_there}{variables}, sync$changed);
             return null; end $sync$;",
        function(number, "update", PAIRING),
        first_key(table, "sync$o."),
        bits(&any),
    );
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
        function(number, "row", ""),
        bits(&conditions(table, columns, "old.", "new.")),
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
        function(number, "all", ""),
        all.replace('\'', "''").replace('%', "%%"),
    );
    sql
}

/// Tables that both sides change: keys, and the old values of what each row changed; a limited amount in an entry.
fn old_value_functions(table: &Table, number: i32) -> String {
    let count = table.key.len();
    let keys = numbered(count);
    let logged = format!("sync.log_{number}(origin, op, {keys}, olds)");
    let requested = format!("sync.log_{number}(origin, op, {keys})");
    let part = format!("(row_number() over () - 1) / {}", ENTRY_BYTES / KEY_BYTES);
    let part_with_values = format!(
        "sum({KEY_BYTES} + coalesce(octet_length(sync$old), 0)) over (rows unbounded preceding) / {ENTRY_BYTES}"
    );
    let aliased = |from: &str, to: &str| -> String {
        let keys = table.key_columns().enumerate();
        keys.map(|(index, column)| format!("{from}{} as {to}k{}", quote_identifier(&column.name), index + 1))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let aggregates: Vec<String> = (1..=count).map(|index| format!("array_agg(sync$k{index})")).collect();
    let aggregates = aggregates.join(", ");
    let olds = "case when bool_or(sync$old is not null) then array_agg(sync$old) end";
    let whole = |prefix: &str| {
        let columns: Vec<_> = (table.columns.iter().filter(|column| !column.generated))
            .map(|column| (column, "true".to_owned()))
            .collect();
        old_object(&columns, prefix)
    };
    let changed = |old: &str, new: &str| {
        let columns: Vec<_> = data_columns(table).map(|column| (column, differs(column, old, new))).collect();
        old_object(&columns, old)
    };
    let deleted = |from: &str| {
        format!(
            "insert into {logged} select {ORIGIN}, 'D', {aggregates}, {olds}
                 from (select *, {part_with_values} as sync$part
                       from (select {}, {} as sync$old from {from} as gone offset 0) sync$y) sync$x group by sync$part",
            aliased("gone.", "sync$"),
            whole("gone."),
        )
    };
    let inserted = format!(
        "insert into {requested} select {ORIGIN}, 'I', {aggregates}
             from (select {}, {part} as sync$part from changed) sync$x group by sync$part",
        aliased("changed.", "sync$"),
    );
    // a row that is only in `changed` has got another key: it is new under this one; one only in `before` is gone
    let (is_new, is_gone) =
        (format!("{} is null", first_key(table, "sync$o.")), format!("{} is null", first_key(table, "sync$n.")));
    let coalesced: Vec<String> = table
        .key_columns()
        .enumerate()
        .map(|(index, column)| {
            let name = quote_identifier(&column.name);
            format!("coalesce(sync$n.{name}, sync$o.{name}) as sync$k{}", index + 1)
        })
        .collect();
    let mut sql = format!(
        "{} begin
             if tg_op = 'INSERT' then {inserted}; else {}; end if;
             return null; end $sync$;",
        function(number, "keys", TEXT_SETTINGS),
        deleted("changed"),
    );
    // an update of a column that was added since these functions were made asks for the whole row (R), and so does
    // every update when a column has gone or has got another type: the probe finds out, without reading a row
    sql += &format!(
        "{} declare sync$fits boolean := true; begin
             begin perform {what_changed}, {the_whole} from changed sync$n, before sync$o where false;
             exception when others then sync$fits := false; end;
             if not sync$fits then
                 insert into {requested} select {ORIGIN}, 'R', {aggregates}
                     from (select {keys_of_both}, {part} as sync$part
                           from (select {new_keys} from changed sync$n union select {old_keys} from before sync$o) sync$z) sync$x group by sync$part;
                 return null;
             end if;
             insert into {logged} select {ORIGIN}, sync$op, {aggregates}, {olds}
                 from (select *, {part_with_values} as sync$part
                       from (select {}, case when {is_new} then 'I' when {is_gone} then 'D' when sync$n *<> sync$o then 'U' end::\"char\" as sync$kind,
                                    case when {is_new} then null when {is_gone} then {the_whole} when sync$n *<> sync$o then {what_changed} end as sync$old
                             from changed sync$n full join before sync$o on {} offset 0) sync$y
                       cross join lateral (select case when sync$kind = 'U' and sync$old is null then 'R' else sync$kind end as sync$op) sync$w
                       where sync$kind is not null) sync$x
                 group by sync$op, sync$part;
             return null; end $sync$;",
        function(number, "update", &format!("{PAIRING} {TEXT_SETTINGS}")),
        coalesced.join(", "),
        table.same_key("sync$n.", "sync$o."),
        what_changed = changed("sync$o.", "sync$n."),
        the_whole = whole("sync$o."),
        keys_of_both = (1..=count).map(|index| format!("sync$z.k{index} as sync$k{index}")).collect::<Vec<_>>().join(", "),
        new_keys = aliased("sync$n.", ""),
        old_keys = aliased("sync$o.", ""),
    );
    sql += &format!(
        "{} declare sync$old text; begin
             if tg_op = 'UPDATE' and not ({}) then
                 if not (old *<> new) then return null; end if;
                 begin sync$old := {}; exception when others then sync$old := null; end;
                 insert into {logged} values ({ORIGIN}, case when sync$old is null then 'R' else 'U' end::\"char\", {new}, array[sync$old]);
                 return null;
             end if;
             if tg_op <> 'INSERT' then insert into {logged} values ({ORIGIN}, 'D', {}, array[{}]); end if;
             if tg_op <> 'DELETE' then insert into {requested} values ({ORIGIN}, 'I', {new}); end if;
             return null; end $sync$;",
        function(number, "row", TEXT_SETTINGS),
        key_changed(table),
        changed("old.", "new."),
        single_arrays(table, "old."),
        whole("old."),
        new = single_arrays(table, "new."),
    );
    sql += &format!(
        "{} begin
             if tg_nargs = 0 then {};
             elsif pg_partition_root(tg_relid) = {}::oid::regclass then
                 execute format('{}', tg_table_schema, tg_table_name);
             end if; return null; end $sync$;",
        function(number, "all", TEXT_SETTINGS),
        deleted(&table.target()),
        table.oid,
        // the place of the partition's name is kept from being doubled with the other signs
        deleted("sync$partition").replace('\'', "''").replace('%', "%%").replace("sync$partition", "%I.%I"),
    );
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
