//! Logs of the version before: one entry per row, old values in a JSON object, no columns in those of one-way tables.

use tests::engine::Engine;

const SCHEMA: &str = "
create table goods(id bigint primary key, name text, price numeric);
create table client(id bigint, part text, name text, phone text, credit numeric not null default 0, primary key (id, part));
";

const POLICY: &str = r#"
name = "before"
[tables]
goods = "from-source"
client = "both"
[table.client]
conflict = "shop-wins"
"#;

/// Makes the log and the functions of a table what version 0.1 would have left: entries as they were then, and triggers
/// that are not those of today.
fn downgrade(engine: &Engine, table: &str) {
    let database = &engine.database;
    let number = database.int(&format!("select number from sync.captured_table where table_name = '{table}'"));
    if table == "goods" {
        database.execute(&format!(
            "alter table sync.log_{number} drop column changed;
             update sync.captured_table set shape = 'keys(id bigint) tombstones(id, name, price)', columns = '{{}}' where number = {number}"
        ));
        return;
    }
    database.execute(&format!(
        "create table sync.before(seq bigint generated always as identity, xid xid8 not null default pg_current_xact_id(), origin int, target int,
             op \"char\" not null, k1 bigint not null, k2 text not null, old jsonb, changed_by text not null default session_user,
             application text not null default current_setting('application_name'), changed_at timestamptz not null default clock_timestamp());
         insert into sync.before(xid, origin, target, op, k1, k2, old)
             select l.xid, l.origin, l.target, l.op, u.k1, u.k2, u.old::jsonb
             from sync.log_{number} l, unnest(l.k1, l.k2, l.olds) as u(k1, k2, old) order by l.seq;
         drop table sync.log_{number};
         alter table sync.before rename to log_{number};
         update sync.captured_table set shape = 'old(id, part, name, phone, credit) key(id bigint, part text) by statement',
             log_shape = 'row of (id, part)', columns = '{{}}' where number = {number}"
    ));
}

/// I1, I2, I11: what waited in the old logs arrives, merged as it would have been.
#[tokio::test(flavor = "multi_thread")]
async fn i22_changes_that_wait_in_logs_of_the_version_before_arrive_once() {
    let engine = Engine::new(SCHEMA, POLICY, &["north"]).await;
    engine.database.execute(
        "insert into goods select n, 'g' || n, n from generate_series(1, 5) n;
         insert into client select n, 'p', 'c' || n, '1' from generate_series(1, 5) n",
    );
    engine.clone_shop("north").await.unwrap();
    let north = engine.shop("north");
    engine.database.execute(
        "update goods set price = 10 where id < 3; delete from goods where id = 5; insert into goods values (6, 'new', 6);
         update client set phone = null where id = 1; update client set phone = '2', name = 'office' where id <= 2;
         delete from client where id = 3; insert into client values (7, 'q', 'new', null, 7)",
    );
    // both changed the name of 2; the shop changed another column of 1
    north.database.execute("update client set name = 'shop' where id = 2; update client set credit = 5 where id = 1");
    downgrade(&engine, "goods");
    downgrade(&engine, "client");
    // as at its start, the office finds triggers and logs of another version, and makes them what they should be
    engine.database.execute("update sync.captured_table set triggers = '{}'");
    engine.settle(4).await;
    engine.assert_agree().await;
    let row =
        |id: i64| format!("select concat_ws(' ', name, coalesce(phone, '-'), credit) from client where id = {id}");
    assert_eq!(engine.database.value(&row(2)).as_deref(), Some("shop 2 0"), "the shop wins where both changed");
    assert_eq!(north.database.value(&row(1)).as_deref(), Some("office 2 5"));
    assert_eq!(north.database.int("select count(*) from client"), 5);
    assert_eq!(
        north.database.rows("select id, price from goods order by id"),
        engine.database.rows("select id, price from goods order by id")
    );
    assert_eq!(engine.database.int("select count(*) from sync.conflict where kind = 'columns'"), 1);
    // from now on entries are those of today
    engine.database.execute("update client set phone = '9'");
    let number = engine.database.int("select number from sync.captured_table where table_name = 'client'");
    assert_eq!(
        engine.database.int(&format!("select cardinality(k1) from sync.log_{number} order by seq desc limit 1")),
        5
    );
    engine.settle(3).await;
    engine.assert_agree().await;
}
