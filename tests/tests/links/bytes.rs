//! Bytes on the wire, as the line counts them.

use std::io::Write as _;

use tests::kit::{Plan, World};
use tests::proxy::Line;

use crate::fixture::{figure, fill, fill_receipts, line_to, parcels};

#[test]
fn the_wire_costs_at_most_a_twentieth_more_than_the_gzip_payload() {
    let world = parcels(&["north"]);
    world.office.execute(&fill("parcel", 2_000_000));
    world.shop("north").database.execute(&fill_receipts(2_000_000));
    let plan = world.office(&["--json", "update", "north", "--dry-run"]).succeeded();
    let payload = |name: &str| u64::try_from(figure(&plan, name).expect("a figure")).expect("a size");
    let proxy = line_to(&world, "north", Line::default());
    world.office(&["update", "north"]).succeeded();
    let counts = proxy.counts();
    for (direction, payload, wire) in
        [("pull", payload("pull_bytes"), counts.to_office), ("push", payload("push_bytes"), counts.to_agent)]
    {
        println!("{direction}: {payload} bytes of gzip, {wire} on the wire: {:.4}", wire as f64 / payload as f64);
        assert!(wire * 100 <= payload * 105, "{direction}: {wire} bytes on the wire for {payload}");
    }
}

/// A wide table, as catalogues are: names, descriptions, codes.
const WIDE: &str = "
    create table article (id bigint primary key, code text not null, name text not null, description text not null,
        maker text, colour text, weight numeric(10, 3), price numeric(12, 2) not null, cost numeric(12, 2),
        vat int not null, shelf text, updated_at timestamptz not null);
";

/// Both directions, and one.
fn policy(direction: &str) -> String {
    format!("name = \"wide\"\n[tables]\narticle = \"{direction}\"\n")
}

const ARTICLES: &str = "
    insert into article select n, 'A-' || lpad((n * 7919 % 1000003)::text, 8, '0'), 'article ' || md5(n::text),
        (select string_agg(substr(md5(format('%s/%s', n, m)), 1, 7), ' ') from generate_series(1, 40) m),
        'maker ' || n % 37, (array['red', 'green', 'blue'])[1 + n % 3], n % 5000 / 1000.0, 1 + n % 99999 / 100.0,
        n % 70000 / 100.0, 23, 'shelf ' || n % 113, '2026-01-01Z'
    from generate_series(1, 5000) n;
";

#[test]
fn a_thousand_new_prices_cost_less_than_half_of_a_dump_of_their_rows() {
    new_prices("both");
}

#[test]
fn so_they_do_where_the_office_alone_owns_the_table() {
    new_prices("from-source");
}

fn new_prices(direction: &str) {
    let world = World::new(&Plan::of(WIDE, &policy(direction), ARTICLES));
    world.enrol();
    world.clone_all();
    world.office.execute("update article set price = price * 1.07 where id % 5 = 0");
    // a table that holds just those rows
    world.office.execute("create table changed as select * from article where id % 5 = 0");
    let dump = tests::psql::dump_inserts(&world.office, "changed");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    gzip.write_all(dump.as_bytes()).expect("writing to memory");
    let dump = gzip.finish().expect("writing to memory").len() as u64;
    world.office.execute("drop table changed");
    let proxy = line_to(&world, "north", Line::default());
    world.office(&["update", "north"]).succeeded();
    let counts = proxy.counts();
    let wire = counts.to_agent + counts.to_office;
    println!("1000 new prices, {direction}: {wire} bytes on the wire, pg_dump --inserts | gzip {dump}");
    assert!(wire * 2 <= dump, "{wire} bytes on the wire, a dump has {dump}");
    world.assert_agree(&["article"]);
}

#[test]
fn over_a_slow_line_fewer_bytes_are_sent_for_the_same_rows_than_over_a_fast_one() {
    let world = World::new(&Plan::of(WIDE, &policy("both"), ARTICLES));
    // words as people write them, not the random ones of the catalogue, which no compressor makes much of
    let words = "array['fresh','cream','butter','whole','wheat','bread','olive','oil','green','tea','dark','chocolate',
        'ground','coffee','organic','apple','juice','pack','of','six','bottle','litre','smoked','salmon','from','the','farm']";
    let describe = |salt: &str, which: &str| {
        format!(
            "update article a set description = (select string_agg(({words})[1 + abs(hashtext(a.id || '{salt}' || m)) % 27], ' ')
             from generate_series(1, 40) m) where {which}"
        )
    };
    world.office.execute(&describe("first", "true"));
    world.enrol();
    world.clone_all();
    world.office.execute(&describe("office", "id <= 2500"));
    world.shop("north").database.execute(&describe("shop", "id > 2500"));
    let at = |bytes_per_s: u32| {
        world.office.execute(&format!("update sync.run set send_rate = {bytes_per_s}, receive_rate = {bytes_per_s}"));
        let plan = world.office(&["--json", "update", "north", "--dry-run"]).succeeded();
        ["pull_bytes", "push_bytes"].map(|name| figure(&plan, name).expect("a figure"))
    };
    let (modem, network) = (at(4200), at(100_000_000));
    for (direction, (modem, network)) in ["pull", "push"].iter().zip(modem.iter().zip(network)) {
        println!("{direction}: {modem} bytes for a modem, {network} for a fast network");
        assert!(modem * 100 <= network * 93, "{direction}: {modem} bytes for a modem, {network} for a fast network");
    }
}
