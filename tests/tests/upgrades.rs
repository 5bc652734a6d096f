//! I22: databases of every released version kept in fixtures/upgrades move forward, keep what they hold, and synchronise.
//!
//! The fixtures are what the programs of those versions left behind: an office and a shop, cloned and updated, each with
//! changes that the other has not got yet. Loaded into another server they are databases that were moved by dump and
//! restore, so `after-upgrade` is said of them, as docs/OPERATIONS.md has it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use replica::migrate;
use tests::database::Database;
use tests::engine::connection;
use tests::kit::{Plan, World};
use tests::process::root;
use tests::proxy::{Line, Proxy, Trick, Version};
use tests::{compare, runtime};

/// What is there: number of the schema's version, end.
fn fixtures() -> BTreeMap<i32, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("fixtures/upgrades")).expect("the fixtures") {
        let name = entry.expect("a file").file_name().to_string_lossy().into_owned();
        if let Some(number) = name.strip_suffix("-office.sql") {
            found.insert(number.parse().expect("a number"), number.to_owned());
        }
    }
    found
}

/// Uses up transaction ids: more than the servers had on which the fixtures were made.
const BUSY_SERVER: &str = "do $$ begin for i in 1..3000 loop perform pg_current_xact_id(); commit; end loop; end $$";

/// Rows of every table of schema sync that says something about the past.
fn past(database: &Database) -> Vec<Vec<Option<String>>> {
    let mut rows = Vec::new();
    for sql in [
        "select branch, policy, \"timestamp\"::text, settings::text, cloned_at::text from sync.branch_synchronization",
        "select name, digest from sync.policy",
        "select peer::text, name from sync.peer order by peer",
        "select kind, result, pulled_rows::text, pushed_rows::text from sync.run order by started_at",
        "select office, kind, state, rows::text from sync.session order by opened_at",
    ] {
        let table = sql.split("from ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a table");
        if database.value(&format!("select to_regclass('{table}')::text")).is_some() {
            rows.extend(database.rows(sql));
        }
    }
    assert!(rows.len() > 2, "the fixture is no empty one");
    rows
}

/// Leaves the witness that the state directory of the machine had: today's programs ask for it before they believe that a
/// database was moved whole.
fn vouch(database: &Database, state_dir: &Path) {
    let incarnation = database.value("select id::text from sync.incarnation order by number desc limit 1");
    let _ = fs::remove_dir_all(state_dir);
    fs::create_dir_all(state_dir).expect("a directory");
    let testimony = serde_json::json!({ "incarnation": incarnation });
    fs::write(state_dir.join("witness.json"), testimony.to_string()).expect("written");
}

/// Moves a database forward with two programs at once, and says what each of them came to.
fn migrate_twice_at_once(database: &Database) {
    let connect = || {
        let database = database.clone();
        async move { connection(&database).await.connect("upgrade").await.expect("a connection") }
    };
    let (one, two) = (connect(), connect());
    let ends = runtime::run(async move {
        let (mut one, mut two) = (one.await, two.await);
        tokio::join!(migrate::migrate(&mut one), migrate::migrate(&mut two))
    });
    assert!(ends.0.is_ok() && ends.1.is_ok(), "{ends:?}");
    assert_eq!(database.int("select max(number) from sync.migration"), i64::from(migrate::VERSION));
    let steps = database.int("select count(*) from sync.migration");
    assert_eq!(steps, i64::from(migrate::VERSION), "each step was made once");
}

