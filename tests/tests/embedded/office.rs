//! The office's own private database: backups, disks that run full.

use crate::disk::Disk;
use crate::full_disk::NOISE;
use crate::headquarters::Headquarters;

fn noise(table: &str, columns: &str, from: i64, to: i64, first: &str) -> String {
    format!("insert into {table}({columns}) select {first}, {NOISE} from generate_series({from}, {to}) g")
}

#[test]
fn a_backup_of_the_office_is_put_back_by_one_command_and_a_repair_brings_all_shops_together() {
    let mut office = Headquarters::new(|dir| dir.join("database"), |dir| dir.join("state"));
    office.sql("insert into product values (1, 'coffee'); insert into person values (1, 'Ana', '1')");
    office.office(&["clone", "north"]).succeeded();
    office.shop().database.execute("insert into sale (product_id) values (1), (1)");
    office.office(&["update", "north"]).succeeded();
    let file = office.world.dir().join("monday.tar.gz").display().to_string();
    office.office(&["backup", &file]).succeeded();
    assert!(office.office(&["backup", &file]).ended_with(1).stderr.contains("there already"));

    // what the office does after the backup is lost at the office, and is at the shop
    office.sql("insert into product values (2, 'tea'); update person set phone = '2'");
    office.shop().database.execute("insert into sale (product_id) values (1)");
    office.office(&["update", "north"]).succeeded();
    assert_eq!(office.count("select count(*) from sale"), 3);
    let busy = office.office(&["restore", &file, "--force"]);
    assert!(!busy.is_success(), "a database in use is not replaced: {}", busy.stdout);
    office.close();
    office.office(&["restore", &file]).ended_with(1);
    let said = office.office(&["restore", &file, "--force"]).succeeded();
    assert!(said.contains("a new history begins") && said.contains("verify --all --repair"), "{said}");
    office.open();
    assert_eq!(office.count("select count(*) from sale"), 2, "as it was on Monday");

    office.shop().database.execute("insert into sale (product_id) values (2)");
    office.office(&["update", "north"]).ended_with(4);
    office.office(&["verify", "--all", "--repair"]).succeeded();
    assert_eq!(office.count("select count(*) from sale"), 4, "what the office had lost, and what came since");
    assert_eq!(office.sql("select string_agg(name, ' ' order by id) from product").trim(), "coffee tea");
    // both ends had the row, and differ: the rule decides (office-wins), and what the shop had is kept
    assert_eq!(office.sql("select phone from person").trim(), "1");
    assert_eq!(office.shop().database.value("select phone from person").as_deref(), Some("1"));
    assert_eq!(office.count("select count(*) from sync.conflict"), 1);
    office.office(&["update", "north"]).succeeded();
    office.office(&["verify", "north"]).succeeded();
    office.close();
}

#[test]
fn a_full_disk_at_the_office_is_said_and_everything_goes_on_when_there_is_room() {
    let Some(disk) = Disk::new("office-spool", 64) else { return };
    let state = disk.dir().join("state");
    let mut office = Headquarters::new(|dir| dir.join("database"), |_| state);
    office.sql(&noise("product", "id, name", 1, 6000, "g"));
    // what is sent is frozen first
    disk.fill(1 << 20);
    let refused = office.office(&["clone", "north"]);
    assert!(!refused.is_success());
    assert!(refused.stderr.contains("No space left on device"), "{}", refused.stderr);
    assert!(refused.stderr.contains("make room"), "and what to do: {}", refused.stderr);
    assert_eq!(office.shop().database.int("select count(*) from product"), 0);
    disk.make_room();
    office.office(&["clone", "north"]).succeeded();
    assert_eq!(office.shop().database.int("select count(*) from product"), 6000);

    // what arrives waits there until it is whole
    office.shop().database.execute(&noise("sale", "product_id, note", 1, 8000, "1"));
    disk.fill(1 << 20);
    let refused = office.office(&["--retry-for", "2s", "update", "north"]);
    assert!(!refused.is_success());
    assert!(refused.stderr.contains("No space left on device"), "{}", refused.stderr);
    assert!(refused.stderr.contains("make room"), "and what to do: {}", refused.stderr);
    assert_eq!(office.count("select count(*) from sale"), 0, "nothing is half done");
    disk.make_room();
    office.office(&["update", "north"]).succeeded();
    assert_eq!(office.count("select count(*) from sale"), 8000, "nothing is lost");
    office.office(&["verify", "north"]).succeeded();
    office.close();
}

#[test]
fn a_full_disk_under_the_offices_database_loses_nothing_and_it_goes_on_by_itself() {
    let Some(disk) = Disk::new("office-database", 300) else { return };
    let database = disk.dir().join("database");
    let mut office = Headquarters::new(|_| database, |dir| dir.join("state"));
    office.sql("insert into product values (1, 'coffee'), (2, 'tea')");
    office.office(&["clone", "north"]).succeeded();
    disk.fill(4 << 20);
    office.shop().database.execute(&noise("sale", "product_id, note", 1, 20_000, "1"));
    let refused = office.office(&["--retry-for", "2s", "update", "north"]);
    assert!(!refused.is_success());
    let is_told =
        ["No space left on device", "not available", "log says"].iter().any(|word| refused.stderr.contains(word));
    assert!(is_told, "{}", refused.stderr);
    disk.make_room();
    let mut last = None;
    tests::wait_for::condition("the office to go on by itself", || {
        let update = office.office(&["--retry-for", "2s", "update", "north"]);
        let is_done = update.is_success();
        last = Some(update);
        is_done
    });
    assert!(last.is_some());
    assert_eq!(office.count("select count(*) from sale"), 20_000, "each sale once");
    office.shop().database.execute("insert into sale (product_id) values (2)");
    office.office(&["update", "north"]).succeeded();
    office.office(&["verify", "north"]).succeeded();
    office.close();
}
