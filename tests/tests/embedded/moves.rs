//! Machines that are exchanged, and servers that are upgraded, as docs/OPERATIONS.md has it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use tests::process::run;

use crate::headquarters::Headquarters;
use crate::shop::Premises;

/// Both sides have something that the other has not got; after an update nothing is missing, doubled or in conflict.
fn trade(shop: &Premises) {
    shop.till("insert into sale(product_id) values (1); update person set phone = 'shop' where id = 1").succeeded();
    shop.world
        .office
        .execute("update person set name = 'Ana Maria' where id = 1; insert into product values (2, 'tea')");
}

fn assert_traded(shop: &Premises, sales: i64) {
    let update = shop.world.office(&["--json", "update", "north"]).succeeded();
    let told: serde_json::Value = serde_json::from_str(update.lines().last().expect("a line")).expect("JSON");
    // the sale and the person come, the product and the person go: nothing else travels again
    assert_eq!((told["pulled_rows"].as_i64(), told["conflicts"].as_i64()), (Some(2), Some(0)), "{told}");
    assert!(told["pushed_rows"].as_i64().is_some_and(|rows| rows <= 2), "{told}");
    assert_eq!(shop.world.office.int("select count(*) from sale"), sales);
    for person in [
        shop.till("select * from person").succeeded(),
        shop.world.office.value("select id || '|' || name || '|' || phone from person").unwrap_or_default(),
    ] {
        assert_eq!(person.trim(), "1|Ana Maria|shop");
    }
    shop.world.office(&["verify", "north"]).succeeded();
    assert_eq!(shop.world.office.int("select count(*) from sync.conflict"), 0);
}

fn cloned() -> Premises {
    let shop = Premises::plain();
    shop.world.office.execute("insert into product values (1, 'coffee'); insert into person values (1, 'Ana', 'none')");
    shop.world.office(&["clone", "north"]).succeeded();
    shop.till("insert into sale(product_id) values (1)").succeeded();
    shop.world.office(&["update", "north"]).succeeded();
    shop
}

#[test]
fn a_shop_moves_to_new_hardware_and_nothing_is_lost() {
    let mut shop = cloned();
    trade(&shop);
    shop.stop();
    let there = shop.world.dir().join("new-machine");
    shop.carry_to(&there);
    shop.start();
    shop.world.office(&["branch", "set", "north", "--url", shop.url()]).succeeded();
    assert_traded(&shop, 2);
    shop.stop();
}

#[test]
fn another_machine_becomes_the_office_and_nothing_is_lost() {
    let mut office = Headquarters::new(|dir| dir.join("database"), |dir| dir.join("state"));
    office.sql("insert into product values (1, 'coffee'); insert into person values (1, 'Ana', 'none')");
    office.office(&["clone", "north"]).succeeded();
    office.shop().database.execute("insert into sale(product_id) values (1); update person set phone = 'shop'");
    office.sql("update person set name = 'Ana Maria'; insert into product values (2, 'tea')");
    office.close();
    let there = office.world.dir().join("new-machine");
    office.carry_to(&there);
    office.open();
    office.office(&["update", "north"]).succeeded();
    office.office(&["verify", "north"]).succeeded();
    assert_eq!(
        (office.count("select count(*) from sale"), office.shop().database.int("select count(*) from product")),
        (1, 2)
    );
    assert_eq!(office.sql("select * from person").trim(), "1|Ana Maria|shop");
    assert_eq!(office.count("select count(*) from sync.conflict"), 0);
    office.close();
}

/// `pg_upgrade` as the document has it, on a database that has changes to send and changes to get. That
/// both servers have one version here makes no difference to it.
#[test]
fn a_private_database_is_upgraded_in_place_and_only_what_has_changed_travels() {
    let Ok(programs) = replica::embedded::find_binaries(None) else { panic!("no PostgreSQL") };
    if !programs.program("pg_upgrade").is_file() {
        return tests::not_run::because_out_of_reach("pg_upgrade (these programs of PostgreSQL come without it)");
    }
    let mut shop = cloned();
    trade(&shop);
    shop.stop();
    let old = shop.database().join("data");
    let owner = fs::metadata(&old).expect("the database");
    let as_owner = |program: &str| {
        let mut command = Command::new(programs.program(program));
        if nix::unistd::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        command.current_dir(shop.database());
        command
    };
    let mut initdb = as_owner("initdb");
    initdb.args(["-U", "postgres", "--encoding=UTF8", "--lc-collate=C", "--lc-ctype=C.UTF-8"]);
    run(initdb.args(["--auth-local=trust", "--auth-host=reject", "--data-checksums", "-D", "new"])).succeeded();
    let mut upgrade = as_owner("pg_upgrade");
    upgrade
        .arg("-b")
        .arg(&programs.dir)
        .arg("-B")
        .arg(&programs.dir)
        .args(["-U", "postgres", "-d", "data", "-D", "new"]);
    let said = run(&mut upgrade);
    assert!(said.is_success(), "{}\n{}", said.stdout, said.stderr);
    fs::rename(&old, shop.database().join("data.before-upgrade")).expect("put away");
    fs::rename(shop.database().join("new"), &old).expect("put in its place");
    let said = shop.shop_agent(&["after-upgrade"]).succeeded();
    assert!(said.contains("the history goes on"), "{said}");
    shop.start();
    assert_traded(&shop, 2);
    shop.stop();
}
