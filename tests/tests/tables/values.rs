//! Values of every type whose binary format is known, and those that only the server can read.

use std::time::Duration;

use futures_util::{SinkExt as _, TryStreamExt as _};
use protocol::names::TableName;
use replica::binary_copy::{BinaryType, HEADER, TRAILER, encode_row};
use replica::catalogue::Catalogue;
use replica::digest;
use tests::cluster;
use tests::database::Database;
use tests::engine::{Engine, OFFICE, connection};

/// Columns, their types as they are told, and random values; every fifth is none.
const COLUMNS: &[(&str, BinaryType, &str)] = &[
    ("boolean", BinaryType::Bool, "g % 2 = 0"),
    ("smallint", BinaryType::Int2, "(random() * 65535 - 32768)::int"),
    ("integer", BinaryType::Int4, "(random() * 4294967295 - 2147483648)::bigint"),
    ("bigint", BinaryType::Int8, "(random() - 0.5) * 1e18"),
    ("real", BinaryType::Float4, "(random() - 0.5) * 10.0 ^ (random() * 70 - 35)"),
    ("double precision", BinaryType::Float8, "(random() - 0.5) * 10.0 ^ (random() * 600 - 300)"),
    ("numeric", BinaryType::Numeric, "((random() - 0.5) * 1e6)::numeric * 10::numeric ^ ((random() * 60)::int - 30)"),
    ("numeric(20,3)", BinaryType::Numeric, "(random() - 0.5) * 10.0 ^ (random() * 16)"),
    ("text", BinaryType::Text, "repeat(chr(1 + (random() * 900)::int), g % 7) || E'\\\\\\t\\n\\r\\b\\f\\v\\\\N'"),
    ("varchar(5)", BinaryType::Text, "left(md5(g::text), g % 6)"),
    ("char(5)", BinaryType::Text, "left(md5(g::text), g % 6)"),
    ("json", BinaryType::Text, "json_build_object('a', E'b\\n\\\\', 'c', g)"),
    ("state", BinaryType::Text, "case g % 2 when 0 then 'open'::state else 'it''s \"shut\"' end"),
    ("code", BinaryType::Text, "md5(g::text)"),
    ("jsonb", BinaryType::Jsonb, "jsonb_build_array('a', E'b\\n\\\\', g)"),
    ("uuid", BinaryType::Uuid, "md5(g::text)::uuid"),
    ("bytea", BinaryType::Bytea, "decode(md5(g::text), 'hex')"),
    ("date", BinaryType::Date, "date '0001-01-01' + (random() * 3652058)::int"),
    ("time", BinaryType::Time, "time '00:00' + random() * interval '24 hours'"),
    ("timestamp", BinaryType::Timestamp, "timestamp '0001-01-01' + random() * 3652058 * interval '1 day'"),
    ("timestamp(2)", BinaryType::Timestamp, "timestamp '1900-01-01' + random() * 73000 * interval '1 day'"),
    ("timestamptz", BinaryType::TimestampTz, "timestamptz '1800-01-01+00' + random() * 100000 * interval '1 day'"),
    ("inet", BinaryType::Inet, "('10.' || g % 256 || '.0.1/' || g % 33)::inet"),
    ("inet", BinaryType::Inet, "('2001:db8::' || to_hex(g % 65536) || '/' || g % 129)::inet"),
];

