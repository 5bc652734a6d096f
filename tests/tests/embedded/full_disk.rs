//! Disks that run full: a clear word, nothing lost, and all goes on by itself when there is room.

use std::path::{Path, PathBuf};

use tests::wait_for;

use crate::disk::Disk;
use crate::shop::Premises;

/// Text that gzip makes no smaller than half.
pub(crate) const NOISE: &str = "(select string_agg(md5(random()::text), '') from generate_series(1, 30) where g > 0)";

fn within(disk: &Disk, name: &str) -> impl FnOnce(&Path) -> PathBuf {
    let dir = disk.dir().join(name);
    move |_| dir
}

#[test]
fn a_full_disk_under_the_spools_is_said_and_everything_goes_on_when_there_is_room() {
    let Some(disk) = Disk::new("spool", 64) else { return };
    let mut shop = Premises::new(|dir| dir.join("database"), within(&disk, "state"), 4 << 20);
    assert!(shop.state().starts_with(disk.dir()));
    let noise = |table: &str, columns: &str, from: i64, to: i64, first: &str| {
        format!("insert into {table}({columns}) select {first}, {NOISE} from generate_series({from}, {to}) g")
    };
    // what the office sends has to wait at the shop until it is whole
    shop.world.office.execute(&noise("product", "id, name", 1, 6000, "g"));
    disk.fill(5 << 20);
    let refused = shop.world.office(&["--retry-for", "2s", "clone", "north"]);
    assert!(!refused.is_success());
    assert!(refused.stderr.contains("no room left on its disk"), "{}", refused.stderr);
    disk.make_room();
    shop.world.office(&["clone", "north"]).succeeded();
    assert_eq!(shop.count("select count(*) from product"), 6000);

    // what the shop sends is frozen there first; tills sell all the while
    shop.till(&noise("sale", "product_id, note", 1, 8000, "1")).succeeded();
    disk.fill(64 << 10);
    let refused = shop.world.office(&["--retry-for", "2s", "update", "north"]);
    assert!(!refused.is_success());
    assert!(refused.stderr.contains("no room left on its disk"), "{}", refused.stderr);
    shop.till("insert into sale(product_id, note) values (2, 'while it was full')").succeeded();
    assert_eq!(shop.world.office.int("select count(*) from sale"), 0);
    disk.make_room();
    shop.world.office(&["update", "north"]).succeeded();
    assert_eq!(shop.world.office.int("select count(*) from sale"), 8001, "nothing is lost");
    shop.world.office(&["verify", "north"]).succeeded();
    shop.stop();
}

#[test]
fn a_full_disk_under_the_private_database_loses_nothing_and_it_comes_back_by_itself() {
    let Some(disk) = Disk::new("database", 300) else { return };
    let mut shop = Premises::new(within(&disk, "database"), |dir| dir.join("state"), 1 << 20);
    shop.world.office.execute("insert into product values (1, 'coffee'), (2, 'tea')");
    shop.world.office(&["clone", "north"]).succeeded();
    disk.fill(4 << 20);
    // tills sell until the disk is full: each batch is in, or it is not
    let mut sold = 0;
    let batch = format!("insert into sale(product_id, note) select 1, {NOISE} from generate_series(1, 500) g");
    let refused = loop {
        let sale = shop.till(&batch);
        if !sale.is_success() {
            break sale;
        }
        sold += 500;
        assert!(sold < 1_000_000, "the disk never ran full");
    };
    assert!(sold > 0 && refused.stderr.contains("No space left on device"), "{sold}: {}", refused.stderr);
    // whether the shop can still take part depends on what it has to write; whoever calls is told, and nothing is half done
    let update = shop.world.office(&["--retry-for", "2s", "update", "north"]);
    let arrived = shop.world.office.int("select count(*) from sale");
    let is_told =
        update.stderr.contains("not available") || update.stderr.contains("room") || update.stderr.contains("log says");
    assert!(
        if update.is_success() { arrived == sold } else { arrived == 0 && is_told },
        "{arrived}: {}",
        update.stderr
    );
    let said = shop.agent.as_ref().expect("the agent runs").stderr();
    assert!(shop.agent.as_mut().is_some_and(tests::process::Process::is_running), "the agent goes on\n{said}");

    disk.make_room();
    let mut last = None;
    wait_for::condition("the database to come back by itself", || {
        let update = shop.world.office(&["--retry-for", "2s", "update", "north"]);
        let is_done = update.is_success();
        last = Some(update);
        is_done
    });
    assert!(last.is_some());
    assert_eq!(shop.count("select count(*) from sale"), sold, "what tills were told is in, and nothing else");
    assert_eq!(shop.world.office.int("select count(*) from sale"), sold);
    shop.till("insert into sale(product_id) values (2)").succeeded();
    shop.world.office(&["update", "north"]).succeeded();
    shop.world.office(&["verify", "north"]).succeeded();
    shop.stop();
}
