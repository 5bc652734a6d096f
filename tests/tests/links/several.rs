//! Several branches at once, and what is said before and while something moves.

use nix::sys::signal::Signal;
use tests::cluster::{self, Cluster};
use tests::kit::{Plan, World};
use tests::proxy::Line;
use tests::wait_for;

use crate::fixture::{fill, fill_receipts, line_to, objects, parcels};

#[test]
fn a_dead_shop_delays_no_other_and_the_summary_names_each() {
    let world = parcels(&["dead", "east", "west"]);
    let _proxy = line_to(&world, "dead", Line { dead_after: Some(1), ..Line::default() });
    world.office.execute(&fill("parcel", 2000));
    let mut client = world.start_office(&["--timeout", "10m", "update", "--all", "--jobs", "2"]);
    wait_for::condition("the others to be done", || {
        let told = client.stdout();
        told.contains("east: update done") && told.contains("west: update done")
    });
    assert!(client.is_running(), "the dead shop was given up too early for this test");
    client.signal(Signal::SIGINT);
    client.wait_for_line("the first stop", |line| line.contains("once more stops at once"));
    client.signal(Signal::SIGINT);
    assert_eq!(client.wait().code(), Some(130));

    let failed = world.office(&["--timeout", "300ms", "--retry-for", "0s", "update", "--all"]).ended_with(3);
    assert!(failed.stdout.contains("3 branches: 2 done, 1 unreachable (dead)"), "{}", failed.stdout);
}

#[test]
fn what_waits_in_both_directions_is_said_exactly_before_it_moves() {
    let world = parcels(&["north"]);
    world.office.execute(&fill("parcel", 30_000));
    world.shop("north").database.execute(&fill_receipts(20_000));
    let run = world.office(&["--json", "update", "north"]).ended_with(0);
    let events = objects(&run.stderr);
    let estimate = events.iter().find(|event| event["event"] == "estimate").unwrap_or_else(|| panic!("{}", run.stderr));
    let result = &objects(&run.stdout)[0];
    assert_eq!(estimate["receive_rows"], result["pulled_rows"]);
    assert_eq!(estimate["send_rows"], result["pushed_rows"]);
    assert_eq!(estimate["send_is_exact"], true);
    for (estimated, moved) in [("receive_bytes", "received_bytes"), ("send_bytes", "sent_bytes")] {
        let (estimated, moved) = (estimate[estimated].as_u64().unwrap_or(0), result[moved].as_u64().unwrap_or(0));
        // what is said is the payload; headers and questions come on top
        assert!(estimated <= moved && moved < estimated + 12_000, "{estimated} estimated, {moved} moved");
    }
    // people are told the same in a line, and JSON on stdout stays one object
    assert_eq!(run.stdout.lines().count(), 1);
    world.office.execute(&fill("parcel", 3000));
    let run = world.office(&["update", "north"]).ended_with(0);
    assert!(run.stderr.contains("north: nothing to receive, 4 rows ("), "{}", run.stderr);
}

/// A server has connections for some branches at a time, not for as many as one may ask for.
#[test]
fn more_branches_at_a_time_than_the_server_has_connections_for_are_updated_in_turns() {
    let branches: Vec<String> = (1..=8).map(|number| format!("shop{number}")).collect();
    let office = Cluster::start_with(false, &[("max_connections", "12")]);
    let (schema, policy) =
        ("create table product(id bigint primary key);", "name = \"p\"\n[tables]\nproduct = \"from-source\"\n");
    let plan = Plan { branches, ..Plan::of(schema, policy, "") };
    let world = World::in_clusters(&office, cluster::shared(), &plan);
    world.enrol();
    world.clone_all();
    world.office.execute("insert into product values (1)");
    let run = world.office(&["update", "--all", "--jobs", "8"]).ended_with(0);
    assert!(run.stdout.contains("8 branches: 8 done"), "{}", run.stdout);
    assert!(run.stderr.contains("branches are updated at one time instead of 8; max_connections"), "{}", run.stderr);
    world.assert_agree(&["product"]);
}
