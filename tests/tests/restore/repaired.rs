//! `verify --repair` brings both ends together and loses nothing that only one of them has (I1, I3, I8).

use tests::cluster::{self, Cluster};
use tests::database::Database;
use tests::kit::World;
use tests::psql;

use crate::fixture::{assert_together, chain, grown, plan, restored, restored_in, sell};

/// Notes of all sales of a database, sorted.
fn notes(database: &Database) -> Vec<String> {
    database
        .rows("select note from sale order by note")
        .into_iter()
        .map(|row| row[0].clone().unwrap_or_default())
        .collect()
}

/// Repairs and checks that everything agrees afterwards, and that the next updates go on as always.
fn repair(world: &World, branch: &str) -> String {
    let told = world.office(&["verify", branch, "--repair"]).succeeded();
    for shop in &world.shops {
        world.office(&["update", &shop.name]).succeeded();
    }
    let again = world.office(&["--json", "update", branch]).succeeded();
    assert!(again.contains("\"pulled_rows\":0") && again.contains("\"pushed_rows\":0"), "{again}");
    assert_together(world);
    told
}

#[test]
fn i1_i3_a_shop_restored_from_a_dump_is_repaired_and_no_sale_of_either_side_is_lost() {
    let mut world = chain(&["north"]);
    let north = world.shop("north").database.clone();
    let dump = psql::dump(&north);
    sell(&north, "only the office knows it", 3);
    north.execute(
        "update person set phone = 'of the lost day' where id = 1; update person set points = points + 5 where id = 2",
    );
    world.office.execute("update product set price = 7 where id = 3; delete from product where id = 50; insert into product (name, price) values ('new', 1)");
    world.office(&["update", "north"]).succeeded();
    let points = world.office.int("select points from person where id = 2");
    let north = world.shop_mut("north");
    north.stop_agent();
    north.database = restored("north", &dump);
    north.start();
    // both sides go on working before anybody looks
    sell(&world.shop("north").database, "only the shop knows it", 2);
    world.shop("north").database.execute("update person set points = points + 11 where id = 2; insert into person (name) values ('met after the restore')");
    world.office.execute(
        "update product set price = 8 where id = 4; update person set name = 'renamed at the office' where id = 5",
    );
    world.office(&["update", "north"]).ended_with(4);
    let low = world.shop("north").database.int("select id_low from sync.node");

    let told = repair(&world, "north");
    assert!(told.contains("fresh range of ids"), "{told}");
    let office = notes(&world.office);
    for (note, sales) in [("first", 3), ("only the office knows it", 3), ("only the shop knows it", 2)] {
        assert_eq!(office.iter().filter(|found| found.starts_with(note)).count(), sales, "{note}: {office:?}");
    }
    assert_eq!(world.office.value("select phone from person where id = 1").as_deref(), Some("of the lost day"));
    assert_eq!(world.office.int("select points from person where id = 2"), points + 11, "amounts add up, none twice");
    assert_eq!(world.office.int("select count(*) from person where name = 'met after the restore'"), 1);
    assert_eq!(world.shop("north").database.int("select count(*) from product where id = 50"), 0);
    assert!(world.shop("north").database.int("select id_low from sync.node") > low, "nobody knows which ids were lost");
    sell(&world.shop("north").database, "with a new id", 1);
    world.office(&["update", "north"]).succeeded();
    assert_eq!(world.office.int("select count(*) from sale"), 9);
}

#[test]
fn i1_i3_an_office_restored_from_a_dump_gets_back_what_only_its_shops_have() {
    let mut world = chain(&["north", "south"]);
    let dump = psql::dump(&world.office);
    for name in ["north", "south"] {
        sell(&world.shop(name).database, &format!("{name} before the loss"), 2);
    }
    world.office.execute(
        "insert into product (name, price) values ('made on the lost day', 5); update product set price = 99 where id = 2",
    );
    world.office.execute("insert into person (name) values ('met on the lost day')");
    world.office(&["update", "--all"]).succeeded();
    let product = world.office.int("select max(id) from product");
    world.office = restored("office", &dump);
    // a sale of what the office no longer knows
    world
        .shop("south")
        .database
        .execute(&format!("insert into sale (product_id, note) values ({product}, 'of the new product')"));
    world.office.execute("update product set price = 6 where id = 6");
    for name in ["north", "south"] {
        world.office(&["update", name]).ended_with(4);
    }
    for name in ["north", "south"] {
        world.office(&["verify", name, "--repair"]).succeeded();
    }
    repair(&world, "north");
    let office = notes(&world.office);
    for (note, sales) in
        [("first", 6), ("north before the loss", 2), ("south before the loss", 2), ("of the new product", 1)]
    {
        assert_eq!(office.iter().filter(|found| found.starts_with(note)).count(), sales, "{note}: {office:?}");
    }
    assert_eq!(world.office.int(&format!("select count(*) from product where id = {product}")), 1, "taken back");
    assert_eq!(world.office.int("select count(*) from person where name = 'met on the lost day'"), 1);
    // the price that only shops still had is no longer in force, and not forgotten either
    assert_eq!(world.office.value("select price::text from product where id = 2").as_deref(), Some("2.99"));
    let kept = "select theirs ->> 'price' from sync.conflict where rule = 'repair' and table_name = 'product' limit 1";
    assert_eq!(world.office.value(kept).as_deref(), Some("99.00"));
}

