//! A client of the implementation of 2006 to 2012 works unchanged.

use std::fs;

use serde_json::Value;
use tests::kit::{Plan, World};
use tests::process::root;
use tests::{not_run, python};

const SCHEMA: &str = "create table person (id bigserial primary key, name text, phone text);
create table note (id bigserial primary key, person_id bigint references person (id), text text);";
const POLICY: &str = "name = \"shop\"\n[tables]\nperson = \"from-source\"\nnote = \"from-target\"";
const CHUNK: usize = 40_960;

#[test]
fn a_session_of_the_original_client_is_served() {
    if !python::is_there() {
        return not_run::because("python3");
    }
    let data = "insert into person (id, name, phone) select n, repeat('漢é😀 <&> ''', 20) || n, null from generate_series(1, 3000) n";
    let world = World::new(&Plan::of(SCHEMA, POLICY, data));
    let (office, shop) = (&world.office, &world.shops[0]);
    let mut script = String::new();
    for row in office.rows("select id::text, quote_literal(name) from person order by id") {
        let fields: Vec<&str> = row.iter().map(|field| field.as_deref().unwrap_or_default()).collect();
        script += &format!("INSERT INTO person VALUES ({}, {}, NULL);\n", fields[0], fields[1]);
    }
    let inside = (1..script.len() / CHUNK).filter(|chunk| !script.is_char_boundary(chunk * CHUNK)).count();
    assert!(inside > 3, "{inside} cuts inside characters");
    let file = world.dir().join("dump.sql");
    fs::write(&file, &script).expect("the script");

    let client = |args: &[&str]| {
        let args = [&[shop.url(), "north"], args].concat();
        python::run(&root().join("tests/peers/legacy_client.py"), &args).succeeded()
    };
    let chunks = client(&[&file.to_string_lossy(), "7000000000", "8000000000"]);
    assert_eq!(chunks.trim().parse::<usize>().ok(), Some(script.len().div_ceil(CHUNK)));
    world.assert_agree(&["person"]);

    let changes = |since: &str| -> Value {
        serde_json::from_str(&client(&["since", "shop", since])).unwrap_or_else(|error| panic!("{error}"))
    };
    let before = "1970-01-01 00:00:00";
    assert_eq!(changes(before), serde_json::json!([]), "what the office has sent is not the shop's");
    shop.database.execute(r"insert into note (person_id, text) values (1, 'it''s \ é'), (2, null), (3, E'\x01')");
    let found = changes(before);
    let (table, rows) = (&found[0][0], found[0][1].as_array().expect("rows"));
    assert_eq!((table, rows.len()), (&Value::from("note"), 3), "{found}");
    assert_eq!(rows[0][0], "7000000001", "the shop's ids are in the range of bump_sequences");
    assert_eq!(rows[0].as_array().map(Vec::len), Some(7), "{found}");
    // the literals are SQL: an old client pastes them into statements
    for row in rows {
        let pairs = row[1].as_array().expect("columns");
        let part = |place: usize| -> Vec<&str> { pairs.iter().filter_map(|pair| pair[place].as_str()).collect() };
        office.execute(&format!("insert into note ({}) values ({})", part(0).join(", "), part(1).join(", ")));
    }
    world.assert_agree(&["note"]);
}
