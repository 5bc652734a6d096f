//! A dry run changes nothing on either side: no row, no acknowledgement, no sequence.

use std::collections::BTreeMap;

use tests::database::Database;
use tests::kit::World;

/// Fingerprints of every table (schema `sync` included) and the state of every sequence but those that number the engine's
/// own entries. The agent's own regular
/// watermarks, for nobody in particular, go on meanwhile and are left out.
fn everything(database: &Database) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let tables = "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname not in ('pg_catalog', 'information_schema') order by 1";
    for row in database.rows(tables) {
        let table = row[0].clone().unwrap_or_default();
        let only = if table == "sync.watermark" { "where peer <> 0" } else { "" };
        let sql = format!(
            "select count(*) || ':' || coalesce(sum(hashtextextended(x::text, 0)::numeric), 0) from {table} x {only}"
        );
        found.insert(table, database.value(&sql).unwrap_or_default());
    }
    for row in database.rows(
        "select schemaname || '.' || sequencename, coalesce(last_value::text, 'unused') from pg_sequences where schemaname <> 'sync' order by 1",
    ) {
        found.insert(row[0].clone().unwrap_or_default(), row[1].clone().unwrap_or_default());
    }
    found
}

#[test]
fn dry_runs_and_verify_change_nothing_on_either_side_and_say_what_would_move() {
    let world = World::retail(&["north"]);
    let north = world.shop("north");
    world.clone_all();
    world.office(&["update", "north"]).succeeded();
    north.database.load(&fixtures::trade::day_of_sales(5, 8, 1));
    north
        .database
        .execute("update person set name = name || ' (shop)' where id in (select id from person order by id limit 2)");
    world.office.load(&fixtures::trade::office_edits(6, 20));
    world.office.execute(
        "update person set name = name || ' (office)' where id in (select id from person order by id limit 2)",
    );
    // a client of the shop with the tax number of one of the office's
    for (database, name) in [(&world.office, "of the office"), (&north.database, "of the shop")] {
        database.execute(&format!("insert into person (name, tax_number) values ('{name}', 'TAX-4711')"));
    }
    let before = (everything(&world.office), everything(&north.database));
    let told = world.office(&["--json", "update", "north", "--dry-run"]).succeeded();
    assert!(
        told.contains("\"dry_run\":true") && told.contains("\"sale\":8") && !told.contains("\"pull_rows\":0"),
        "{told}"
    );
    world.office(&["update", "--all", "--dry-run"]).succeeded();
    world.office(&["clone", "north", "--dry-run"]).succeeded();
    world.office(&["verify", "north"]).ended_with(1);
    for (side, before, after) in
        [("the office", &before.0, everything(&world.office)), ("the shop", &before.1, everything(&north.database))]
    {
        let changed: Vec<&String> = before.keys().filter(|name| before.get(*name) != after.get(*name)).collect();
        assert!(changed.is_empty() && before.len() == after.len(), "{side}: {changed:?}");
    }
    // what was foretold is what happens
    let planned: serde_json::Value = serde_json::from_str(told.trim()).expect("JSON");
    assert_eq!((&planned["conflicts"], &planned["quarantined"]), (&2.into(), &1.into()), "{planned}");
    let words = world.office(&["update", "north", "--dry-run"]).succeeded();
    assert!(words.contains("at the office 2 conflicts, 1 row that would wait in quarantine"), "{words}");
    let done = world.office(&["--json", "update", "north"]).succeeded();
    let done: serde_json::Value = serde_json::from_str(done.trim()).expect("JSON");
    for field in ["conflicts", "quarantined"] {
        assert_eq!(planned[field], done[field], "{field}: {planned} {done}");
    }
    assert_eq!(planned["pull_tables"]["sale"].as_i64(), Some(8));
    assert_eq!(planned["pull_changes"]["sale"], serde_json::json!({ "inserts": 8, "updates": 0, "deletes": 0 }));
    assert_eq!(world.office.int("select count(*) from sale where id > 1000000000000"), 8);
    assert_ne!(before.0, everything(&world.office), "the fingerprints see what a real run does");
}

#[test]
fn a_dry_run_tells_new_rows_changed_ones_and_deleted_ones_apart_in_both_directions() {
    let schema = "create table product (id bigserial primary key, name text not null);
        create table person (id bigserial primary key, name text not null, phone text);
        create table sale (id bigserial primary key, note text);";
    let policy = r#"
name = "dry"
[tables]
product = "from-source"
person  = "both"
sale    = "from-target"
[table.sale]
deletes = "send"
"#;
    let data = "insert into product (name) select 'product ' || n from generate_series(1, 10) n;
        insert into person (name) select 'person ' || n from generate_series(1, 10) n;";
    let world = World::new(&tests::kit::Plan::of(schema, policy, data));
    world.enrol();
    world.clone_all();
    let north = world.shop("north");
    north.database.execute("insert into sale (note) select 'sale ' || n from generate_series(1, 5) n");
    world.office(&["update", "north"]).succeeded();
    north.database.execute(
        "insert into sale (note) values ('new'), ('new too'), ('newest');
         update sale set note = 'changed' where id in (select id from sale order by id limit 2);
         delete from sale where id in (select id from sale order by id desc limit 1 offset 3);
         insert into person (name) values ('of the shop'); update person set phone = '1' where name = 'of the shop';
         update person set phone = '2' where id = 1; delete from person where id = 2",
    );
    world.office.execute(
        "insert into product (name) values ('new'); update product set name = name || '!' where id <= 3; delete from product where id = 9;
         insert into person (name) values ('of the office'); update person set name = 'x' where id in (4, 5); delete from person where id = 6",
    );
    let told = world.office(&["--json", "update", "north", "--dry-run"]).succeeded();
    let planned: serde_json::Value = serde_json::from_str(told.trim()).expect("JSON");
    let moves =
        |inserts, updates, deletes| serde_json::json!({ "inserts": inserts, "updates": updates, "deletes": deletes });
    assert_eq!(
        (&planned["pull_changes"], &planned["push_changes"]),
        (
            &serde_json::json!({ "sale": moves(3, 2, 1), "person": moves(1, 1, 1) }),
            &serde_json::json!({ "product": moves(1, 3, 1), "person": moves(1, 2, 1) })
        ),
        "{planned}"
    );
    let words = world.office(&["update", "north", "--dry-run"]).succeeded();
    assert!(words.contains("3 new, 2 changed, 1 deleted"), "{words}");
    let clone = world.office(&["--json", "clone", "north", "--dry-run"]).succeeded();
    assert!(clone.contains("\"product\":{\"deletes\":0,\"inserts\":10,\"updates\":0}"), "{clone}");
}
