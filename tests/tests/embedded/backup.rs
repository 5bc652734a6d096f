//! Power that fails, and backups that are put back.

use std::fs;

use crate::shop::Premises;

/// Sales that tills were told are in.
fn sell(shop: &Premises, sales: i64) {
    for _ in 0..sales {
        shop.till("insert into sale(product_id) values (1)").succeeded();
    }
}

/// I1, I2: what a till was told is in survives the end of everything at once, and reaches the office once.
#[test]
fn nothing_is_lost_when_the_power_fails() {
    let mut shop = Premises::plain();
    shop.world.office.execute("insert into product values (1, 'coffee')");
    shop.world.office(&["clone", "north"]).succeeded();
    for round in 1..=2 {
        sell(&shop, 5);
        shop.power_fails();
        shop.start();
        assert_eq!(shop.count("select count(*) from sale"), round * 5);
        shop.world.office(&["update", "north"]).succeeded();
        assert_eq!(shop.world.office.int("select count(*) from sale"), round * 5);
    }
    shop.world.office(&["verify", "north"]).succeeded();
    shop.stop();
}

#[test]
fn a_backup_by_one_command_is_put_back_by_one_and_the_office_repairs() {
    let mut shop = Premises::plain();
    shop.world.office.execute("insert into product values (1, 'coffee')");
    shop.world.office(&["clone", "north"]).succeeded();
    sell(&shop, 3);
    shop.world.office(&["update", "north"]).succeeded();
    let file = shop.world.dir().join("monday.tar.gz");
    let name = file.display().to_string();
    shop.shop_agent(&["backup", &name]).succeeded();
    let again = shop.shop_agent(&["backup", &name]).ended_with(1);
    assert!(again.stderr.contains("there already"), "{}", again.stderr);

    sell(&shop, 2);
    shop.world.office(&["update", "north"]).succeeded();
    let running = shop.shop_agent(&["restore", &name, "--force"]).ended_with(1);
    assert!(running.stderr.contains("another agent runs"), "{}", running.stderr);
    shop.stop();
    let kept = shop.shop_agent(&["restore", &name]).ended_with(1);
    assert!(kept.stderr.contains("--force"), "{}", kept.stderr);

    // half a file changes nothing
    let half = shop.world.dir().join("half.tar.gz");
    let bytes = fs::read(&file).expect("the backup");
    fs::write(&half, &bytes[..bytes.len() / 2]).expect("written");
    shop.shop_agent(&["restore", &half.display().to_string(), "--force"]).ended_with(1);
    shop.start();
    assert_eq!(shop.count("select count(*) from sale"), 5, "the database is the one that was there");
    shop.stop();

    let said = shop.shop_agent(&["restore", &name, "--force"]).succeeded();
    assert!(said.contains("a new history begins") && said.contains("data.before-restore-1"), "{said}");
    assert!(shop.database().join("data.before-restore-1/PG_VERSION").exists(), "what was there is kept");
    shop.start();
    assert_eq!(shop.count("select count(*) from sale"), 3, "as it was on Monday");
    sell(&shop, 1);
    shop.world.office(&["update", "north"]).ended_with(4);
    shop.world.office(&["verify", "north", "--repair"]).succeeded();
    assert_eq!(shop.count("select count(*) from sale"), 4);
    assert_eq!(shop.world.office.int("select count(*) from sale"), 6, "two that the shop has lost, and the new one");
    sell(&shop, 1);
    shop.world.office(&["update", "north"]).succeeded();
    assert_eq!(shop.world.office.int("select count(*) from sale"), 7);
    shop.stop();
}
