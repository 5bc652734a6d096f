//! The SQL on the wire is SQL: plain `psql` runs it, what `pg_dump` writes is taken, and chunks may be cut anywhere.

#[path = "plain_sql/cuts.rs"]
mod cuts;
#[path = "plain_sql/shop_floor.rs"]
mod shop_floor;

use std::io::Cursor;

use fixtures::trade::{Side, day_of_sales, mixed, office_edits};
use protocol::watermark::Since;
use tests::compare;
use tests::database::Database;
use tests::engine::OFFICE;
use tests::{cluster, not_run, psql};

use shop_floor::{FROM_SHOP, TO_SHOP, raw_session, text_of};

/// A database that takes part in nothing: the fixtures' schema, whose own triggers are off as a plain copy wants it.
fn bystander(rows_of: Option<&Database>) -> Database {
    let database = cluster::shared().database("plain");
    database.execute(fixtures::SCHEMA);
    if let Some(source) = rows_of {
        let dump = shop_floor::dump(source, &["--disable-triggers", "--schema=public", "--schema=warehouse"]);
        psql::run(&database, &dump).succeeded();
    }
    for table in TO_SHOP.iter().chain(&FROM_SHOP) {
        database.execute(&format!("alter table {table} disable trigger user"));
    }
    database
}

