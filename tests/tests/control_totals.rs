//! Control totals: rows and money of both ends, counted when a run has moved something and kept in the history (I19).

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tests::database::Database;
use tests::kit::{Plan, World};

const SCHEMA: &str = "
    create table product (id bigserial primary key, name text not null, price numeric(12, 2) not null);
    create table client (id bigserial primary key, name text not null, tax_number text unique, credit numeric(12, 2) not null);
    create table sale (id bigserial primary key, product_id bigint not null references product, total numeric(12, 2) not null,
                       tip numeric(12, 2));
    create table note (id bigserial primary key, text text);
";

const POLICY: &str = r#"
name = "totals"
[tables]
product = "from-source"
client  = "both"
sale    = "from-target"
note    = "both"
[table.product]
money    = ["price"]
triggers = "fire"
[table.client]
money = ["credit"]
delta = ["credit"]
[table.sale]
money = ["tip", "total"]
"#;

const DATA: &str = "
    insert into product (name, price) select 'product ' || n, n + 0.5 from generate_series(1, 10) n;
    insert into client (name, credit) select 'client ' || n, 10 from generate_series(1, 5) n;
";

fn world() -> World {
    let world = World::new(&Plan::of(SCHEMA, POLICY, DATA));
    world.enrol();
    world.clone_all();
    world
}

fn sell(shop: &Database, rows: u32) {
    shop.execute(&format!(
        "insert into sale (product_id, total, tip) select 1 + n % 10, 2.25, nullif(n % 2, 0) * 0.10 from generate_series(1, {rows}) n"
    ));
}

/// Changes a database behind the product's back.
fn behind_its_back(database: &Database, sql: &str) {
    database.execute(&format!(
        "begin; alter table sale disable trigger all; {sql}; alter table sale enable trigger all; commit"
    ));
}

/// The control totals of the newest run, by table, as scripts see them.
fn newest(world: &World) -> Value {
    let history = world.office(&["--json", "history", "north", "--limit", "1"]).succeeded();
    let run: Value = serde_json::from_str(history.trim()).expect("JSON");
    let totals = run["totals"].as_array().expect("a list").iter();
    totals.map(|total| (total["table"].as_str().expect("a name").to_owned(), total.clone())).collect()
}

fn verdict(totals: &Value, table: &str) -> String {
    totals[table]["verdict"].as_str().unwrap_or("none").to_owned()
}

#[test]
fn i19_rows_and_money_of_both_ends_are_in_the_history_and_a_difference_is_told_in_words() {
    let world = world();
    let north = &world.shop("north").database;
    assert_eq!(verdict(&newest(&world), "product"), "agrees", "of a clone");
    sell(north, 8);
    north.execute("update client set credit = credit + 1.25 where id = 1");
    let told = world.office(&["update", "north"]).succeeded();
    assert!(!told.contains("control totals"), "nobody wants to hear that all is well: {told}");
    let totals = newest(&world);
    assert_eq!(
        totals["sale"],
        serde_json::json!({
            "table": "sale", "office_rows": 8, "shop_rows": 8, "verdict": "agrees",
            "sums": { "tip": { "office": "0.40", "shop": "0.40" }, "total": { "office": "18.00", "shop": "18.00" } },
        })
    );
    assert_eq!(totals["client"]["sums"]["credit"], serde_json::json!({ "office": "51.25", "shop": "51.25" }));
    assert_eq!(totals["product"]["office_rows"], 10);
    assert_eq!(totals["note"], Value::Null, "it declares no money");
    // nothing moved, nothing is counted
    world.office(&["update", "north"]).succeeded();
    assert_eq!(newest(&world), serde_json::json!({}));

    // somebody's hand at the office: the run is done, for it is; and says so
    behind_its_back(&world.office, "update sale set total = total + 100 where id = (select min(id) from sale)");
    sell(north, 1);
    let told = world.office(&["update", "north"]).succeeded();
    let totals = newest(&world);
    assert_eq!(verdict(&totals, "sale"), "differs", "{totals}");
    assert_eq!(totals["sale"]["sums"]["total"], serde_json::json!({ "office": "120.25", "shop": "20.25" }));
    for place in [told, world.office(&["history", "north"]).stderr] {
        assert!(
            place.contains(
                "sale differs: 9 rows, tip 0.50, total 120.25 at the office; 9 rows, tip 0.50, total 20.25 at the shop"
            ),
            "{place}"
        );
    }
}

