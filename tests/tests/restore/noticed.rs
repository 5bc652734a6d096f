//! What was restored or copied is noticed at the next contact, at both ends.

use tests::cluster::{self, Cluster};
use tests::kit::World;
use tests::{process, psql};

use crate::fixture::{chain, grown, plan, restored, sell};

/// An update that must stop before anything is exchanged; returns what it said.
fn refused(world: &World, words: &[&str]) -> String {
    let rows = |world: &World| {
        let count =
            "select (select count(*) from sale) + (select count(*) from person) + (select count(*) from product)";
        (world.office.int(count), world.shops.iter().map(|shop| shop.database.int(count)).collect::<Vec<_>>())
    };
    let before = rows(world);
    let told = world.office(&["update", "north"]).ended_with(4).stderr;
    for word in words.iter().chain(&["--repair"]) {
        assert!(told.contains(word), "{word:?} is missing: {told}");
    }
    assert_eq!(rows(world), before, "nothing has moved");
    told
}

#[test]
fn a_shop_restored_from_a_dump_is_noticed_before_anything_moves() {
    let mut world = chain(&["north"]);
    let dump = psql::dump(&world.shop("north").database);
    sell(&world.shop("north").database, "lost at the shop", 2);
    world.office(&["update", "north"]).succeeded();
    let north = world.shop_mut("north");
    north.stop_agent();
    north.database = restored("north", &dump);
    north.start();
    refused(&world, &["another history"]);
    // ids that the lost sales had are not drawn again, whoever knows of them
    let north = world.shop("north");
    sell(&north.database, "after the restore", 1);
    let last = world.office.int("select max(id) from sale");
    assert!(north.database.int("select max(id) from sale") > last);
}

#[test]
fn an_office_restored_from_a_dump_is_noticed_before_anything_moves() {
    let mut world = chain(&["north"]);
    let dump = psql::dump(&world.office);
    world.office.execute("update product set price = 1 where id = 1");
    world.office(&["update", "north"]).succeeded();
    world.office = restored("office", &dump);
    refused(&world, &["restored"]);
}

/// I1: what an office had acknowledged in the life it lost is only at the shop now, and no clone may empty it there.
#[test]
fn i1_a_restored_office_does_not_clean_away_what_it_has_lost() {
    for cloned_again in [false, true] {
        let mut world = chain(&["north"]);
        let dump = psql::dump(&world.office);
        if cloned_again {
            // then the shop does not know the watermark of the backup
            world.office(&["clone", "north"]).succeeded();
        }
        let north = world.shop("north").database.clone();
        sell(&north, "acknowledged", 2);
        world.office(&["update", "north"]).succeeded();
        world.office(&["update", "north"]).succeeded();
        world.office = restored("office", &dump);
        let sold = "select count(*) from sale where note like 'acknowledged%'";
        for before in [&["update", "north"], &["clone", "north"], &["clone", "north"]] {
            world.office(before).ended_with(4);
            assert_eq!(north.int(sold), 2, "{cloned_again}: {before:?} has emptied the shop");
        }
        assert_eq!(world.office.int(sold), 0);
        world.office(&["verify", "north", "--repair"]);
        assert_eq!(world.office.int(sold), 2, "{cloned_again}");
    }
}

#[test]
fn files_of_the_shops_server_put_back_are_noticed_though_nothing_in_them_tells() {
    // with its witness, and without: then the office's token tells
    for keep_witness in [true, false] {
        let shops = Cluster::start(false);
        let mut world = grown(World::in_clusters(cluster::shared(), &shops, &plan()));
        world.shop_mut("north").stop_agent();
        shops.save("yesterday");
        world.shop_mut("north").start();
        sell(&world.shop("north").database, "lost", 2);
        world.office(&["update", "north"]).succeeded();
        world.shop_mut("north").stop_agent();
        shops.bring_back("yesterday");
        if !keep_witness {
            std::fs::remove_file(world.shop("north").state_dir().join("witness.json")).unwrap();
        }
        world.shop_mut("north").start();
        let words: &[&str] = if keep_witness { &["another history"] } else { &["the shop's database knows less"] };
        refused(&world, words);
        // and the shop does not go on with this office either
        refused(&world, &[]);
    }
}

/// I8: a backup made in the middle of a session, after its hello and before its push was applied. The simulation found it.
#[test]
fn files_put_back_to_the_middle_of_a_session_are_noticed_by_the_witness() {
    let shops = Cluster::start(false);
    let mut world = grown(World::in_clusters(cluster::shared(), &shops, &plan()));
    world.office.execute("update product set price = 3 where id = 1");
    let mut update = world.office_command(&["update", "north"]);
    process::run(update.env("SYNC_KILL_AT", "office.push.finish.before")).ended_with(137);
    let north = world.shop_mut("north");
    north.stop_agent();
    shops.save("the middle");
    north.start();
    let sid = north.database.int("select sid from sync.session where state = 'open'");
    let url = north.url().to_owned();
    world.office(&["call", &url, "sql_finish", &format!("i:{sid}")]).succeeded();
    assert_eq!(
        world.shop("north").database.value("select price::text from product where id = 1").as_deref(),
        Some("3.00")
    );
    world.shop_mut("north").stop_agent();
    shops.bring_back("the middle");
    world.shop_mut("north").start();
    refused(&world, &["another history"]);
    world.shop_mut("north").stop_agent();
}

