//! `update --watch`: again and again until it is stopped.

use nix::sys::signal::Signal;
use tests::wait_for;

use crate::fixture::{fill, fill_receipts, parcels};

#[test]
fn watching_carries_what_comes_up_and_tells_of_a_shop_that_is_down_once() {
    let mut world = parcels(&["north", "south"]);
    let mut client = world.start_office(&["--retry-for", "0s", "update", "--all", "--watch=1s"]);
    wait_for::condition("a first pass", || client.stdout().matches("update done").count() == 2);

    let receipts = |world: &tests::kit::World| world.office.int("select count(*) from receipt");
    for sold in 1..=2 {
        world.shop("north").database.execute(&fill_receipts(720));
        wait_for::condition("what north has sold", || receipts(&world) == sold);
    }
    world.office.execute(&fill("parcel", 720));
    for shop in ["north", "south"] {
        let database = &world.shop(shop).database;
        wait_for::condition("what the office has made", || database.int("select count(*) from parcel") == 1);
    }

    // not in the middle of the run, whose end would be another story
    let runs = |client: &tests::process::Process| {
        client.stdout().lines().filter(|line| line.starts_with("south") && line.contains("update done")).count()
    };
    wait_for::condition("the run has ended", || runs(&client) == 2);
    world.shop_mut("south").kill_agent();
    client.wait_for_line("that south is down", |line| line.contains("`south`"));
    for sold in 3..=5 {
        world.shop("north").database.execute(&fill_receipts(720));
        wait_for::condition("what north sells meanwhile", || receipts(&world) == sold);
    }
    assert_eq!(client.stderr().matches("`south`: ").count(), 1, "{}", client.stderr());
    let told = client.stdout();
    assert!(told.lines().all(|line| line.starts_with("south") || line.starts_with("north")), "{told}");

    // the shop comes back at another address, which the next look finds
    world.shop("south").database.execute(&fill_receipts(720));
    world.shop_mut("south").start();
    world.office(&["branch", "set", "south", "--url", world.shop("south").url()]).succeeded();
    wait_for::condition("what south has sold", || receipts(&world) == 6);

    client.signal(Signal::SIGINT);
    assert_eq!(client.wait().code(), Some(130));
    let told = client.stdout();
    // twice a sale at north and a price for both, three more sales, and south when it is back; not a line a second
    assert!(told.lines().count() <= 12, "{told}");
}

#[test]
fn the_time_between_two_looks_is_at_least_a_second() {
    let world = parcels(&["north"]);
    for (every, says) in [("0s", "at least a second"), ("999ms", "at least a second"), ("soon", "soon")] {
        let refused = world.office(&["update", "--all", &format!("--watch={every}")]).ended_with(2);
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
    }
}
