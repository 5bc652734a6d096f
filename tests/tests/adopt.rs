//! A shop that has its data already is taken in without a clean: compared, given its ids, and synchronised from there on.

use serde_json::Value;
use tests::database::Database;
use tests::kit::{Plan, World};
use tests::proxy::{Cut, Direction, Line, Place, Proxy};
use tests::wait_for;

const SCHEMA: &str = "
    create table product (id bigserial primary key, name text not null, price numeric(12, 2) not null);
    create table person (id bigserial primary key, name text not null, phone text, points int not null default 0);
    create table sale (id bigserial primary key, product_id bigint not null references product, note text);
    create table invoice (id bigserial primary key, branch_id int not null, note text);
    create table stock (branch_id int not null, product_id bigint not null references product, quantity int not null,
        primary key (branch_id, product_id));
    create table till (id serial primary key, note text);
";

const POLICY: &str = r#"
name = "adopt"
[tables]
product = "from-source"
person  = "both"
sale    = "from-target"
invoice = "from-target"
stock   = "from-target"
till    = "local"
[table.person]
delta = ["points"]
[table.invoice]
rows = "branch_id = :branch"
[table.stock]
rows = "branch_id = :branch"
"#;

/// What both ends have.
const DATA: &str = "
    insert into product (name, price) select 'product ' || n, n + 0.99 from generate_series(1, 300) n;
    insert into person (name, phone, points) select 'person ' || n, 'phone ' || n, 100 from generate_series(1, 2000) n;
";

/// What a branch had sold before the product was installed; the office has it too.
fn sold(branch: u32) -> String {
    format!(
        "insert into sale (id, product_id, note) select {branch}000 + n, n, 'old sale' from generate_series(1, 50) n;
         insert into invoice (id, branch_id, note) select {branch}000 + n, {branch}, 'old' from generate_series(1, 20) n;
         insert into stock select {branch}, n, n from generate_series(1, 30) n"
    )
}

/// An office and shops that have got their data in some other way.
fn world(branches: &[&str]) -> World {
    let plan = Plan {
        branches: branches.iter().map(|name| (*name).to_owned()).collect(),
        shop_data: DATA.into(),
        ..Plan::of(SCHEMA, POLICY, DATA)
    };
    let world = World::new(&plan);
    for shop in &world.shops {
        shop.database.execute(&sold(shop.id));
        world.office.execute(&sold(shop.id));
        // which says nothing about the ids that are in use
        shop.database.execute("select setval('sale_id_seq', 9000)");
    }
    world.enrol();
    world
}

/// Where every row lies: nothing at all was written between two of the same.
fn places(database: &Database) -> Vec<Vec<Option<String>>> {
    database.rows(
        "select 'product', md5(string_agg(ctid::text || xmin, ',' order by ctid)) from product
         union all select 'person', md5(string_agg(ctid::text || xmin, ',' order by ctid)) from person
         union all select 'sale', md5(string_agg(ctid::text || xmin, ',' order by ctid)) from sale
         union all select 'invoice', md5(string_agg(ctid::text || xmin, ',' order by ctid)) from invoice
         union all select 'stock', md5(string_agg(ctid::text || xmin, ',' order by ctid)) from stock",
    )
}

