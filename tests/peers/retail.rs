//! The retail chain seen by a peer that reads no policy: which tables there are, parents first, and who writes them.

use fixtures::generate::{Size, office_data};
use tests::compare;
use tests::database::Database;
use tests::kit::Plan;

/// Written at the office alone.
pub(crate) const CATALOGUE: [&str; 11] = [
    "branch",
    "category",
    "product",
    "product_supplier",
    "price",
    "service",
    "payment_method",
    "promotion",
    "promotion_item",
    "\"PriceTag\"",
    "news",
];

/// Written on both sides.
pub(crate) const PEOPLE: [&str; 14] = [
    "city_location",
    "person",
    "address",
    "bank_account",
    "employee_role",
    "user_profile",
    "employee",
    "sales_person",
    "client",
    "supplier",
    "login_user",
    "shelf",
    "specimen",
    "warehouse.transfer",
];

/// Written in shops.
pub(crate) const SALES: [&str; 6] = ["stock", "sale", "sale_item", "payment", "sale_log", "device_report"];

/// Rows of the branch 1 in tables of which a shop gets a part only.
const OWN: [(&str, &str); 4] = [
    ("price", "branch_id is null or branch_id = 1"),
    ("promotion", "branch_id = 1"),
    ("promotion_item", "promotion_id in (select id from promotion where branch_id = 1)"),
    ("shelf", "branch_id = 1"),
];

/// An office with the data of a corner shop whose branches have sold nothing yet, and shops with these names.
pub(crate) fn plan(shops: &[&str]) -> Plan {
    let mut data = Vec::new();
    office_data(Size::corner_shop(), 7, &mut data).expect("writing to memory");
    let mut data = String::from_utf8(data).expect("the fixtures are UTF-8");
    data += "truncate sale, sale_item, payment, sale_log, stock, device_report, till_entry;";
    Plan { data, shops_have_schema: false, ..Plan::with_branches(shops) }
}

/// Asserts that all tables hold the same rows on both sides; `own` for a shop that got its own rows only.
pub(crate) fn assert_agree(office: &Database, shop: &Database, own: bool) {
    let mut found = Vec::new();
    for table in CATALOGUE.iter().chain(&PEOPLE).chain(&SALES) {
        let filter = OWN.iter().find(|(name, _)| own && name == table).map(|(_, filter)| *filter);
        found.extend(compare::differences(("office", office), ("shop", shop), table, filter));
    }
    assert!(found.is_empty(), "office and shop differ:\n  {}", found.join("\n  "));
}

/// A day in the shop of branch 1: sales, new clients, and hard values, keys that change and rows that go.
pub(crate) fn trade(seed: u64, sales: usize) -> String {
    let sales = fixtures::trade::day_of_sales(seed, sales, 1);
    format!(
        r#"{sales}
update specimen set a_text = E'tab\t, \\ back, ''quote'', crlf\r\n, 🛒 {seed}', some_bytes = '\x00ff5c27', a_double = 'NaN', a_date = 'infinity',
    an_interval = '1 year -2 mons +3 days -04:05:06.000007', a_numeric = 'NaN', some_texts = '{{NULL,"NULL","a,b"}}' where id % 3 = 0;
update specimen set a_text = '', some_bytes = '\x', a_varbit = B'', a_json = '{{"é": null}}', a_real = 1e-45 where id % 3 = 1;
delete from specimen where id % 10 = {digit};
insert into specimen (label, a_text) values ('shop {seed}', null), ('shop {seed} ;--', E'\\N');
update specimen set id = nextval('specimen_id_seq') where label = 'shop {seed}';
update sale_log set logged_at = logged_at - interval '1 month' where id = (select max(id) from sale_log);
delete from address where id = (select max(id) from address);"#,
        digit = seed % 10,
    )
}
