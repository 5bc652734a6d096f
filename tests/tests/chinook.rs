//! The Chinook database, which nobody here designed: plain integer keys, no sequences, a person who is her own boss's boss.
//!
//! It is not part of this repository: without the file the tests say that they did not run.

use std::path::PathBuf;

use tests::compare;
use tests::engine::Engine;
use tests::not_run;
use tests::process::root;

const POLICY: &str = include_str!("../../fixtures/chinook-policy.toml");

/// Tables that are the same at the office and at every shop.
const SHARED: [&str; 9] =
    ["artist", "album", "track", "genre", "media_type", "playlist", "playlist_track", "employee", "customer"];

/// Tables whose rows are the shops'.
const OF_SHOPS: [&str; 2] = ["invoice", "invoice_line"];

/// The first number of the invoices that a shop writes; those of the file end long before.
const BLOCK: i64 = 1_000_000;

/// The file's DDL and its data; none where the file is not there.
fn chinook() -> Option<(String, String)> {
    let path: PathBuf = root().join("../shared/data/chinook.sql");
    let Ok(script) = std::fs::read_to_string(&path) else {
        not_run::because_out_of_reach("the Chinook database (../shared/data/chinook.sql)");
        return None;
    };
    let data = script.find("INSERT INTO").expect("the file's data");
    Some((script[..data].to_owned(), script[data..].to_owned()))
}

async fn open(shops: &[&str]) -> Option<Engine> {
    let (schema, data) = chinook()?;
    let world = Engine::new(&schema, POLICY, shops).await;
    world.database.execute(&data);
    for name in shops {
        world.clone_shop(name).await.unwrap_or_else(|error| panic!("clone {name}: {error:?}"));
    }
    Some(world)
}

