//! XML-RPC of other languages, in both directions: clients that run a whole cycle against the agent, and servers with the
//! base methods alone that office-client drives.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::database::Database;
use tests::kit::{Plan, World};
use tests::process::{self, Process, root};
use tests::{cluster, compare, not_run, psql};

const SCHEMA: &str = "create table product (id bigserial primary key, name text, price numeric(10, 2));
create table sale (id bigserial primary key, product_id bigint not null references product (id), note text, paid boolean);";

const POLICY: &str = "name = \"small\"\n[tables]\nproduct = \"from-source\"\nsale = \"from-target\"";

const DATA: &str = r"insert into product (id, name, price) select n, 'café 漢字 😀 <&> ''q'' \ ' || repeat('x', n % 50), n * 1.5
    from generate_series(1, 400) n;
insert into product values (401, null, null), (402, '', 0), (403, E'tab\tnewline\r\ncontrol\x01', -0.01);";

/// First id of the shop, less one.
const IDS: &str = "5000000000";

/// A language: how its client is made ready and begins.
struct Peer {
    name: &'static str,
    /// Succeeds where everything it needs is there.
    probe: &'static [&'static str],
    /// Compiles it into the directory that replaces `{dir}`.
    compile: &'static [&'static str],
    run: &'static [&'static str],
    /// How many methods of the suite validator1 it calls; each has to give what it should.
    validator: Option<&'static str>,
}

const PYTHON: Peer = Peer {
    name: "python",
    probe: &["python3", "--version"],
    compile: &[],
    run: &["python3", "tests/peers/stock_client.py"],
    validator: Some("8"),
};
const TWISTED: Peer = Peer {
    name: "twisted",
    probe: &["/usr/bin/python3", "-c", "import twisted.web.xmlrpc"],
    compile: &[],
    run: &["/usr/bin/python3", "tests/peers/twisted_client.py"],
    validator: Some("8"),
};
const PERL: Peer = Peer {
    name: "perl (RPC::XML)",
    probe: &["perl", "-MRPC::XML::Client", "-e", "1"],
    compile: &[],
    run: &["perl", "tests/peers/client.pl"],
    validator: None,
};
const PHP: Peer = Peer {
    name: "php (xmlrpc)",
    probe: &["php", "-r", "exit(function_exists('xmlrpc_encode_request') ? 0 : 1);"],
    compile: &[],
    run: &["php", "tests/peers/client.php"],
    validator: None,
};
const RUBY: Peer = Peer {
    name: "ruby (xmlrpc)",
    probe: &["ruby", "-rxmlrpc/client", "-e", "1"],
    compile: &[],
    run: &["ruby", "tests/peers/client.rb"],
    validator: Some("8"),
};
const C: Peer = Peer {
    name: "c (xmlrpc-c)",
    probe: &["xmlrpc-c-config", "--version"],
    compile: &["cc", "-o", "{dir}/client", "tests/peers/client.c", "-lxmlrpc_client", "-lxmlrpc", "-lxmlrpc_util"],
    run: &["{dir}/client"],
    validator: None,
};
const NODE: Peer = Peer {
    name: "node (npm xmlrpc)",
    probe: &["node", "-e", "require('./tests/peers/node/node_modules/xmlrpc')"],
    compile: &[],
    run: &["node", "tests/peers/node/client.js"],
    validator: Some("8"),
};
const GO: Peer = Peer {
    name: "go (kolo/xmlrpc)",
    probe: &["go", "list", "github.com/kolo/xmlrpc"],
    compile: &["go", "build", "-o", "{dir}/client", "tests/peers/client.go"],
    run: &["{dir}/client"],
    validator: None,
};
const JAVA: Peer = Peer {
    name: "java",
    probe: &["javac", "-version"],
    compile: &["javac", "-encoding", "UTF-8", "-d", "{dir}", "tests/peers/Client.java"],
    run: &["java", "-Xshare:auto", "-cp", "{dir}", "Client"],
    validator: Some("7"),
};

