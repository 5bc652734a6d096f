//! A dry run changes nothing on either side: no row, no acknowledgement, no sequence.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tests::database::Database;
use tests::kit::{Plan, World};
use tests::proxy::{Cut, Direction, Line, Place, Proxy};

/// Fingerprints of every table (schema `sync` included) and the state of every sequence but those that number the engine's
/// own entries. The agent's own regular watermarks, for nobody in particular, go on meanwhile and are left out; so is the
/// shop's record of who has tried what, and when.
fn everything(database: &Database) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let tables = "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname not in ('pg_catalog', 'information_schema', 'sync_aside') order by 1";
    for row in database.rows(tables) {
        let table = row[0].clone().unwrap_or_default();
        let only = match table.as_str() {
            "sync.watermark" => "where peer <> 0",
            "sync.session" => "where not dry_run",
            // the copy aside goes by itself some time after the update behind a clone
            "sync.aside" => "where false",
            _ => "",
        };
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

/// Files below a directory, but the preview of a diff that an agent keeps until it is asked again.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|file| format!("{name}/{file}")));
        } else if !name.starts_with("diff-") {
            found.push(name);
        }
    }
    found.sort();
    found
}

/// Everything that may not change, by where it is.
fn state(world: &World) -> BTreeMap<String, String> {
    let north = world.shop("north");
    let mut found = BTreeMap::new();
    for (side, database, dir) in
        [("office", &world.office, world.office_state_dir()), ("shop", &north.database, north.state_dir().to_owned())]
    {
        found.extend(everything(database).into_iter().map(|(name, value)| (format!("{side}: {name}"), value)));
        found.insert(format!("{side}: files"), files(&dir).join(" "));
    }
    found
}

#[track_caller]
fn assert_unchanged(world: &World, before: &BTreeMap<String, String>, after_what: &str) {
    let after = state(world);
    let changed: Vec<_> = before
        .iter()
        .filter(|(name, value)| after.get(*name) != Some(*value))
        .map(|(name, value)| format!("{name}: {value} -> {:?}", after.get(name)))
        .collect();
    assert!(changed.is_empty() && before.len() == after.len(), "{after_what}: {changed:#?}");
}

fn dry_run(world: &World) -> Value {
    let told = world.office(&["--json", "update", "north", "--dry-run"]).succeeded();
    let mut plan: Value = serde_json::from_str(told.trim()).unwrap_or_else(|error| panic!("{error}: {told}"));
    // a row that is merged is stamped with the time of its merge, so the bytes of one dry run are not those of another
    plan.as_object_mut().expect("an object").retain(|field, _| !field.ends_with("_bytes") && field != "seconds");
    plan
}

/// A branch after a day on which both sides have changed the same clients, and one tax number was given out twice.
fn world_of_a_day() -> World {
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
    world
}

#[test]
fn i6_a_dry_run_that_is_cut_or_killed_anywhere_leaves_nothing_in_the_way() {
    let mut world = world_of_a_day();
    let before = state(&world);
    let planned = dry_run(&world);
    assert_eq!((&planned["conflicts_at_shop"], &planned["quarantined_at_shop"]), (&0.into(), &1.into()), "{planned}");
    assert_unchanged(&world, &before, "a whole dry run");
    // office-client dies
    for point in ["office.pull.slice", "office.push.prepared", "office.push.chunk", "office.push.finished"] {
        let mut command = world.office_command(&["update", "north", "--dry-run"]);
        command.env("SYNC_KILL_AT", point);
        let killed = tests::process::run(&mut command);
        assert_eq!(killed.code, Some(137), "{point}: {} {}", killed.stdout, killed.stderr);
        assert_eq!(dry_run(&world), planned, "behind a death at {point}");
    }
    // the agent dies, while the chunks come and while it applies
    for point in ["session.open.after", "chunk.append.after", "shop.apply.started", "finish.applied"] {
        let shop = world.shop_mut("north");
        shop.stop_agent();
        shop.start_in(&[], &[("SYNC_KILL_AT", point)]);
        world.office(&["--retry-for", "0s", "update", "north", "--dry-run"]).ended_with(5);
        let shop = world.shop_mut("north");
        shop.kill_agent();
        shop.start();
        assert_eq!(dry_run(&world), planned, "behind a death of the agent at {point}");
    }
    // the line drops, at every call of a dry run: the same dry run goes on
    let direct = world.shop("north").url().to_owned();
    for message in 0..8 {
        let cut = Cut { direction: Direction::ToAgent, message, place: Place::MiddleOfBody, for_good: false };
        let proxy = Proxy::start(&direct, Line { cut: Some(cut), ..Line::default() });
        world.office(&["branch", "set", "north", "--url", &proxy.url()]).succeeded();
        assert_eq!(dry_run(&world), planned, "with a line that drops in message {message}");
    }
    world.office(&["branch", "set", "north", "--url", &direct]).succeeded();
    let open = "select count(*) from sync.session where state = 'open'";
    assert_eq!(world.shop("north").database.int(open), 0, "what was cut off has given way");
    // the settings of the branch's address have been changed and changed back
    assert_unchanged(&world, &before, "dry runs that were cut and killed");
    let done = world.office(&["--json", "update", "north"]).succeeded();
    let done: Value = serde_json::from_str(done.trim()).expect("JSON");
    for (foretold, field) in [
        ("conflicts", "conflicts"),
        ("quarantined", "quarantined"),
        ("quarantined_at_shop", "quarantined_at_shop"),
        ("push_rows", "pushed_rows"),
    ] {
        assert_eq!(planned[foretold], done[field], "{field}: {planned} {done}");
    }
    assert_eq!(
        world.shop("north").database.int("select count(*) from sync.session where kind = 'update' and not dry_run"),
        1
    );
}

