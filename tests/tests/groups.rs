//! Groups of tables that travel to shops one after the other: what matters goes first, whatever is still on its way.

use protocol::methods::SessionKind;
use protocol::policy::GROUP_FIRST;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use replica::office::Outgoing;
use tests::engine::Engine;
use tests::kit::{Plan, World};

const SCHEMA: &str = "
create table product(id bigint primary key, name text not null, price numeric not null);
create table leaflet(id bigint primary key, body text not null);
create table page(id bigint primary key, leaflet bigint not null references leaflet, body text not null);
create table picture(id bigint primary key, body text not null);
create table client(id bigint primary key, name text not null);
";

/// The policy with the groups of leaflets (and their pages) and of pictures.
fn policy(leaflets: u8, pictures: u8) -> String {
    format!(
        "name = \"grouped\"
[tables]
product = \"from-source\"
leaflet = \"from-source\"
page    = \"from-source\"
picture = \"from-source\"
client  = \"both\"
[table.leaflet]
group = {leaflets}
[table.page]
group = {leaflets}
[table.picture]
group = {pictures}
"
    )
}

async fn world() -> Engine {
    let engine = Engine::new(SCHEMA, &policy(2, 3), &["north"]).await;
    engine.database.execute(
        "insert into product select n, 'p' || n, n from generate_series(1, 20) n;
         insert into leaflet select n, 'l' || n from generate_series(1, 20) n;
         insert into page select n, n, 'a page' from generate_series(1, 20) n;
         insert into picture select n, 'b' || n from generate_series(1, 20) n;
         insert into client select n, 'c' || n from generate_series(1, 20) n",
    );
    engine.clone_shop("north").await.expect("a clone");
    engine
}

async fn freeze(engine: &Engine, group: u8) -> Option<Outgoing> {
    engine.office.freeze_push_from(&engine.branch("north").await, group).await.expect("a push")
}

async fn deliver(engine: &Engine, outgoing: &Outgoing) {
    engine.send("north", &outgoing.key, SessionKind::Update, &outgoing.stream.id).await.expect("applied");
    engine.office.record_push(&engine.branch("north").await, outgoing).await.expect("recorded");
}