fn command(words: &[&str], dir: &Path) -> Command {
    let dir = dir.to_string_lossy();
    let mut words = words.iter().map(|word| word.replace("{dir}", &dir));
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(root());
    // Debian's packages of Go libraries are of the time before modules
    command.env("GOPATH", "/usr/share/gocode").env("GO111MODULE", "off").env("GOFLAGS", "-buildvcs=false");
    command.env("GOCACHE", std::env::temp_dir().join("peers-go-cache"));
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// Whether a peer is there; says so if not.
fn is_there(peer: &Peer, dir: &Path) -> bool {
    let found = command(peer.probe, dir).output().is_ok_and(|output| output.status.success());
    if !found {
        not_run::because(peer.name);
    }
    found
}

/// The lines `word=value` that a client prints.
fn said(peer: &Peer, dir: &Path, args: &[&str]) -> BTreeMap<String, String> {
    let text = process::run(command(peer.run, dir).args(args)).succeeded();
    text.lines().filter_map(|line| line.split_once('=')).map(|(word, value)| (word.into(), value.into())).collect()
}

/// The whole cycle of a client in another language against the agent.
fn cycle(peer: &Peer) {
    let work = tempfile::tempdir().expect("a directory");
    let dir = work.path();
    if !is_there(peer, dir) {
        return;
    }
    if !peer.compile.is_empty() {
        process::run(&mut command(peer.compile, dir)).succeeded();
    }
    let world = World::new(&Plan { branches: vec!["north".into()], ..Plan::of(SCHEMA, POLICY, DATA) });
    let (office, shop) = (&world.office, &world.shops[0]);
    write_chunks(office, dir);
    let url = format!("{}/RPC2", shop.url());
    let found = said(peer, dir, &["cycle", &url, &dir.to_string_lossy(), IDS]);
    // where a language has no nil, nothing, an empty string or false stand for it
    for word in ["clean", "setidstart", "finish", "again"] {
        assert!(matches!(found[word].as_str(), "nil" | "" | "undef" | "None"), "{word}: {found:?}");
    }
    for (word, expected) in [("sid", "ok"), ("methods", "ok"), ("echo", "ok"), ("fault", "1"), ("unknown", "-32601")] {
        assert_eq!(found.get(word).map(String::as_str), Some(expected), "{word}: {found:?}");
    }
    assert_eq!(found.get("validator").map(String::as_str), peer.validator, "validator1: {found:?}");
    compare::assert_equal(("office", office), ("shop", &shop.database), &["product"]);

    shop.database.execute("insert into sale (product_id, note, paid) values (1, 'é ''漢'' ', true), (2, null, false)");
    assert!(shop.database.int("select min(id) from sale") > 5_000_000_000, "the shop's ids are in its range");
    let file = dir.join("diff");
    let path = file.to_string_lossy();
    let found = said(peer, dir, &["diff", &url, "0", &path]);
    let packed = fs::read(&file).unwrap_or_else(|error| panic!("{error}: {found:?}"));
    assert_eq!(found["diff"], packed.len().to_string());
    let mut script = String::new();
    flate2::read::MultiGzDecoder::new(&packed[..]).read_to_string(&mut script).expect("gzip");
    office.execute(&script);
    compare::assert_equal(("office", office), ("shop", &shop.database), &["sale"]);
    let watermark = script.lines().rfind(|line| !line.is_empty()).and_then(|line| line.strip_prefix("-- watermark: "));
    let watermark = watermark.unwrap_or_else(|| panic!("no watermark: {script}"));
    assert_eq!(said(peer, dir, &["diff", &url, watermark, &path])["diff"], "nil");
}

/// The office's products as one gzip stream, cut anywhere.
fn write_chunks(office: &Database, dir: &Path) {
    let mut script = String::from("SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; BEGIN;\n");
    let rows =
        office.rows("select id::text, quote_nullable(name), coalesce(price::text, 'NULL') from product order by id");
    for row in rows {
        let fields: Vec<&str> = row.iter().map(|field| field.as_deref().unwrap_or("NULL")).collect();
        // backslashes need no escape in the dialect
        let name = fields[1].strip_prefix("E").map_or_else(|| fields[1].to_owned(), |name| name.replace("\\\\", "\\"));
        script += &format!("INSERT INTO product (id, name, price) VALUES ({}, {name}, {});\n", fields[0], fields[2]);
    }
    script += "COMMIT;\n";
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let packed = packer.write_all(script.as_bytes()).and_then(|()| packer.finish()).expect("gzip");
    for (number, piece) in packed.chunks(997).enumerate() {
        fs::write(dir.join(format!("chunk-{number:04}")), piece).expect("a chunk");
    }
}

macro_rules! clients {
    ($($test:ident: $peer:expr,)*) => {
        $(
            #[test]
            fn $test() {
                cycle(&$peer);
            }
        )*
    };
}

clients! {
    python_runs_the_whole_cycle: PYTHON,
    twisted_runs_the_whole_cycle: TWISTED,
    perl_runs_the_whole_cycle: PERL,
    php_runs_the_whole_cycle: PHP,
    ruby_runs_the_whole_cycle: RUBY,
    c_runs_the_whole_cycle: C,
    node_runs_the_whole_cycle: NODE,
    go_runs_the_whole_cycle: GO,
    java_runs_the_whole_cycle: JAVA,
}

/// office-client drives an agent in another language, with the base methods alone.
fn drives(peer: &Peer, words: &[&str]) {
    let work = tempfile::tempdir().expect("a directory");
    if !is_there(peer, work.path()) {
        return;
    }
    let Some(psql) = psql::find() else { return not_run::because("psql") };
    let world = World::new(&Plan { branches: Vec::new(), ..Plan::of(SCHEMA, POLICY, DATA) });
    let database = cluster::shared().database("foreign");
    let psql = psql.to_string_lossy().into_owned();
    let schema: PathBuf = world.dir().join("schema.sql");
    let mut agent = command(words, work.path());
    agent.args(["--database", database.url(), "--schema"]).arg(schema).args([
        "--tables",
        "product,sale",
        "--sends",
        "sale",
    ]);
    let mut agent = Process::spawn(agent.args(["--psql", &psql]));
    let url = agent.url();
    world.office(&["init"]).succeeded();
    world.office(&["branch", "add", "north", "--url", &url, "--id", "1"]).succeeded();
    world.office(&["clone", "north"]).succeeded();
    let agree = || {
        for table in ["product", "sale"] {
            compare::assert_equal(("office", &world.office), ("shop", &database), &[table]);
        }
    };
    agree();
    database.execute("insert into sale (product_id, note, paid) values (1, 'é ''漢'' 😀', true), (2, null, false)");
    world
        .office
        .execute("update product set name = name || ' (new)' where id % 7 = 0; delete from product where id = 400");
    world.office(&["update", "north"]).succeeded();
    agree();
    database.execute("update sale set paid = true");
    world.office(&["update", "north"]).succeeded();
    agree();
    let calls = agent.stdout();
    assert!(calls.lines().any(|line| line.starts_with("sql_create")), "{calls}");
}

#[test]
fn a_server_of_npm_is_driven_by_office_client() {
    drives(&NODE, &["node", "tests/peers/node/agent.js"]);
}

#[test]
fn a_server_of_twisted_is_driven_by_office_client() {
    drives(&TWISTED, &["/usr/bin/python3", "tests/peers/twisted_agent.py"]);
}
