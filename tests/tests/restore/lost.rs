//! A shop whose machine is gone, with everything on it: the steps of docs/OPERATIONS.md.

use tests::cluster;

use crate::fixture::{chain, plan, sell};

#[test]
fn a_shop_that_is_lost_is_cloned_anew_with_fresh_ids_and_what_the_office_knows_of_it() {
    let mut world = chain(&["north"]);
    let sold = world.office.int("select count(*) from sale");
    let last = world.office.int("select max(id) from sale");
    sell(&world.shop("north").database, "never told", 2);
    world.replace_shop(cluster::shared(), &plan().schema, "north");
    // it is not the shop that the office knows, and only a person can say that it is to take its place
    world.office(&["update", "north"]).ended_with(4);
    world.office(&["clone", "north"]).succeeded();
    world.office(&["verify", "north"]).succeeded();
    let north = &world.shop("north").database;
    assert_eq!(north.int("select count(*) from product"), 50);
    // what it sells gets numbers that the lost sales cannot have had
    sell(north, "anew", 2);
    world.office(&["update", "north"]).succeeded();
    assert_eq!(world.office.int("select count(*) from sale"), sold + 2, "and nothing that the office had is gone");
    assert!(world.office.int("select min(id) from sale where note like 'anew%'") > last + 900_000_000_000);
    world.office(&["verify", "north"]).succeeded();
}