#[test]
fn what_changes_while_it_is_counted_is_no_false_alarm() {
    let world = world();
    let north = &world.shop("north").database;
    sell(north, 5);
    world.office(&["update", "north"]).succeeded();
    // the shop sells whenever a price arrives: between the pull of an update and its end
    north.execute(
        "create function sells() returns trigger language plpgsql as $$ begin
             insert into sale (product_id, total) values (new.id, 7); return new; end $$;
         create trigger sells after update on product for each row execute function sells()",
    );
    world.office.execute("update product set price = price + 1 where id = 3");
    world.office(&["update", "north"]).succeeded();
    let totals = newest(&world);
    assert_eq!(
        (north.int("select count(*) from sale"), verdict(&totals, "sale")),
        (6, "agrees".to_owned()),
        "{totals}"
    );
    assert_eq!(totals["sale"]["shop_rows"], 5, "those that are known to be there: {totals}");
    // a sale that the office has is corrected at that moment: its old total is nowhere any more
    north.execute(
        "create or replace function sells() returns trigger language plpgsql as $$ begin
             update sale set total = total + 1 where id = (select min(id) from sale); return new; end $$",
    );
    world.office.execute("update product set price = price + 1 where id = 4");
    world.office(&["update", "north"]).succeeded();
    assert_eq!(verdict(&newest(&world), "sale"), "changing");
    north.execute("drop trigger sells on product");

    // and tills that never rest
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let till = scope.spawn(|| {
            let mut sold = 0;
            while !stop.load(Ordering::Relaxed) {
                sell(north, 1);
                world.office.execute("update client set credit = credit + 0.5, name = name || '.' where id = 2");
                north.execute("update client set credit = credit + 0.25 where id = 2");
                sold += 1;
            }
            sold
        });
        for round in 0..4 {
            world.office.execute("update product set price = price + 1 where id = 5");
            world.office(&["update", "north"]).succeeded();
            let totals = newest(&world);
            for table in ["product", "client", "sale"] {
                assert!(["agrees", "changing"].contains(&verdict(&totals, table).as_str()), "round {round}: {totals}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(till.join().expect("a till") > 0);
    });
    world.office(&["update", "north"]).succeeded();
    world.office.execute("update product set price = price + 1 where id = 6");
    world.office(&["update", "north"]).succeeded();
    let totals = newest(&world);
    for table in ["product", "client", "sale"] {
        assert_eq!(verdict(&totals, table), "agrees", "{totals}");
    }
}

#[test]
fn what_explains_a_difference_is_named_instead() {
    let world = world();
    let north = &world.shop("north").database;
    sell(north, 6);
    world.office(&["update", "north"]).succeeded();
    // old sales are purged at the shop and stay at the office; the next update knows of the deletes no more
    north.execute("delete from sale where id in (select id from sale order by id limit 2)");
    world.office(&["update", "north"]).succeeded();
    sell(north, 1);
    world.office(&["update", "north"]).succeeded();
    let totals = newest(&world);
    assert_eq!(verdict(&totals, "sale"), "kept", "{totals}");
    assert_eq!((&totals["sale"]["office_rows"], &totals["sale"]["shop_rows"]), (&7.into(), &5.into()));
    // but a sale that only the shop has is none of those
    behind_its_back(&world.office, "delete from sale where id in (select id from sale order by id desc limit 1)");
    sell(north, 1);
    world.office(&["update", "north"]).succeeded();
    assert_eq!(verdict(&newest(&world), "sale"), "kept", "what it keeps outweighs what it lacks");
    behind_its_back(&world.office, "delete from sale where id in (select id from sale order by id desc limit 4)");
    sell(north, 1);
    world.office(&["update", "north"]).succeeded();
    assert_eq!(verdict(&newest(&world), "sale"), "differs");
    // a client who waits in quarantine
    world.office.execute("insert into client (name, tax_number, credit) values ('office', 'T1', 1)");
    north.execute("insert into client (name, tax_number, credit) values ('shop', 'T1', 2)");
    world.office(&["update", "north"]).succeeded();
    assert_eq!(verdict(&newest(&world), "client"), "waiting");
}
