//! A server of another language that offers the six base methods and nothing else is cloned and updated by office-client.

#[path = "../peers/retail.rs"]
mod retail;

use std::collections::BTreeMap;

use serde_json::Value;
use tests::database::Database;
use tests::kit::{Plan, World};
use tests::process::{Process, root};
use tests::proxy::{Cut, Direction, Line, Place, Proxy, Trick};
use tests::{cluster, not_run, psql, python};

/// A shop whose agent is the script.
struct Shop {
    agent: Process,
    database: Database,
}

impl Shop {
    fn start(world: &World) -> Self {
        let database = cluster::shared().database("north");
        let schema = world.dir().join("schema.sql");
        let psql = psql::find().expect("psql").to_string_lossy().into_owned();
        let sends = [&retail::PEOPLE[..], &retail::SALES].concat();
        let tables = [&retail::CATALOGUE[..], &sends].concat().join(",") + ",parameter_data";
        let agent = python::spawn(
            &root().join("tests/peers/agent.py"),
            &[
                "--database",
                database.url(),
                "--schema",
                &schema.to_string_lossy(),
                "--tables",
                &tables,
                "--sends",
                &sends.join(","),
                "--psql",
                &psql,
            ],
        );
        Self { agent, database }
    }

    /// How often each method was called so far.
    fn calls(&self) -> BTreeMap<String, usize> {
        let mut calls = BTreeMap::new();
        for line in self.agent.stdout().lines() {
            *calls.entry(line.to_owned()).or_default() += 1;
        }
        calls
    }
}

/// Runs `office-client update`; pulled and pushed rows.
fn update(world: &World) -> (i64, i64) {
    let said = world.office(&["--json", "update", "north"]).succeeded();
    let line: Value = serde_json::from_str(said.lines().next().unwrap_or_default()).expect("JSON");
    assert_eq!(line["result"], "done", "{said}");
    let rows = |name: &str| line[name].as_i64().unwrap_or_else(|| panic!("no {name}: {said}"));
    (rows("pulled_rows"), rows("pushed_rows"))
}

#[test]
fn a_server_with_the_base_methods_alone_is_cloned_and_kept_up_to_date() {
    for (is_there, what) in [(python::is_there(), "python3"), (psql::find().is_some(), "psql")] {
        if !is_there {
            return not_run::because(what);
        }
    }
    let world = World::new(&Plan { branches: Vec::new(), ..retail::plan(&[]) });
    let mut shop = Shop::start(&world);
    let url = shop.agent.url();
    world.office(&["init"]).succeeded();
    world.office(&["branch", "add", "north", "--url", &url, "--id", "1"]).succeeded();

    world.office(&["clone", "north"]).succeeded();
    retail::assert_agree(&world.office, &shop.database, true);
    let parameters = shop.database.int("select count(*) from parameter_data");
    assert_eq!(parameters, world.office.int("select count(*) from parameter_data"), "what is sent once is sent");
    assert_eq!(update(&world), (0, 0), "nothing has happened since the clone");

    // the shop's own day, then the office's, then both at the same time
    shop.database.execute(&retail::trade(1, 40));
    let (pulled, pushed) = update(&world);
    assert!(pulled > 200 && pushed == 0, "{pulled} rows pulled, {pushed} pushed");
    retail::assert_agree(&world.office, &shop.database, true);
    assert_eq!(world.office.int("select count(*) from sale"), 40);
    assert_eq!(update(&world), (0, 0), "a second update moves something");

    world.office.execute(&fixtures::trade::office_edits(1, 60));
    let (pulled, pushed) = update(&world);
    assert!(pulled == 0 && pushed > 20, "{pulled} rows pulled, {pushed} pushed");
    retail::assert_agree(&world.office, &shop.database, true);
    assert_eq!(update(&world), (0, 0), "what came from the office came back");

    shop.database.execute(&retail::trade(2, 10));
    world.office.execute(
        "update product set name = name || ' (new)' where id % 50 = 0; update service set amount = amount + 1",
    );
    let (pulled, pushed) = update(&world);
    assert!(pulled > 50 && pushed > 5, "{pulled} rows pulled, {pushed} pushed");
    retail::assert_agree(&world.office, &shop.database, true);
    assert_eq!(update(&world), (0, 0));

    let calls = shop.calls();
    for (call, times) in [("clean 0", 1), ("sql_prepare 0", 3), ("sql_finish 1", 3)] {
        assert_eq!(calls.get(call), Some(&times), "{call}: {calls:?}");
    }
    assert!(calls.keys().all(|call| !call.starts_with("sync.") || call.starts_with("sync.hello ")), "{calls:?}");
    assert!(shop.database.int("select min(id) from sale") > 1_000_000, "the shop's ids begin at its range");
    println!("{calls:?}");
}

#[test]
fn a_server_with_the_base_methods_alone_loses_nothing_when_the_line_is_cut() {
    for (is_there, what) in [(python::is_there(), "python3"), (psql::find().is_some(), "psql")] {
        if !is_there {
            return not_run::because(what);
        }
    }
    let world = World::new(&Plan { branches: Vec::new(), ..retail::plan(&[]) });
    let mut shop = Shop::start(&world);
    let url = shop.agent.url();
    world.office(&["init"]).succeeded();
    world.office(&["branch", "add", "north", "--url", &url, "--id", "1"]).succeeded();
    world.office(&["clone", "north"]).succeeded();

    // hello, diff, diff, sql_prepare, sql_create, sql_finish: the answer to each is lost once, each is cut in half once
    let lost = (0..6).map(|number| Line { trick: Some(Trick::LoseReply(number)), ..Line::default() });
    let halved = (0..6).map(|message| {
        let cut = Cut { direction: Direction::ToAgent, message, place: Place::MiddleOfBody, for_good: false };
        Line { cut: Some(cut), ..Line::default() }
    });
    let mut cuts = 0;
    for (number, line) in lost.chain(halved).enumerate() {
        shop.database.execute(&retail::trade(10 + number as u64, 3));
        world.office.execute("update product set name = name || '.' where id % 50 = 0");
        let proxy = Proxy::start(&url, line.clone());
        world.office(&["branch", "set", "north", "--url", &proxy.url()]).succeeded();
        world.office(&["--retry-for", "60s", "update", "north"]).succeeded();
        cuts += proxy.counts().cuts;
        retail::assert_agree(&world.office, &shop.database, true);
        assert_eq!(update(&world), (0, 0), "after {line:?}");
    }
    println!("{cuts} cuts");
    assert!(cuts >= 10, "the line was cut {cuts} times only");
}
