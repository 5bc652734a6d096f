//! What the tables of one end look like to the other, and whether rows can go between the two: decided before data moves.
//!
//! A column that only one end has is harmless where rows can be made without it: the end that has it leaves it out of
//! what it sends, and sends it when the other has got it too. All else that does not fit is named, with the way out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::policy::{Direction, ResolvedPolicy};

/// A column as the other end has to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ColumnLayout {
    /// Its name.
    pub name: String,
    /// Its type with modifiers, as PostgreSQL's `format_type` prints it.
    pub type_name: String,
    /// Whether a row can be made without naming it: it may be null, or has a default, or is generated.
    pub optional: bool,
    /// Whether it is computed and never written.
    pub generated: bool,
}

/// A table as the other end has to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableLayout {
    /// Its name, `schema.table` outside `public`.
    pub table: String,
    /// Its columns.
    pub columns: Vec<ColumnLayout>,
    /// The columns of its primary key, in the key's order.
    pub key: Vec<String>,
}

impl TableLayout {
    fn column(&self, name: &str) -> Option<&ColumnLayout> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// Two ends beside each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What keeps rows from going between them, in words, each with the way out.
    pub problems: Vec<String>,
    /// Columns that only one end has and that are left out: `table.column`, and who has it.
    pub left_out: Vec<(String, &'static str)>,
}

/// Holds the tables of office and shop against each other, as far as the policy lets rows go between them.
pub fn compare(policy: &ResolvedPolicy, office: &[TableLayout], shop: &[TableLayout]) -> Comparison {
    let mut found = Comparison::default();
    let by_name = |tables: &'_ [TableLayout]| -> BTreeMap<String, TableLayout> {
        tables.iter().map(|table| (table.table.clone(), table.clone())).collect()
    };
    let (office, shop) = (by_name(office), by_name(shop));
    for (name, rules) in &policy.tables {
        let direction = rules.direction;
        let moves = direction.flows_to_shop() || direction.flows_to_office();
        if moves {
            let name = name.to_string();
            match (office.get(&name), shop.get(&name)) {
                (Some(office), Some(shop)) => compare_table(direction, office, shop, &mut found),
                (Some(_), None) => found.problems.push(missing(&name, "shop", "office")),
                (None, Some(_)) => found.problems.push(missing(&name, "office", "shop")),
                (None, None) => {}
            }
        }
    }
    // the office need not have tables that the resolved policy of its own database does not know
    let known: BTreeSet<String> = policy.tables.keys().map(ToString::to_string).collect();
    for name in shop.keys().filter(|name| !known.contains(*name)) {
        found.problems.push(missing(name, "office", "shop"));
    }
    found
}

fn missing(table: &str, place: &str, other: &str) -> String {
    format!(
        "table {table}: is not there at the {place}, and the {other} has it; create it there, or make it \"local\" in the policy"
    )
}

fn compare_table(direction: Direction, office: &TableLayout, shop: &TableLayout, found: &mut Comparison) {
    let table = &office.table;
    if office.key != shop.key {
        found.problems.push(format!(
            "table {table}: rows are told apart by ({}) at the office and by ({}) at the shop; give both the same primary key",
            office.key.join(", "),
            shop.key.join(", ")
        ));
        return;
    }
    for column in &office.columns {
        let Some(other) = shop.column(&column.name) else {
            alone(table, column, "office", "shop", found);
            continue;
        };
        if column.generated != other.generated {
            let (computed, written) = if column.generated { ("office", "shop") } else { ("shop", "office") };
            found.problems.push(format!(
                "table {table}, column {}: is generated at the {computed} and written at the {written}; make both the same",
                column.name
            ));
            continue;
        }
        if column.generated {
            continue;
        }
        let mut narrower = |sender: &ColumnLayout, receiver: &ColumnLayout, place: &str, other: &str| {
            if !fits(&sender.type_name, &receiver.type_name) {
                found.problems.push(format!(
                    "table {table}, column {}: is {} at the {other} and {} at the {place}, where not every value fits; \
                     run 'alter table {table} alter column {0} type {1}' at the {place}",
                    sender.name, sender.type_name, receiver.type_name
                ));
                return true;
            }
            false
        };
        let to_shop = direction.flows_to_shop() && narrower(column, other, "shop", "office");
        if !to_shop && direction.flows_to_office() {
            narrower(other, column, "office", "shop");
        }
    }
    for column in shop.columns.iter().filter(|column| office.column(&column.name).is_none()) {
        alone(table, column, "shop", "office", found);
    }
}

fn alone(table: &str, column: &ColumnLayout, place: &'static str, other: &str, found: &mut Comparison) {
    if column.optional {
        found.left_out.push((format!("{table}.{}", column.name), place));
        return;
    }
    found.problems.push(format!(
        "table {table}, column {0}: is only at the {place}, where it may not be left out; add it at the {other} \
         ('alter table {table} add column {0} {1}'), or give it a default at the {place}, or drop it there; if it was renamed, rename it at both",
        column.name, column.type_name
    ));
}

