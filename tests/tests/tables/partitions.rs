//! Partitioned tables and INHERITS children.

use tests::engine::Engine;

const SALES: &str = "
create table sale(id bigserial, month date not null, total numeric(12,2) not null, note text, primary key (id, month)) partition by range (month);
create table sale_2026_01 partition of sale for values from ('2026-01-01') to ('2026-02-01');
create table sale_2026_02 partition of sale for values from ('2026-02-01') to ('2026-03-01');
create table stock(product int, place int, amount int not null, primary key (product, place)) partition by list (place);
create table stock_1 partition of stock for values in (1) partition by range (product);
create table stock_1_low partition of stock_1 for values from (0) to (100);
create table stock_rest partition of stock default;
";

const POLICY: &str =
    "name = \"parts\"\n[tables]\nsale = \"from-target\"\nstock = \"both\"\n[table.sale]\ndeletes = \"send\"";

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_partitions_travel_also_when_they_move_or_their_key_changes() {
    let world = Engine::new(SALES, POLICY, &["north"]).await;
    world.database.execute("insert into stock select g, g % 3, g from generate_series(1, 60) g");
    world.clone_shop("north").await.unwrap();
    world.assert_agree().await;
    let north = world.shop("north");
    north.database.execute(
        "insert into sale(month, total) select '2026-01-10', g from generate_series(1, 5) g;
         insert into sale_2026_02(month, total) values ('2026-02-02', 77)",
    );
    world.settle(4).await;
    world.assert_agree().await;
    // from one partition to another, which is an update of the key; a partition addressed by its own name
    north.database.execute("update sale set month = '2026-02-10' where total = 1; update sale_2026_01 set note = 'x' where total = 2; delete from sale_2026_01 where total = 3");
    world.database.execute("update stock set place = 1 where product = 2; update stock_1_low set amount = -1 where product = 1; update stock set amount = 5 where place = 2");
    world.settle(4).await;
    world.assert_agree().await;
    assert_eq!(world.database.int("select count(*) from sale_2026_02"), 2);
    assert_eq!(world.database.int("select count(*) from sale"), 5);
    assert_eq!(north.database.int("select amount from stock_1_low where product = 1"), -1);
    assert_eq!(north.database.int("select count(*) from stock_1 where product = 2"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_made_later_is_captured_and_one_taken_away_is_no_delete() {
    let world = Engine::new(SALES, POLICY, &["north"]).await;
    world.clone_shop("north").await.unwrap();
    let north = world.shop("north");
    north.database.execute("insert into sale(month, total) values ('2026-01-10', 1), ('2026-02-10', 2)");
    world.settle(3).await;
    for database in [&world.database, &north.database] {
        database
            .execute("create table sale_2026_03 partition of sale for values from ('2026-03-01') to ('2026-04-01')");
    }
    // before anybody has looked: the new partition is captured from its first row on, TRUNCATE too once it is known
    north.database.execute("insert into sale_2026_03(month, total) values ('2026-03-05', 3), ('2026-03-06', 4)");
    world.settle(3).await;
    world.assert_agree().await;
    assert_eq!(world.database.int("select count(*) from sale_2026_03"), 2);
    north.database.execute("truncate sale_2026_03; insert into sale(month, total) values ('2026-03-07', 5)");
    world.settle(3).await;
    world.assert_agree().await;
    assert_eq!(world.database.value("select string_agg(total::text, ' ') from sale_2026_03").as_deref(), Some("5.00"));
    // the shop clears its disk: the office keeps what it has
    north
        .database
        .execute("alter table sale detach partition sale_2026_01; drop table sale_2026_01; drop table sale_2026_02");
    north.database.execute("insert into sale(month, total) values ('2026-03-08', 6)");
    world.settle(3).await;
    assert_eq!(world.database.int("select count(*) from sale"), 4, "1 and 2 are still there, 5 and 6 with them");
}

/// A detached partition that is kept is a table of its own that no policy names: synchronisation goes on without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_detached_partition_stays_as_a_table_of_its_own_and_stops_nothing() {
    let world = Engine::new(SALES, POLICY, &["north"]).await;
    world.clone_shop("north").await.unwrap();
    let north = world.shop("north");
    north.database.execute("insert into sale(month, total) values ('2026-01-10', 1), ('2026-02-10', 2)");
    world.settle(3).await;
    north.database.execute("alter table sale detach partition sale_2026_01");
    north
        .database
        .execute("update sale_2026_01 set total = 9; insert into sale(month, total) values ('2026-02-11', 3)");
    world.settle(3).await;
    assert_eq!(
        world.database.value("select string_agg(total::text, ' ' order by total) from sale").as_deref(),
        Some("1.00 2.00 3.00")
    );
    assert_eq!(north.database.int("select count(*) from sale_2026_01"), 1);
}

/// What was changed just before its partition went was not deleted; what was deleted before, was.
#[tokio::test(flavor = "multi_thread")]
async fn rows_changed_before_their_partition_went_are_not_deleted_at_the_office() {
    let world = Engine::new(SALES, POLICY, &["north"]).await;
    world.database.execute("insert into stock select g, 1, g from generate_series(1, 9) g");
    world.clone_shop("north").await.unwrap();
    let north = world.shop("north");
    north.database.execute("insert into sale(month, total) select '2026-01-10', g from generate_series(1, 4) g");
    world.settle(3).await;
    north.database.execute(
        "update sale set note = 'changed' where total < 3; delete from sale where total = 4; update stock set amount = 0 where product < 5;
         delete from stock where product = 9; alter table sale detach partition sale_2026_01; truncate sale_2026_01;
         alter table stock detach partition stock_1; drop table stock_1",
    );
    world.update("north").await.unwrap();
    assert_eq!(world.database.int("select count(*) from sale"), 3, "only what was deleted is gone");
    assert_eq!(world.database.int("select count(*) from stock"), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn inherited_tables_are_tables_of_their_own() {
    let schema = "create table thing(id bigint primary key, name text not null);
        create table tool(id bigint primary key, edge text) inherits (thing);
        create table toy(primary key (id)) inherits (thing);";
    let policy = "name = \"heirs\"\n[tables]\nthing = \"both\"\ntool = \"both\"\ntoy = \"from-source\"";
    let world = Engine::new(schema, policy, &["north"]).await;
    world.database.execute("insert into thing values (1, 'a'); insert into tool values (2, 'saw', 'sharp'); insert into toy values (3, 'bear')");
    world.clone_shop("north").await.unwrap();
    world.assert_agree().await;
    let north = world.shop("north");
    // a statement on the parent reaches the rows of the children
    north
        .database
        .execute("update thing set name = name || '!' where id in (1, 2); insert into tool values (4, 'axe', 'blunt')");
    world.database.execute("update thing set name = 'teddy' where id = 3; delete from thing where id = 2 and false; insert into toy values (5, 'car')");
    world.settle(4).await;
    world.assert_agree().await;
    assert_eq!(
        world.database.value("select string_agg(name, ' ' order by id) from thing").as_deref(),
        Some("a! saw! teddy axe car")
    );
    assert_eq!(world.database.int("select count(*) from only thing"), 1);
    north.database.execute("delete from thing where id in (1, 2)");
    world.database.execute("truncate toy");
    world.settle(4).await;
    world.assert_agree().await;
    assert_eq!(world.database.int("select count(*) from thing"), 1);
}

/// Rows go straight into an empty table, also where its constraints stay and look at none of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_clone_of_partitions_is_held_against_every_constraint() {
    const TABLES: &str = "
    create extension if not exists citext;
    create table product(id int primary key, code citext unique, name text);
    create table visit(id int primary key, day int not null, product int, code citext) partition by range (id);
    create table visit_low partition of visit for values from (0) to (1000);
    create table round(id int primary key, product int);
    create table short_round(primary key (id)) inherits (round);
    ";
    // what the shop's database demands and the office's does not, how it is told, and a row that breaks it
    let cases = [
        (
            "alter table visit add constraint visit_of foreign key (product) references product",
            "visit_of",
            "insert into visit values (5, 1, 99, null)",
        ),
        (
            "alter table visit_low add constraint visit_low_of foreign key (product) references product",
            "visit_low_of",
            "insert into visit values (5, 1, 99, null)",
        ),
        (
            "alter table visit add constraint visit_of foreign key (product) references product;
             alter table visit_low add constraint visit_low_of foreign key (product) references product",
            "visit_",
            "insert into visit values (5, 1, 99, null)",
        ),
        (
            "alter table visit add constraint visit_code foreign key (code) references product (code)",
            "visit_code",
            "insert into visit values (5, 1, null, 'no such')",
        ),
        (
            "alter table short_round add constraint short_of foreign key (product) references product",
            "short_of",
            "insert into short_round values (5, 99)",
        ),
        (
            "alter table product add constraint product_name unique (name) deferrable;
             alter table visit add foreign key (product) references product",
            "same unique value",
            "insert into product values (3, 'e', 'a')",
        ),
    ];
    let keys = "select string_agg(conrelid::regclass || ' ' || conname || ' ' || convalidated, ', ' order by conrelid, conname)
                from pg_constraint where contype = 'f'";
    for (guard, word, breaking) in cases {
        let world = Engine::new(TABLES, "name = \"p\"\n[tables]\n\"*\" = \"from-source\"\n", &["north"]).await;
        let north = world.shop("north");
        north.database.execute(&format!("{TABLES} {guard}"));
        let before = north.database.value(keys);
        // codes are alike whatever their case
        world.database.execute(
            "insert into product values (1, 'c', 'a'), (2, 'd', 'b'); insert into short_round values (1, 1);
             insert into visit values (1, 1, 1, 'C'), (2, 1, 2, 'd')",
        );
        world.clone_shop("north").await.unwrap_or_else(|error| panic!("{guard}: {error}"));
        assert_eq!(north.database.int("select count(*) from visit"), 2);
        assert_eq!(north.database.value(keys), before, "{guard}");
        world.database.execute(breaking);
        let error = world.clone_shop("north").await.err().unwrap_or_else(|| panic!("{guard}: accepted")).to_string();
        assert!(error.contains(word), "{guard}: {error}");
    }
}
