//! An XML-RPC client of another language, with the six base methods alone, runs whole synchronisations.

#[path = "../peers/retail.rs"]
mod retail;

use std::fs;
use std::process::Command;

use serde_json::Value;
use tests::cluster;
use tests::database::Database;
use tests::kit::{Plan, World};
use tests::process::{self, Process, binary, root};
use tests::{not_run, psql, python};

/// First id of the shop, less one.
const IDS: i64 = 1_000_000_000_000;

/// Whether what the tests need is there; says so if not.
fn can_run() -> bool {
    for (is_there, what) in [(python::is_there(), "python3"), (psql::find().is_some(), "psql")] {
        if !is_there {
            not_run::because(what);
            return false;
        }
    }
    true
}

/// Runs the script; what it printed.
fn client(args: &[&str]) -> Value {
    let said = python::run(&root().join("tests/peers/client.py"), args).succeeded();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Runs a task of the script between a shop's agent and an office's database.
fn between(task: &str, url: &str, office: &Database, more: &[&str]) -> Value {
    let psql = psql::find().expect("psql").to_string_lossy().into_owned();
    let url = format!("{url}/RPC2");
    client(&[&[task, &url, "--psql", &psql, "--office", office.url()], more].concat())
}

/// The triggers of the application must not act on rows that `psql` brings: they have acted where the rows were made.
fn quiet(office: &Database, tables: impl Iterator<Item = &'static &'static str>) {
    let statements: Vec<String> = tables.map(|table| format!("alter table {table} disable trigger user;")).collect();
    office.execute(&statements.concat());
}

fn whole_cycle(cut: &str) {
    if !can_run() {
        return;
    }
    let world = World::new(&retail::plan(&["north"]));
    let (office, shop) = (&world.office, &world.shops[0]);
    quiet(office, retail::PEOPLE.iter().chain(&retail::SALES));
    // what shops may write is never sent to them but with the first copy
    let tables = [&retail::CATALOGUE[..], &retail::PEOPLE, &["parameter_data"]].concat();
    let tables = parents_first(tables).join(",");
    let cloned = between("clone", shop.url(), office, &["--tables", &tables, "--ids", &IDS.to_string(), "--cut", cut]);
    assert!(cloned["chunks"].as_i64().is_some_and(|chunks| chunks > 3), "{cloned}");
    retail::assert_agree(office, &shop.database, false);
    let untouched = between("update", shop.url(), office, &[]);
    assert_eq!(untouched["answers"], 0, "what came from the office goes back to it: {untouched}");

    shop.database.execute(&retail::trade(1, 60));
    assert!(shop.database.int("select min(id) from sale") > IDS, "the shop's ids are in its range");
    let first = between("update", shop.url(), office, &["--twice"]);
    assert!(first["answers"].as_i64() >= Some(1), "{first}");
    retail::assert_agree(office, &shop.database, false);
    assert_eq!(office.int("select count(*) from sale"), 60);

    shop.database.execute(&retail::trade(2, 20));
    let since = first["watermark"].as_str().expect("a watermark");
    let second = between("update", shop.url(), office, &["--since", since]);
    assert!(second["bytes"].as_i64() < first["bytes"].as_i64(), "all over again: {second} after {first}");
    retail::assert_agree(office, &shop.database, false);
    assert_eq!(office.int("select count(*) from sale"), 80);
    let since = second["watermark"].as_str().expect("a watermark");
    assert_eq!(between("update", shop.url(), office, &["--since", since])["answers"], 0);
    // everything since clean, once more: harmless
    assert!(between("update", shop.url(), office, &[])["answers"].as_i64() >= Some(1));
    retail::assert_agree(office, &shop.database, false);
    println!("{cut}: {cloned} {first} {second}");
}

/// People before the catalogue, whose products name suppliers; branches first of all, whose managers are checked at the end.
fn parents_first(mut tables: Vec<&'static str>) -> Vec<&'static str> {
    let rank = |table: &str| match table {
        "branch" => 0,
        table if ["shelf", "specimen", "warehouse.transfer"].contains(&table) => 3,
        table if retail::PEOPLE.contains(&table) => 1,
        _ => 2,
    };
    tables.sort_by_key(|table| rank(table));
    tables
}

#[test]
fn the_six_base_methods_are_enough_with_slices_of_one_gzip_stream() {
    whole_cycle("slices");
}

#[test]
fn the_six_base_methods_are_enough_with_chunks_that_are_gzip_members() {
    whole_cycle("members");
}

/// A world that is small, for what has nothing to do with data.
fn small() -> Plan {
    Plan::of("create table note (id int primary key, text text)", "name = \"p\"\n[tables]\nnote = \"from-source\"", "")
}

#[test]
fn introspection_tells_what_there_is() {
    if !can_run() {
        return;
    }
    let world = World::new(&small());
    let said = client(&["introspect", world.shops[0].url()]);
    let methods: Vec<&str> = said["methods"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for method in ["clean", "sql_prepare", "sql_create", "sql_finish", "setidstart", "diff", "system.multicall"] {
        assert!(methods.contains(&method), "{method} is missing in {methods:?}");
    }
    assert_eq!(said["undocumented"], serde_json::json!([]));
    for method in &methods {
        let signatures = said["signatures"][method].as_array().unwrap_or_else(|| panic!("{method} has no signature"));
        assert!(!signatures.is_empty(), "{method} has no signature");
    }
    assert_eq!(said["multicall"], serde_json::json!([said["signatures"]["diff"], true]));
    let capabilities = said["capabilities"].as_array().expect("a list");
    assert!(capabilities.iter().any(|name| name == "xmlrpc"), "{capabilities:?}");
    assert!(capabilities.iter().any(|name| name == "introspect"), "{capabilities:?}");
}

#[test]
fn faults_have_the_codes_of_the_protocol() {
    if !can_run() {
        return;
    }
    let world = World::new(&small());
    let said = client(&["faults", &format!("{}/XMLRPC", world.shops[0].url())]);
    let expected = serde_json::json!({
        "repeat": 5, "after a repeat": 5, "refused": 8, "refused again": 8, "ended": 17, "unknown sid": 1, "unknown method": -32601,
        "too few": -32602, "no number": -32602, "never issued": -32602,
    });
    assert_eq!(said, expected);
}

#[test]
fn old_clients_send_plain_sql_as_strings() {
    if !can_run() {
        return;
    }
    let schema = "create table note (id int primary key, text text)";
    let data = "insert into note select n, repeat('café <&> ', 20) || n from generate_series(1, 2000) n";
    let world = World::new(&Plan::of(schema, "name = \"p\"\n[tables]\nnote = \"from-source\"", data));
    let shop = &world.shops[0];
    let said = between("clone", shop.url(), &world.office, &["--tables", "note", "--cut", "text"]);
    assert!(said["chunks"].as_i64() >= Some(8), "{said}");
    world.assert_agree(&["note"]);
}

#[test]
fn http_basic_lets_in_who_has_a_password() {
    if !can_run() {
        return;
    }
    let database = cluster::shared().database("basic");
    let plan = small();
    database.execute(&plan.schema);
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().join("state").to_string_lossy().into_owned();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    };
    let policy = file("policy.toml", &plan.policy);
    let mut command = Command::new(binary("shop-agent"));
    command.args(["run", "--branch", "north", "--database", database.url(), "--policy", &policy]);
    command.args(["--state-dir", &state, "--listen", "127.0.0.1:0"]);
    let mut agent = Process::spawn(&mut command);
    let url = agent.url();
    let status = |who: &str| {
        let url = format!("{}/RPC2", url.replacen("http://", &format!("http://{who}"), 1));
        let script = "import sys, xmlrpc.client\ntry:\n  print(xmlrpc.client.ServerProxy(sys.argv[1]).sql_prepare() > 0)\n\
                      except xmlrpc.client.ProtocolError as error:\n  print(error.errcode, error.headers['www-authenticate'])";
        process::run(Command::new("python3").args(["-c", script, &url])).succeeded().trim().to_owned()
    };
    let challenge = "401 Basic realm=\"shop-agent\", charset=\"UTF-8\"";
    assert_eq!(status(""), challenge);
    assert_eq!(status("centre:s3cret@"), challenge, "before there is such a user");
    for (user, office, password) in [("centre", "head", "s3cret\n"), ("other", "elsewhere", "p%C3%A4ss\n")] {
        let password = file(user, &password.replace("%C3%A4", "ä"));
        let mut add = Command::new(binary("shop-agent"));
        add.args(["user", "add", user, "--office", office, "--password-file", &password, "--state-dir", &state]);
        process::run(&mut add).succeeded();
    }
    assert_eq!(status("centre:s3cret@"), "True", "the running agent knows its new user");
    assert_eq!(status("other:p%C3%A4ss@"), "True", "a password is UTF-8");
    for wrong in ["centre:S3cret@", "other:s3cret@", "centre:@", ":@"] {
        assert_eq!(status(wrong), challenge, "{wrong}");
    }
    let listed = process::run(Command::new(binary("shop-agent")).args(["user", "list", "--state-dir", &state]));
    assert_eq!(listed.succeeded(), "centre\thead\nother\telsewhere\n");

    // a session belongs to the office whose credential opened it
    let script = "import sys, xmlrpc.client\none, other = [xmlrpc.client.ServerProxy(url, allow_none=True) for url in sys.argv[1:]]\n\
                  sid = one.sql_prepare()\ntry:\n  other.sql_create(sid, 'x')\n\
                  except xmlrpc.client.Fault as fault:\n  print(fault.faultCode)";
    let urls = ["centre:s3cret@", "other:p%C3%A4ss@"].map(|who| url.replacen("http://", &format!("http://{who}"), 1));
    let said = process::run(Command::new("python3").args(["-c", script, &urls[0], &urls[1]])).succeeded();
    assert_eq!(said.trim(), "2");
    assert!(agent.terminate().success());
    let log = agent.stderr();
    assert!(!log.contains("s3cret"), "a password in the log:\n{log}");
}