/// Gives a server so many transactions that those of a fresh one have smaller ids.
const GROWN_OLD: &str = "do $$ begin for i in 1..20000 loop perform pg_current_xact_id(); commit; end loop; end $$";

/// A machine is lost, and its backup goes to a new server: transaction ids begin anew there, and those that came with the
/// backup lie in its future.
#[test]
fn i1_i8_a_shop_restored_on_a_new_server_keeps_what_no_office_has_and_comes_to_rest() {
    let (old, new) = (Cluster::start(false), Cluster::start(false));
    let mut world = grown(World::in_clusters(cluster::shared(), &old, &plan()));
    let north = world.shop("north").database.clone();
    north.execute(GROWN_OLD);
    sell(&north, "taken in before the backup", 2);
    world.office(&["update", "north"]).succeeded();
    sell(&north, "only in the backup", 2);
    let dump = psql::dump(&north);
    let north = world.shop_mut("north");
    north.stop_agent();
    north.database = restored_in(&new, "north", &dump);
    north.start();
    sell(&world.shop("north").database, "after the restore", 1);
    world.office(&["update", "north"]).ended_with(4);
    let refused = world.office(&["clone", "north"]).ended_with(4);
    assert!(refused.stderr.contains("no office has acknowledged"), "{}", refused.stderr);
    repair(&world, "north");
    let office = notes(&world.office);
    for (note, sales) in
        [("first", 3), ("taken in before the backup", 2), ("only in the backup", 2), ("after the restore", 1)]
    {
        assert_eq!(office.iter().filter(|found| found.starts_with(note)).count(), sales, "{note}: {office:?}");
    }
    world.shop_mut("north").stop_agent();
}

/// The same with the office's machine: what it had taken in and lost comes back, what it sends comes once.
#[test]
fn i1_i3_an_office_restored_on_a_new_server_comes_to_rest_with_its_shops() {
    let (old, new) = (Cluster::start(false), Cluster::start(false));
    let mut world = grown(World::in_clusters(&old, cluster::shared(), &plan()));
    world.office.execute(GROWN_OLD);
    world.office.execute("update product set price = 4 where id = 4; update person set phone = 'new' where id = 4");
    world.office(&["update", "north"]).succeeded();
    let dump = psql::dump(&world.office);
    sell(&world.shop("north").database, "only the lost office had it", 2);
    world.office(&["update", "north"]).succeeded();
    world.office = restored_in(&new, "office", &dump);
    world.office.execute("update product set price = 5 where id = 5");
    world.office(&["update", "north"]).ended_with(4);
    repair(&world, "north");
    let office = notes(&world.office);
    assert_eq!(office.iter().filter(|note| note.starts_with("only the lost office had it")).count(), 2, "{office:?}");
    world.office.execute("update product set price = 6 where id = 6");
    let told = world.office(&["--json", "update", "north"]).succeeded();
    assert!(told.contains("\"pushed_rows\":1"), "what is new is sent, and nothing else: {told}");
    world.shop_mut("north").stop_agent();
}

#[test]
fn i8_files_put_back_are_repaired_though_ids_were_drawn_twice() {
    let shops = Cluster::start(false);
    let mut world = grown(World::in_clusters(cluster::shared(), &shops, &plan()));
    world.shop_mut("north").stop_agent();
    shops.save("yesterday");
    world.shop_mut("north").start();
    sell(&world.shop("north").database, "of the lost day", 2);
    world.office(&["update", "north"]).succeeded();
    world.shop_mut("north").stop_agent();
    shops.bring_back("yesterday");
    std::fs::remove_file(world.shop("north").state_dir().join("witness.json")).unwrap();
    // nothing tells yet: the same ids are drawn again
    sell(&world.shop("north").database, "after the restore", 1);
    world.shop_mut("north").start();
    world.office(&["update", "north"]).ended_with(4);
    repair(&world, "north");
    let office = notes(&world.office);
    assert!(office.contains(&"after the restore 1".to_owned()), "{office:?}");
    // of two sales with one id the shop's stands, and the other one is kept to be looked at
    let kept =
        world.office.value("select ours ->> 'note' from sync.conflict where rule = 'repair' and table_name = 'sale'");
    assert_eq!(kept.as_deref(), Some("of the lost day 1"));
    assert!(office.contains(&"of the lost day 2".to_owned()), "{office:?}");
    world.shop_mut("north").stop_agent();
}

#[test]
fn a_repair_where_nothing_differs_moves_nothing() {
    let world = chain(&["north"]);
    let told = world.office(&["--json", "verify", "north", "--repair"]).succeeded();
    // I19: the sums of what adds up are told for both ends
    let sums = told.lines().find(|line| line.contains("\"table\":\"person\"")).expect("a line of the table");
    let sums: serde_json::Value = serde_json::from_str(sums).expect("JSON");
    let points = world.office.value("select sum(points)::text from person").expect("a sum");
    assert_eq!(sums["sums"]["points"], serde_json::json!({ "office": points, "shop": points }));
    for word in ["\"sent_again\":0", "\"pulled_again\":0", "\"fresh_range\":false", "\"pushed_rows\":0"] {
        assert!(told.contains(word), "{word}: {told}");
    }
}