#[test]
fn a_dry_run_of_a_clone_says_what_the_shop_would_lose_and_what_stops_it() {
    // before the first clone: what is in the tables, none of it changed since the product came
    let shop_data = "insert into person (name) values ('of the shop');".to_owned();
    let world = World::new(&Plan { shop_data, ..Plan::with_branches(&["north"]) });
    world.enrol();
    let north = world.shop("north");
    let told = world.office(&["--json", "clone", "north", "--dry-run"]).succeeded();
    let plan: Value = serde_json::from_str(told.trim()).expect("JSON");
    assert_eq!(
        (&plan["kept_aside"], &plan["unacknowledged"], &plan["stop"]),
        (&serde_json::json!({ "person": 1 }), &serde_json::json!({}), &Value::Null),
        "{plan}"
    );
    world.clone_all();
    world.office(&["update", "north"]).succeeded();
    north.database.load(&fixtures::trade::day_of_sales(5, 8, 1));
    let before = state(&world);
    let told = world.office(&["--json", "clone", "north", "--dry-run"]).succeeded();
    let plan: Value = serde_json::from_str(told.trim()).expect("JSON");
    for table in ["sale", "product", "person"] {
        let rows = north.database.int(&format!("select count(*) from {table}"));
        assert_eq!(plan["kept_aside"][table].as_i64(), (rows > 0).then_some(rows), "{table}: {plan}");
    }
    assert_eq!(plan["unacknowledged"]["sale"], 8, "{plan}");
    assert!(plan["stop"].as_str().is_some_and(|why| why.contains("update it first")), "{plan}");
    let forced = world.office(&["--json", "clone", "north", "--dry-run", "--force"]).succeeded();
    assert!(forced.contains("\"stop\":null") && forced.contains("\"sale\":8"), "{forced}");
    let words = world.office(&["clone", "north", "--dry-run"]).succeeded();
    assert!(words.contains("that would be kept aside") && words.contains("that the office has not got"), "{words}");
    assert_unchanged(&world, &before, "dry runs of a clone");
    // it is true: the clean is refused, and with an update before it nothing is in its way
    world.office(&["clone", "north"]).ended_with(4);
    world.office(&["update", "north"]).succeeded();
    let told = world.office(&["--json", "clone", "north", "--dry-run"]).succeeded();
    let plan: Value = serde_json::from_str(told.trim()).expect("JSON");
    assert_eq!((&plan["unacknowledged"], &plan["stop"]), (&serde_json::json!({}), &Value::Null), "{plan}");
    world.office(&["clone", "north"]).succeeded();
    // who is not there cannot be asked
    let mut world = world;
    world.shop_mut("north").stop_agent();
    world.office(&["--retry-for", "0s", "clone", "north", "--dry-run"]).ended_with(5);
}

#[test]
fn dry_runs_and_verify_change_nothing_on_either_side_and_say_what_would_move() {
    let world = world_of_a_day();
    let before = state(&world);
    let told = world.office(&["--json", "update", "north", "--dry-run"]).succeeded();
    assert!(
        told.contains("\"dry_run\":true") && told.contains("\"sale\":8") && !told.contains("\"pull_rows\":0"),
        "{told}"
    );
    world.office(&["update", "--all", "--dry-run"]).succeeded();
    world.office(&["clone", "north", "--dry-run"]).succeeded();
    world.office(&["verify", "north"]).ended_with(1);
    assert_unchanged(&world, &before, "dry runs and verify");
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
    assert_ne!(before, state(&world), "the fingerprints see what a real run does");
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
    let world = World::new(&Plan::of(schema, policy, data));
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
    // who may spend no more bytes is told what waits all the same
    world.office(&["branch", "set", "north", "--byte-budget", "1KiB"]).succeeded();
    let told = world.office(&["--json", "update", "north", "--dry-run"]).succeeded();
    let figures: serde_json::Value = serde_json::from_str(told.trim()).expect("JSON");
    assert_eq!((&figures["conflicts"], &figures["pull_changes"]), (&serde_json::Value::Null, &planned["pull_changes"]));
    assert_eq!(planned["conflicts"], 0);
    let clone = world.office(&["--json", "clone", "north", "--dry-run"]).succeeded();
    assert!(clone.contains("\"product\":{\"deletes\":0,\"inserts\":10,\"updates\":0}"), "{clone}");
}
