//! A clone loads tables without their indexes and makes them again: nobody may see a difference.

use tests::database::Database;
use tests::engine::Engine;

const SCHEMA: &str = "
create table shelf (id bigint, room text not null, label text, note text, weight int);
alter table shelf add constraint shelf_key primary key (id) with (fillfactor = 70);
alter table shelf add constraint shelf_place unique (room, label) deferrable initially deferred;
alter table shelf add constraint shelf_note unique (note) include (weight);
create index shelf_heavy on shelf (weight desc nulls last) include (room) with (fillfactor = 60) where weight > 10;
create index shelf_lower on shelf (lower(label) text_pattern_ops);
comment on index shelf_heavy is 'what the staff should not lift; it''s heavy';
comment on constraint shelf_place on shelf is 'one label per room';
comment on index shelf_key is 'of the key';
create table item (id uuid primary key, shelf_id bigint not null references shelf, is_sold boolean not null);
create index item_shelf on item (shelf_id);
create table moved (id bigint primary key, item_id uuid references item deferrable, at timestamptz not null)
    partition by range (id);
create table moved_1 partition of moved for values from (0) to (1000);
create table moved_2 partition of moved for values from (1000) to (2000);
create table guest (id bigint primary key, name text not null);
create view guests as select g.id, g.name, count(*) from guest g group by g.id;
alter table guest replica identity using index guest_pkey;
create table visit (id bigint primary key, name text not null);
create view visits as select v.id, v.name, count(*) from visit v group by v.id;
create index visit_name on visit (name);
";

const POLICY: &str = "name = \"indexes\"\n[tables]\n\"*\" = \"from-source\"\n";

/// Everything about the indexes, constraints and comments of a database's tables.
fn structure(database: &Database) -> Vec<Vec<Option<String>>> {
    database.rows(
        "select x.relname::text, pg_get_indexdef(i.indexrelid), coalesce(pg_get_constraintdef(k.oid), ''), i.indisprimary::text,
                i.indisreplident::text, i.indimmediate::text, i.indisvalid::text, coalesce(k.conname::text, ''),
                coalesce(obj_description(x.oid, 'pg_class'), ''), coalesce(obj_description(k.oid, 'pg_constraint'), '')
         from pg_index i join pg_class x on x.oid = i.indexrelid join pg_class t on t.oid = i.indrelid
         left join pg_constraint k on k.conindid = i.indexrelid and k.conrelid = t.oid and k.contype in ('p', 'u', 'x')
         where t.relnamespace = 'public'::regnamespace
         union all
         select t.relname::text, k.conname::text, pg_get_constraintdef(k.oid), k.convalidated::text, k.condeferrable::text,
                k.condeferred::text, '', '', '', ''
         from pg_constraint k join pg_class t on t.oid = k.conrelid
         where t.relnamespace = 'public'::regnamespace and k.contype in ('f', 'c')
         order by 1, 2, 3",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_leaves_every_index_and_constraint_as_it_was() {
    let world = Engine::new(SCHEMA, POLICY, &["north"]).await;
    world.database.execute(
        "insert into shelf select g, 'room ' || g % 7, 'label ' || g, 'note ' || g, g % 50 from generate_series(1, 900) g;
         insert into item select md5(g::text)::uuid, 1 + g % 900, g % 2 = 0 from generate_series(1, 3000) g;
         insert into moved select g, md5(g::text)::uuid, now() from generate_series(1, 1999) g;
         insert into guest select g, 'guest ' || g from generate_series(1, 300) g;
         insert into visit select g, 'visit ' || g from generate_series(1, 300) g",
    );
    let north = &world.shop("north").database;
    let wanted = structure(&world.database);
    assert_eq!(wanted.len(), 17);
    world.clone_shop("north").await.unwrap();
    assert_eq!(structure(north), wanted);
    world.assert_agree().await;
    // and once more, over the rows of the clone before
    world.clone_shop("north").await.unwrap();
    assert_eq!(structure(north), wanted);
    assert!(north.try_execute("insert into item select * from item limit 1").is_err(), "the key is guarded");
}
