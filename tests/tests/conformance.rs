//! The conformance suite against a running agent, and against servers of other makes.

use std::process::Command;

use serde_json::Value;
use tests::kit::{Plan, World};
use tests::process::{self, Finished, binary};

/// A world that is small: conformance has nothing to do with data.
fn small() -> Plan {
    Plan::of("create table note (id bigserial primary key, text text)", "name = \"p\"\n[tables]\nnote = \"both\"", "")
}

fn run(url: &str, args: &[&str]) -> Finished {
    process::run(Command::new(binary("office-client")).args(["--json", "conformance", url]).args(args))
}

/// Runs the suite; its exit code, what it found, and its summary.
fn conformance(url: &str, args: &[&str]) -> (Option<i32>, Vec<Value>, Value) {
    let ended = run(url, args);
    let mut lines: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let summary = lines.pop().unwrap_or_else(|| panic!("nothing was printed: {}", ended.stderr));
    (ended.code, lines, summary)
}

#[test]
fn the_agent_passes_every_vector_exactly() {
    let world = World::new(&small());
    let (code, found, summary) = conformance(world.shops[0].url(), &["--strict", "--destructive"]);
    let wrong: Vec<&Value> =
        found.iter().filter(|finding| finding["result"] != "pass" || !finding["note"].is_null()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{summary}");
    assert!(found.len() > 300, "{} vectors", found.len());
    assert_eq!(code, Some(0), "{summary}");
}

#[test]
fn the_suite_runs_over_tls_too() {
    let mut world = World::new(&small());
    world.shops[0].stop_agent();
    world.shops[0].start_with(&["--tls-self-signed"]);
    let url = world.shops[0].url().to_owned();
    let log = world.shops[0].agent().stderr();
    let pin = log.split_whitespace().find_map(|word| word.strip_prefix("fingerprint=")).expect("a fingerprint");
    let (code, found, summary) = conformance(&url, &["--strict", "--fingerprint", pin]);
    let wrong: Vec<&Value> =
        found.iter().filter(|finding| !matches!(finding["result"].as_str(), Some("pass" | "skipped"))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{summary}");
    // skipped ones count as failures where everything is asked for
    assert_eq!(code, Some(1), "{summary}");
    assert_eq!(
        run(&url, &["--fingerprint", &"0".repeat(64)]).code,
        Some(4),
        "a server with another certificate is not talked to"
    );
}

#[test]
fn without_leave_the_suite_changes_nothing() {
    let world = World::new(&small());
    let shop = &world.shops[0];
    shop.database.execute("insert into note (text) values ('a'), ('b')");
    let state = "select string_agg(id || text, ',' order by id), (select last_value from note_id_seq) from note";
    let before = shop.database.rows(state);
    let (code, found, summary) = conformance(shop.url(), &[]);
    assert_eq!(code, Some(0), "{summary}");
    assert_eq!(shop.database.rows(state), before);
    let skipped: Vec<&Value> = found.iter().filter(|finding| finding["result"] == "skipped").collect();
    assert!(skipped.iter().any(|finding| finding["rule"] == "clean"), "{skipped:?}");
    let open = "select count(*) from sync.session where state = 'open'";
    assert_eq!(shop.database.int(open), 0, "sessions were left open");
}