#[test]
fn files_of_the_offices_server_put_back_are_noticed_with_and_without_the_witness() {
    for keep_witness in [true, false] {
        let office = Cluster::start(false);
        let mut world = grown(World::in_clusters(&office, cluster::shared(), &plan()));
        office.save("yesterday");
        sell(&world.shop("north").database, "known to the lost office", 2);
        world.office(&["update", "north"]).succeeded();
        office.bring_back("yesterday");
        if !keep_witness {
            std::fs::remove_file(world.office_state_dir().join("witness.json")).unwrap();
        }
        let words: &[&str] = if keep_witness { &["restored"] } else { &["the office's database knows less"] };
        refused(&world, words);
        world.shop_mut("north").stop_agent();
    }
}

#[test]
fn a_shops_disk_used_from_two_places_is_noticed() {
    let mut world = chain(&["north"]);
    let north = world.shop_mut("north");
    north.stop_agent();
    // byte for byte the same disk: nothing in it tells which is which
    let twin_database = cluster::shared().copy_of("north_twin", &north.database);
    twin_database.execute(
        "update sync.incarnation set database_oid = (select oid from pg_database where datname = current_database())",
    );
    let mut twin = (*north).copied(twin_database);
    north.start();
    twin.start();
    world.office(&["update", "north"]).succeeded();
    world.office(&["branch", "set", "north", "--url", twin.url()]).succeeded();
    refused(&world, &["two"]);
    world.office(&["branch", "set", "north", "--url", world.shop("north").url()]).succeeded();
    world.office(&["update", "north"]).succeeded();
    twin.stop_agent();
}

#[test]
fn a_lost_answer_to_hello_is_no_sign_of_a_restore() {
    let world = chain(&["north"]);
    // the shop has stored the office's token, the office does not know
    let before = world.office.rows("select contact, token from sync.branch_synchronization");
    world.office(&["update", "north"]).succeeded();
    let (number, token) = (before[0][0].clone().unwrap(), before[0][1].clone().unwrap());
    world.office.execute(&format!(
        "update sync.branch_synchronization set next_token = token, contact = {number}, token = '{token}'"
    ));
    world.office(&["update", "north"]).succeeded();
    world.office(&["update", "north"]).succeeded();
}

#[test]
fn a_restored_office_never_gives_an_id_range_out_twice() {
    let mut world = chain(&["north", "south"]);
    let dump = psql::dump(&world.office);
    // north is cloned again after the backup, so the restored office does not know its range
    world.office(&["clone", "north"]).succeeded();
    let given = world.office.int("select max(high) from sync.id_slot");
    world.office = restored("office", &dump);
    std::fs::remove_file(world.office_state_dir().join("witness.json")).unwrap();
    assert!(world.office.int("select max(high) from sync.id_slot") < given);
    // south is cloned again before anybody has asked north
    world.office(&["clone", "south", "--force"]).succeeded();
    let south = world.shop("south").database.int("select id_low from sync.node");
    assert!(south >= given, "south draws from {south}, north has ids up to {given}");
    // and north tells its range at the first contact
    world.office(&["update", "north"]).ended_with(4);
    world.office(&["verify", "north"]);
    let learnt = format!("select count(*) from sync.id_slot where high = {given}");
    assert_eq!(world.office.int(&learnt), 1);
}

#[test]
fn a_database_moved_whole_goes_on_when_a_person_says_so_and_a_restored_one_does_not() {
    let mut world = chain(&["north"]);
    let dump = psql::dump(&world.shop("north").database);
    let north = world.shop_mut("north");
    north.stop_agent();
    north.database = restored("north", &dump);
    assert!(north.run("after-upgrade", &[]).succeeded().contains("goes on"));
    north.start();
    world.office(&["update", "north"]).succeeded();
    // the same backup again, with a contact since: this is no upgrade
    let north = world.shop_mut("north");
    north.stop_agent();
    north.database = restored("north", &dump);
    let refused = north.run("after-upgrade", &[]).ended_with(1);
    assert!(refused.stderr.contains("after-restore"), "{}", refused.stderr);
    assert!(north.run("after-restore", &[]).succeeded().contains("--repair"));
    north.start();
    world.office(&["update", "north"]).ended_with(4);
    world.office(&["verify", "north", "--repair"]).succeeded();
}

#[test]
fn a_database_put_back_to_before_its_incarnation_is_noticed_by_the_witness() {
    let world = chain(&["north"]);
    world.office(&["after-restore"]).succeeded();
    world.office(&["verify", "north", "--repair"]).succeeded();
    world.office(&["update", "north"]).succeeded();
    // an older backup does not know that incarnation; what the peers remember of each other is left as it is here
    world.office.execute(
        "update sync.branch_synchronization set pushed_incarnation = 1;
         delete from sync.incarnation where number = (select max(number) from sync.incarnation)",
    );
    let refused = world.office(&["update", "north"]).ended_with(4);
    assert!(refused.stderr.contains("restored"), "{}", refused.stderr);
    world.office(&["verify", "north", "--repair"]).succeeded();
    world.office(&["update", "north"]).succeeded();
}
