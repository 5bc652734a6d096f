//! A small chain with every direction, and ways to set its databases back.

use tests::cluster::{self, Cluster};
use tests::database::Database;
use tests::kit::{Plan, World};
use tests::psql;

/// The tables' SQL.
const SCHEMA: &str = "
    create table product (id bigserial primary key, name text not null, price numeric(12, 2) not null);
    create table person (id bigserial primary key, name text not null, phone text, points int not null default 0);
    create table sale (id bigserial primary key, product_id bigint not null references product, note text,
        total numeric(12, 2) not null default 0);
    create table stock (branch_id int not null, product_id bigint not null references product, quantity int not null,
        primary key (branch_id, product_id));
";

/// Who decides about them.
const POLICY: &str = r#"
name = "restore"
[tables]
product = "from-source"
person  = "both"
sale    = "from-target"
stock   = "from-target"
[table.person]
delta = ["points"]
[table.stock]
rows = "branch_id = :branch"
"#;

/// What the office has at the start.
const DATA: &str = "
    insert into product (name, price) select 'product ' || n, n + 0.99 from generate_series(1, 50) n;
    insert into person (name, phone, points) select 'person ' || n, 'phone ' || n, n from generate_series(1, 40) n;
";

/// A chain that has been cloned and has traded and met once.
pub(crate) fn chain(branches: &[&str]) -> World {
    let plan = Plan { branches: branches.iter().map(|name| (*name).to_owned()).collect(), ..plan() };
    grown(World::new(&plan))
}

/// The plan of a chain with the one branch `north`.
pub(crate) fn plan() -> Plan {
    Plan::of(SCHEMA, POLICY, DATA)
}

/// Clones all shops, lets them sell, and updates them.
pub(crate) fn grown(world: World) -> World {
    world.enrol();
    world.clone_all();
    for shop in &world.shops {
        sell(&shop.database, "first", 3);
        shop.database.execute(&format!("insert into stock values ({}, 1, 10), ({0}, 2, 20)", shop.id));
        world.office(&["update", &shop.name]).succeeded();
    }
    world
}

/// Sells so many things.
pub(crate) fn sell(shop: &Database, note: &str, sales: usize) {
    shop.execute(&format!(
        "insert into sale (product_id, note, total) select 1 + n % 50, '{note} ' || n, n from generate_series(1, {sales}) n"
    ));
}

/// Sets a database back to a dump, as `dropdb`, `createdb` and `psql` do.
pub(crate) fn restored(prefix: &str, dump: &[u8]) -> Database {
    restored_in(cluster::shared(), prefix, dump)
}

/// The same on a server of one's choice. `pg_dump` does not carry roles: what is granted to one that is missing there
/// fails by itself, and `psql` goes on.
pub(crate) fn restored_in(server: &Cluster, prefix: &str, dump: &[u8]) -> Database {
    let database = server.database(prefix);
    let granted = |line: &&[u8]| line.starts_with(b"GRANT ") && line.windows(11).any(|part| part == b"sync_apply_");
    let dump = dump.split_inclusive(|byte| *byte == b'\n').filter(|line| !granted(line)).collect::<Vec<_>>().concat();
    let told = psql::run(&database, &dump);
    assert!(told.is_success(), "{}", told.stderr);
    database
}
/// Asserts that what flows to all shops is the same everywhere, and that the office has every sale and stock of them.
pub(crate) fn assert_together(world: &World) {
    world.assert_agree(&["product", "person"]);
    for shop in &world.shops {
        for table in ["sale", "stock"] {
            let key = if table == "sale" { "id::text" } else { "branch_id || '/' || product_id" };
            let told = |database: &Database| {
                database
                    .rows(&format!("select {key}, t::text from {table} t order by 1"))
                    .into_iter()
                    .collect::<std::collections::BTreeSet<_>>()
            };
            let (here, there) = (told(&shop.database), told(&world.office));
            let missing: Vec<_> = here.difference(&there).collect();
            assert!(missing.is_empty(), "{}: {table}: not at the office: {missing:?}", shop.name);
        }
    }
}
