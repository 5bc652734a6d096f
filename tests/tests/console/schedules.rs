//! Updates that nobody starts.

use std::process::Command;

use tests::kit::{Plan, World};
use tests::{process, wait_for};

use crate::fixture::Console;

const SCHEMA: &str = "create table product (id bigint primary key, name text);";
const POLICY: &str = "name = \"small\"\n[tables]\nproduct = \"from-source\"";
const RUNS: &str = "select count(*) from sync.run where kind = 'update'";

fn world(branches: &[&str]) -> World {
    let plan = Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea');");
    let world = World::new(&Plan { branches: branches.iter().map(|name| (*name).to_owned()).collect(), ..plan });
    world.enrol();
    world.clone_all();
    world
}

/// As if the last run of every branch had been long ago, and with it whatever a schedule had begun.
fn age(world: &World) {
    world.office.execute(
        "update sync.run set started_at = started_at - interval '3 days';
         update sync.branch_synchronization set scheduled_at = scheduled_at - interval '3 days'",
    );
}

#[test]
fn of_two_consoles_one_begins_each_run_that_is_due_also_when_both_decide_at_the_same_moment_i15() {
    let world = world(&["north"]);
    let refused = world.office(&["branch", "set", "north", "--schedule", "now and then"]).ended_with(2);
    assert!(refused.stderr.contains("every 15m"), "{}", refused.stderr);
    world.office(&["branch", "set", "north", "--schedule", "every 1h"]).succeeded();
    // longer than a console waits before it looks again: both have decided before either has begun
    world.office.execute(
        "create function slowly() returns trigger language plpgsql as $$
             begin perform pg_sleep(5); return new; end $$;
         create trigger slowly before update of scheduled_at on sync.branch_synchronization for each row
             when (new.scheduled_after is not null and new.scheduled_at > now() - interval '1 day') execute function slowly()",
    );
    world.office.execute("insert into product values (2, 'coffee')");
    let consoles = [Console::start(&world), Console::start(&world)];
    for round in 1..=2 {
        age(&world);
        wait_for::condition("both consoles want to begin the run", || {
            let waiting = "select count(*) from pg_stat_activity where query like 'update sync.branch_synchronization set scheduled_at%'
                           and state = 'active'";
            world.office.int(waiting) == 2
        });
        wait_for::condition("the run that was missed is caught up", || world.office.int(RUNS) == round);
        wait_for::condition("both have decided", || {
            world.office.int("select count(*) from pg_stat_activity where query like 'update sync.branch_synchronization set scheduled_at%'
                              and state = 'active'") == 0
        });
        wait_for::condition("no run is at work", || {
            world
                .office
                .int("select count(*) from pg_locks where locktype = 'advisory' and classid = x'73796e63'::int::oid")
                == 0
        });
        assert_eq!(world.office.int(RUNS), round, "one run, whoever begins it");
    }
    assert_eq!(world.office.int("select count(*) from sync.run where kind = 'update' and result <> 'done'"), 0);
    assert_eq!(world.shop("north").database.int("select count(*) from product"), 2);
    for console in &consoles {
        let page = console.get("/branches/north", &[]).body;
        assert!(page.contains("Next update"), "{page}");
    }
}

#[test]
fn a_paused_branch_and_one_outside_its_window_are_left_alone_and_caught_up_afterwards() {
    let world = world(&["north", "south", "west"]);
    for name in ["north", "south", "west"] {
        world.office(&["branch", "set", name, "--schedule", "every 1h jitter 10m"]).succeeded();
    }
    world.office(&["branch", "pause", "north"]).succeeded();
    // a window that is shut now: it opens in two hours, by the clock of this machine
    let hour = process::run(Command::new("date").arg("+%H")).succeeded();
    let hour: u32 = hour.trim().parse().expect("an hour");
    let window = format!("{:02}:00-{:02}:00", (hour + 2) % 24, (hour + 3) % 24);
    world.office(&["branch", "set", "south", "--window", &window]).succeeded();
    age(&world);
    let console = Console::start(&world);
    // branches are looked at in their order: when the last one has begun, the others have been passed over
    wait_for::condition("west is updated by itself", || world.office.int(RUNS) > 0);
    let begun = "select string_agg(branch, ',') from sync.branch_synchronization where scheduled_at is not null";
    assert_eq!(world.office.value(begun).as_deref(), Some("west"));
    let page = console.get("/branches/north", &[]).body;
    assert!(page.contains("Paused: nothing is updated by itself"), "{page}");
    let page = console.get("/branches/south", &[]).body;
    assert!(page.contains("Due: it begins when its window opens"), "{page}");

    world.office(&["branch", "resume", "north"]).succeeded();
    world.office(&["branch", "set", "south", "--window", ""]).succeeded();
    wait_for::condition("both are caught up", || world.office.int(RUNS) == 3);
    assert_eq!(world.office.int("select count(distinct branch) from sync.run where kind = 'update'"), 3);
}

#[test]
fn a_schedule_is_set_on_the_page_of_its_branch_and_a_wrong_one_is_explained() {
    let world = world(&["north"]);
    let console = Console::start(&world);
    let token = console.token(&[]);
    let post = |schedule: &str| {
        console.ask("POST", "/branches/north/schedule", &[], &format!("token={token}&schedule={schedule}"))
    };
    let wrong = post("sometimes");
    assert!(wrong.status == 400 && wrong.body.contains("every 15m"), "{wrong:?}");
    assert_eq!(post("at+06%3A00%2C13%3A30").status, 303);
    assert!(console.get("/branches/north", &[]).body.contains("at 06:00,13:30"));
    assert_eq!(post("").status, 303);
    assert_eq!(world.office.int("select count(*) from sync.branch_synchronization where settings ? 'schedule'"), 0);
}
