//! What a shop pays for capture: the same work in a database with it and in one without.

use std::process::Command;
use std::time::Duration;

use tests::database::Database;
use tests::kit::{Plan, World};
use tests::process::run as finish;
use tests::psql;

use crate::measure::{Comparison, Settings, Target, compare, time};
use crate::world;

const SCHEMA: &str = "
create table stock (product_id bigint primary key, quantity int not null);
create table sale (id bigserial primary key, sold_at timestamptz not null default now(), total numeric(12, 2) not null);
create table sale_item (sale_id bigint not null references sale, line int not null, product_id bigint not null,
    quantity int not null, amount numeric(12, 2) not null, primary key (sale_id, line));
create table payment (id bigserial primary key, sale_id bigint not null references sale, amount numeric(12, 2) not null);
";

const POLICY: &str = "
name = \"bench\"
[tables]
stock = \"from-target\"
sale = \"from-target\"
sale_item = \"from-target\"
payment = \"from-target\"
";

/// Items of a sale.
const ITEMS: usize = 5;

/// A sale as a till makes it: every row a statement of its own, which is close to the worst for capture.
fn sale() -> String {
    let chosen: String = (1..=ITEMS).map(|item| format!("\\set p{item} random(1, 10000)\n")).collect();
    let items: String = (1..=ITEMS)
        .map(|item| {
            format!(
                "insert into sale_item values (:sale, {item}, :p{item}, 1, 10);
                 update stock set quantity = quantity - 1 where product_id = :p{item};\n"
            )
        })
        .collect();
    format!(
        "{chosen}begin;\ninsert into sale (total) values (50) returning id as sale \\gset\n{items}\
         insert into payment (sale_id, amount) values (:sale, 50);\ncommit;\n"
    )
}

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    let rows = 100_000 / settings.share;
    let world = World::in_clusters(world::office(), world::shop(), &Plan::of(SCHEMA, POLICY, ""));
    world.enrol();
    world.clone_all();
    let captured = &world.shop("north").database;
    let plain = world::shop().database("plain");
    plain.execute(SCHEMA);
    for database in [captured, &plain] {
        database
            .execute(&format!("insert into stock select i, 1000000 from generate_series(1, {}) i", rows.max(10_000)));
        database.execute("vacuum analyze");
    }
    let against = "no capture";
    let mut all = Vec::new();
    // four are more than the machine has cores, so that the processors are all that counts
    for (tills, durable, asynchronous) in
        [(2, Target::SpeedAtLeast(0.9), Target::SpeedAtLeast(0.8)), (4, Target::Reported, Target::Reported)]
    {
        for (commit, commits, target) in [("on", "durable", durable), ("off", "asynchronous", asynchronous)] {
            let what = format!("sales at {tills} tills, {commits} commits");
            let time = |database: &Database| sales_of_tills(settings, database, tills, commit);
            all.push(compare(settings, &what, against, target, || time(captured), || time(&plain)));
        }
    }
    let bulk_update = |database: &Database| {
        database.execute("vacuum stock");
        database.execute("checkpoint");
        time(|| database.execute(&format!("update stock set quantity = quantity + 1 where product_id <= {rows}")))
    };
    let script: String = (1..=rows).map(|row| format!("2026-01-01\t{row}\n")).collect();
    let script = format!("copy sale (sold_at, total) from stdin;\n{script}\\.\n");
    let copy = |database: &Database| {
        database.execute("checkpoint");
        time(|| psql::run(database, script.as_bytes()).succeeded())
    };
    let (update, copied) = ("an UPDATE of 100,000 rows", "a COPY of 100,000 rows");
    let least = Target::SpeedAtLeast;
    all.push(compare(settings, update, against, least(0.85), || bulk_update(captured), || bulk_update(&plain)));
    all.push(compare(settings, copied, against, least(0.7), || copy(captured), || copy(&plain)));
    all
}

/// The time of one sale where some tills sell all the time.
fn sales_of_tills(settings: &Settings, database: &Database, tills: usize, commit: &str) -> Duration {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), sale()).expect("a script");
    let seconds = (10 / settings.share).max(2).to_string();
    let program = psql::find().expect("psql").with_file_name("pgbench");
    let mut pgbench = Command::new(program);
    pgbench
        .args(["-n", "-c", &tills.to_string(), "-j", "1", "-T", &seconds, "-f"])
        .arg(file.path())
        .arg(database.url());
    pgbench.env("PGOPTIONS", format!("-c synchronous_commit={commit}"));
    database.execute("checkpoint");
    let told = finish(&mut pgbench).succeeded();
    let tps = told.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
    Duration::from_secs_f64(1.0 / tps.unwrap_or_else(|| panic!("pgbench did not tell: {told}")))
}
