//! The fixtures' retail chain: an office, two shops, and what must be equal between them.

use std::collections::BTreeMap;

use fixtures::generate::{Size, office_data};
use protocol::names::TableName;
use protocol::policy::{Direction, Policy, ResolvedPolicy};
use tests::compare;
use tests::database::Database;
use tests::engine::Engine;

/// The shops; their branch ids count from 1, as those of the fixtures do.
pub(crate) const SHOPS: [&str; 2] = ["north", "south"];

/// Application triggers beside those of the fixtures: they tell how often they fired, in a table of the till.
const WITNESS: &str = "
CREATE TABLE till_fired (id bigserial PRIMARY KEY, what text NOT NULL);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.till_fired (what) VALUES (TG_TABLE_NAME || ' ' || TG_OP);
    RETURN NULL;
END $$;
CREATE TRIGGER tells AFTER INSERT OR UPDATE OR DELETE ON person FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER tells AFTER INSERT OR UPDATE OR DELETE ON product FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER tells AFTER INSERT OR UPDATE OR DELETE ON sale_item FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER tells AFTER INSERT OR UPDATE OR DELETE ON specimen FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER tells AFTER INSERT OR UPDATE OR DELETE ON sale_log FOR EACH ROW EXECUTE FUNCTION tell();
";

/// Tables of the shops that are empty at an office which has just opened.
const MADE_IN_SHOPS: &str = "truncate sale, sale_item, payment, sale_log, stock, device_report, till_entry";

/// Which parts of [`fixtures::POLICY`] a test keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Directions and triggers, but no row filters: every shop holds all that the office has.
    Unfiltered,
    /// Everything.
    Full,
}

/// The chain.
pub(crate) struct Chain {
    /// Both ends.
    pub(crate) world: Engine,
    rules: ResolvedPolicy,
    filtered: bool,
}

/// [`fixtures::POLICY`] with the deletes of every table sent, and without row filters if so wanted.
pub(crate) fn policy(rules: Rules) -> String {
    let unfiltered = ["rows ", "history"];
    let kept = fixtures::POLICY
        .lines()
        .filter(|line| rules == Rules::Full || !unfiltered.iter().any(|word| line.starts_with(word)));
    let mut text = String::new();
    for line in kept {
        text += line;
        text += "\n";
        if ["[table.sale]", "[table.sale_item]", "[table.payment]", "[table.sale_log]"].contains(&line) {
            text += "deletes = \"send\"\n";
        }
    }
    text
}

impl Chain {
    /// An office with the data of a corner shop whose branches have sold nothing yet, and two cloned shops.
    pub(crate) async fn open(rules: Rules, seed: u64) -> Self {
        let chain = Self::prepare(rules, seed).await;
        chain.world.database.execute(MADE_IN_SHOPS);
        for name in SHOPS {
            chain.world.clone_shop(name).await.unwrap_or_else(|error| panic!("clone {name}: {error:?}"));
        }
        chain
    }

    /// The same with all sales of the past at the office, and the shops not yet cloned.
    pub(crate) async fn prepare(rules: Rules, seed: u64) -> Self {
        let text = policy(rules);
        let world = Engine::new(&format!("{}{WITNESS}", fixtures::SCHEMA), &text, &SHOPS).await;
        let mut data = Vec::new();
        office_data(Size::corner_shop(), seed, &mut data).expect("seeded data");
        world.database.load(&String::from_utf8(data).expect("text"));
        let names: Vec<TableName> = tables(&world.database);
        let rules_of = Policy::parse(&text).expect("a policy").resolve(&names);
        let resolved = rules_of.unwrap_or_else(|errors| panic!("{errors}"));
        Self { world, rules: resolved, filtered: rules == Rules::Full }
    }

    /// Runs SQL at the office.
    pub(crate) fn at_office(&self, sql: &str) {
        self.world.database.execute(sql);
    }

    /// Runs SQL at a shop.
    pub(crate) fn at_shop(&self, name: &str, sql: &str) {
        self.world.shop(name).database.execute(sql);
    }

    /// Database of a shop.
    pub(crate) fn shop(&self, name: &str) -> &Database {
        &self.world.shop(name).database
    }

    /// Updates until an update of every shop moves nothing, then checks that everything agrees, and that no application
    /// trigger fired for rows that arrived.
    pub(crate) async fn settle(&self, what: &str) {
        let fired = self.fired();
        self.world.settle(8).await;
        assert_eq!(fired, self.fired(), "{what}: application triggers fired for rows that arrived");
        self.assert_agree(what);
    }

    /// How often the telling triggers fired: office, then shops.
    fn fired(&self) -> Vec<i64> {
        let count = |database: &Database| database.int("select count(*) from till_fired");
        let shops = SHOPS.iter().map(|name| count(self.shop(name)));
        std::iter::once(count(&self.world.database)).chain(shops).collect()
    }