fn objects(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Rows that an update moves: pulled and pushed.
fn moved(world: &World, branch: &str) -> (i64, i64) {
    let told = world.office(&["--json", "update", branch]).succeeded();
    let report = objects(&told).pop().expect("a report");
    (report["pulled_rows"].as_i64().expect("a number"), report["pushed_rows"].as_i64().expect("a number"))
}

/// What the shops have of their own is at the office.
fn assert_together(world: &World) {
    world.assert_agree(&["product", "person"]);
    for shop in &world.shops {
        for (table, columns) in [("sale", "id, note"), ("invoice", "id, note"), ("stock", "product_id, quantity")] {
            let missing: Vec<_> = {
                let own = if table == "sale" { "true".to_owned() } else { format!("branch_id = {}", shop.id) };
                let there = world.office.rows(&format!("select {columns} from {table} where {own}"));
                let here = shop.database.rows(&format!("select {columns} from {table}"));
                here.into_iter().filter(|row| !there.contains(row)).collect()
            };
            assert!(missing.is_empty(), "{}: {table}: not at the office: {missing:?}", shop.name);
        }
    }
}

/// I1, I2, I3, I4, I19.
#[test]
fn a_shop_with_its_data_is_adopted_without_a_write_and_then_moves_only_what_changes() {
    let world = world(&["north", "south"]);
    for (name, branch) in [("north", 1), ("south", 2)] {
        let shop = &world.shop(name).database;
        // both have counted something since capture was installed, and agree on it
        for database in [shop, &world.office] {
            database.execute("update person set points = points + 7 where id = 3 and points = 100");
        }
        let before = (places(shop), places(&world.office));
        let told = world.office(&["--json", "adopt", name]).succeeded();
        let last = objects(&told).pop().expect("a summary");
        assert_eq!((&last["result"], &last["pulled_again"]), (&"done".into(), &0.into()), "{told}");
        assert_eq!((places(shop), places(&world.office)), before, "{name}: rows were written");
        assert_eq!(moved(&world, name), (0, 0), "{name}: an update after the adoption moves rows");

        // its new rows have ids of its own, whatever it had used before
        let range = (last["id_low"].as_i64().expect("a range"), last["id_high"].as_i64().expect("a range"));
        shop.execute("insert into sale (product_id, note) values (1, 'first'); update stock set quantity = 0 where product_id = 2");
        let id = shop.int("select max(id) from sale");
        assert_eq!(id, range.0 + 1);
        assert_eq!(shop.int("select seqmax from pg_sequence where seqrelid = 'sale_id_seq'::regclass"), range.1);
        assert_eq!(range.0 / 1_000_000_000_000, branch);
        assert_eq!(moved(&world, name), (2, 0));

        // amounts that both sides add to from now on add up
        world.office.execute(
            "update product set price = price + 1 where id = 1; update person set points = points + 10 where id = 3",
        );
        shop.execute("update person set points = points + 1 where id = 3");
        world.office(&["update", name]).succeeded();
        assert_eq!(
            shop.int("select points from person where id = 3"),
            world.office.int("select points from person where id = 3")
        );
        // the other shop does not have what has changed at the office since
        let other = &world.shop(if name == "north" { "south" } else { "north" }).database;
        if branch == 1 {
            assert_eq!(world.office.int("select points from person where id = 3"), 118);
            world.office.execute(
                "update person set points = 107 where id = 3; update product set price = price - 1 where id = 1",
            );
            world.office(&["update", "north"]).succeeded();
            other.execute("update person set points = 107 where id = 3");
        }
    }
    world.office(&["update", "north", "south"]).succeeded();
    assert_together(&world);
    for name in ["north", "south"] {
        assert!(world.office(&["verify", name]).succeeded().contains("5 tables agree"));
        let again = world.office(&["adopt", name]).succeeded();
        assert!(again.contains("taken in already"), "{again}");
    }
    let statuses = world.office(&["--json", "status"]).succeeded();
    assert!(objects(&statuses).iter().all(|status| status["state"] == "ok"), "{statuses}");
    assert_eq!(world.office.int("select count(*) from sync.id_slot"), 2);
    let runs = world.office(&["--json", "history", "south"]).succeeded();
    assert!(objects(&runs).iter().any(|run| run["run"] == "adopt" && run["result"] == "done"), "{runs}");
}

/// A shop's tables and what differs in them at the start of the tests about differences.
fn differing() -> World {
    let world = world(&["north"]);
    world.shop("north").database.execute(
        "update product set price = 0 where id = 7; insert into product values (7777, 'only here', 1);
         update person set phone = 'moved' where id = 8; insert into person (id, name) values (8888, 'customer');
         insert into sale (id, product_id, note) values (1500, 9, 'never told'); delete from invoice where id = 1003;
         update stock set quantity = 99 where product_id = 4",
    );
    world
}

#[test]
fn rows_that_differ_are_shown_and_nothing_is_adopted() {
    let world = differing();
    let shop = &world.shop("north").database;
    let sequence = "select last_value from sale_id_seq";
    let before = (places(shop), places(&world.office), shop.int(sequence));
    let refused = world.office(&["--json", "adopt", "north"]).ended_with(4);
    let told = objects(&refused.stdout);
    let found = |table: &str, side: &str| {
        told.iter().filter(|row| row["table"] == table && row.get("side").is_some_and(|found| found == side)).count()
    };
    assert_eq!((found("product", "both"), found("product", "shop")), (1, 1), "{}", refused.stdout);
    assert_eq!((found("person", "both"), found("person", "shop")), (1, 1));
    assert_eq!((found("sale", "shop"), found("stock", "both")), (1, 1));
    assert_eq!(found("invoice", "office"), 0, "shops purge what the office keeps");
    assert!(refused.stderr.contains("adopt north --repair"), "{}", refused.stderr);
    assert_eq!((places(shop), places(&world.office), shop.int(sequence)), before, "something was written");
    assert_eq!(world.office.int("select count(*) from sync.id_slot"), 0);
    world.office(&["update", "north"]).ended_with(4);
    let runs = world.office(&["--json", "history"]).succeeded();
    assert_eq!(objects(&runs)[0]["result"], "refused");

    // mended by hand at either side it is taken in
    shop.execute(
        "update product set price = 7.99 where id = 7; delete from product where id = 7777;
         update stock set quantity = 4 where product_id = 4; delete from sale where id = 1500",
    );
    world.office.execute(
        "update person set phone = 'moved' where id = 8; insert into person (id, name) values (8888, 'customer')",
    );
    world.office(&["adopt", "north"]).succeeded();
    assert_eq!(moved(&world, "north"), (0, 0));
    assert_together(&world);
}

/// I1, I3, I4: nothing that only one side has is lost.
#[test]
fn with_repair_rows_that_differ_travel_by_the_direction_of_their_table() {
    let world = differing();
    let shop = &world.shop("north").database;
    world.office(&["adopt", "north", "--repair"]).succeeded();
    assert_together(&world);
    assert_eq!(moved(&world, "north"), (0, 0));
    assert_eq!(shop.value("select price from product where id = 7").as_deref(), Some("7.99"));
    assert_eq!(world.office.value("select note from sale where id = 1500").as_deref(), Some("never told"));
    assert_eq!(world.office.int("select quantity from stock where branch_id = 1 and product_id = 4"), 99);
    assert_eq!(world.office.int("select count(*) from person where id = 8888"), 1);
    assert_eq!(world.office.int("select count(*) from invoice where id = 1003"), 1, "what a shop has purged is kept");
    // what lost is kept: the shop's price, its product, the office's stock, and the phone that the rule has decided about
    let kept = world.office.rows("select table_name, rule from sync.conflict order by 1, 2");
    let kept: Vec<_> = kept.iter().map(|row| row[0].clone().unwrap_or_default()).collect();
    assert_eq!(kept, ["person", "product", "product", "stock"]);
    assert!(world.office(&["verify", "north"]).succeeded().contains("agree"));
}

/// I1, I2, I3: what is changed during the adoption is neither lost nor taken for a difference.
#[test]
fn a_shop_trades_while_it_is_adopted() {
    let world = world(&["north"]);
    let shop = &world.shop("north").database;
    // the shop does not hear the third call, which asks for its fingerprints, before it has traded
    let third = Cut { direction: Direction::ToAgent, message: 2, place: Place::FirstByte, for_good: true };
    let line = Proxy::start(world.shop("north").url(), Line { cut: Some(third), ..Line::default() });
    world.office(&["branch", "set", "north", "--url", &line.url()]).succeeded();
    // the office's fingerprints wait for this table, at a moment when both ends have noted where the adoption begins
    let holding = world.office.connect();
    let holding = tests::runtime::run(async move {
        holding.batch_execute("begin; lock table stock in access exclusive mode").await.expect("a lock");
        holding
    });
    let mut adopting = world.start_office(&["--json", "adopt", "north"]);
    wait_for::condition("the beginning of the adoption", || shop.int("select count(*) from sync.watermark") > 0);
    wait_for::condition("the office to wait for the table, and the shop for the call", || {
        let waiting =
            "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
        line.counts().cuts > 0 && world.office.int(waiting) > 0
    });
    shop.execute(
        "insert into sale (product_id, note) select n, 'trade' from generate_series(1, 40) n;
         update person set phone = 'call', points = points + 1 where id <= 30;
         update stock set quantity = quantity - 1 where product_id = 5; delete from person where id = 1900",
    );
    world.office.execute(
        "update product set price = price + 1 where id <= 20; update person set points = points + 2 where id between 20 and 40",
    );
    tests::runtime::run(async move { holding.batch_execute("commit").await.expect("the end of the lock") });
    line.mend();
    assert!(adopting.wait().success(), "{}{}", adopting.stdout(), adopting.stderr());
    let told = adopting.stdout();
    let adoption = objects(&told).into_iter().find(|object| object["run"] == "adopt").expect("the adoption");
    assert!(adoption["pulled_again"].as_i64() > Some(0), "nothing was found to have changed meanwhile: {told}");
    assert_eq!(adoption["differing"], Value::Array(Vec::new()), "{told}");
    world.office(&["update", "north"]).succeeded();
    assert_eq!(moved(&world, "north"), (0, 0));
    assert_together(&world);
    for database in [&world.office, shop] {
        assert_eq!(
            database.int("select count(*) from person where phone = 'call' and id <= 30"),
            30,
            "the shop's calls stand"
        );
        // every point that either side has added counts once
        assert_eq!(database.int("select sum(points) from person"), 1999 * 100 + 30 + 2 * 21);
        assert_eq!(database.int("select count(*) from sale where note = 'trade'"), 40);
        assert_eq!(database.int("select count(*) from person where id = 1900"), 0);
        assert_eq!(database.int("select count(*) from product where id <= 20 and price = id + 1.99"), 20);
    }
    assert!(world.office.int("select count(*) from sync.conflict") == 0, "what nobody contends for is no conflict");
}

#[test]
fn ids_that_two_shops_have_drawn_alike_never_replace_each_other() {
    let world = world(&["north"]);
    let shop = &world.shop("north").database;
    shop.execute("insert into invoice (id, branch_id, note) values (2001, 1, 'mine')");
    world.office.execute("insert into invoice (id, branch_id, note) values (2001, 2, 'of another')");
    world.office(&["adopt", "north"]).ended_with(4);
    let refused = world.office(&["adopt", "north", "--repair"]).ended_with(4);
    assert!(refused.stderr.contains("rows of another branch"), "{}", refused.stderr);
    assert_eq!(world.office.value("select note from invoice where id = 2001").as_deref(), Some("of another"));
    assert_eq!(moved_or_refused(&world), 4);
    shop.execute("update invoice set id = 1999 where id = 2001");
    world.office(&["adopt", "north", "--repair"]).succeeded();
    assert_together(&world);
    assert_eq!(world.office.value("select note from invoice where id = 2001").as_deref(), Some("of another"));
}

fn moved_or_refused(world: &World) -> i32 {
    world.office(&["update", "north"]).code.unwrap_or(-1)
}

/// I19: what an earlier life has counted is not counted again; the rows of that life are its own, its ids nobody's.
#[test]
fn a_shop_whose_branch_was_removed_is_adopted_again_with_its_rows_and_fresh_ids() {
    let world = World::new(&Plan::of(SCHEMA, POLICY, DATA));
    world.enrol();
    world.clone_all();
    let shop = &world.shop("north").database;
    shop.execute(
        "insert into sale (product_id, note) values (1, 'one'); update person set points = points + 5 where id = 1",
    );
    world.office.execute("update person set points = points + 20 where id = 1");
    world.office(&["update", "north"]).succeeded();
    let id = shop.int("select max(id) from sale");
    world.office(&["branch", "remove", "north", "--yes"]).succeeded();
    world.office(&["branch", "add", "north", "--url", world.shop("north").url(), "--id", "1"]).succeeded();
    world.office(&["adopt", "north"]).succeeded();
    assert_eq!(moved(&world, "north"), (0, 0));
    shop.execute(
        "insert into sale (product_id, note) values (1, 'two'); update person set points = points + 1 where id = 1",
    );
    world.office.execute("update person set points = points + 300 where id = 1");
    world.office(&["update", "north"]).succeeded();
    let fresh = 2_000_000_000_000;
    assert!(id < fresh);
    assert_eq!(shop.int("select max(id) from sale"), fresh + 1);
    assert_eq!(shop.int("select points from person where id = 1"), 426);
    assert_together(&world);
    // what it sold in its earlier life is compared too
    shop.execute("alter table sale disable trigger all; update sale set note = 'silently' where note = 'one'; alter table sale enable trigger all");
    world.office(&["verify", "north"]).ended_with(1);
}

#[test]
fn what_was_cloned_or_is_empty_is_not_adopted() {
    let world = World::new(&Plan::of(SCHEMA, POLICY, DATA));
    world.enrol();
    let refused = world.office(&["adopt", "north"]).ended_with(4);
    assert!(refused.stdout.contains("product differs"), "{}", refused.stdout);
    world.clone_all();
    let refused = world.office(&["adopt", "north"]).ended_with(4);
    assert!(refused.stderr.contains("synchronised already"), "{}", refused.stderr);
}