fn tables(outgoing: &Outgoing) -> Vec<String> {
    outgoing.stream.tables.iter().map(|(name, _)| name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_group_has_on_its_way_holds_up_no_earlier_one() {
    let engine = world().await;
    let change = "update product set price = price + 1 where id < 5; update page set body = body || '!' where id < 5;
                  update leaflet set body = body || '!' where id = 7; update picture set body = body || '!' where id < 5";
    engine.database.execute(change);
    let first = freeze(&engine, GROUP_FIRST).await.expect("the first group");
    assert_eq!((tables(&first), first.group), (vec!["product".to_owned()], 1));
    deliver(&engine, &first).await;
    let leaflets = freeze(&engine, 2).await.expect("the second group");
    assert_eq!((tables(&leaflets), leaflets.group), (vec!["leaflet".to_owned(), "page".to_owned()], 2));
    // the line drops here; next time the first group has something again
    engine.database.execute(change);
    let again = freeze(&engine, GROUP_FIRST).await.expect("the first group");
    assert_eq!((tables(&again), again.resumed), (vec!["product".to_owned()], false));
    deliver(&engine, &again).await;
    let north = &engine.shop("north").database;
    let prices = "select sum(price)::bigint from product";
    assert_eq!(north.int(prices), engine.database.int(prices));
    assert_eq!(north.int("select count(*) from leaflet where body like '%!'"), 0);
    // and what was on its way goes on where it was, then what has come since, then the third group
    let resumed = freeze(&engine, 2).await.expect("the second group");
    assert_eq!((&resumed.key, resumed.resumed), (&leaflets.key, true));
    deliver(&engine, &resumed).await;
    let rest = freeze(&engine, 2).await.expect("the second group");
    assert!(!rest.resumed && rest.group == 2);
    deliver(&engine, &rest).await;
    let pictures = freeze(&engine, 3).await.expect("the third group");
    assert_eq!(tables(&pictures), ["picture"]);
    deliver(&engine, &pictures).await;
    assert!(freeze(&engine, GROUP_FIRST).await.is_none());
    engine.assert_agree().await;
    // how fresh a table is says when its own group came
    let older = "select (select as_of from sync.freshness where \"table\" = 'leaflet')
        < (select as_of from sync.freshness where \"table\" = 'picture')";
    assert_eq!(north.value(older).as_deref(), Some("t"));
    // a whole file needs no order
    engine.database.execute(change);
    let file = tempfile::NamedTempFile::new().expect("a file");
    let half = freeze(&engine, 3).await.expect("pictures, half sent when somebody goes there with a stick");
    let exported = engine.office.export_update(&engine.branch("north").await, file.path()).await.expect("a file");
    assert_eq!(exported.rows, 4 + 5 + 4);
    let carried = freeze(&engine, GROUP_FIRST).await.expect("what the file holds");
    assert!(carried.key != half.key && carried.resumed);
    deliver(&engine, &carried).await;
    assert!(freeze(&engine, GROUP_FIRST).await.is_none(), "nothing of it is sent twice");
    engine.assert_agree().await;
}

/// I8: an adoption begins anew; what groups had on their way before it belongs to another history.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_group_had_on_its_way_survives_an_adoption() {
    let engine = world().await;
    engine.database.execute("update page set body = body || '!' where id < 5");
    let page = freeze(&engine, 2).await.expect("half sent");
    assert_eq!(tables(&page), ["page"]);
    let branch = engine.branch("north").await;
    let base = engine.office.begin_adoption(&branch).await.expect("a beginning");
    let watermark = branch.timestamp.clone().expect("a watermark");
    engine.office.record_adoption(&branch, &base, &watermark, "another").await.expect("recorded");
    assert!(freeze(&engine, 2).await.is_none(), "it is sent as if nothing had been compared");
    engine.database.execute("update page set body = body || '?' where id = 5");
    let fresh = freeze(&engine, 2).await.expect("what has changed since");
    assert!(!fresh.resumed && fresh.stream.rows == 1, "{fresh:?}");
}

/// I1, I4, I8: random work, pushes that stop anywhere, and tables that change their group while changes of them wait.
#[tokio::test(flavor = "multi_thread")]
async fn i4_tables_may_change_their_group_while_their_changes_wait_and_nothing_is_lost() {
    let mut engine = world().await;
    let mut chance = StdRng::seed_from_u64(5);
    for step in 0..60 {
        let id = chance.random_range(1..=30);
        let body = format!("step {step}");
        let change = match chance.random_range(0..8) {
            0 => format!("update product set price = {step} where id % 7 = {id} % 7"),
            1 => format!(
                "insert into leaflet values ({id}, '{body}') on conflict (id) do update set body = excluded.body"
            ),
            2 => format!(
                "insert into page select {id}, {id}, '{body}' where exists (select from leaflet where id = {id}) on conflict (id) do update set body = excluded.body"
            ),
            3 => format!("delete from page where leaflet = {id}; delete from leaflet where id = {id}"),
            4 => format!(
                "insert into picture values ({id}, '{body}') on conflict (id) do update set body = excluded.body"
            ),
            5 => format!("delete from picture where id = {id}"),
            6 => format!("update client set name = '{body}' where id = {id}"),
            _ => format!(
                "insert into product values ({id}, '{body}', 1) on conflict (id) do update set name = excluded.name"
            ),
        };
        engine.database.execute(&change);
        match chance.random_range(0..6) {
            0 => {
                let (leaflets, pictures) = (chance.random_range(1..=3), chance.random_range(1..=3));
                engine.change_policy(&policy(leaflets, pictures)).await;
            }
            1 | 2 => {
                // some groups, and the last of them is frozen and not delivered, or delivered and not recorded
                let mut group = GROUP_FIRST;
                for _ in 0..chance.random_range(0..4) {
                    let Some(outgoing) = freeze(&engine, group).await else { break };
                    match chance.random_range(0..4) {
                        0 => break,
                        1 => {
                            engine
                                .send("north", &outgoing.key, SessionKind::Update, &outgoing.stream.id)
                                .await
                                .expect("applied");
                            break;
                        }
                        _ => deliver(&engine, &outgoing).await,
                    }
                    group = outgoing.next_group;
                }
            }
            3 => {
                engine
                    .shop("north")
                    .database
                    .execute(&format!("update client set name = 'north {step}' where id = {id}"));
                engine.pull("north").await.expect("a pull");
            }
            _ => {}
        }
    }
    engine.settle(5).await;
    engine.assert_agree().await;
    assert_eq!(engine.shop("north").database.int("select count(*) from sync.quarantine"), 0);
}

#[test]
fn with_a_byte_budget_new_prices_arrive_in_every_run_while_leaflets_take_several() {
    let mut plan =
        Plan::of(SCHEMA, &policy(2, 3), "insert into product select n, 'p' || n, n from generate_series(1, 20) n");
    plan.branches = vec!["north".to_owned()];
    let world = World::new(&plan);
    world.enrol();
    world.clone_all();
    world.office.execute(
        "insert into leaflet select n, (select string_agg(md5(format('%s %s', n, m)), '') from generate_series(1, 100) m) from generate_series(1, 120) n",
    );
    world.office(&["branch", "set", "north", "--byte-budget", "60KiB"]).succeeded();
    let mut runs = 0;
    loop {
        runs += 1;
        assert!(runs < 20);
        world.office.execute(&format!("update product set price = {runs}"));
        let run = world.office(&["--json", "update", "north"]);
        let north = &world.shop("north").database;
        assert_eq!(
            north.int("select count(*) from product where price <> 0 and price = (select max(price) from product)"),
            20
        );
        assert_eq!(north.int("select max(price)::bigint from product"), runs, "the prices have come");
        if run.is_success() {
            break;
        }
        run.ended_with(5);
        assert_eq!(north.int("select count(*) from leaflet"), 0, "leaflets come whole");
    }
    assert!(runs >= 3, "{runs} runs");
    world.assert_agree(&["product", "leaflet"]);
}
