//! Diffs and whole updates.

use std::process::Command;
use std::time::Instant;

use protocol::methods::BaselineOptions;
use protocol::watermark::Since;
use tests::engine::{Engine, OFFICE};
use tests::kit::{Plan, World};
use tests::process::{binary, run as finish};
use tests::psql;

use crate::measure::{Comparison, Settings, Target, compare, time, unmeasured};
use crate::world;

const POLICY: &str = "name = \"bench\"\n[tables]\nproduct = \"local\"\nsale = \"from-target\"\n";

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    let mut all = vec![nothing_to_do(settings), large_diff(settings)];
    all.extend(flat_diff(settings));
    all
}

/// A whole update that finds nothing, as a program that is started and ends.
fn nothing_to_do(settings: &Settings) -> Comparison {
    let plan = Plan { branches: vec!["north".into()], ..Plan::default() };
    let world = World::in_clusters(world::office(), world::shop(), &plan);
    world.enrol();
    world.clone_all();
    world.office(&["update", "north"]).succeeded();
    let ours = || time(|| world.office(&["update", "north"]).succeeded());
    let shop = world.shop("north");
    let baseline = || {
        time(|| {
            let call = ["call", shop.url(), "system.listMethods"];
            finish(Command::new(binary("office-client")).args(call)).succeeded();
            for database in [&world.office, &shop.database] {
                psql::run(database, b"select 1").succeeded();
            }
        })
    };
    let against = "a bare call and a psql on each side";
    compare(settings, "an update with nothing to do", against, Target::TimeAtMost(3.0), ours, baseline)
}

/// Most sales of one statement: capture keeps the keys of each.
const SALES_AT_ONCE: usize = 1_000_000;

/// Free disk that ten million sales with their indexes, log and write-ahead log may need.
const DISK_FREE_MIN: u64 = 15 << 30;

/// Sales `from..=to` of the shop.
fn sales(from: usize, to: usize) -> String {
    format!(
        "insert into sale (id, product_id, sold_at, quantity, amount, note)
         select i, i % 1000, '2026-01-01'::timestamptz + i * interval '1 second', i % 5 + 1, i % 9000 / 100.0, repeat('x', 40)
         from generate_series({from}, {to}) i"
    )
}

/// A shop with so many sales, all of them known to the office.
fn shop_with(rows: usize) -> Engine {
    let engine = world::wait(Engine::in_cluster(world::shop(), world::SCHEMA, POLICY, &["north"]));
    world::wait(engine.clone_shop("north")).expect("a clone");
    let shop = engine.shop("north");
    for first in (1..=rows).step_by(SALES_AT_ONCE) {
        shop.database.execute(&sales(first, rows.min(first + SALES_AT_ONCE - 1)));
    }
    shop.database.execute("vacuum analyze sale");
    world::wait(async {
        let branch = engine.branch("north").await;
        // a watermark of now, without a diff of everything
        let known = shop.shop.baseline(OFFICE, BaselineOptions::default()).await.expect("a watermark");
        engine.office.advance_timestamp(&branch, &known.watermark).await.expect("noted");
    });
    engine
}

/// Frees the disk.
fn remove(engine: &Engine) {
    for database in [&engine.database, &engine.shop("north").database] {
        world::shop().remove_database(database);
    }
}

fn since(timestamp: Option<&str>) -> Since {
    Since::parse(timestamp.unwrap_or("0")).expect("our own timestamp")
}

/// The time of freezing what a statement has changed; nothing is acknowledged, so each round begins at the same place.
fn diff_of(engine: &Engine, change: &str) -> std::time::Duration {
    let shop = engine.shop("north");
    shop.database.execute(change);
    world::wait(async {
        let branch = engine.branch("north").await;
        let began = Instant::now();
        let diff = shop.shop.open_diff(OFFICE, since(branch.timestamp.as_deref())).await.expect("a diff");
        let elapsed = began.elapsed();
        assert!(diff.rows > 0, "the change is in the diff");
        // the next round sees its own changes only
        engine.office.advance_timestamp(&branch, &diff.watermark.unwrap_or_default()).await.expect("noted");
        elapsed
    })
}

fn large_diff(settings: &Settings) -> Comparison {
    let (all, changed) = (2_000_000 / settings.share, 100_000 / settings.share);
    let engine = shop_with(all);
    let every = all / changed;
    let ours = || diff_of(&engine, &format!("update sale set quantity = quantity + 1 where id % {every} = 0"));
    let database = engine.shop("north").database.clone();
    let baseline = || {
        let copy = format!("copy (select * from sale where id % {every} = 0) to stdout");
        time(|| psql::run(&database, copy.as_bytes()).succeeded())
    };
    let (what, against) = ("diff of 100,000 changed rows of 2 million", "COPY of just those rows");
    let compared = compare(settings, what, against, Target::TimeAtMost(4.0), ours, baseline);
    remove(&engine);
    compared
}

/// What a diff of 1,000 changes costs must not depend on the table around them.
fn flat_diff(settings: &Settings) -> Vec<Comparison> {
    let change = |rows: usize| format!("update sale set quantity = quantity + 1 where id % {} = 0", rows / 1000);
    let small = shop_with(10_000);
    let sizes = [(100_000, "10^5"), (1_000_000, "10^6"), (10_000_000, "10^7")];
    let sizes = sizes.into_iter().filter(|(rows, _)| *rows <= 10_000_000 / settings.share);
    let against = "the same in 10^4 rows";
    let target = Target::TimeAtMost(1.3);
    let all = sizes.map(|(rows, name)| {
        let what = format!("diff of 1,000 changes in {name} rows");
        if rows >= 10_000_000 && disk_free().is_some_and(|free| free < DISK_FREE_MIN) {
            return unmeasured(&what, against, target, "less than 15 GB of the disk are free".to_owned());
        }
        let large = shop_with(rows);
        let compared = compare(
            settings,
            &what,
            against,
            target,
            || diff_of(&large, &change(rows)),
            || diff_of(&small, &change(10_000)),
        );
        remove(&large);
        compared
    });
    all.collect()
}

/// Bytes that are free where the databases are.
fn disk_free() -> Option<u64> {
    let directory = world::shop().embedded().dir().to_owned();
    let told = finish(Command::new("df").args(["--output=avail", "-B1"]).arg(directory)).succeeded();
    told.lines().nth(1)?.trim().parse().ok()
}