/// Whether every value of one type can be stored in a column of the other without changing.
fn fits(sender: &str, receiver: &str) -> bool {
    if sender == receiver {
        return true;
    }
    let (from, from_sizes) = parts(sender);
    let (to, to_sizes) = parts(receiver);
    let integer = |name: &str| ["smallint", "integer", "bigint"].iter().position(|kind| *kind == name);
    match (from, to) {
        ("character varying", "text") => true,
        ("text", "character varying") => to_sizes.is_empty(),
        ("character varying", "character varying") => match (from_sizes.first(), to_sizes.first()) {
            (_, None) => true,
            (Some(from), Some(to)) => from <= to,
            (None, Some(_)) => false,
        },
        ("numeric", "numeric") => match (from_sizes.as_slice(), to_sizes.as_slice()) {
            (_, []) => true,
            // the number of decimals shows in a value's text
            ([from, from_scale], [to, to_scale]) => from <= to && from_scale == to_scale,
            _ => false,
        },
        (from, "numeric") if to_sizes.is_empty() => integer(from).is_some(),
        (from, to) => matches!((integer(from), integer(to)), (Some(from), Some(to)) if from <= to),
    }
}

/// Name and sizes of a type: `numeric(10,2)` is `numeric`, 10 and 2.
fn parts(type_name: &str) -> (&str, Vec<u32>) {
    let Some((name, rest)) = type_name.split_once('(') else { return (type_name, Vec::new()) };
    let Some(sizes) = rest.strip_suffix(')') else { return (type_name, Vec::new()) };
    let sizes: Result<Vec<u32>, _> = sizes.split(',').map(|size| size.trim().parse()).collect();
    sizes.map_or((type_name, Vec::new()), |sizes| (name, sizes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::TableName;
    use crate::policy::Policy;

    fn policy(direction: &str) -> ResolvedPolicy {
        let policy = Policy::parse(&format!("name = \"p\"\n[tables]\nt = \"{direction}\"\n")).expect("a policy");
        policy.resolve(&[TableName::public("t")]).expect("it fits")
    }

    fn table(columns: &[(&str, &str, bool)]) -> Vec<TableLayout> {
        let columns = columns.iter().map(|(name, type_name, optional)| ColumnLayout {
            name: (*name).into(),
            type_name: (*type_name).into(),
            optional: *optional,
            generated: false,
        });
        vec![TableLayout { table: "t".into(), columns: columns.collect(), key: vec!["id".into()] }]
    }

    #[test]
    fn a_type_fits_into_itself_and_into_wider_ones_only() {
        for (from, to) in [
            ("integer", "bigint"),
            ("smallint", "numeric"),
            ("character varying(10)", "character varying(20)"),
            ("character varying(10)", "text"),
            ("text", "character varying"),
            ("numeric(10,2)", "numeric(12,2)"),
            ("numeric(10,2)", "numeric"),
            ("timestamp with time zone", "timestamp with time zone"),
        ] {
            assert!(fits(from, to), "{from} into {to}");
            assert_eq!(fits(to, from), from == to || (from, to) == ("text", "character varying"), "{to} into {from}");
        }
        for (from, to) in [("numeric(10,2)", "numeric(12,3)"), ("date", "text"), ("bigint", "double precision")] {
            assert!(!fits(from, to), "{from} into {to}");
        }
    }

    #[test]
    fn a_narrower_column_is_named_with_the_way_out_where_rows_go_into_it() {
        let wide = table(&[("id", "bigint", false), ("v", "text", true)]);
        let narrow = table(&[("id", "bigint", false), ("v", "character varying(5)", true)]);
        let problems = |direction, office: &[TableLayout], shop: &[TableLayout]| {
            compare(&policy(direction), office, shop).problems
        };
        let found = problems("from-source", &wide, &narrow);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("table t, column v") && found[0].contains("alter column v type text' at the shop"),
            "{found:?}"
        );
        assert!(problems("from-source", &narrow, &wide).is_empty(), "rows go from narrow to wide");
        assert!(problems("from-target", &narrow, &wide)[0].contains("at the office"));
        assert_eq!(problems("both", &narrow, &wide).len(), 1);
        assert!(problems("local", &wide, &narrow).is_empty());
    }

    #[test]
    fn a_column_of_one_side_is_left_out_when_rows_can_be_made_without_it() {
        let plain = table(&[("id", "bigint", false)]);
        let more = table(&[("id", "bigint", false), ("note", "text", true)]);
        let strict = table(&[("id", "bigint", false), ("must", "text", false)]);
        let found = compare(&policy("both"), &more, &plain);
        assert_eq!((found.problems.len(), found.left_out), (0, vec![("t.note".to_owned(), "office")]));
        let found = compare(&policy("both"), &plain, &more);
        assert_eq!(found.left_out, [("t.note".to_owned(), "shop")]);
        for (office, shop) in [(&plain, &strict), (&strict, &plain)] {
            let found = compare(&policy("from-source"), office, shop).problems;
            assert!(found[0].contains("column must") && found[0].contains("renamed"), "{found:?}");
        }
    }

    #[test]
    fn tables_and_keys_that_are_not_on_both_sides_are_named() {
        let here = table(&[("id", "bigint", false)]);
        let mut other = here.clone();
        other[0].key = vec!["id".into(), "line".into()];
        assert!(compare(&policy("both"), &here, &[]).problems[0].contains("not there at the shop"));
        assert!(compare(&policy("from-target"), &[], &here).problems[0].contains("not there at the office"));
        assert!(compare(&policy("both"), &here, &other).problems[0].contains("(id, line) at the shop"));
    }
}