/// Everything is in step: the same rows where both have them, and every shop's own rows at the office.
fn assert_agree(world: &Engine, what: &str) {
    let mut found = Vec::new();
    for (number, shop) in (1..).zip(&world.shops) {
        let (office, shop) = (("office", &world.database), (shop.name.as_str(), &shop.database));
        for table in SHARED {
            found.extend(compare::differences(office, shop, table, None));
        }
        let block = format!("invoice_id between {} and {}", number * BLOCK, number * BLOCK + BLOCK - 1);
        for table in OF_SHOPS {
            found.extend(compare::differences(office, shop, table, Some(&block)));
            assert_eq!(shop.1.int(&format!("select count(*) from {table} where not {block}")), 0, "{what}: {table}");
        }
    }
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// Invoices of some customers for some tracks, numbered in the shop's block from `first` on.
fn invoices(shop: i64, first: i64, count: i64) -> String {
    let base = shop * BLOCK + first;
    format!(
        "insert into invoice (invoice_id, customer_id, invoice_date, billing_city, total)
             select {base} + n, customer_id, '2026-03-29 02:30:00.5'::timestamp + n * interval '1 hour', city, 0
             from generate_series(0, {count} - 1) n join lateral (select * from customer order by customer_id offset n % 50 limit 1) c on true;
         insert into invoice_line (invoice_line_id, invoice_id, track_id, unit_price, quantity)
             select ({base} + n) * 10 + t, {base} + n, track_id, unit_price, 1 + n % 3
             from generate_series(0, {count} - 1) n cross join generate_series(1, 3) t
             join lateral (select * from track order by track_id offset (n * 37 + t) % 3000 limit 1) x on true;
         update invoice set total = (select sum(unit_price * quantity) from invoice_line where invoice_line.invoice_id = invoice.invoice_id)
             where invoice_id >= {base} and total = 0;"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_holds_every_row_and_the_offices_own_invoices_stay_there() {
    let Some(world) = open(&["downtown"]).await else { return };
    assert_agree(&world, "after the clone");
    let shop = &world.shop("downtown").database;
    let counts =
        [("track", 3503), ("playlist_track", 8715), ("artist", 275), ("customer", 59), ("employee", 8), ("invoice", 0)];
    for (table, rows) in counts {
        assert_eq!(shop.int(&format!("select count(*) from {table}")), rows, "{table}");
    }
    assert_eq!(world.database.int("select count(*) from invoice"), 412, "they were written before there were shops");
    let keys = "select count(*) from pg_constraint where contype = 'f' and convalidated and connamespace = 'public'::regnamespace";
    assert_eq!(shop.int(keys), world.database.int(keys), "every foreign key is there and valid");
    let indexes = "select string_agg(indexdef, E'\\n' order by indexdef) from pg_indexes where schemaname = 'public'";
    assert_eq!(shop.value(indexes), world.database.value(indexes), "and every index");
    assert_eq!(world.update("downtown").await.expect("an update"), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_in_both_directions_keep_two_shops_in_step() {
    let Some(world) = open(&["downtown", "uptown"]).await else { return };
    let (downtown, uptown) = (&world.shop("downtown").database, &world.shop("uptown").database);
    for round in 0..3_i64 {
        downtown.execute(&invoices(1, round * 100, 40));
        uptown.execute(&invoices(2, round * 100, 25));
        // customers: each side has its own third
        for (database, side) in [(&world.database, 0), (downtown, 1), (uptown, 2)] {
            database.execute(&format!(
                "update customer set phone = 'round {round}', company = null, address = E'Rua Ç, n\u{ba} {round}\\r\\n' where customer_id % 3 = {side};
                 insert into customer (customer_id, first_name, last_name, email)
                     values ({side} + 100 + {round} * 3, E'J\u{f6}rg 🛒', 'O''Neil \\', 'a@b');"
            ));
        }
        world.database.execute(&format!(
            "update track set unit_price = unit_price + 0.10, composer = nullif(composer, 'AC/DC') where track_id % 50 = {round};
             update album set title = title || ' (remastered)' where album_id % 40 = {round};
             insert into artist values (1000 + {round}, E'Mot\u{f6}rhead\\t{round}');
             insert into album values (1000 + {round}, 'Ace of Spades', 1000 + {round});
             insert into track values (10000 + {round}, 'The Hammer', 1000 + {round}, 1, 1, null, 1, null, 0.00);
             insert into playlist_track select 1, 10000 + {round};
             delete from playlist_track where playlist_id = 5 and track_id % 3 = {round};
             update playlist_track set playlist_id = 2 where playlist_id = 17 and track_id % 2 = {round};
             update employee set reports_to = {round} + 1 where employee_id = 8; update employee set title = null where employee_id = 3;"
        ));
        world.settle(6).await;
        assert_agree(&world, &format!("round {round}"));
    }
    // void invoices, a track renumbered with all that refers to it, an artist who goes with everything
    downtown.execute(&format!("delete from invoice_line where invoice_id % 5 = 0; delete from invoice where invoice_id % 5 = 0 and invoice_id >= {BLOCK}"));
    uptown.execute("truncate invoice_line; truncate invoice cascade");
    world.settle(6).await;
    world.database.execute(
        "insert into track select 20000, name, album_id, media_type_id, genre_id, composer, milliseconds, bytes, unit_price from track where track_id = 10000;
         update playlist_track set track_id = 20000 where track_id = 10000; delete from track where track_id = 10000;
         truncate playlist_track; insert into playlist_track values (1, 20000);
         delete from track where album_id = 1002; delete from album where artist_id = 1002; delete from artist where artist_id = 1002;",
    );
    world.settle(6).await;
    assert_agree(&world, "voids, numbers and deletes");
    assert_eq!(world.database.int(&format!("select count(*) from invoice where invoice_id >= 2 * {BLOCK}")), 0);
    assert!(world.database.int(&format!("select count(*) from invoice where invoice_id >= {BLOCK}")) > 0);
    assert_eq!(world.database.int(&format!("select count(*) from invoice where invoice_id < {BLOCK}")), 412);
}
