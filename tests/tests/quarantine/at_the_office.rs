//! Pulls: what a shop sends and the office cannot take.

use super::floor::{list, reasons, waiting, world};

#[tokio::test(flavor = "multi_thread")]
async fn two_shops_register_the_same_tax_number_and_the_second_waits_with_its_sale_until_one_is_corrected() {
    let engine = world(&["north", "south"]).await;
    let (north, south) = (engine.shop("north"), engine.shop("south"));
    north.database.execute("insert into client(name, tax) values ('Cleo', 'C')");
    south.database.execute(
        "insert into client(name, tax) values ('Clea', 'C'), ('Dora', 'D');
         insert into sale(branch_id, client_id, total) select 2, id, 5 from client where name in ('Clea', 'Dora');
         insert into sale_item(sale_id, amount) select id, 1 from sale; insert into payment select id, 1, 5 from sale",
    );
    engine.pull("north").await.unwrap();
    engine.pull("south").await.unwrap();
    assert_eq!(list(&engine.database, "select name from client order by 1"), ["Ana", "Bela", "Cleo", "Dora"]);
    assert_eq!(engine.database.int("select count(*) from sale"), 1, "the other sale flows");
    assert_eq!(engine.database.int("select count(*) from sale_item"), 1);
    assert_eq!(
        reasons(&engine.database),
        [
            "client: a row with this key is already there",
            "payment: a row refers to one that is not there",
            "sale: a row refers to one that is not there",
            "sale_item: a row refers to one that is not there"
        ]
    );
    assert_eq!(waiting(&engine.database), 4);
    assert_eq!(
        list(&engine.database, "select constraint_name from sync.quarantine where table_name = 'client'"),
        ["client_tax_key"]
    );
    // nothing new at the shop: the cause goes away at the office
    engine.database.execute("update client set tax = 'C1' where name = 'Cleo'");
    engine.pull("south").await.unwrap();
    assert_eq!(reasons(&engine.database), [""; 0]);
    assert_eq!(engine.database.int("select count(*) from payment"), 2, "what depended on it came with it");
    engine.settle(5).await;
    engine.assert_agree().await;
    assert_eq!(north.database.int("select count(*) from client where name = 'Clea'"), 1, "a release is sent to others");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_image_takes_the_place_of_the_one_that_waits_and_a_part_of_it_is_merged_into_it() {
    let engine = world(&["north"]).await;
    let north = engine.shop("north");
    engine.database.execute("insert into client(name, tax) values ('Cleo', 'C')");
    north.database.execute("insert into client(name, tax) values ('Clea', 'C')");
    engine.pull("north").await.unwrap();
    assert_eq!(waiting(&engine.database), 1);
    // only the changed column travels; the image stays whole
    north.database.execute("update client set credit = 7 where name = 'Clea'");
    engine.pull("north").await.unwrap();
    assert_eq!(
        engine.database.rows("select operation, image ->> 'name', image ->> 'credit' from sync.quarantine"),
        [vec![Some("upsert".to_owned()), Some("Clea".into()), Some("7".into())]]
    );
    north.database.execute("update client set tax = 'C2' where name = 'Clea'");
    engine.pull("north").await.unwrap();
    assert_eq!(waiting(&engine.database), 0);
    assert_eq!(list(&engine.database, "select tax || credit from client where name = 'Clea'"), ["C27"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_deleted_while_it_waits_is_gone_with_what_waited_for_it() {
    let engine = world(&["north"]).await;
    let north = engine.shop("north");
    engine.database.execute("insert into client(name, tax) values ('Cleo', 'C')");
    north.database.execute(
        "insert into client(name, tax) values ('Clea', 'C');
         insert into sale(branch_id, client_id, total) select 1, id, 5 from client where name = 'Clea'",
    );
    engine.pull("north").await.unwrap();
    assert_eq!(waiting(&engine.database), 2);
    north.database.execute("update sale set client_id = 1; delete from client where name = 'Clea'");
    engine.pull("north").await.unwrap();
    assert_eq!(reasons(&engine.database), [""; 0]);
    assert_eq!(list(&engine.database, "select client_id::text from sale"), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_refer_to_each_other_in_a_circle_wait_and_come_in_together() {
    let engine = world(&["north"]).await;
    let north = engine.shop("north");
    engine.database.execute("alter table leader add check (name <> 'bad')");
    north.database.execute(
        "insert into node(id, name) values (901, 'a'), (902, 'b'), (903, 'fine');
         insert into leader(id, name, node_id) values (801, 'bad', 901), (802, 'good', 903);
         update node set leader_id = 801 where id = 901; update node set parent_id = 901 where id = 902;
         update node set parent_id = 903, leader_id = 802 where id = 903",
    );
    engine.pull("north").await.unwrap();
    assert_eq!(list(&engine.database, "select name from node order by 1"), ["fine"]);
    assert_eq!(list(&engine.database, "select name from leader"), ["good"]);
    assert_eq!(waiting(&engine.database), 3);
    engine.database.execute("alter table leader drop constraint leader_name_check");
    engine.pull("north").await.unwrap();
    assert_eq!(waiting(&engine.database), 0);
    engine.assert_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_refusal_has_its_reason_and_the_rest_flows() {
    let engine = world(&["north"]).await;
    let north = engine.shop("north");
    engine.database.execute(
        "alter table sale add check (total < 1000); alter table sale alter note type varchar(5);
         alter table sale_item alter amount type smallint; alter table payment alter value set not null;
         alter table client alter name set not null",
    );
    north.database.execute("alter table payment alter value drop not null");
    north.database.execute(
        "insert into sale(id, branch_id, total, note) values (901, 1, 1, 'fine'), (902, 1, 1000, 'check'), (903, 1, 1, 'too long a note'), (904, 2, 1, 'alien');
         insert into sale_item(id, sale_id, amount) values (801, 901, 1), (802, 901, 70000);
         insert into payment values (901, 1, null), (901, 2, 5)",
    );
    engine.pull("north").await.unwrap();
    assert_eq!(list(&engine.database, "select id::text from sale"), ["901"]);
    assert_eq!(list(&engine.database, "select id::text from sale_item"), ["801"]);
    assert_eq!(list(&engine.database, "select number::text from payment"), ["2"]);
    assert_eq!(
        list(
            &engine.database,
            "select table_name || ' ' || (key::text) || ': ' || reason || coalesce(' ' || column_name, '') from sync.quarantine order by 1"
        ),
        [
            r#"payment {"number": "1", "sale_id": "901"}: a value is missing value"#,
            r#"sale {"id": "902"}: a value breaks a check"#,
            r#"sale {"id": "903"}: a text is too long for its column note"#,
            r#"sale {"id": "904"}: by the policy's row filter the row belongs to another branch"#,
            r#"sale_item {"id": "802"}: a number is out of range for its column amount"#,
        ]
    );
    engine.database.execute(
        "alter table sale drop constraint sale_total_check; alter table sale alter note type text;
         alter table sale_item alter amount type int; alter table payment alter value drop not null",
    );
    engine.pull("north").await.unwrap();
    assert_eq!(
        list(&engine.database, "select reason from sync.quarantine"),
        ["by the policy's row filter the row belongs to another branch"]
    );
    assert_eq!(list(&engine.database, "select note from sale order by id"), ["fine", "check", "too long a note"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_swapped_between_rows_are_no_clash_even_beside_one_that_is() {
    let engine = world(&["north"]).await;
    let north = engine.shop("north");
    engine.database.execute("insert into client(name, tax) values ('Cleo', 'C')");
    north.database.execute(
        "insert into client(name, tax) values ('Clea', 'C'); update client set tax = null;
         update client set tax = case name when 'Ana' then 'B' when 'Bela' then 'A' else 'C' end",
    );
    engine.pull("north").await.unwrap();
    assert_eq!(
        list(&engine.database, "select name || ' ' || tax from client order by 1"),
        ["Ana B", "Bela A", "Cleo C"]
    );
    assert_eq!(waiting(&engine.database), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_row_among_fifty_thousand_costs_no_more_than_some_merges() {
    let engine = world(&["north"]).await;
    let north = engine.shop("north");
    engine.database.execute("alter table sale add check (total <> 33333)");
    north.database.execute("insert into sale(branch_id, total) select 1, n from generate_series(1, 50000) n");
    assert_eq!(engine.pull("north").await.unwrap(), 49_999);
    assert_eq!(waiting(&engine.database), 1);
    engine.database.execute("alter table sale drop constraint sale_total_check");
    assert_eq!(engine.pull("north").await.unwrap(), 1);
    engine.assert_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_failing_rows_wait_and_come_in_set_wise() {
    let engine = world(&["north"]).await;
    let north = engine.shop("north");
    engine.database.execute("alter table sale add check (total > 5000)");
    north.database.execute("insert into sale(branch_id, total) select 1, n from generate_series(1, 10000) n");
    assert_eq!(engine.pull("north").await.unwrap(), 5000);
    assert_eq!(waiting(&engine.database), 5000);
    engine.database.execute("alter table sale drop constraint sale_total_check");
    assert_eq!(engine.pull("north").await.unwrap(), 5000);
    assert_eq!(waiting(&engine.database), 0);
    engine.assert_agree().await;
}

/// A shop that belongs to another branch's rows neither gives nor takes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_shop_can_neither_change_nor_delete_rows_of_another_branch() {
    let engine = world(&["north", "south"]).await;
    let south = engine.shop("south");
    engine.database.execute("insert into sale(id, branch_id, total, note) values (77, 1, 5, 'north')");
    // somebody at the shop in the south makes a sale with the number of one in the north
    south
        .database
        .execute("insert into sale(id, branch_id, total, note) values (77, 2, 1, 'south'), (78, 2, 1, 'own')");
    engine.pull("south").await.unwrap();
    assert_eq!(list(&engine.database, "select note from sale order by 1"), ["north", "own"]);
    assert_eq!(reasons(&engine.database), ["sale: by the policy's row filter the row belongs to another branch"]);
}

/// A diff in which a value fits no column also changes a row of another table that waits: that change is not lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_waiting_row_is_kept_beside_values_that_do_not_fit() {
    let engine = world(&["north"]).await;
    let north = engine.shop("north");
    engine
        .database
        .execute("alter table sale alter note type varchar(5); insert into client(name, tax) values ('Cleo', 'C')");
    north.database.execute("insert into client(name, tax) values ('Clea', 'C')");
    engine.pull("north").await.unwrap();
    north.database.execute(
        "update client set credit = 7 where name = 'Clea'; insert into sale(branch_id, total, note) values (1, 1, 'too long')",
    );
    engine.pull("north").await.unwrap();
    assert_eq!(waiting(&engine.database), 2);
    engine.database.execute("alter table sale alter note type text; update client set tax = 'C1' where name = 'Cleo'");
    engine.pull("north").await.unwrap();
    assert_eq!(list(&engine.database, "select tax || credit from client where name = 'Clea'"), ["C7"]);
    assert_eq!(list(&engine.database, "select note from sale"), ["too long"]);
}
