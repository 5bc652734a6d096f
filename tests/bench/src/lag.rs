//! Changed rows from a shop to the office: a whole update, against the time that built-in logical replication lags.

use std::time::{Duration, Instant};

use tests::database::Database;
use tests::kit::{Plan, World};

use crate::measure::{Comparison, Settings, Target, compare, time};
use crate::world;

const ROWS: usize = 500_000;
const POLICY: &str = "name = \"bench\"\n[tables]\nproduct = \"local\"\nsale = \"from-target\"\n";

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    let rows = ROWS / settings.share;
    let sales = |database: &Database| {
        database.execute(&format!(
            "insert into sale (product_id, sold_at, quantity, amount, note)
             select i % 1000, '2026-01-01'::timestamptz + i * interval '1 second', 1, i % 9000 / 100.0, repeat('x', 40)
             from generate_series(1, {rows}) i"
        ));
        database.execute("vacuum analyze sale");
    };
    let change = "update sale set quantity = quantity + 1 where id % 5 = 0";

    let world = World::in_clusters(world::office(), world::shop(), &Plan::of(world::SCHEMA, POLICY, ""));
    world.enrol();
    world.clone_all();
    sales(&world.shop("north").database);
    world.office(&["update", "north"]).succeeded();
    world.office.execute("vacuum analyze sale");
    let ours = || {
        world.shop("north").database.execute(change);
        time(|| world.office(&["update", "north"]).succeeded())
    };

    let (publisher, subscriber) = (world::shop().database("published"), world::office().database("subscribed"));
    for database in [&publisher, &subscriber] {
        database.execute(world::SCHEMA);
    }
    sales(&publisher);
    publisher.execute("create publication sales for table sale");
    subscriber.execute(&format!("create subscription sales connection '{}' publication sales", publisher.url()));
    let until = |wanted: &str, sql: &str| {
        while subscriber.value(sql).as_deref() != Some(wanted) {
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    until(&rows.to_string(), "select count(*)::text from sale");
    until("r", "select srsubstate::text from pg_subscription_rel");
    subscriber.execute("vacuum analyze sale");
    let mut quantity = 1;
    let baseline = || {
        publisher.execute(change);
        quantity += 1;
        let began = Instant::now();
        // the last row of the transaction shows with all the others
        until(&quantity.to_string(), &format!("select quantity::text from sale where id = {}", rows / 5 * 5));
        began.elapsed()
    };
    let what = "100,000 changed rows from shop to office, a whole update";
    let all = vec![compare(settings, what, "logical replication's lag", Target::TimeAtMost(1.5), ours, baseline)];
    subscriber.execute("drop subscription sales");
    all
}
