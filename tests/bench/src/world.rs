//! Databases for comparisons: durable clusters, since nobody runs a shop without fsync.

use std::sync::OnceLock;

use tests::cluster::Cluster;

/// The cluster of an office.
pub(crate) fn office() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(start)
}

/// The cluster of a shop: its write-ahead log is its own, as on a machine of its own.
pub(crate) fn shop() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(start)
}

/// With the memory and the log that such a server is given; the same for ours and for what we are compared with.
fn start() -> Cluster {
    let cluster = Cluster::start(true);
    for setting in ["shared_buffers = '256MB'", "max_wal_size = '4GB'", "wal_level = 'logical'"] {
        cluster.maintenance().execute(&format!("alter system set {setting}"));
    }
    cluster.restart();
    cluster
}

/// A catalogue of products with the indexes such a table has.
pub(crate) const SCHEMA: &str = "
create table product (
    id bigint primary key,
    code text not null unique,
    name text not null,
    description text not null,
    price numeric(12, 2) not null,
    on_sale boolean not null,
    changed_at timestamptz not null
);
create index on product (name);
create table sale (
    id bigserial primary key,
    product_id bigint not null,
    sold_at timestamptz not null default now(),
    quantity int not null,
    amount numeric(12, 2) not null,
    note text not null default ''
);
create index on sale (sold_at);
";

/// Rows `from..=to` of the catalogue.
pub(crate) fn products(from: usize, to: usize) -> String {
    format!(
        "insert into product select i, 'C' || i, 'Product ' || i, repeat('what it is made of, ', 4) || i,
         (i % 10000) / 100.0, i % 3 = 0, '2026-01-01' from generate_series({from}, {to}) i"
    )
}

/// Waits for a future on a runtime that all comparisons share.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    });
    runtime.block_on(future)
}
