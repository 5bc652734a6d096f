//! Lines that have to be dialled, that may be used at certain hours only, and whose bytes are counted.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use tests::kit::World;
use tests::proxy::{Cut, Direction, Line, Place};
use tests::wait_for;

use crate::fixture::{figure, fill, line_to, objects, parcels};

/// Gives a branch commands that write down when they are run.
fn dial(world: &World, shop: &str, up: &str) -> PathBuf {
    let log = world.dir().join("line.log");
    let (up, down) = (format!("echo up >> {0}; {up}", log.display()), format!("echo down >> {}", log.display()));
    world.office(&["branch", "set", shop, "--link-up", &up, "--link-down", &down]).succeeded();
    log
}

fn said(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_shared_line_is_brought_up_once_for_all_its_branches_and_taken_down_after_failures_too() {
    let mut world = parcels(&["north", "south"]);
    let log = dial(&world, "north", "true");
    dial(&world, "south", "true");
    world.office(&["update", "--all"]).succeeded();
    assert_eq!(said(&log), "up down", "one call for both");

    std::fs::remove_file(&log).expect("the log");
    world.shop_mut("north").stop_agent();
    let failed = world.office(&["--retry-for", "0s", "update", "--all"]).ended_with(3);
    assert!(failed.stdout.contains("1 done, 1 unreachable (north)"), "{}", failed.stdout);
    assert_eq!(said(&log), "up down");

    std::fs::remove_file(&log).expect("the log");
    dial(&world, "north", "exit 7");
    let failed = world.office(&["--retry-for", "0s", "update", "north"]).ended_with(5);
    assert!(failed.stderr.contains("did not bring the line up"), "{}", failed.stderr);
    assert_eq!(said(&log), "up down", "half a line is a line too");

    std::fs::remove_file(&log).expect("the log");
    dial(&world, "north", "sleep 600");
    world.office(&["branch", "set", "north", "--link-timeout", "200ms"]).succeeded();
    world.office(&["--retry-for", "0s", "update", "north"]).ended_with(5);
    assert_eq!(said(&log), "up down", "a command that hangs is ended");
}

#[test]
fn an_interrupted_run_hangs_up_even_when_it_is_stopped_at_once() {
    let world = parcels(&["north"]);
    let log = dial(&world, "north", "true");
    // nothing comes back, ever
    let _proxy = line_to(&world, "north", Line { dead_after: Some(1), ..Line::default() });
    let mut client = world.start_office(&["--timeout", "10m", "update", "north"]);
    wait_for::condition("the line to be up", || said(&log) == "up");
    client.signal(Signal::SIGINT);
    client.wait_for_line("the first stop", |line| line.contains("once more stops at once"));
    assert!(client.is_running());
    client.signal(Signal::SIGINT);
    assert_eq!(client.wait().code(), Some(130));
    assert_eq!(said(&log), "up down");
}

#[test]
fn a_line_that_was_hung_up_in_the_middle_is_dialled_again() {
    let world = parcels(&["north"]);
    world.office.execute(&fill("parcel", 200_000));
    let log = dial(&world, "north", "true");
    let cut = Cut { direction: Direction::ToAgent, message: 4, place: Place::MiddleOfBody, for_good: true };
    let proxy = line_to(&world, "north", Line { cut: Some(cut), ..Line::default() });
    let mut client = world.start_office(&["--json", "update", "north"]);
    // the line stays down until it is dialled again
    wait_for::condition("the second call", || said(&log) == "up down up");
    proxy.mend();
    assert!(client.wait().success(), "{}", client.stderr());
    assert_eq!(figure(&client.stdout(), "redials"), Some(1));
    wait_for::condition("the end of the second call", || said(&log).ends_with("down"));
    world.assert_agree(&["parcel"]);
}

#[test]
fn a_byte_budget_spreads_a_push_over_several_runs_that_go_on_where_the_last_one_stopped() {
    let world = parcels(&["north"]);
    world.office.execute(&fill("parcel", 200_000));
    let plan = world.office(&["--json", "update", "north", "--dry-run"]).succeeded();
    let payload = u64::try_from(figure(&plan, "push_bytes").expect("a figure")).expect("a size");
    world.office(&["branch", "set", "north", "--byte-budget", "60KiB"]).succeeded();
    let proxy = line_to(&world, "north", Line::default());
    let mut runs = 1;
    loop {
        let run = world.office(&["--json", "update", "north"]);
        if run.is_success() {
            break;
        }
        let object = objects(&run.ended_with(5).stdout).swap_remove(0);
        assert_eq!(object["result"], "postponed");
        let moved = object["sent_bytes"].as_u64().unwrap_or(0) + object["received_bytes"].as_u64().unwrap_or(0);
        assert!((30_000..66_000).contains(&moved), "a run has moved {moved} bytes");
        let status = world.office(&["--json", "status"]).succeeded();
        assert!(status.contains("\"state\":\"postponed\""), "{status}");
        runs += 1;
        assert!(runs < 20);
    }
    assert!(runs >= 4, "{runs} runs for {payload} bytes");
    let bodies = proxy.counts().bodies;
    assert!(bodies < payload * 11 / 10 + runs * 2000, "{bodies} bytes of bodies for {payload} in {runs} runs");
    world.assert_agree(&["parcel"]);
    let history = world.office(&["history", "north"]).succeeded();
    assert!(history.contains("postponed") && history.contains("byte budget of 60KiB is used up"), "{history}");

    // a day's budget is used up by all runs of the day
    world.office(&["branch", "set", "north", "--byte-budget", "60KiB/day"]).succeeded();
    world.office(&["update", "north"]).ended_with(5);
    world.office(&["update", "north", "--force"]).succeeded();
}

#[test]
fn outside_its_window_a_branch_is_not_even_dialled() {
    let world = parcels(&["north"]);
    let log = dial(&world, "north", "true");
    let hour = |offset: i64| {
        let sql = format!("select to_char(now() at time zone 'UTC' + interval '{offset} hours', 'HH24:MI')");
        world.office.rows(&sql)[0][0].clone().expect("a time")
    };
    let closed = format!("{}-{}", hour(2), hour(3));
    let open = format!("{closed},{}-{}", hour(-1), hour(1));
    let run = |window: &str| {
        world.office(&["branch", "set", "north", "--window", window]).succeeded();
        let mut command = world.office_command(&["--json", "update", "north"]);
        tests::process::run(command.env("TZ", "UTC"))
    };
    let postponed = run(&closed).ended_with(5);
    assert!(postponed.stdout.contains("\"result\":\"postponed\""), "{}", postponed.stdout);
    assert_eq!(said(&log), "");
    run(&open).succeeded();
    assert_eq!(said(&log), "up down");
}
