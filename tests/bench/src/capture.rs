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

/// A sale as a till makes it.
const SALE: &str = r"
\set first random(1, 10000)
\set second random(1, 10000)
\set third random(1, 10000)
begin;
insert into sale (total) values (30) returning id as sale \gset
insert into sale_item values (:sale, 1, :first, 1, 10), (:sale, 2, :second, 1, 10), (:sale, 3, :third, 1, 10);
insert into payment (sale_id, amount) values (:sale, 30);
update stock set quantity = quantity - 1 where product_id in (:first, :second, :third);
commit;
";

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
    let tills = |database: &Database, commit: &str| sales_of_tills(settings, database, commit);
    let mut all = Vec::new();
    for (what, commit, least) in
        [("sales at four tills, durable commits", "on", 0.9), ("sales at four tills, asynchronous commits", "off", 0.8)]
    {
        let target = Target::SpeedAtLeast(least);
        all.push(compare(settings, what, against, target, || tills(captured, commit), || tills(&plain, commit)));
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

/// The time of one sale where four tills sell all the time.
fn sales_of_tills(settings: &Settings, database: &Database, commit: &str) -> Duration {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), SALE).expect("a script");
    let seconds = (10 / settings.share).max(2).to_string();
    let program = psql::find().expect("psql").with_file_name("pgbench");
    let mut pgbench = Command::new(program);
    pgbench.args(["-n", "-c", "4", "-j", "1", "-T", &seconds, "-f"]).arg(file.path()).arg(database.url());
    pgbench.env("PGOPTIONS", format!("-c synchronous_commit={commit}"));
    database.execute("checkpoint");
    let told = finish(&mut pgbench).succeeded();
    let tps = told.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse::<f64>().ok());
    Duration::from_secs_f64(1.0 / tps.unwrap_or_else(|| panic!("pgbench did not tell: {told}")))
}