async fn copied(database: &Database, sql: &str, zone: &str) -> Vec<Vec<u8>> {
    let connection = connection(database).await;
    let client = connection.connect("test").await.expect("a connection");
    client.batch_execute(&format!("set timezone = '{zone}'")).await.expect("a time zone");
    let lines = client.copy_out(sql).await.expect("COPY");
    let chunks: Vec<_> = lines.try_collect().await.expect("all lines");
    let bytes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.iter().copied()).collect();
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_told_in_binary_are_those_of_their_text() {
    let database = tokio::task::block_in_place(|| cluster::shared().database("values"));
    let columns = |what: fn(&(&str, BinaryType, &str)) -> String| -> String {
        let each = COLUMNS.iter().enumerate().map(|(number, column)| format!("{} c{number}", what(column)));
        each.collect::<Vec<_>>().join(", ")
    };
    let named: Vec<String> =
        COLUMNS.iter().enumerate().map(|(number, (name, ..))| format!("c{number} {name}")).collect();
    let values = columns(|(name, _, value)| format!("case when random() < 0.8 then ({value})::{name} end as"));
    database.execute(
        "create type state as enum ('open', 'it''s \"shut\"'); create domain code as text check (value <> '')",
    );
    for table in ["told", "arrived"] {
        database.execute(&format!("create table {table}({})", named.join(", ")));
    }
    database.execute(&format!("insert into told select {values} from generate_series(1, 5000) g"));
    let types: Vec<BinaryType> = COLUMNS.iter().map(|(_, binary, _)| *binary).collect();
    for zone in ["UTC", "Asia/Kathmandu", "America/St_Johns", "Europe/Amsterdam"] {
        let mut file = HEADER.to_vec();
        let lines = copied(&database, "copy public.told to stdout", zone).await;
        assert_eq!(lines.len(), 5000);
        for line in lines {
            let fit = encode_row(&types, &line, &mut file);
            assert!(fit.is_ok(), "the server prints it so: {:?}", String::from_utf8_lossy(&line));
        }
        file.extend_from_slice(TRAILER);
        let connection = connection(&database).await;
        let client = connection.connect("test").await.unwrap();
        client.batch_execute("truncate public.arrived").await.unwrap();
        let sink = client.copy_in::<_, bytes::Bytes>("copy public.arrived from stdin (format binary)").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.feed(file.into()).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), 5000, "{zone}");
        for (one, other) in [("told", "arrived"), ("arrived", "told")] {
            let texts = |table: &str| format!("select {table}::text from {table}");
            let odd = format!("{} except all {} limit 3", texts(one), texts(other));
            assert_eq!(database.rows(&odd), Vec::<Vec<Option<String>>>::new(), "in {one} alone, {zone}");
        }
    }
}

const POLICY: &str = "name = \"values\"\n[tables]\nreading = \"from-source\"";

const READINGS: &str =
    "create table reading(id bigint primary key, day date, at timestamptz, much numeric, far float8);
create index on reading (day);";

