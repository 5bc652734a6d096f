//! `verify` finds every kind of difference row by row, between servers that sort differently, for few bytes.

use tests::cluster;
use tests::cluster::Cluster;
use tests::kit::{Plan, World};

const SCHEMA: &str = "
    create table product (code text primary key, name text, price numeric(12, 2), added timestamptz, picture bytea);
    create table person (id bigserial primary key, name text not null, phone text);
    create table sale (id bigserial primary key, product_code text not null references product, note text);
    create table stock (branch_id int, product_code text references product, quantity int, primary key (branch_id, product_code));
";

const POLICY: &str = r#"
name = "verify"
[tables]
product = "from-source"
person  = "both"
sale    = "from-target"
stock   = "from-target"
[table.stock]
rows = "branch_id = :branch"
"#;

const DATA: &str = "
    insert into product select chr(64 + n % 60) || '-' || n || '-ä', 'product ' || n, n, '2024-01-01Z', decode(md5(n::text), 'hex')
        from generate_series(1, 2000) n;
    insert into person (name, phone) select 'person ' || n, n from generate_series(1, 600) n;
";

/// Changes a database behind the product's back.
fn behind_its_back(database: &tests::database::Database, sql: &str) {
    database.execute(&format!(
        "begin; alter table product disable trigger all; alter table person disable trigger all; alter table sale disable trigger all;
         alter table stock disable trigger all; {sql};
         alter table product enable trigger all; alter table person enable trigger all; alter table sale enable trigger all;
         alter table stock enable trigger all; commit"
    ));
}

fn world() -> World {
    let world = World::new(&Plan::of(SCHEMA, POLICY, DATA));
    world.enrol();
    world.clone_all();
    world.shop("north").database.execute(
        "insert into sale (product_code, note) select code, 'sale' from product limit 300;
         insert into stock select 1, code, 5 from product limit 100",
    );
    world.office(&["update", "north"]).succeeded();
    world
}

#[test]
fn every_kind_of_difference_is_found_row_by_row() {
    let world = world();
    assert!(world.office(&["verify", "north"]).succeeded().contains("4 tables agree"));
    let north = &world.shop("north").database;
    behind_its_back(
        north,
        "update product set price = price + 1, picture = null where name = 'product 7';
         delete from stock where product_code in (select code from product where name = 'product 9');
         delete from product where name = 'product 1999';
         insert into product values ('only there', '', null, 'infinity', '');
         update person set phone = '' where id = 5;
         update sale set note = null where id = (select min(id) from sale)",
    );
    behind_its_back(
        &world.office,
        "delete from sale where id = (select max(id) from sale); update stock set quantity = 6 where product_code = (select min(product_code) from stock)",
    );
    let told = world.office(&["--json", "verify", "north"]).ended_with(1).stdout;
    let rows: Vec<serde_json::Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object per line"))
        .filter(|object: &serde_json::Value| object.get("side").is_some())
        .collect();
    let found = |table: &str, side: &str| -> Vec<&serde_json::Value> {
        rows.iter().filter(|row| row["table"] == table && row["side"] == side).collect()
    };
    assert_eq!(found("product", "both").len(), 1, "{told}");
    assert_eq!(found("product", "both")[0]["columns"], serde_json::json!(["picture", "price"]));
    assert_eq!(found("product", "shop")[0]["key"], serde_json::json!({"code": "only there"}));
    assert_eq!(found("product", "office").len(), 1);
    assert_eq!(found("person", "both")[0]["columns"], serde_json::json!(["phone"]));
    assert_eq!((found("sale", "both").len(), found("sale", "shop").len()), (1, 1));
    assert_eq!(found("stock", "both")[0]["columns"], serde_json::json!(["quantity"]));
    assert_eq!(rows.len(), 7, "{told}");

    // and all of it is mended: the office's own rows by the office, the shop's by the shop
    world.office(&["verify", "north", "--repair"]).succeeded();
    world.assert_agree(&["product", "person", "sale"]);
    assert!(world.office(&["verify", "north"]).succeeded().contains("4 tables agree"));
}

#[test]
fn a_sign_that_differs_and_rows_wider_than_an_answer_are_found_and_mended() {
    let world = world();
    let north = &world.shop("north").database;
    behind_its_back(north, "update product set price = -price where name = 'product 7'");
    let told = world.office(&["verify", "north"]).ended_with(1).stdout;
    assert!(told.contains("price"), "{told}");

    world.office.execute("insert into person (name) select repeat(chr(64 + n), 40000) from generate_series(1, 60) n");
    world.office(&["update", "north"]).succeeded();
    behind_its_back(north, "update person set phone = 'other' where length(name) = 40000");
    let told = world.office(&["--json", "verify", "north"]).ended_with(1).stdout;
    assert_eq!(told.matches(r#""columns":["phone"]"#).count(), 60, "{told}");
    world.office(&["verify", "north", "--repair"]).succeeded();
    world.assert_agree(&["product", "person", "sale"]);
}

#[test]
fn equal_tables_and_few_differences_cost_few_bytes() {
    let world = world();
    let spent = |args: &[&str]| {
        let told = world.office(args);
        let told = told.stdout;
        let last = told.lines().last().expect("a summary").to_owned();
        let summary: serde_json::Value = serde_json::from_str(&last).expect("JSON");
        summary["sent_bytes"].as_u64().unwrap() + summary["received_bytes"].as_u64().unwrap()
    };
    let rows: u64 = std::env::var("SYNC_VERIFY_ROWS").map_or(100_000, |text| text.parse().expect("a number"));
    world.office.execute(&format!("insert into person (name) select 'more ' || n from generate_series(1, {rows}) n"));
    world.office(&["update", "north"]).succeeded();
    let equal = spent(&["--json", "verify", "north"]);
    assert!(equal < 5_000, "{equal} bytes for {rows} equal rows");
    let differs = format!("update person set phone = 'other' where id % {} = 7", rows / 5);
    behind_its_back(&world.shop("north").database, &differs);
    let few = spent(&["--json", "verify", "north"]);
    println!("{equal} bytes for {rows} equal rows, {few} to find 5 that differ");
    assert!(few < 120_000.max(rows / 2), "{few} bytes to find 5 rows of {rows}");
}

#[test]
fn servers_that_sort_and_fold_text_otherwise_agree() {
    let other = Cluster::start(false);
    let plan = Plan { shops_have_schema: false, ..Plan::of(SCHEMA, POLICY, DATA) };
    let world = World::in_clusters(cluster::shared(), &other, &plan);
    world.shop("north").database.execute(&format!(
        "create collation other (provider = icu, locale = 'de-u-kf-upper-kn', deterministic = false); {}",
        SCHEMA.replace("code text", "code text collate other")
    ));
    world.enrol();
    world.clone_all();
    let first = "select code from product order by code limit 1 offset 1000";
    assert_ne!(world.office.value(first), world.shop("north").database.value(first), "the servers do sort otherwise");
    assert!(world.office(&["verify", "north"]).succeeded().contains("agree"));
    behind_its_back(&world.shop("north").database, "update product set name = 'other' where price = 77");
    let told = world.office(&["verify", "north"]).ended_with(1).stdout;
    assert!(told.contains("differs in name"), "{told}");
}
