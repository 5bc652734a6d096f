//! Foreign keys: cycles, trees, cascades. Referential integrity holds at every commit (I12), deletes stay deleted (I9).

use tests::engine::Engine;

/// Rows that refer to one another, by nullable and by NOT NULL columns, deferrable or not.
const CYCLES: &str = "
create table team(id bigint primary key, name text not null, captain bigint);
create table player(id bigint primary key, team bigint not null references team);
alter table team add constraint team_captain foreign key (captain) references player;
create table lock(id bigint primary key, key bigint not null);
create table key(id bigint primary key, lock bigint not null references lock deferrable initially deferred);
alter table lock add constraint lock_key foreign key (key) references key deferrable initially deferred;
create table a_first(id bigint primary key, z bigint references a_first);
";

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_cycle_of_foreign_keys_travel_both_ways() {
    let policy = "name = \"cycles\"\n[tables]\nteam = \"from-source\"\nplayer = \"from-source\"\nlock = \"both\"\nkey = \"both\"\na_first = \"both\"";
    let world = Engine::new(CYCLES, policy, &["north"]).await;
    world.database.execute(
        "insert into team values (1, 'reds', null); insert into player values (10, 1); update team set captain = 10;
         insert into lock values (1, 1); insert into key values (1, 1); insert into a_first values (1, null), (2, 1)",
    );
    world.clone_shop("north").await.unwrap();
    world.assert_agree().await;
    let north = world.shop("north");
    // a new ring on each side, and one that is taken apart
    world.database.execute(
        "insert into team values (2, 'blues', null); insert into player values (20, 2); update team set captain = 20 where id = 2;
         insert into lock values (2, 2); insert into key values (2, 2);
         update team set captain = null where id = 1; delete from player where id = 10; delete from team where id = 1",
    );
    north.database.execute("insert into lock values (3, 3); insert into key values (3, 3); delete from key where id = 1; delete from lock where id = 1");
    world.settle(4).await;
    world.assert_agree().await;
    for database in [&world.database, &north.database] {
        assert_eq!(database.value("select string_agg(id::text, ' ' order by id) from lock").as_deref(), Some("2 3"));
        assert_eq!(database.value("select string_agg(id || ':' || captain, ' ') from team").as_deref(), Some("2:20"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_may_grow_move_and_go_in_any_order() {
    let schema = "create table node(id bigint primary key, parent bigint references node, name text not null);";
    let world = Engine::new(schema, "name = \"trees\"\n[tables]\nnode = \"both\"", &["north"]).await;
    // ids against the grain: children have lower ones than their parents
    world.database.execute(
        "insert into node select 1000 - g, null, 'n' || g from generate_series(0, 99) g;
         update node set parent = id + 1 where id < 1000",
    );
    world.clone_shop("north").await.unwrap();
    let north = world.shop("north");
    world.database.execute(
        "insert into node values (2000, null, 'new root'); update node set parent = 2000 where id = 950;
         insert into node values (10, 2000, 'leaf'), (5, 10, 'below the leaf')",
    );
    north.database.execute(
        "with recursive below as (select id from node where id = 920 union all select n.id from node n join below b on n.parent = b.id)
         delete from node where id in (select id from below)",
    );
    world.settle(4).await;
    world.assert_agree().await;
    assert_eq!(world.database.int("select count(*) from node where id <= 920 and id > 10"), 0);
    // the whole tree at once, and another in its place with the keys turned round
    north.database.execute("delete from node; insert into node select g, null, 'again' from generate_series(901, 960) g; update node set parent = id - 1 where id > 901");
    world.settle(4).await;
    world.assert_agree().await;
    assert_eq!(world.database.int("select count(*) from node"), 60);
}

/// What a delete does to children is declared in the schema.
const CASCADES: &str = "
create table shelf(id bigint primary key, name text not null);
create table box(id bigint primary key, shelf bigint references shelf on delete cascade, content text);
create table label(id bigint primary key, box bigint references box on delete set null, text text not null);
create table tag(box bigint references box on delete cascade on update cascade, word text, primary key (box, word));
create table seen(id bigint primary key, shelf bigint default 1 references shelf on delete set default);
";

const CASCADES_POLICY: &str = "name = \"cascades\"\n[tables]\nshelf = \"both\"\nbox = \"both\"\nlabel = \"both\"\ntag = \"both\"\nseen = \"both\"";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cascade_did_arrives_as_data_and_is_done_once() {
    let world = Engine::new(CASCADES, CASCADES_POLICY, &["north"]).await;
    world.database.execute(
        "insert into shelf values (1, 'default'), (2, 'upper'), (3, 'lower');
         insert into box select g, 2 + g % 2, 'c' from generate_series(1, 6) g;
         insert into label select g, g, 'l' from generate_series(1, 6) g;
         insert into tag select g, 'w' from generate_series(1, 6) g; insert into seen values (1, 2), (2, 3)",
    );
    world.clone_shop("north").await.unwrap();
    let north = world.shop("north");
    world.database.execute("delete from shelf where id = 2");
    assert_eq!(world.database.int("select count(*) from label where box is null"), 3);
    north.database.execute("update box set id = 11 where id = 1 and false; update tag set word = 'x' where box = 3");
    north.database.execute("update label set box = null where box = 5; update box set id = 50 where id = 5");
    world.settle(4).await;
    world.assert_agree().await;
    for database in [&world.database, &north.database] {
        assert_eq!(database.value("select string_agg(id::text, ' ' order by id) from box").as_deref(), Some("1 3 50"));
        assert_eq!(
            database.value("select string_agg(box || word, ' ' order by box) from tag").as_deref(),
            Some("1w 3x 50w")
        );
        assert_eq!(database.int("select shelf from seen where id = 1"), 1);
    }
    assert_eq!(world.database.int("select count(*) from sync.conflict"), 0);
    assert_eq!(world.update("north").await.unwrap(), (0, 0), "nothing comes back as an echo");
}

/// The engine deletes what it was told to delete, and never by itself what refers to it: here the office's foreign key
/// would cascade, and the shop has made a child meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_made_meanwhile_is_never_cascaded_away() {
    let world = Engine::new(CASCADES, CASCADES_POLICY, &["north"]).await;
    world.database.execute("insert into shelf values (1, 'default'), (2, 'upper')");
    world.clone_shop("north").await.unwrap();
    let north = world.shop("north");
    world.database.execute("delete from shelf where id = 2");
    north.database.execute("insert into box values (7, 2, 'made at the shop'); insert into tag values (7, 'w')");
    world.settle(5).await;
    world.assert_agree().await;
    for database in [&world.database, &north.database] {
        assert_eq!(database.value("select content from box where id = 7").as_deref(), Some("made at the shop"));
        assert_eq!(database.int("select count(*) from shelf where id = 2"), 1, "the parent came back for its child");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_and_children_may_be_deleted_and_made_anew_in_one_diff() {
    let schema = "create table p(id bigint primary key, code text not null unique);
        create table c(id bigint primary key, code text references p(code), p bigint not null references p);";
    let policy = "name = \"anew\"\n[tables]\np = \"from-source\"\nc = \"from-source\"";
    let world = Engine::new(schema, policy, &["north"]).await;
    world.database.execute("insert into p select g, 'c' || g from generate_series(1, 20) g; insert into c select g, 'c' || g, g from generate_series(1, 20) g");
    world.clone_shop("north").await.unwrap();
    // the unique code by which children refer moves on to another parent
    world.database.execute(
        "delete from c where id > 10; delete from p where id > 10; insert into p values (30, 'c15'); insert into c values (15, 'c15', 30);
         update c set code = null where id in (1, 2); update p set code = 'tmp' where id = 1; update p set code = 'c1' where id = 2;
         update p set code = 'c2' where id = 1; update c set code = 'c2' where id = 1; update c set code = 'c1' where id = 2",
    );
    world.settle(3).await;
    world.assert_agree().await;
    assert_eq!(world.shop("north").database.int("select count(*) from c"), 11);
}
