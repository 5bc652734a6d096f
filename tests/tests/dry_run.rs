//! A dry run changes nothing on either side: no row, no acknowledgement, no sequence.

use std::collections::BTreeMap;

use tests::database::Database;
use tests::kit::World;

/// Fingerprints of every table (schema `sync` included) and the state of every sequence. The agent's own regular
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
        "select schemaname || '.' || sequencename, coalesce(last_value::text, 'unused') from pg_sequences order by 1",
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
    let before = (everything(&world.office), everything(&north.database));
    let told = world.office(&["--json", "update", "north", "--dry-run"]).succeeded();
    assert!(
        told.contains("\"dry_run\":true") && told.contains("\"sale\":8") && !told.contains("\"pull_rows\":0"),
        "{told}"
    );
    world.office(&["update", "--all", "--dry-run"]).succeeded();
    world.office(&["clone", "north", "--dry-run"]).succeeded();
    world.office(&["verify", "north"]).ended_with(1);
    assert_eq!(before.0, everything(&world.office), "the office");
    assert_eq!(before.1, everything(&north.database), "the shop");
    // what was foretold is what happens
    let planned: serde_json::Value = serde_json::from_str(told.trim()).expect("JSON");
    world.office(&["update", "north"]).succeeded();
    assert_eq!(planned["pull_tables"]["sale"].as_i64(), Some(8));
    assert_eq!(world.office.int("select count(*) from sale where id > 1000000000000"), 8);
    assert_ne!(before.0, everything(&world.office), "the fingerprints see what a real run does");
}