/// Runs a script with `psql`, stopping at the first error. Where a plain script cannot do it, its first line says so, and
/// the database stays as it was.
fn runs_plainly(database: &Database, script: &str, what: &str) -> bool {
    let finished = psql::run(database, script.as_bytes());
    if finished.is_success() {
        return true;
    }
    let first = script.lines().next().unwrap_or_default();
    assert!(first.starts_with("-- "), "{what}: psql refuses it without a word of warning\n{}", finished.stderr);
    assert!(finished.stderr.contains("duplicate key"), "{what}: {}", finished.stderr);
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_psql_runs_a_clone_and_every_diff_of_both_directions() {
    if psql::find().is_none() || shop_floor::program("pg_dump").is_none() {
        not_run::because("psql and pg_dump");
        return;
    }
    let world = shop_floor::open(11).await;
    let shop = &world.shop("north").database;
    let branch = world.branch("north").await;
    // the clone, frozen once more: the same rows
    let clone = world.office.freeze_clone(&branch).await.expect("a frozen clone");
    let script = text_of(&world.office.spool().data_path(&clone.stream.id));
    world.office.drop_outgoing(&branch, &clone).await.expect("nothing to send");
    let at_shop = bystander(None);
    assert!(script.ends_with("COMMIT;\n") || script.contains("\nCOMMIT;\n"), "it ends with COMMIT");
    let cloned = runs_plainly(&at_shop, &script, "the clone");
    assert!(cloned, "the clone");
    compare::assert_equal(("the shop", shop), ("plain psql", &at_shop), &TO_SHOP);
    for round in 0..4 {
        // every second day is quiet: no unique value moves between rows, so a plain run must go through
        let quiet = round % 2 == 0;
        let at_office = bystander(Some(&world.database));
        shop.execute(&day_of_sales(20 + round, 10, 1));
        if !quiet {
            shop.execute(&mixed(30 + round, 40, Side::Shop { branch: 1 }));
        }
        let since = world.branch("north").await.timestamp.unwrap_or_default();
        let since = Since::parse(&since).expect("a watermark");
        let diff = world.shop("north").shop.open_diff(OFFICE, since).await.expect("a diff");
        let script = text_of(&world.shop("north").shop.spool().data_path(&diff.id));
        let watermark = format!("-- watermark: {}", diff.watermark.clone().unwrap_or_default());
        assert_eq!(script.trim_end().lines().last(), Some(watermark.as_str()), "round {round}");
        let what = format!("round {round}, the shop's diff");
        let done = runs_plainly(&at_office, &script, &what);
        assert!(done || !quiet, "{what}");
        world.pull("north").await.expect("a pull");
        if done {
            compare::assert_equal(("the office", &world.database), ("plain psql", &at_office), &FROM_SHOP);
            // a repeat is harmless
            assert!(runs_plainly(&at_office, &script, &format!("{what}, again")));
            compare::assert_equal(("the office", &world.database), ("plain psql, twice", &at_office), &FROM_SHOP);
        }

        let at_shop = bystander(Some(shop));
        world.database.execute(&office_edits(50 + round, 40));
        if !quiet {
            world.database.execute(&mixed(40 + round, 40, Side::Office));
        }
        let branch = world.branch("north").await;
        let push = world.office.freeze_push(&branch).await.expect("a push").expect("something to push");
        let script = text_of(&world.office.spool().data_path(&push.stream.id));
        let what = format!("round {round}, the office's push");
        let done = runs_plainly(&at_shop, &script, &what);
        assert!(done || !quiet, "{what}");
        world.push("north").await.expect("a push");
        if done {
            compare::assert_equal(("the shop", shop), ("plain psql", &at_shop), &TO_SHOP);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pg_dump_writes_is_taken_in_all_its_forms() {
    if shop_floor::program("pg_dump").is_none() {
        not_run::because("pg_dump");
        return;
    }
    let world = shop_floor::open(12).await;
    let shop = world.shop("north");
    let forms: [&[&str]; 5] = [
        &[],
        &["--inserts"],
        &["--column-inserts"],
        &["--rows-per-insert=100"],
        &["--inserts", "--rows-per-insert=7", "--on-conflict-do-nothing"],
    ];
    for form in forms {
        let mut args = vec!["--schema=public", "--schema=warehouse"];
        args.extend(form);
        let left_out: Vec<String> = FROM_SHOP
            .iter()
            .filter(|table| !TO_SHOP.contains(table))
            .map(|table| (*table).to_owned())
            .chain(["till_*".to_owned(), "sale_log*".to_owned()])
            .map(|table| format!("--exclude-table={table}"))
            .collect();
        args.extend(left_out.iter().map(String::as_str));
        let dump = shop_floor::dump(&world.database, &args);
        assert!(dump.len() > 50_000, "{form:?}: {} bytes", dump.len());
        shop.shop.clean(OFFICE, true, None).await.expect("a clean");
        assert_eq!(shop.database.int("select count(*) from product"), 0);
        raw_session(&world, Cursor::new(cuts::gzip(&dump))).await.unwrap_or_else(|error| panic!("{form:?}: {error:?}"));
        compare::assert_equal(
            ("the office", &world.database),
            (&format!("the shop, {form:?}"), &shop.database),
            &TO_SHOP,
        );
        compare::assert_equal(("the office", &world.database), ("the shop", &shop.database), &["parameter_data"]);
    }
    world.database.execute(
        "insert into sale (branch_id, receipt) values (1, 'r'); insert into stock select 1, min(id), 1 from product",
    );
    // tables that the shop owns are refused, and nothing stays of the dump around them
    shop.shop.clean(OFFICE, true, None).await.expect("a clean");
    for table in ["sale", "stock"] {
        let dump = shop_floor::dump(
            &world.database,
            &["--table=payment_method", "--table=service", &format!("--table={table}")],
        );
        let error = raw_session(&world, Cursor::new(dump)).await.expect_err("a table of the shop");
        assert_eq!(error.fault_code().code(), 8, "{error}");
        assert_eq!(shop.database.int("select count(*) from service"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_may_be_cut_anywhere_and_packed_in_any_way() {
    let world = shop_floor::open(13).await;
    let shop = world.shop("north");
    let branch = world.branch("north").await;
    let clone = world.office.freeze_clone(&branch).await.expect("a frozen clone");
    let path = world.office.spool().data_path(&clone.stream.id);
    let (packed, script) = (std::fs::read(&path).expect("the stream"), text_of(&path).into_bytes());
    world.office.drop_outgoing(&branch, &clone).await.expect("nothing to send");
    assert!(script.iter().any(|byte| *byte >= 0x80), "letters of several bytes to be cut");
    let mut ways: Vec<(&str, Box<dyn std::io::Read + Send>)> = vec![
        ("as it is", Box::new(Cursor::new(packed.clone()))),
        ("slices of one stream", Box::new(cuts::Trickle::new(packed, &[1, 7, 4096]))),
        ("plain SQL", Box::new(cuts::Trickle::new(script.clone(), &[40_960]))),
        ("plain SQL byte by byte", Box::new(cuts::Trickle::new(script.clone(), &[1]))),
        ("members of odd sizes", Box::new(Cursor::new(cuts::members(&script, &[1, 2, 3, 1_000, 10_007])))),
        ("gzip, then plain SQL", Box::new(Cursor::new(cuts::half_packed(&script)))),
    ];
    match cuts::bzip2(&script) {
        Some(bzip2) => {
            let mut mixed = cuts::gzip(&script[..script.len() / 3]);
            mixed.extend(cuts::bzip2(&script[script.len() / 3..]).unwrap_or_default());
            ways.push(("bzip2", Box::new(cuts::Trickle::new(bzip2, &[13]))));
            ways.push(("gzip, then bzip2", Box::new(Cursor::new(mixed))));
        }
        None => not_run::because("bzip2"),
    }
    for (way, input) in ways {
        shop.shop.clean(OFFICE, true, None).await.expect("a clean");
        raw_session(&world, input).await.unwrap_or_else(|error| panic!("{way}: {error:?}"));
        compare::assert_equal(("the office", &world.database), (way, &shop.database), &TO_SHOP);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_cut_at_every_byte_means_the_same() {
    let world = shop_floor::open(14).await;
    let shop = &world.shop("north").database;
    let script = "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; BEGIN;\n\
        INSERT INTO service (id, name, amount) VALUES (900, 'it''s \u{e9}\u{6f22}\u{1f6d2}; -- \\', 1.10), (901, NULL::text, 2)";
    // a cast is no dialect: the script is refused whole, wherever it is cut
    for cut in [1, 70, script.len() - 3] {
        let chunks = cuts::members(script.as_bytes(), &[cut, usize::MAX]);
        let error = raw_session(&world, Cursor::new(chunks)).await.expect_err("a cast");
        assert_eq!(error.fault_code().code(), 8, "{error}");
    }
    let script = "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; BEGIN;\n\
        INSERT INTO \"service\" (id, name, amount) VALUES (900, 'it''s \u{e9}\u{6f22}\u{1f6d2}; -- \\', 1.10) ON CONFLICT (id) DO UPDATE SET name = excluded.name, amount = excluded.amount;\n\
        DELETE FROM service WHERE id IN (899, 901);\nCOPY \"PriceTag\" (\"Id\", \"productId\", \"Label Text\", \"select\") FROM stdin;\n\
        800000\t1\t\u{e9}\\n\\\\.\tf\n\\.\nCOMMIT;\n";
    let step = 5;
    for cut in (1..script.len()).step_by(step) {
        shop.execute("delete from service where id = 900; delete from \"PriceTag\" where \"Id\" = 800000");
        let chunks = cuts::members(script.as_bytes(), &[cut, usize::MAX]);
        raw_session(&world, Cursor::new(chunks)).await.unwrap_or_else(|error| panic!("cut at {cut}: {error:?}"));
        let name = shop.value("select name || amount from service where id = 900");
        assert_eq!(name.as_deref(), Some("it's \u{e9}\u{6f22}\u{1f6d2}; -- \\1.10"), "cut at {cut}");
        let label = shop.value("select \"Label Text\" from \"PriceTag\" where \"Id\" = 800000");
        assert_eq!(label.as_deref(), Some("\u{e9}\n\\."), "cut at {cut}");
    }
    // and with every byte a gzip member of its own
    shop.execute("delete from service where id = 900; delete from \"PriceTag\" where \"Id\" = 800000");
    raw_session(&world, Cursor::new(cuts::members(script.as_bytes(), &[1]))).await.expect("one byte at a time");
    assert_eq!(shop.int("select count(*) from service where id = 900"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_plain_script_can_its_first_line_says_so() {
    if psql::find().is_none() || shop_floor::program("pg_dump").is_none() {
        not_run::because("psql and pg_dump");
        return;
    }
    let world = shop_floor::open(15).await;
    world.database.execute(
        "update product set code = 'aside' where id = 1; update product set code = 'first' where id = 2;
         update product set code = 'second' where id = 1;",
    );
    world.update("north").await.expect("an update");
    let at_shop = bystander(Some(&world.shop("north").database));
    world.database.execute(
        "update product set code = 'aside' where id = 1; update product set code = 'second' where id = 2;
         update product set code = 'first' where id = 1;",
    );
    let branch = world.branch("north").await;
    let push = world.office.freeze_push(&branch).await.expect("a push").expect("something to push");
    let script = text_of(&world.office.spool().data_path(&push.stream.id));
    runs_plainly(&at_shop, &script, "two codes exchanged");
    world.push("north").await.expect("our own shop takes it in any case");
    compare::assert_equal(("office", &world.database), ("north", &world.shop("north").database), &["product"]);
}
