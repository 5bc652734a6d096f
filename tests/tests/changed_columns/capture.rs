//! What the change log says after a statement.

use tests::engine::Engine;

const SCHEMA: &str = "
create table goods(id bigint primary key, a text, b numeric, n int, o jsonb);
create table client(id bigint primary key, a text, b numeric, c text);
";

const POLICY: &str = r#"
name = "log"
[tables]
goods = "from-source"
client = "both"
"#;

async fn world(rows: u32) -> Engine {
    let engine = Engine::new(SCHEMA, POLICY, &["north"]).await;
    engine.database.execute(&format!(
        "insert into goods select n, 'a', 1, n from generate_series(1, {rows}) n; insert into client select n, 'a', 1 from generate_series(1, {rows}) n"
    ));
    engine.clone_shop("north").await.expect("a clone");
    engine.database.execute("delete from sync.log_1; delete from sync.log_2");
    engine
}

fn log(engine: &Engine, table: &str) -> String {
    let number = engine.database.int(&format!("select number from sync.captured_table where table_name = '{table}'"));
    format!("sync.log_{number}")
}

/// (keys, columns) of each entry.
fn entries(engine: &Engine) -> Vec<(i64, Option<String>)> {
    let sql = format!("select cardinality(k1)::text, changed::text from {} order by xid, ctid", log(engine, "goods"));
    let rows = engine.database.rows(&sql).into_iter();
    rows.map(|mut row| (row[0].take().and_then(|text| text.parse().ok()).unwrap_or(0), row[1].take())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_says_which_columns_its_statement_changed_or_that_it_does_not_know() {
    let engine = world(10).await;
    engine.database.execute("update goods set a = 'x', b = 1 where id < 3");
    engine.database.execute("update goods set a = a");
    engine.database.execute("update goods set b = 1.0 where id = 1");
    engine.database.execute("update goods set o = '{}' where id = 1");
    engine.database.execute("update goods set id = id + 100 where id > 8");
    // capture does not fail a statement because the table is no longer what it was made for
    engine.database.execute("alter table goods drop column n");
    engine.database.execute("update goods set a = 'y' where id = 1");
    engine.database.execute("alter table client drop column c");
    engine.database.execute("update client set a = 'y' where id = 1");
    let known = |bits: &str| Some(bits.to_owned());
    assert_eq!(
        entries(&engine),
        [(2, known("1000")), (1, known("0100")), (1, known("0001")), (2, None), (2, None), (1, None)]
    );
    let ops = format!("select string_agg(op::text, ' ') from {}", log(&engine, "client"));
    assert_eq!(engine.database.value(&ops).as_deref(), Some("R"));
    engine.settle(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_with_very_many_keys_is_logged_whole_and_one_of_a_both_ways_table_in_parts() {
    let engine = world(50_001).await;
    engine.database.execute("update goods set a = 'x'; update goods set a = 'y' where id <= 50000");
    assert_eq!(entries(&engine), [(50_001, None), (50_000, Some("1000".to_owned()))]);
    engine.database.execute("update client set a = 'x', b = b; update client set b = 2 where id = 1");
    let log = log(&engine, "client");
    assert_eq!(engine.database.int(&format!("select count(*) from {log}")), 52);
    assert!(engine.database.int(&format!("select max(cardinality(k1)) from {log}")) <= 1000);
    // only what changed, and a value is told from none
    let olds = format!("select distinct u::jsonb::text from {log}, unnest(olds) u where op = 'U' order by 1");
    let values = [r#"{"a": "a"}"#, r#"{"b": "1"}"#].map(|old| [Some(old.to_owned())]);
    assert_eq!(engine.database.rows(&olds), values);
    // long values: an entry holds as many as fit, and no statement fails because all of them are too many
    engine.settle(3).await;
    engine.database.execute(&format!("delete from {log}; update client set c = repeat('c', 100000) where id <= 100"));
    engine.database.execute("update client set c = null where id <= 100");
    let longest = format!("select max(octet_length(array_to_string(olds, ''))) from {log}");
    assert!((100_000..=1_100_000).contains(&engine.database.int(&longest)));
    assert!(engine.database.int(&format!("select count(*) from {log}")) >= 10);
    engine.settle(3).await;
    engine.assert_agree().await;
}