#[tokio::test(flavor = "multi_thread")]
async fn values_that_only_the_server_reads_arrive_with_the_others_in_a_clone() {
    let world = Engine::new(READINGS, POLICY, &["north"]).await;
    world.database.execute(
        "insert into reading select g, '2026-01-01', '2026-01-01 12:00:00+01', g / 7.0, g / 7.0 from generate_series(1, 30000) g;
         update reading set day = 'infinity', at = '-infinity', much = 'NaN', far = '-Infinity' where id = 17000;
         update reading set day = '0044-03-15 BC', at = '12026-01-01', far = 'NaN' where id in (1, 30000);
         insert into reading(id) values (40000)",
    );
    world.clone_shop("north").await.unwrap();
    world.assert_agree().await;
    let north = world.shop("north");
    let odd = "select string_agg(day || ' ' || at || ' ' || much || ' ' || far, '; ' order by id) from reading where id in (1, 17000)";
    assert_eq!(north.database.value(odd), world.database.value(odd));
    assert_eq!(north.database.int("select count(*) from reading"), 30_001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_fit_the_shops_column_is_named_and_nothing_is_cloned() {
    let world = Engine::new(READINGS, POLICY, &["north"]).await;
    let north = world.shop("north");
    north.database.execute(&format!("{READINGS} alter table reading add constraint little check (much < 4000)"));
    world.database.execute("insert into reading select g, '2026-01-01', now(), g, g from generate_series(1, 5000) g");
    let error = world.clone_shop("north").await.unwrap_err().to_string();
    for word in ["reading", "little", "a value breaks a check"] {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
    assert_eq!(north.database.int("select count(*) from reading"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_gets_another_type_while_a_clone_waits_is_not_filled_with_the_bits_of_the_former_one() {
    let world = Engine::new(
        "create table meter(id bigint primary key, count bigint)",
        "name = \"meters\"\n[tables]\nmeter = \"from-source\"",
        &["north"],
    )
    .await;
    world.database.execute("insert into meter select g, g from generate_series(1, 1000) g");
    let north = world.shop("north");
    north.shop.clean(OFFICE, false, None).await.unwrap();
    // it looks at its tables now, and not before it knows that they have changed
    north.shop.facts(OFFICE).await.unwrap();
    let holder = connection(&north.database).await.connect("test").await.unwrap();
    holder.batch_execute("begin; alter table public.meter alter count type double precision").await.unwrap();
    let waiting =
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    let let_go_when_it_waits = async {
        while north.database.int(waiting) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        holder.batch_execute("commit").await.unwrap();
    };
    let (cloned, ()) = tokio::join!(world.fill("north"), let_go_when_it_waits);
    let refused = cloned.unwrap_err();
    assert!(refused.is_passing(), "{refused}");
    world.fill("north").await.unwrap();
    assert_eq!(north.database.int("select count(*) from meter where count = id"), 1000);
}

/// Rows that differ in one value, or in which row has which.
const TWO_ROWS: &[(&str, &str, &str)] = &[
    ("boolean", "true", "false"),
    ("smallint", "1", "-1"),
    ("integer", "1", "2"),
    ("bigint", "1", "4294967297"),
    ("bigint", "0", "4294967297"),
    ("bigint", "-1", "4294967295"),
    ("bigint", "-4294967296", "4294967295"),
    ("integer", "0", "null"),
    ("real", "0", "'-0'"),
    ("double precision", "0.1", "0.10000000000000002"),
    ("numeric", "1.0", "1.00"),
    ("amount", "1.0", "1.00"),
    ("numeric", "'NaN'", "null"),
    ("numeric", "'NaN'", "0"),
    ("numeric(9,2)", "1.01", "1.02"),
    ("numeric(9,2)", "19.99", "-19.99"),
    ("numeric(9,2)", "0", "null"),
    ("text", "''", "null"),
    ("text", "'a'", "'a '"),
    ("char(3)", "'a'", "'b'"),
    ("bpchar", "'a'", "'a '"),
    ("tag", "'a'", "'a '"),
    ("json", "'{}'", "'{ }'"),
    ("jsonb", "'[1.0]'", "'[1.00]'"),
    ("state", "'open'", "'shut'"),
    ("uuid", "'00000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000001'"),
    ("bytea", "'\\x00'", "'\\x0000'"),
    ("date", "'infinity'", "'5874897-12-31'"),
    ("time", "'12:00:00'", "'12:00:00.000001'"),
    ("time", "'00:00'", "'01:11:34.967297'"),
    ("timestamp", "'-infinity'", "'2026-01-01'"),
    ("timestamp", "'2000-01-01'", "'2000-01-01 01:11:34.967297'"),
    ("timestamptz", "'2026-01-01 12:00+00'", "'2026-01-01 12:00+01'"),
    ("inet", "'10.0.0.1'", "'10.0.0.1/24'"),
    ("interval", "'1 day'", "'24 hours'"),
    ("integer[]", "'{}'", "'{null}'"),
];

/// Rows whose two columns differ in a way that hashes of the columns, put together carelessly, do not show.
const TWO_COLUMNS: &[(&str, &str, &str)] = &[
    ("integer", "10, 20", "20, 10"),
    ("integer", "null, 0", "0, null"),
    ("integer", "0, 0", "null, null"),
    ("bigint", "4294967297, 0", "0, 4294967297"),
    ("bigint", "null, 0", "0, null"),
    ("numeric(9,2)", "1, 10000", "10000, 1"),
    ("numeric(9,2)", "1, 3", "10000, 30000"),
    ("numeric(9,2)", "0, 0", "null, null"),
    ("numeric(9,2)", "0, null", "null, 0"),
    ("numeric(9,2)", "1, -1", "-1, 1"),
    ("text", "'a', 'b'", "'b', 'a'"),
    ("text", "'', null", "null, ''"),
    ("text", "'ab', ''", "'a', 'b'"),
    ("uuid", "null, '00000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000000', null"),
];

/// Most columns that a table of the server's can have.
const COLUMNS_MAX: usize = 1600;

#[tokio::test(flavor = "multi_thread")]
async fn the_fingerprint_of_a_table_tells_apart_whatever_prints_differently() {
    let database = tokio::task::block_in_place(|| cluster::shared().database("fingerprints"));
    let columns: Vec<String> =
        TWO_ROWS.iter().enumerate().map(|(number, (name, ..))| format!("c{number} {name}")).collect();
    let values = |second: Option<usize>| -> String {
        let value = |(number, (_, one, other)): (usize, &(&'static str, &'static str, &'static str))| {
            if second == Some(number) { *other } else { *one }
        };
        TWO_ROWS.iter().enumerate().map(value).collect::<Vec<_>>().join(", ")
    };
    database.execute(
        "create type state as enum ('open', 'shut'); create domain amount as numeric;
         create domain tag as bpchar",
    );
    let mut tables = Vec::new();
    let mut table = |name: &str, columns: &str, rows: &[String]| {
        database.execute(&format!("create table {name}({columns})"));
        for row in rows {
            database.execute(&format!("insert into {name} values ({row})"));
        }
        tables.push(name.to_owned());
    };
    let columns = columns.join(", ");
    table("first", &format!("id int primary key, {columns}"), &[format!("1, {}", values(None))]);
    for number in 0..TWO_ROWS.len() {
        table(
            &format!("other_{number}"),
            &format!("id int primary key, {columns}"),
            &[format!("1, {}", values(Some(number)))],
        );
    }
    // the same again, with the key behind
    table("again", &format!("{columns}, id bigint primary key"), &[format!("{}, 1", values(None))]);
    table("straight", "id int, a int, b int", &["1, 10, 20".into(), "2, 30, 40".into()]);
    table("crossed", "id int, a int, b int", &["1, 10, 40".into(), "2, 30, 20".into()]);
    for (number, (name, one, other)) in TWO_COLUMNS.iter().enumerate() {
        for (which, row) in [("one", one), ("two", other)] {
            table(&format!("{which}_{number}"), &format!("id int, a {name}, b {name}"), &[format!("1, {row}")]);
        }
    }
    let wide: Vec<String> = (1..COLUMNS_MAX).map(|number| format!("c{number} numeric")).collect();
    table("wide", &format!("id int, {}", wide.join(", ")), &["1, 10".into()]);
    table("wider", &format!("id int, {}", wide.join(", ")), &["1, null, 10".into()]);
    table("reversed", "id int, a int, b int", &["2, 30, 40".into(), "1, 10, 20".into()]);
    let connection = connection(&database).await;
    let client = connection.connect("test").await.unwrap();
    let catalogue = Catalogue::discover(&client).await.unwrap();
    let mut digests = std::collections::BTreeMap::new();
    for name in tables {
        let table = catalogue.get(&TableName::public(&name)).unwrap();
        digests.insert(name, digest::digest(&client, table, None, &[]).await.unwrap().digest);
    }
    let of_rows = (0..).zip(TWO_ROWS).map(|(number, pair)| ("first".to_owned(), format!("other_{number}"), pair));
    let of_columns =
        (0..).zip(TWO_COLUMNS).map(|(number, pair)| (format!("one_{number}"), format!("two_{number}"), pair));
    let alike: Vec<_> = of_rows
        .chain(of_columns)
        .filter(|(one, other, _)| digests[one] == digests[other])
        .map(|(.., pair)| pair)
        .collect();
    assert_eq!(alike, Vec::<&(&str, &str, &str)>::new(), "have the same fingerprint");
    assert_eq!(digests["first"], digests["again"], "neither the order of columns nor the width of an integer matters");
    assert_eq!(digests["straight"], digests["reversed"], "nor the order of rows");
    assert_ne!(digests["straight"], digests["crossed"], "two rows have each other's value");
    assert_ne!(digests["wide"], digests["wider"], "columns beyond the thousandth count");
}