    /// Every table, by its direction: what the office owns and what both own are the same at the office and at every
    /// shop; what a shop owns is the same there and among the rows of its branch at the office.
    pub(crate) fn assert_agree(&self, what: &str) {
        let mut found = Vec::new();
        for (number, name) in SHOPS.iter().enumerate() {
            let own = own_rows(number + 1);
            let (office, shop) = (("office", &self.world.database), (*name, self.shop(name)));
            let mut compared = Vec::new();
            let mut foreign = Vec::new();
            for (table, rules) in &self.rules.tables {
                let table = table.quoted();
                let own = own.get(table.as_str()).map(String::as_str);
                let (filter, only) = match rules.direction {
                    Direction::Local | Direction::Initial => continue,
                    Direction::FromTarget => (own, true),
                    Direction::FromSource | Direction::Both => (own.filter(|_| self.filtered), self.filtered),
                };
                if let Some(own) = own.filter(|_| only) {
                    foreign.push(format!("select '{table}', count(*) from {table} where ({own}) is not true"));
                }
                compared.push((table, filter));
            }
            let (ours, theirs) = (fingerprints(office.1, &compared), fingerprints(shop.1, &compared));
            assert_eq!((ours.len(), theirs.len()), (compared.len(), compared.len()));
            for (((table, filter), ours), theirs) in compared.iter().zip(ours).zip(theirs) {
                if ours != theirs {
                    found.extend(compare::differences(office, shop, table, *filter));
                    found.push(format!("{table}: {ours:?} at the office, {theirs:?} at {name}"));
                }
            }
            for row in shop.1.rows(&foreign.join(" union all ")) {
                if row[1].as_deref() != Some("0") {
                    found.push(format!("{row:?}: rows of other branches at {name}"));
                }
            }
        }
        assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
    }

    /// Every id sequence that hands out numbers at a shop does so inside the branch's range, and so did all of them.
    pub(crate) async fn assert_ids_in_range(&self) {
        for name in SHOPS {
            let branch = self.world.branch(name).await;
            let (low, high) = branch.id_range.expect("an id range");
            let shop = self.shop(name);
            let mut seen = 0;
            for (table, rules) in self.rules.tables.iter().filter(|(_, rules)| rules.direction.needs_id_range()) {
                let quoted = table.quoted();
                let sequences = shop.rows(&format!(
                    "select pg_get_serial_sequence('{quoted}', attname) from pg_attribute where attrelid = '{quoted}'::regclass
                     and attnum > 0 and not attisdropped and pg_get_serial_sequence('{quoted}', attname) is not null"
                ));
                for sequence in sequences.into_iter().flatten().flatten() {
                    let last = shop.int(&format!("select last_value from {sequence}"));
                    assert!(low <= last && last <= high, "{name}: {sequence} is at {last}, outside ({low}, {high}]");
                    let top = shop.int(&format!("select max_value from pg_sequences where format('%I.%I', schemaname, sequencename)::regclass = '{sequence}'::regclass"));
                    assert_eq!(top, high, "{name}: {sequence} may run out of its range");
                    seen += 1;
                }
                if rules.direction == Direction::FromTarget
                    && ["sale", "sale_item", "sale_log"].contains(&table.name.as_str())
                {
                    let outside = shop.int(&format!("select count(*) from {quoted} where id <= {low} or id > {high}"));
                    assert_eq!(outside, 0, "{name}: rows of {table} with ids outside ({low}, {high}]");
                }
            }
            assert_eq!(seen, 14, "{name}: sequences of tables that get rows at shops");
        }
    }
}

/// Number and fingerprint of the rows of each table, by their text, byte for byte: one query instead of one per table.
fn fingerprints(database: &Database, tables: &[(String, Option<&str>)]) -> Vec<Vec<Option<String>>> {
    let one = |(number, (table, filter)): (usize, &(String, Option<&str>))| {
        format!(
            "select {number}, count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) from {table} t where {}",
            filter.unwrap_or("true")
        )
    };
    let queries: Vec<String> = tables.iter().enumerate().map(one).collect();
    database.rows(&format!(
        "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set bytea_output = 'hex'; set extra_float_digits = 3;
         select * from ({}) x order by 1",
        queries.join(" union all ")
    ))
}

/// Tables of a database that a policy must name.
fn tables(database: &Database) -> Vec<TableName> {
    let rows = database.rows(
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where c.relkind in ('r', 'p') and not c.relispartition and n.nspname in ('public', 'warehouse')",
    );
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    rows.iter().map(|row| TableName::new(text(&row[0]), text(&row[1]))).collect()
}

/// Which rows belong to a branch, in this test's own words.
fn own_rows(branch: usize) -> BTreeMap<&'static str, String> {
    let by_branch = format!("branch_id = {branch}");
    let by_sale = format!("sale_id in (select id from sale where {by_branch})");
    BTreeMap::from([
        ("\"public\".\"price\"", format!("branch_id is null or {by_branch}")),
        ("\"public\".\"promotion\"", by_branch.clone()),
        ("\"public\".\"promotion_item\"", format!("promotion_id in (select id from promotion where {by_branch})")),
        ("\"public\".\"shelf\"", by_branch.clone()),
        ("\"public\".\"stock\"", by_branch.clone()),
        ("\"public\".\"sale\"", by_branch.clone()),
        ("\"public\".\"sale_log\"", by_branch.clone()),
        ("\"public\".\"device_report\"", by_branch),
        ("\"public\".\"sale_item\"", by_sale.clone()),
        ("\"public\".\"payment\"", by_sale),
    ])
}
