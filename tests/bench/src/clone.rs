//! The first full copy of an office's database, indexes and foreign keys included.

use std::process::Command;
use std::time::{Duration, Instant};

use fixtures::generate::Size;
use tests::database::Database;
use tests::kit::{Plan, World};
use tests::process::run as finish;

use crate::measure::{Baseline, Comparison, Settings, Target, compare_with, time};
use crate::world;

/// Two million rows in all, about 300 MB with indexes: every contestant, warmed up and three times, in less than ten minutes.
const SALE_ITEMS: u64 = 1_000_000;

/// What a sale item takes of such a database, with its part of all else.
const BYTES_PER_SALE_ITEM: u64 = 300;

/// Rounds, however many of the quicker comparisons are wanted.
const ROUNDS_MAX: usize = 3;

/// Everything goes: the same rows that pg_dump takes.
const POLICY: &str = "name = \"bench\"\n[tables]\n\"*\" = \"from-source\"\n\"warehouse.*\" = \"from-source\"\n";

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    let plan = plan(settings);
    let mut world = World::in_clusters(world::office(), world::shop(), &plan);
    world.enrol();
    // the same data where the product has never been
    let plain = world::office().database("plain");
    for script in [&plan.schema, &plan.data] {
        plain.load(script);
    }
    for database in [&world.office, &plain] {
        database.execute("vacuum analyze");
        database.execute("checkpoint");
    }
    let mut shops = 0;
    // a new shop each time, as the others copy into a new database
    let ours = || {
        shops += 1;
        let name = format!("shop{shops}");
        world.open_shop(world::shop(), &plan, &name);
        let elapsed = time(|| world.office(&["clone", &name]).succeeded());
        world.close_shop(world::shop(), &name);
        elapsed
    };
    let into = |script: &str| {
        let target = world::shop().database("copy");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("set -euo pipefail; {script}")]);
        shell.env("FROM", plain.url()).env("TO", target.url()).env("DIR", dir.path().join("dump"));
        let elapsed = time(|| finish(&mut shell).succeeded());
        world::shop().remove_database(&target);
        elapsed
    };
    let piped = || into(r#"pg_dump "$FROM" | gzip | gunzip | psql -qXv ON_ERROR_STOP=1 "$TO" >/dev/null"#);
    let parallel = || into(r#"pg_dump -Fd -j2 -f "$DIR" "$FROM"; pg_restore -j2 -d "$TO" "$DIR""#);
    let logical = || initial_copy(&plain, &plan.schema);
    let baselines = vec![
        Baseline::new("pg_dump | gzip | gunzip | psql", Target::SpeedAtLeast(2.0), piped),
        Baseline::new("pg_dump -Fd -j2, pg_restore -j2", Target::Reported, parallel),
        Baseline::new("logical replication's initial copy", Target::Reported, logical),
    ];
    // a round takes a minute
    let settings = Settings { rounds: settings.rounds.min(ROUNDS_MAX), ..*settings };
    compare_with(&settings, "clone of a retail database, verified", ours, baselines)
}

fn plan(settings: &Settings) -> Plan {
    let mut data = Vec::new();
    let sale_items = settings.size.map_or(SALE_ITEMS, |bytes| bytes / BYTES_PER_SALE_ITEM) / settings.share as u64;
    fixtures::generate::office_data(Size::items(sale_items), 1, &mut data).expect("memory");
    let data = String::from_utf8(data).expect("the fixtures are UTF-8");
    Plan { branches: Vec::new(), policy: POLICY.into(), data, ..Plan::default() }
}

/// A subscription to all tables, from its creation until they have all been copied.
fn initial_copy(publisher: &Database, schema: &str) -> Duration {
    let subscriber = world::shop().database("subscribed");
    subscriber.load(schema);
    publisher.execute("create publication everything for all tables");
    let began = Instant::now();
    subscriber.execute(&format!("create subscription copy connection '{}' publication everything", publisher.url()));
    while subscriber.int("select count(*) from pg_subscription_rel where srsubstate <> 'r'") > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let elapsed = began.elapsed();
    subscriber.execute("drop subscription copy");
    publisher.execute("drop publication everything");
    world::shop().remove_database(&subscriber);
    elapsed
}
