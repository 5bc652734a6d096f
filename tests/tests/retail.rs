//! A retail chain trades for days: whatever its programs do, the office and its shops end up with the same rows.

#[path = "retail/chain.rs"]
mod chain;
#[path = "retail/values.rs"]
mod values;

use chain::{Chain, Rules, SHOPS};
use fixtures::trade::{Side, day_of_sales, mixed, office_edits};

/// Changes of a side in one round of [`mixed`].
const CHANGES: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn days_of_trade_on_one_side_after_the_other_leave_no_difference() {
    let chain = Chain::open(Rules::Unfiltered, 1).await;
    chain.assert_agree("after the clones");
    for round in 0..2 {
        chain.at_office(&mixed(100 + round, CHANGES, Side::Office));
        chain.at_office(&office_edits(200 + round, 40));
        chain.settle(&format!("round {round}, the office's day")).await;
        for (branch, name) in (1..).zip(SHOPS) {
            chain.at_shop(name, &mixed(300 + round * 10 + branch, CHANGES, Side::Shop { branch: branch as i64 }));
            chain.at_shop(name, &day_of_sales(400 + round * 10 + branch, 15, branch as i64));
            chain.settle(&format!("round {round}, {name}'s day")).await;
        }
    }
    chain.assert_ids_in_range().await;
    let sums = |database: &tests::database::Database| {
        database.value("select coalesce(sum(amount), 0)::text from payment").unwrap_or_default()
    };
    let cents = |text: String| text.replace('.', "").parse::<i64>().expect("an amount");
    let shops: i64 = SHOPS.iter().map(|name| cents(sums(chain.shop(name)))).sum();
    assert_eq!(cents(sums(&chain.world.database)), shops, "money is conserved");
    assert!(shops > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sales_of_shops_and_edits_of_the_office_at_the_same_time_leave_no_difference() {
    let chain = Chain::open(Rules::Unfiltered, 2).await;
    // what both own is shared out by number: no row is changed on two sides
    let people = |side: usize, round: u64| {
        format!(
            "update person set phone = 'round {round} side {side}', note = E'\\r\\n' || {side}, tags = tags || '{{x}}'::text[]
                 where id % 3 = {side} and id % 7 = {round};
             update client set credit_used = credit_used + 10.{side}0, loyalty_points = loyalty_points - 1
                 where person_id % 3 = {side} and person_id % 5 = {round};
             update specimen set an_amount = id, a_text = 'side {side}' where id % 3 = {side} and id % 4 = {round};
             delete from specimen where id % 3 = {side} and id % 31 = {round};
             delete from address where id % 3 = {side} and id % 23 = {round};
             insert into city_location (country, state, city) values ('PT', 'side {side}', 'round {round}');
             insert into person (name) select 'new ' || n from generate_series(1, 4) n;"
        )
    };
    for round in 0..3 {
        chain.at_office(&people(0, round));
        // a product that a shop has begun to sell meanwhile would come back: that is another test's matter
        let edits = office_edits(500 + round, 60);
        let edits: Vec<&str> = edits
            .lines()
            .filter(|line| !line.starts_with("DELETE FROM product") && !line.starts_with("UPDATE person"))
            .collect();
        chain.at_office(&edits.join("\n"));
        for (branch, name) in (1..).zip(SHOPS) {
            chain.at_shop(name, &people(branch, round));
            chain.at_shop(name, &sales_only(600 + round * 10 + branch as u64, branch as i64));
        }
        chain.settle(&format!("round {round}")).await;
    }
    chain.assert_ids_in_range().await;
}

/// A day's sales without what they change about people.
fn sales_only(seed: u64, branch: i64) -> String {
    let day = day_of_sales(seed, 20, branch);
    let mut kept = String::new();
    for statement in day.split_inclusive(";\n") {
        if !["UPDATE person ", "UPDATE client "].iter().any(|head| statement.starts_with(head)) {
            kept += statement;
        }
    }
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_values_survive_in_both_directions() {
    let chain = Chain::open(Rules::Unfiltered, 3).await;
    for (number, name) in SHOPS.iter().enumerate() {
        chain.at_shop(name, &values::rows(name));
        chain.at_shop(name, &values::reports(number + 1));
    }
    chain.at_office(&values::rows("office"));
    chain.at_office(values::CATALOGUE);
    chain.settle("new rows").await;
    let rows = chain.at_all("select count(*) from specimen where label like 'hard %'");
    assert_eq!(rows, [3 * values::COUNT; 3]);
    // each side rewrites the rows of the next one
    for (writer, owner) in [("office", "north"), ("north", "south"), ("south", "office")] {
        let sql = values::rewrites(owner);
        if writer == "office" { chain.at_office(&sql) } else { chain.at_shop(writer, &sql) }
    }
    chain.settle("rewritten rows").await;
    for (writer, owner) in [("office", "south"), ("north", "office"), ("south", "north")] {
        let sql = values::erasures(owner);
        if writer == "office" { chain.at_office(&sql) } else { chain.at_shop(writer, &sql) }
    }
    chain.settle("emptied and deleted rows").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn truncates_key_changes_partitions_and_much_touched_rows_travel() {
    let chain = Chain::open(Rules::Unfiltered, 4).await;
    for (branch, name) in (1..).zip(SHOPS) {
        chain.at_shop(name, &day_of_sales(700 + branch as u64, 20, branch));
        chain.at_shop(
            name,
            &format!(
                "insert into sale_log (branch_id, event, logged_at)
                     select {branch}, 'event ' || n, '2026-07-15Z'::timestamptz + n * interval '10 days' from generate_series(1, 20) n"
            ),
        );
    }
    chain.settle("a day").await;
    // rows that live in partitions: written directly, moved by their key, emptied one partition at a time
    chain.at_shop(
        "north",
        "update sale_log_2026_08 set event = 'direct'; delete from sale_log_2026_09 where event = 'event 6'",
    );
    chain
        .at_shop("north", "update sale_log set logged_at = logged_at + interval '35 days' where event like 'event 1%'");
    chain.at_shop("north", "update sale_log set id = nextval('sale_log_id_seq') where event = 'event 2'");
    chain.at_shop("south", "truncate sale_log_2026_10; insert into sale_log_2026_07 (branch_id, event, logged_at) values (2, 'late', '2026-07-02Z')");
    chain.settle("partitions").await;
    chain.at_shop("south", "truncate sale_log; truncate device_report");
    chain.at_office("truncate \"PriceTag\", product_supplier; truncate promotion cascade; delete from news");
    chain.settle("truncates").await;
    assert_eq!(chain.at_all("select count(*) from \"PriceTag\""), [0; 3]);
    assert_eq!(chain.at_all("select count(*) from sale_log where branch_id = 2"), [0; 3]);
    chain.at_shop("north", "truncate specimen; insert into specimen (label) values ('first after all')");
    chain.settle("a truncate of what both own").await;
    assert_eq!(chain.at_all("select count(*) from specimen"), [1; 3]);
    // many times in one window, and in one statement
    chain.at_shop(
        "north",
        "do $$ begin for n in 1..200 loop
             update client set credit_used = n, loyalty_points = loyalty_points + 1 where person_id = (select min(person_id) from client);
             update stock set quantity = n where product_id = (select min(product_id) from stock);
         end loop; end $$;
         insert into specimen (label) select 'passing ' || n from generate_series(1, 50) n;
         delete from specimen where label like 'passing %';
         delete from sale_log where event = 'direct';
         insert into device_report (id, branch_id, payload) values ('00000000-0000-0000-0000-000000000001', 1, '{}');
         delete from device_report where id = '00000000-0000-0000-0000-000000000001';
         insert into device_report (id, branch_id, payload) values ('00000000-0000-0000-0000-000000000001', 1, '[ ]');",
    );
    chain.at_office(
        "do $$ begin for n in 1..200 loop update product set cost = n where id <= 3; end loop; end $$;
         insert into payment_method (code, name) values ('x', 'gone and come');
         delete from payment_method where code = 'x';
         insert into payment_method (code, name, max_installments) values ('x', 'another', 3);",
    );
    chain.settle("much touched rows").await;
    chain.assert_ids_in_range().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_values_and_keys_that_rows_exchange_travel() {
    let chain = Chain::open(Rules::Unfiltered, 5).await;
    chain.at_shop("north", "insert into sale (branch_id, receipt) select 1, 'r' || n from generate_series(1, 6) n");
    chain.settle("sales").await;
    // of what the office owns: codes go round among three products, a deleted one's code is taken by a new one
    chain.at_office(
        "update product set code = 'aside' where id = 1; update product set code = 'P-one' where id = 2;
         update product set code = (select 'was-' || 3) where id = 3;
         update product set code = 'P-two' where id = 1; update product set code = 'aside' where id = 2;
         update product set code = 'P-one' where id = 3;
         insert into service (name, amount) values ('taken over', 1);",
    );
    chain.settle("codes").await;
    chain.at_office(
        "update product set code = 'x' where id = 1; update product set code = 'P-two' where id = 2;
         update product set code = 'aside' where id = 3; update product set code = 'P-one' where id = 1;
         delete from service where name = 'taken over'; insert into service (name, amount) values ('taken over', 2);",
    );
    chain.settle("codes going round").await;
    // of what both own: places on the shelf, and two people's tax numbers
    chain.at_office("update person set tax_number = 'A' where id = 1; update person set tax_number = 'B' where id = 2");
    chain.settle("tax numbers").await;
    chain.at_office(
        "update shelf set position = -position where branch_id = 1 and position in (1, 2, 3);
         update shelf set position = 1 + (-position) % 3 where branch_id = 1 and position < 0;",
    );
    chain.at_shop(
        "south",
        "update person set tax_number = null where id = 1; update person set tax_number = 'A' where id = 2;
         update person set tax_number = 'B' where id = 1;",
    );
    chain.settle("places and numbers exchanged").await;
    // of what a shop owns: receipts exchanged, keys exchanged
    chain.at_shop(
        "north",
        "update sale set receipt = 'aside' where receipt = 'r1'; update sale set receipt = 'r1' where receipt = 'r2';
         update sale set receipt = 'r2' where receipt = 'aside';
         update sale set id = -1 where receipt = 'r3'; update sale set id = (select id - 1 from sale where receipt = 'r5') where receipt = 'r4' and false;
         update sale set id = id + 1000 where receipt = 'r6';
         update sale set id = (select id + 1 from sale where receipt = 'r5') where id = -1;",
    );
    chain.settle("receipts and keys exchanged").await;
    assert_eq!(
        chain.world.database.rows("select receipt from sale order by id"),
        chain.shop("north").rows("select receipt from sale order by id")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn news_fire_their_trigger_once_and_local_and_initial_rows_stay_where_they_are() {
    let chain = Chain::open(Rules::Unfiltered, 6).await;
    let notices = |name: &str| chain.shop(name).int("select count(*) from till_notice");
    let before = [notices("north"), notices("south")];
    assert_eq!(
        chain.at_all("select count(*) from parameter_data")[0],
        chain.at_all("select count(*) from parameter_data")[1]
    );
    chain.at_office(
        "insert into news (title) values ('one'), ('two'); update news set body = 'again' where title = 'one'",
    );
    chain.at_office("insert into parameter_data (field_name, field_value) values ('later', 'never sent')");
    chain.at_shop(
        "north",
        "update parameter_data set field_value = 'north''s own'; insert into till_session (cash) values (7)",
    );
    let fired = chain.at_all("select count(*) from till_notice")[0];
    chain.settle("news").await;
    assert_eq!(
        [notices("north") - before[0], notices("south") - before[1]],
        [2, 2],
        "each piece of news is announced once"
    );
    assert_eq!(chain.at_all("select count(*) from till_notice")[0], fired, "and not again at the office");
    let [office, north, south] = chain.at_all("select count(*) from parameter_data where field_name = 'later'");
    assert_eq!((office, north, south), (1, 0, 0));
    assert_eq!(chain.at_all("select count(*) from parameter_data where field_value = 'north''s own'")[0], 0);
    assert_eq!(chain.at_all("select count(*) from till_session where cash = 7"), [0, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_filters_give_every_shop_its_own_rows() {
    let chain = Chain::open(Rules::Full, 7).await;
    chain.assert_agree("after the clones");
    // rows enter one subset and leave another, with all that hangs on them; others appear, change and go
    chain.at_office(
        "update promotion set branch_id = branch_id % 3 + 1;
         update price set branch_id = 1 where id % 10 = 0; update price set branch_id = 2 where id % 10 = 1;
         update price set branch_id = null where id % 10 = 2; update price set amount = amount + 1 where id % 10 = 3;
         delete from price where id % 10 = 4;
         insert into shelf (branch_id, position) select b, 900 from generate_series(1, 3) b;",
    );
    chain.settle("rows move between branches").await;
    chain.at_office(
        "update promotion set branch_id = branch_id % 3 + 1, name = name || '!'; delete from promotion_item where product_id % 2 = 0;
         insert into promotion (branch_id, name, starts_on, ends_on) select b, 'new', '2026-01-01', '2026-01-02' from generate_series(1, 3) b;
         insert into promotion_item select id, 1, 0.5 from promotion where name = 'new';
         update price set branch_id = 3 where branch_id is not null; delete from promotion where name = 'new' and branch_id = 3;",
    );
    for (branch, name) in (1..).zip(SHOPS) {
        chain.at_shop(name, &day_of_sales(800 + branch as u64, 10, branch));
        chain.at_shop(name, &format!("update shelf set position = position + 1000 where branch_id = {branch}; delete from shelf where position = 1900"));
    }
    chain.settle("and back").await;
    assert_eq!(chain.at_all("select count(*) from shelf where position = 1900"), [0; 3]);
    assert_eq!(chain.at_all("select count(*) from price where branch_id is not null")[1..], [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_gives_a_shop_back_its_own_recent_sales() {
    let chain = Chain::prepare(Rules::Full, 8).await;
    let when = |table: &str, id: &str| {
        format!(
            "update {table} set sold_at = now() - case when {id} % 2 = 0 then interval '10 days' else interval '200 days' end;"
        )
    };
    chain.at_office(&(when("sale", "id") + &when("sale_item", "sale_id") + &when("payment", "sale_id")));
    for name in SHOPS {
        chain.world.clone_shop(name).await.unwrap_or_else(|error| panic!("clone {name}: {error:?}"));
    }
    for (branch, name) in (1..).zip(SHOPS) {
        let recent = format!("branch_id = {branch} and id % 2 = 0");
        let (office, shop) = (("office", &chain.world.database), (name, chain.shop(name)));
        let mut found = tests::compare::differences(office, shop, "sale", Some(&recent));
        for table in ["sale_item", "payment"] {
            let of_them = format!("sale_id in (select id from sale where {recent})");
            found.extend(tests::compare::differences(office, shop, table, Some(&of_them)));
        }
        assert!(found.is_empty(), "{}", found.join("\n  "));
        let held = shop.1.int("select count(*) from sale");
        assert!(held > 0);
        assert_eq!(held, shop.1.int(&format!("select count(*) from sale where {recent}")), "{name} holds no others");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_changed_on_every_side_agree_afterwards_and_amounts_add_up() {
    let chain = Chain::open(Rules::Full, 9).await;
    let amounts = "select coalesce(sum((credit_used * 100)::bigint + 1000000 * loyalty_points), 0)::bigint from client";
    let before = chain.at_all(amounts)[0];
    let clients = chain.at_all("select count(*) from client")[0];
    for round in 1..=2 {
        let edits = |side: i64| {
            format!(
                "update person set phone = 'side {side} round {round}' where id % 2 = 0;
                 update person set note = 'side {side}', email = case when {side} = 1 then 'one@x' else email end where id % 3 = {side};
                 update address set street = 'side {side}' where id % 5 < 3;
                 update bank_account set bank = 'side {side}' where id % 2 = {side} % 2;
                 update specimen set a_numeric = {side}.{round}0, some_texts = array['{side}'] where id % 2 = 1;
                 delete from specimen where id % 20 = {side};
                 update warehouse.transfer set quantity = {side} where id % 4 = 0;
                 update client set credit_used = credit_used + 1.25, loyalty_points = loyalty_points + 2;"
            )
        };
        chain.at_office(&edits(0));
        for (side, name) in (1..).zip(SHOPS) {
            chain.at_shop(name, &edits(side));
        }
        chain.settle(&format!("round {round}")).await;
        assert_eq!(
            chain.at_all(amounts),
            [before + 3 * round * clients * (125 + 2_000_000); 3],
            "round {round}: amounts add up"
        );
    }
}

impl Chain {
    /// A number from the office and from each shop.
    fn at_all(&self, sql: &str) -> [i64; 3] {
        [self.world.database.int(sql), self.shop("north").int(sql), self.shop("south").int(sql)]
    }
}
