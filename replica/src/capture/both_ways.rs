//! The trigger functions of tables that both sides change: an entry holds keys, and the old values of what each row
//! changed; a limited amount of them.

use protocol::names::quote_identifier;

use super::compare::{data_columns, differs};
use super::log::{ENTRY_BYTES, KEY_BYTES, numbered, old_object};
use super::triggers::{
    ORIGIN, PAIRING_MEMORY, SAFE_PATH, TEXT_SETTINGS, first_key, function, key_changed, single_arrays,
};
use crate::catalogue::Table;

/// Tables that both sides change: keys, and the old values of what each row changed; a limited amount in an entry.
pub(super) fn old_value_functions(table: &Table, number: i32) -> String {
    let settings = format!("{SAFE_PATH} {TEXT_SETTINGS}");
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
        function(number, "keys", &settings),
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
        function(number, "update", &format!("{settings} set work_mem = '{PAIRING_MEMORY}'")),
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
        function(number, "row", &settings),
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
        function(number, "all", &settings),
        deleted(&table.target()),
        table.oid,
        // the place of the partition's name is kept from being doubled with the other signs
        deleted("sync$partition").replace('\'', "''").replace('%', "%%").replace("sync$partition", "%I.%I"),
    );
    sql
}
