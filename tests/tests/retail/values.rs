//! Values that are hard to carry, written out: every column of `specimen`, and the catalogue's and the shops' own tables.

/// Rows of [`rows`].
pub(crate) const COUNT: i64 = 6;

/// The office's own hard rows, in tables that only it writes.
pub(crate) const CATALOGUE: &str = r#"
insert into product (code, name, category_id, cost, weight_kg, size_mm, keywords, attributes, picture, warranty, launched_at)
values ('hard-1', E'crlf\r\n tab\t back\\slash \'quoted\' 🛒 "double"', 1, -0.01, 'NaN', '{{1,NULL},{-3,4}}', '{NULL,"",NULL,"a,b","{}","\\"}',
        '{"a": 1.10, "b": [null, {"é": "\u0041"}]}', '\x00ff5c0a0d', '1 year -2 mons +3 days -04:05:06.000007', 'infinity'),
       ('hard-2', '', 1, 999999999999999999.99, '-Infinity', '[0:1]={5,6}', '{}', '{}', '\x', '-178000000 years', '-infinity'),
       ('hard-3', E'\\N', 1, 0, '-0', '{}', array[E'\\.', E'\\N', 'NULL'], 'null', null, null, '0044-03-15 12:00 BC');
insert into "PriceTag" ("productId", "Label Text", "select") select id, E'a "mixed" Case\n\\.\n;--', true from product where code like 'hard-%';
insert into price (product_id, amount, valid_from) select id, 0.00, '-infinity' from product where code = 'hard-1';
insert into warehouse.transfer (from_branch_id, to_branch_id, product_id, quantity, sent_at)
    select 1, 2, id, 1.100, 'infinity' from product where code = 'hard-2';
insert into service (name, amount, duration) values (E'-- comment\n\\copy', 1e2, '1 mon'), ('/* ; */ $$ $1 ? %s', 2, '30 days');
update branch set network = '10.0.0.0/8', name = E'\u2028 separator' where id = 1;
update branch set network = '::/0' where id = 2;
"#;

