//! Random work at a shop, much of which the office cannot take.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tests::database::Database;
use tests::engine::Engine;

use super::floor::{POLICY, list, world_by};

/// One statement at the shop.
#[derive(Debug, Clone)]
enum Work {
    Client { id: i64, tax: Option<u8> },
    Tax { id: i64, tax: Option<u8> },
    NoClient { id: i64 },
    Sale { id: i64, client: i64, total: u8, note: u8 },
    Total { id: i64, total: u8, note: u8 },
    Item { id: i64, sale: i64 },
    NoItem { id: i64 },
    NoSale { id: i64 },
}

fn work() -> impl Strategy<Value = Work> {
    let id = || 100i64..106;
    let tax = || proptest::option::of(0u8..5);
    prop_oneof![
        3 => (id(), tax()).prop_map(|(id, tax)| Work::Client { id, tax }),
        3 => (id(), tax()).prop_map(|(id, tax)| Work::Tax { id, tax }),
        1 => id().prop_map(|id| Work::NoClient { id }),
        4 => (id(), id(), 0u8..8, 0u8..8).prop_map(|(id, client, total, note)| Work::Sale { id, client, total, note }),
        2 => (id(), 0u8..8, 0u8..8).prop_map(|(id, total, note)| Work::Total { id, total, note }),
        3 => (id(), id()).prop_map(|(id, sale)| Work::Item { id, sale }),
        1 => id().prop_map(|id| Work::NoItem { id }),
        1 => id().prop_map(|id| Work::NoSale { id }),
    ]
}

impl Work {
    /// What the shop's own constraints forbid does not happen.
    fn sql(&self) -> String {
        let tax = |tax: &Option<u8>| tax.map_or_else(|| "null".to_owned(), |tax| format!("'{tax}'"));
        match self {
            Self::Client { id, tax: number } => {
                format!("insert into client(id, name, tax) values ({id}, 'c{id}', {}) on conflict do nothing", tax(number))
            }
            Self::Tax { id, tax: number } => format!("update client set tax = {} where id = {id}", tax(number)),
            Self::NoClient { id } => {
                format!("delete from client c where id = {id} and not exists (select from sale where client_id = c.id)")
            }
            Self::Sale { id, client, total, note } => format!(
                "insert into sale(id, branch_id, client_id, total, note) select {id}, 1, c.id, {total}, repeat('x', {note})
                 from client c where c.id = {client} on conflict do nothing"
            ),
            Self::Total { id, total, note } => {
                format!("update sale set total = {total}, note = repeat('x', {note}) where id = {id}")
            }
            Self::Item { id, sale } => format!(
                "insert into sale_item(id, sale_id, amount) select {id}, s.id, 1 from sale s where s.id = {sale} on conflict do nothing"
            ),
            Self::NoItem { id } => format!("delete from sale_item where id = {id}"),
            Self::NoSale { id } => {
                format!("delete from sale s where id = {id} and not exists (select from sale_item where sale_id = s.id)")
            }
        }
    }
}

const TABLES: [&str; 3] = ["client", "sale", "sale_item"];

/// Every row of the shop is at the office as it is, or waits as it is; nothing else is there.
fn accounted_for(office: &Database, shop: &Database) -> Result<(), TestCaseError> {
    for table in TABLES {
        let rows = |database: &Database| {
            list(database, &format!("select to_jsonb(t)::text from {table} t where id > 99 order by id"))
        };
        let waits = list(office, &format!("select key ->> 'id' from sync.quarantine where table_name = '{table}'"));
        let here = rows(office);
        let key = |row: &str| -> String {
            let (_, rest) = row.split_once("\"id\": ").unwrap_or_default();
            rest.chars().take_while(char::is_ascii_digit).collect()
        };
        for row in rows(shop) {
            prop_assert!(here.contains(&row) || waits.contains(&key(&row)), "{table}: {row} is lost; {waits:?} wait");
        }
        let there: Vec<String> = rows(shop).iter().map(|row| key(row)).collect();
        for row in here {
            let known = there.contains(&key(&row)) || waits.contains(&key(&row));
            prop_assert!(known, "{table}: {row} was deleted at the shop and is still at the office");
        }
    }
    let orphans = office.int(
        "select (select count(*) from sale s where client_id is not null and not exists (select from client where id = s.client_id))
              + (select count(*) from sale_item i where not exists (select from sale where id = i.sale_id))",
    );
    prop_assert_eq!(orphans, 0, "I12: rows refer to what is not there");
    Ok(())
}

async fn case(batches: Vec<Vec<Work>>) -> Result<(), TestCaseError> {
    // shops purge old sales; here what is deleted at the shop is meant to go at the office too
    let policy = POLICY
        .replace("[table.sale]\n", "[table.sale]\ndeletes = \"send\"\n")
        .replace("[table.sale_item]\n", "[table.sale_item]\ndeletes = \"send\"\n");
    let engine: Engine = world_by(&policy, &["north"]).await;
    let north = engine.shop("north");
    north.database.execute("alter table client drop constraint client_tax_key; alter table sale_item drop constraint sale_item_sale_id_fkey");
    north.database.execute("alter table sale_item add foreign key (sale_id) references sale");
    engine.database.execute(
        "alter table sale add check (total < 5); alter table sale alter note type varchar(5);
         insert into client(name, tax) values ('Cleo', '0')",
    );
    for batch in batches {
        for work in &batch {
            north.database.execute(&work.sql());
        }
        let pulled = engine.pull("north").await;
        prop_assert!(pulled.is_ok(), "{pulled:?}");
        accounted_for(&engine.database, &north.database)?;
    }
    engine.database.execute(
        "alter table sale drop constraint sale_total_check; alter table sale alter note type text;
         alter table client drop constraint client_tax_key",
    );
    engine.settle(5).await;
    prop_assert_eq!(list(&engine.database, "select table_name || key::text || reason from sync.quarantine"), [""; 0]);
    engine.assert_agree().await;
    Ok(())
}

/// I1, I3, I12: whatever the office refuses, every change is applied or waits, referential integrity holds after each
/// apply, and when the causes are gone both sides agree.
#[test]
fn what_is_not_applied_waits_and_comes_in_when_the_cause_is_gone() {
    let cases = std::env::var("SYNC_QUARANTINE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut runner =
        TestRunner::new(Config { cases, max_shrink_iters: 40, failure_persistence: None, ..Config::default() });
    let batches = proptest::collection::vec(proptest::collection::vec(work(), 1..25), 1..4);
    let outcome = runner.run(&batches, |batches| {
        runtime.block_on(async {
            tokio::task::spawn(case(batches)).await.unwrap_or_else(|error| Err(TestCaseError::fail(error.to_string())))
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