#[test]
fn databases_of_every_version_kept_move_forward_keep_what_they_hold_and_synchronise() {
    let all = fixtures();
    assert!(all.len() >= 3 && all.contains_key(&1), "{all:?}");
    for (version, name) in all {
        let read = |end: &str| {
            let path = root().join(format!("fixtures/upgrades/{name}-{end}.sql"));
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let policy = fs::read_to_string(root().join("fixtures/upgrades/policy.toml")).expect("the policy");
        let schema = fs::read_to_string(root().join("fixtures/upgrades/schema.sql")).expect("the schema");
        let plan =
            Plan { schema: String::new(), data: String::new(), shops_have_schema: false, ..Plan::of("", &policy, "") };
        let mut world = World::new(&plan);
        fs::write(world.dir().join("schema.sql"), schema).expect("written");
        let north = world.shop_mut("north");
        north.stop_agent();
        north.database.execute("drop schema sync cascade");
        // a server that has fewer transactions behind it than the one before is no place to go on: after-restore is for that
        world.office.execute(BUSY_SERVER);
        world.office.load(&read("office"));
        world.shop("north").database.load(&read("shop"));
        for (database, end) in [(&world.office, "office"), (&world.shop("north").database, "shop")] {
            assert_eq!(database.int("select max(number) from sync.migration"), i64::from(version), "{end}");
            let before = past(database);
            migrate_twice_at_once(database);
            assert_eq!(past(database), before, "{end} of version {version}: what was there is there");
        }

        vouch(&world.office, &world.office_state_dir());
        world.office(&["after-upgrade"]).succeeded();
        let north = world.shop_mut("north");
        vouch(&north.database, north.state_dir());
        north.run("after-upgrade", &[]).succeeded();
        north.start();
        let url = north.url().to_owned();
        world.office(&["branch", "set", "north", "--url", &url]).succeeded();
        world.office(&["update", "north"]).succeeded();
        let north = world.shop("north");
        let tables = ["product", "person", "sale"];
        compare::assert_equal(("office", &world.office), ("north", &north.database), &tables);
        // what neither had got of the other when the programs were exchanged
        assert_eq!(world.office.int("select count(*) from sale where id = 1000000000010"), 1, "version {version}");
        assert_eq!(north.database.int("select count(*) from product where id = 3 or price = 3.50"), 2);
        let people = world.office.rows("select name, phone from person order by id");
        let people: Vec<String> = people.into_iter().flatten().flatten().collect();
        let conflicts = || world.office.rows("select to_jsonb(c)::text from sync.conflict c");
        assert_eq!(people, ["Ana", "111", "Rui Costa", "2"], "version {version}: {:?}", conflicts());
        world.office(&["verify", "north"]).succeeded();
    }
}

/// Whoever adds a step adds the fixtures of the version before it, once that was released: the newest kept is today's.
#[test]
fn a_fixture_of_todays_version_is_kept() {
    let newest = fixtures().into_keys().max();
    assert!(
        newest.is_some_and(|newest| newest + 1 >= migrate::VERSION),
        "the newest fixture is {newest:?}, the schema is at {}: run fixtures/upgrades/make",
        migrate::VERSION
    );
}

/// I22, with both real programs and a line that changes the version each tells the other.
#[test]
fn an_old_office_and_a_new_agent_or_the_reverse_agree_or_refuse_with_who_has_to_be_upgraded() {
    const SCHEMA: &str = "create table product (id bigint primary key, name text);
        create table sale (id bigint generated by default as identity primary key, product_id bigint references product);";
    const POLICY: &str = "name = \"small\"\n[tables]\nproduct = \"from-source\"\nsale = \"from-target\"\n";
    let world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'coffee')"));
    world.enrol();
    let north = world.shop("north");
    let through = |version: Version| {
        let line = Proxy::start(north.url(), Line { trick: Some(Trick::Speaks(version)), ..Line::default() });
        world.office(&["branch", "set", "north", "--url", &line.url()]).succeeded();
        line
    };
    // an office of a version to come: our agent says what it speaks, and serves it
    let line = through(Version { office: Some(9), agent: None });
    world.office(&["clone", "north"]).succeeded();
    north.database.execute("insert into sale (product_id) values (1)");
    world.office(&["update", "north"]).succeeded();
    assert_eq!(world.office.int("select count(*) from sale"), 1);
    assert!(line.counts().requests > 5, "all of it went through the line: {:?}", line.counts());

    // an agent of a version to come that speaks ours no more: nothing moves, and the message says what to upgrade
    let _line = through(Version { office: None, agent: Some(2) });
    north.database.execute("insert into sale (product_id) values (1)");
    world.office.execute("insert into product values (2, 'tea')");
    for command in [&["update", "north"][..], &["clone", "north"], &["verify", "north"]] {
        let refused = world.office(command).ended_with(4);
        for words in
            ["speaks version 2 of the protocol, this program version 1", "install the newer version at the office"]
        {
            assert!(refused.stderr.contains(words), "{command:?}: {words} in\n{}", refused.stderr);
        }
    }
    let check = world.office(&["check", "north"]).ended_with(1);
    assert!(check.stdout.contains("speaks version 2 of the protocol"), "{}", check.stdout);
    assert_eq!(north.database.int("select count(*) from product"), 1);
    assert_eq!(world.office.int("select count(*) from sale"), 1);

    // one that does not say which it speaks is taken as one of before there were versions
    let _line = through(Version { office: None, agent: Some(0) });
    world.office(&["update", "north"]).succeeded();
    assert_eq!(
        (north.database.int("select count(*) from product"), world.office.int("select count(*) from sale")),
        (2, 2)
    );
    world.office(&["branch", "set", "north", "--url", north.url()]).succeeded();
    world.office(&["verify", "north"]).succeeded();
}
