//! A small shop: every direction, foreign keys across them, amounts, a composite key, and texts wide enough for streams
//! of several chunks.

/// Tables whose rows the two ends exchange; at rest both hold the same.
pub(crate) const TABLES: [&str; 9] =
    ["category", "product", "leaflet", "person", "address", "sale", "sale_item", "scan", "parameter"];

/// The tables' SQL.
pub(crate) const SCHEMA: &str = "
    create table category (id int primary key, name text not null unique);
    create table product (id bigserial primary key, category_id int not null references category, name text not null,
        price numeric(12, 2) not null);
    create table leaflet (product_id bigint primary key references product, body text not null);
    create table person (id bigserial primary key, name text not null, phone text, points int not null default 0);
    create table address (id bigserial primary key, person_id bigint not null references person, line text);
    create table sale (id bigserial primary key, person_id bigint references person, sold_at timestamptz not null);
    create table sale_item (sale_id bigint references sale, line int, product_id bigint not null references product,
        quantity int not null, primary key (sale_id, line));
    create table scan (sale_id bigint primary key references sale, image text not null);
    create table parameter (name text primary key, value text);
    create table till_note (id bigserial primary key, note text);
";

/// Who decides about them.
pub(crate) const POLICY: &str = r#"
name = "kills"
[tables]
category  = "from-source"
product   = "from-source"
leaflet   = "from-source"
person    = "both"
address   = "both"
sale      = "from-target"
sale_item = "from-target"
scan      = "from-target"
parameter = "initial"
till_note = "local"
[table.person]
delta = ["points"]
"#;

/// Some hundred rows of the office. Incompressible texts of 300 kB make a clone of several members and chunks.
pub(crate) const OFFICE_DATA: &str = "
    insert into category select n, 'category ' || n from generate_series(1, 8) n;
    insert into product (category_id, name, price)
        select 1 + n % 8, 'product ' || n, n + 0.99 from generate_series(1, 200) n;
    insert into leaflet select p, (select string_agg(md5(format('%s/%s', p, n)), '') from generate_series(1, 900) n)
        from generate_series(1, 20) p;
    insert into person (name, phone, points) select 'person ' || n, 'phone ' || n, n from generate_series(1, 120) n;
    insert into address (person_id, line) select 1 + n % 120, 'street ' || n from generate_series(1, 150) n;
    insert into parameter values ('currency', 'EUR'), ('vat', '23'), ('motto', null);
";

/// What a shop with the office's data has done since, before it is adopted.
pub(crate) const OWN_SHOP_DATA: &str = "
    insert into person (name, phone) select 'customer ' || n, 'own ' || n from generate_series(1, 5) n;
    update person set phone = 'moved' where id = 7;
    update product set price = 0.5 where id = 3;
    insert into sale (person_id, sold_at) select n, '2006-09-22T14:03:11Z' from generate_series(1, 30) n;
    insert into sale_item select n, 1, n, 1 from generate_series(1, 30) n;
";

/// What stands in the shop's tables before its first clone, from an earlier life.
pub(crate) const OLD_SHOP_DATA: &str = "
    insert into category values (1, 'old'), (99, 'older');
    insert into product (category_id, name, price) values (99, 'ancient', 1);
    insert into person (name) select 'forgotten ' || n from generate_series(1, 30) n;
    insert into sale (person_id, sold_at) select n, '2001-02-03Z' from generate_series(1, 30) n;
    insert into sale_item select n, 1, 1, n from generate_series(1, 30) n;
    insert into parameter values ('currency', 'PTE');
    insert into till_note (note) values ('stays where it is');
";

/// A day at the office.
pub(crate) const OFFICE_DAY: &str = "
    insert into category values (9, 'new');
    insert into product (category_id, name, price) select 9, 'novelty ' || n, n from generate_series(1, 30) n;
    update product set price = price + 1 where id % 3 = 0 and id <= 200;
    delete from leaflet where product_id = 20;
    update leaflet set body = (select string_agg(md5(format('again %s/%s', product_id, n)), '') from generate_series(1, 900) n)
        where product_id <= 12;
    update person set phone = 'of the office' where id = 1;
    update person set points = points + 10 where id between 1 and 20;
    update address set line = 'moved by the office' where id % 10 = 1;
    insert into person (name) values ('met at the office');
    update parameter set value = '24' where name = 'vat';
";

/// A day at the shop, at the same time: person 1 has a conflict, the points of many add up.
pub(crate) const SHOP_DAY: &str = "
    insert into person (name, points) select 'customer ' || n, n from generate_series(1, 25) n;
    update person set phone = 'of the shop' where id = 1;
    update person set points = points + 1 where id between 10 and 30;
    update address set line = 'moved by the shop' where id % 10 = 2;
    delete from address where id % 10 = 3;
    insert into sale (person_id, sold_at) select (select max(id) from person) - n % 25, '2026-07-15Z'::timestamptz + n * interval '1 minute'
        from generate_series(1, 120) n;
    insert into sale_item select s.id, l, 1 + (s.id + l) % 150, l from sale s, generate_series(1, 3) l;
    insert into scan select id, (select string_agg(md5(format('%s/%s', sold_at, n)), '') from generate_series(1, 900) n)
        from sale order by id limit 12;
    insert into till_note (note) values ('nobody else reads this');
";
