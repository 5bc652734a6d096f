//! Pushes: what the office sends and a shop cannot take.

use protocol::methods::SessionKind;
use replica::ReplicaError;
use tests::engine::Engine;

use super::floor::{list, reasons, waiting, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_session_asked_for_it_lets_failing_rows_wait_at_the_shop_until_the_cause_is_gone() {
    let engine = world(&["north"]).await;
    let north = engine.shop("north");
    north.database.execute("alter table product add check (name <> 'bad')");
    engine.database.execute(
        "insert into product(name, price) values ('bad', 1), ('good', 1); update product set name = 'bad' where name = 'tea'",
    );
    engine.push("north").await.unwrap();
    assert_eq!(list(&north.database, "select name from product order by 1"), ["coffee", "good", "tea"]);
    assert_eq!(reasons(&north.database), ["product: a value breaks a check"]);
    assert_eq!(waiting(&north.database), 2);
    engine.database.execute("update product set name = 'fine' where name = 'bad' and id > 2");
    engine.push("north").await.unwrap();
    assert_eq!(waiting(&north.database), 1, "a newer image that fits comes in");
    north.database.execute("alter table product drop constraint product_name_check");
    // the shop's regular work, without any session
    north.shop.tick().await.unwrap();
    assert_eq!(waiting(&north.database), 0);
    engine.settle(5).await;
    engine.assert_agree().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_did_not_ask_for_it_fails_as_a_whole() {
    let engine = world(&["north"]).await;
    let north = engine.shop("north");
    north.database.execute("alter table product add check (name <> 'bad')");
    engine.database.execute("insert into product(name, price) values ('bad', 1), ('good', 1)");
    let branch = engine.branch("north").await;
    let outgoing = engine.office.freeze_push(&branch).await.unwrap().unwrap();
    let refused = engine.send("north", "base methods", SessionKind::Table, &outgoing.stream.id).await;
    assert!(matches!(refused, Err(ReplicaError::Failed(_))), "{refused:?}");
    assert_eq!(list(&north.database, "select name from product order by 1"), ["coffee", "tea"]);
    assert_eq!(waiting(&north.database), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_of_a_row_that_the_shop_still_refers_to_waits_and_nothing_is_deleted_for_it() {
    let engine = world(&["north"]).await;
    let north = engine.shop("north");
    north.database.execute(
        "insert into sale(branch_id, total) values (1, 1);
         insert into sale_item(sale_id, product_id, amount) select s.id, p.id, 1 from sale s, product p where name = 'tea'",
    );
    engine.database.execute("delete from product");
    engine.push("north").await.unwrap();
    assert_eq!(list(&north.database, "select name from product"), ["tea"]);
    assert_eq!(reasons(&north.database), ["product: a row to be deleted is still referred to"]);
    north.database.execute("delete from sale_item");
    north.shop.tick().await.unwrap();
    assert_eq!(list(&north.database, "select name from product"), [""; 0]);
    assert_eq!(waiting(&north.database), 0);
}

/// What an office that watches a shop sees of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_session_says_how_many_rows_wait() {
    let engine: Engine = world(&["north"]).await;
    let north = engine.shop("north");
    north.database.execute("alter table product add check (name <> 'bad')");
    engine.database.execute("insert into product(name, price) values ('bad', 1), ('good', 1)");
    engine.push("north").await.unwrap();
    assert_eq!(
        north.database.int("select quarantined from sync.session where state = 'applied' and kind = 'update'"),
        1
    );
    assert_eq!(north.shop.quarantine_count().await.unwrap(), 1);
    let entry = &north.shop.quarantine(10).await.unwrap()[0];
    assert_eq!(entry.image.as_ref().unwrap()["name"].as_deref(), Some("bad"));
    assert_eq!(entry.constraint.as_deref(), Some("product_name_check"));
}
