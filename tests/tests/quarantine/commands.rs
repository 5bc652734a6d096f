//! What people type and see.

use tests::kit::{Plan, World};

use super::floor::{POLICY, SCHEMA, list, waiting};

fn world() -> World {
    let data = "insert into client(name, tax) values ('Ana', 'A');
        insert into product(name, price) select 'p' || n, n from generate_series(1, 200) n;";
    let world = World::new(&Plan::of(SCHEMA, POLICY, data));
    world.enrol();
    world.clone_all();
    world
}

#[test]
fn staff_see_what_waits_retry_it_and_drop_it_and_an_update_with_it_is_done() {
    let world = world();
    let north = world.shop("north");
    world.office.execute("insert into client(name, tax) values ('Cleo', 'C')");
    north.database.execute(
        "insert into client(name, tax) values ('Clea', 'C');
         insert into sale(branch_id, client_id, total) select 1, id, 5 from client where name = 'Clea'",
    );
    let report = world.office(&["update", "north", "--json"]).succeeded();
    assert!(report.contains("\"quarantined\":2") && report.contains("\"result\":\"done\""), "{report}");
    let status = world.office(&["status", "--json"]).succeeded();
    assert!(status.contains("\"quarantined\":2"), "{status}");
    let history = world.office(&["history", "--json", "-n", "1"]).succeeded();
    // the office's row with the number waits at the shop in its turn
    assert!(history.contains("\"quarantined\":3") && !history.contains("Clea"), "{history}");
    let listed = world.office(&["quarantine"]).succeeded();
    assert!(listed.contains("client_tax_key") && listed.contains("already there"), "{listed}");
    let id = list(&world.office, "select entry::text from sync.quarantine where table_name = 'client'").remove(0);
    let shown = world.office(&["quarantine", "show", &id]).succeeded();
    assert!(shown.contains("tax = C") && shown.contains("name = Clea"), "{shown}");
    let verified = world.office(&["verify", "north"]);
    assert!(
        verified.stdout.contains("client differs") && verified.stdout.contains("1 row in quarantine"),
        "{verified:?}"
    );
    let still = world.office(&["quarantine", "retry", &id]);
    assert_eq!(still.code, Some(1), "{still:?}");
    world.office.execute("update client set tax = 'C1' where name = 'Cleo'");
    world.office(&["quarantine", "retry", &id]).succeeded();
    assert_eq!(waiting(&world.office), 0);
    assert_eq!(world.office.int("select count(*) from sale"), 1, "what depended on it came in too");
    // drop is for good, and says so first
    north.database.execute("insert into client(name, tax) values ('Dora', 'C1')");
    world.office(&["update", "north"]).succeeded();
    let id = list(&world.office, "select entry::text from sync.quarantine").remove(0);
    assert_eq!(world.office(&["quarantine", "drop", &id]).code, Some(2));
    assert_eq!(waiting(&world.office), 1);
    world.office(&["quarantine", "drop", &id, "--yes"]).succeeded();
    assert_eq!(waiting(&world.office), 0);
    assert_eq!(world.office(&["quarantine", "show", &id]).code, Some(2));
}

#[test]
fn what_waits_at_the_shop_is_seen_at_both_ends() {
    let world = world();
    let north = world.shop("north");
    north.database.execute("alter table product add check (name <> 'bad')");
    world.office.execute("insert into product(name, price) values ('bad', 1)");
    let report = world.office(&["update", "north", "--json"]).succeeded();
    assert!(report.contains("\"quarantined_at_shop\":1"), "{report}");
    let status = world.office(&["status", "--json"]).succeeded();
    assert!(status.contains("\"quarantined_at_shop\":1"), "{status}");
    let mut command = std::process::Command::new(tests::process::binary("shop-agent"));
    let shop = tests::process::run(command.arg("status").arg("--state-dir").arg(north.state_dir())).succeeded();
    assert!(shop.contains("1 of product: a value breaks a check"), "{shop}");
    north.database.execute("alter table product drop constraint product_name_check");
    world.office.execute("insert into product(name, price) values ('more', 1)");
    world.office(&["update", "north"]).succeeded();
    assert_eq!(waiting(&north.database), 0);
    world.office(&["update", "north"]).succeeded();
    let status = world.office(&["status", "--json"]).succeeded();
    assert!(status.contains("\"quarantined_at_shop\":0"), "{status}");
    world.assert_agree(&["product"]);
}

#[test]
fn an_update_that_would_delete_much_of_a_table_stops_and_asks_in_both_directions() {
    let world = world();
    let north = world.shop("north");
    world.office.execute("delete from product where id > 50");
    let plan = world.office(&["update", "north", "--dry-run", "--json"]).succeeded();
    assert!(plan.contains("150 of the 200 rows of table product"), "{plan}");
    let refused = world.office(&["update", "north"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert_eq!(north.database.int("select count(*) from product"), 200);
    // the mistake is mended: nothing of the refused stream is left
    world.office.execute("insert into product(id, name, price) select n, 'q' || n, n from generate_series(51, 150) n");
    world.office(&["update", "north"]).succeeded();
    world.assert_agree(&["product"]);
    world.office.execute("delete from product where id > 5");
    world.office(&["branch", "set", "north", "--stop-deletes", "off"]).succeeded();
    world.office(&["update", "north"]).succeeded();
    world.assert_agree(&["product"]);

    north.database.execute("insert into client(name) select 'c' || n from generate_series(1, 300) n");
    world.office(&["update", "north"]).succeeded();
    world.office(&["branch", "set", "north", "--stop-deletes", ""]).succeeded();
    north.database.execute("delete from client where name like 'c%'");
    let refused = world.office(&["update", "north"]);
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert_eq!(world.office.int("select count(*) from client"), 301);
    world.office(&["update", "north", "--force"]).succeeded();
    assert_eq!(world.office.int("select count(*) from client"), 1);
}

/// I5, I8: the process dies when all is merged and before it is committed; the next run does the same once.
#[test]
fn an_update_that_dies_with_rows_in_quarantine_is_done_once_by_the_next() {
    let world = world();
    let north = world.shop("north");
    world.office.execute("insert into client(name, tax) values ('Cleo', 'C')");
    north.database.execute(
        "insert into client(name, tax) values ('Clea', 'C'), ('Dora', 'D');
         insert into sale(branch_id, client_id, total) select 1, id, 5 from client where name in ('Clea', 'Dora')",
    );
    for point in ["apply.quarantine.settled", "office.pull.before-commit"] {
        let mut command = world.office_command(&["update", "north"]);
        let died = tests::process::run(command.env("SYNC_KILL_AT", point));
        assert_eq!(died.code, Some(137), "{point}: {died:?}");
        assert_eq!(world.office.int("select count(*) from sale"), 0, "{point}");
        assert_eq!(waiting(&world.office), 0, "{point}");
    }
    let mut command = world.office_command(&["update", "north"]);
    let died = tests::process::run(command.env("SYNC_KILL_AT", "office.pull.after-commit"));
    assert_eq!(died.code, Some(137), "{died:?}");
    for _ in 0..2 {
        assert_eq!(world.office.int("select count(*) from sale"), 1);
        assert_eq!(waiting(&world.office), 2);
        world.office(&["update", "north"]).succeeded();
    }
}