/// New rows of `specimen`: extremes, zeros, nulls, empty values, and texts that look like something else.
pub(crate) fn rows(place: &str) -> String {
    format!(
        r#"insert into specimen (label, a_bool, a_small, an_int, a_big, a_numeric, an_amount, a_real, a_double, a_text, a_varchar, a_char,
    some_bytes, a_json, some_ints, some_texts, a_state, a_uuid, an_inet, a_cidr, a_mac, an_interval, a_date, a_time, a_timestamp,
    a_timestamptz, a_varbit, a_bit, a_range)
values ('hard {place} 1', true, -32768, -2147483648, -9223372036854775808, 'NaN', -999999999999999999.99, 'NaN', 'NaN',
        E'\r\n\t\\\x01\x7f 🛒''"', E'é漢🛒', 'ab', '\x5c27220a0d09ff00', '{{"b": [1, 1.0, 1.00, 1e3], "é": null}}', '{{1,NULL,-3}}',
        '{{NULL,"NULL","","a,b","{{c}}"," h "}}', 'open', '00000000-0000-0000-0000-000000000000', '10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03',
        '1 year -2 mons +3 days -04:05:06.000007', 'infinity', '24:00:00', 'infinity', '-infinity', B'', B'00000000', 'empty'),
       ('hard {place} 2', false, 32767, 2147483647, 9223372036854775807, 'Infinity', 999999999999999999.99, 'Infinity', '-Infinity',
        '', '', '', '\x', '"\\u0041\n\""', '{{}}', '{{}}', 'cancelled', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'fe80::1/64', '::/0', null,
        '-178000000 years', '4713-01-01 BC', '23:59:59.999999', '294276-12-31 23:59:59.999999', '1900-01-01 00:00:00-05:17:32',
        B'0000000000000000000000000000000000000000000000000000000000000001', B'11111111', '(,)'),
       ('hard {place} 3', null, 0, 0, 9007199254740993, 1.1000000000000000000000000000000000001, 0, 1e-45, 5e-324,
        E'\\N', E'\\.', ' ', '\xdeadbeef', 'null', '{{{{1,2}},{{3,4}}}}', array[E'tab\t', E'line\n', '''', E'\\'], 'paid', null, '::1', null, null,
        '0', '2024-02-29', '00:00', '0044-03-15 12:00 BC', '0001-01-01 00:00+00 BC', B'1', B'10101010', '[1,5)'),
       ('hard {place} 4', null, -1, -1, 1, 1.10, 0.10, 0.1, 0.30000000000000004, E'{{"json": true}}', 'trailing  ', E'é  ', '\x00',
        '123456789012345678901234567890.10', '[0:1]={{5,6}}', '{{NULL}}', 'returned', null, '10.1.2.3', null, null, '30 days', '5874897-12-31',
        '12:00', '2026-03-29 02:30:00', '2026-10-25 02:30:00.123456+02', B'0', null, '(,7]'),
       ('hard {place} 5', null, null, null, null, -0.000, null, '-0', '-0', repeat(E'long é\'\\\n\t🛒', 3000), null, null,
        decode(repeat('00ff5c0d0a', 20000), 'hex'), '[[], {{}}, "\t"]', null, null, null, null, null, null, null, '1 mon', '-infinity',
        null, '-infinity', 'infinity', null, null, null),
       ('hard {place} 6', null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
        null, null, null, null, null, null, null, null);"#
    )
}

/// Changes of rows that another side made: a value's scale, its sign, its emptiness; everything that compares equal and is not.
pub(crate) fn rewrites(owner: &str) -> String {
    format!(
        r#"update specimen set a_numeric = 1.1, a_text = null where label = 'hard {owner} 4';
update specimen set a_double = 0, a_real = 0, a_numeric = 0.0 where label = 'hard {owner} 5';
update specimen set a_text = '', some_texts = '{{}}', a_varbit = B'', some_bytes = '\x' where label = 'hard {owner} 6';
update specimen set an_interval = '1 mon' where label = 'hard {owner} 4';
update specimen set an_interval = '30 days' where label = 'hard {owner} 5';
update specimen set a_json = '{{"b": [1, 1, 1, 1000], "é": null}}', a_text = E'\n', a_char = 'ab   ' where label = 'hard {owner} 1';
update specimen set some_ints = '{{5,6}}', an_inet = '10.1.2.3/32' where label = 'hard {owner} 4';
update specimen set a_timestamptz = a_timestamptz, label = label where label = 'hard {owner} 3';"#
    )
}

/// Nulls everywhere, and deletes.
pub(crate) fn erasures(owner: &str) -> String {
    format!(
        "update specimen set a_bool = null, a_small = null, a_numeric = null, a_double = null, a_text = null, some_bytes = null,
             a_json = null, some_texts = null, an_interval = null, a_date = null, a_timestamptz = null, a_varbit = null, a_range = null
             where label in ('hard {owner} 1', 'hard {owner} 2');
         delete from specimen where label in ('hard {owner} 3', 'hard {owner} 5');"
    )
}

/// Reports of a shop's devices: `json`, which keeps its spelling, doubled keys and all.
pub(crate) fn reports(branch: usize) -> String {
    format!(
        r#"insert into device_report (branch_id, payload) values ({branch}, '{{"b" : 1, "b":2, "a": [ ] }}'), ({branch}, E' \n null\t'),
    ({branch}, '"\u0041\\n"'), ({branch}, '1.0'), ({branch}, '1.00');
update device_report set payload = '1.000' where branch_id = {branch} and payload::text = '1.0';
insert into sale (branch_id, receipt, total, sold_at, till_address, note)
    values ({branch}, E'r\t\\"{branch}', 12.10, '2026-10-25 02:30:00.123456+02', '10.1.2.3/8', E'crlf\r\n🛒 \\N');
insert into stock (branch_id, product_id, quantity, counted_at) values ({branch}, 1, -0.001, 'infinity')
    on conflict (branch_id, product_id) do update set quantity = 1.100;
insert into sale_log (branch_id, event, detail, logged_at) values ({branch}, E'\\.\n', '{{"total": 12.10}}', 'infinity'), ({branch}, '', null, '-infinity');"#
    )
}
