//! Memory does not grow with what an update moves (I16): rows that both sides have changed are merged in batches, whatever
//! their number. `SYNC_UPDATE_ROWS=100000` plays the large case of the design; an ordinary run a smaller one.

use tests::database::Database;
use tests::kit::{Plan, World};
use tests::process::Process;

const SCHEMA: &str = "
    create table person (id bigint primary key, name text not null, phone text, email text, n int not null default 0);
";

const POLICY: &str = r#"
name = "memory"
[tables]
person = "both"
"#;

/// Rows of the small update, and of the large one in an ordinary run.
const ROWS: [u64; 2] = [3_000, 30_000];

/// By how much the peak of a program may differ between them.
const GROWTH_MAX: u64 = 8 << 20;

/// The most memory that a process has had so far, bytes.
fn peak(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Peaks of office-client and agent in one update.
fn peaks(world: &mut World) -> [u64; 2] {
    // a fresh process: the peak of one never falls
    let shop = world.shop_mut("north");
    shop.stop_agent();
    shop.start();
    let mut client: Process = world.start_office(&["--json", "update", "north"]);
    let mut highest = 0;
    while client.is_running() {
        highest = highest.max(peak(client.pid()).unwrap_or(0));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(client.wait().success(), "{}", client.stderr());
    let told: serde_json::Value = serde_json::from_str(client.stdout().trim()).expect("JSON");
    assert!(told["conflicts"].as_i64() > Some(0) || told["pushed_rows"].as_i64() > Some(0), "{told}");
    [highest, peak(world.shop_mut("north").agent().pid()).expect("the agent runs")]
}

/// Changes `all` of the rows at one end and a hundredth of them at the other, in the same column.
fn change(all: &Database, few: &Database, round: &str) {
    all.execute(&format!("update person set phone = '{round} ' || id, n = n + 1"));
    few.execute(&format!("update person set phone = 'contended {round}' where id % 100 = 7"));
}

/// Peaks of both programs, for a pull of so many rows and a push of as many, each with 1 % conflicts.
fn updates(rows: u64) -> [[u64; 2]; 2] {
    let data = format!(
        "insert into person (id, name, phone, email) select g, 'person ' || g, '555-' || g, g || '@example.org' from generate_series(1, {rows}) g;"
    );
    let mut world = World::new(&Plan::of(SCHEMA, POLICY, &data));
    world.enrol();
    world.clone_all();
    change(&world.shop("north").database, &world.office, "shop");
    let pull = peaks(&mut world);
    let conflicts = |world: &World| world.office.int("select count(*) from sync.conflict");
    let found = conflicts(&world);
    assert_eq!(found, i64::try_from(rows / 100).expect("few"), "one row in a hundred");
    world.office(&["update", "north"]).succeeded();
    change(&world.office, &world.shop("north").database, "office");
    let push = peaks(&mut world);
    assert!(conflicts(&world) > found);
    world.office(&["update", "north"]).succeeded();
    world.assert_agree(&["person"]);
    [pull, push]
}

#[test]
fn i16_an_update_with_conflicts_takes_as_much_memory_for_many_rows_as_for_few() {
    let rows = std::env::var("SYNC_UPDATE_ROWS").map_or(ROWS[1], |text| text.parse().expect("a number"));
    let (few, many) = (updates(ROWS[0]), updates(rows));
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    for (way, (few, many)) in ["pull", "push"].iter().zip(few.iter().zip(&many)) {
        for (program, (few, many)) in ["office-client", "shop-agent"].iter().zip(few.iter().zip(many)) {
            println!("{way}, {program}: {} MiB for {} rows, {} MiB for {rows}", mib(*few), ROWS[0], mib(*many));
            assert!(
                *many < few + GROWTH_MAX,
                "{way}: {program} took {} MiB, and {} for few rows",
                mib(*many),
                mib(*few)
            );
        }
    }
}

/// Tables of a wide schema, each with less than is handed over at once.
const TABLES: usize = 200;

/// Most memory that the agent is promised to take (docs/SECURITY.md).
const AGENT_MAX: u64 = 64 << 20;

#[test]
fn i16_a_clone_of_many_tables_with_a_little_each_takes_no_more_than_one_of_few() {
    let each = |what: &dyn Fn(usize) -> String| (1..=TABLES).map(what).collect::<String>();
    let schema = each(&|table| format!("create table t_{table}(id int primary key, note text);"));
    let data = each(&|table| {
        format!("insert into t_{table} select g, repeat(md5(g::text), 7) from generate_series(1, 1000) g;")
    });
    let mut world = World::new(&Plan::of(&schema, "name = \"wide\"\n[tables]\n\"t_*\" = \"from-source\"\n", &data));
    world.enrol();
    world.clone_all();
    assert_eq!(world.shop("north").database.int(&format!("select count(*) from t_{TABLES}")), 1000);
    let peak = peak(world.shop_mut("north").agent().pid()).expect("the agent runs");
    println!("{TABLES} tables: {:.1} MiB", peak as f64 / f64::from(1 << 20));
    assert!(peak < AGENT_MAX, "the agent took {peak} bytes");
}
