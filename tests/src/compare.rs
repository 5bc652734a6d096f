//! Whether two databases hold the same rows.

use std::collections::BTreeMap;

use crate::database::Database;

/// At most so many differences of a table are told.
const TOLD_MAX: usize = 12;

/// A database with the name it has in messages.
pub type Named<'a> = (&'a str, &'a Database);

type Row = Vec<Option<String>>;

/// The differences of a table between two databases, in words; empty if there is none. The order of rows does not count,
/// nor that of columns; every value counts in its text form, byte for byte. `filter` is an SQL condition on the rows.
///
/// # Panics
/// If one does not have the table.
pub fn differences(left: Named<'_>, right: Named<'_>, table: &str, filter: Option<&str>) -> Vec<String> {
    let columns = columns(left.1, table);
    let other = self::columns(right.1, table);
    if columns != other {
        return vec![format!("{table}: columns {columns:?} at {} | {other:?} at {}", left.0, right.0)];
    }
    let key: Vec<usize> = columns.iter().enumerate().filter(|(_, column)| column.1).map(|(index, _)| index).collect();
    let key = if key.is_empty() { (0..columns.len()).collect() } else { key };
    let mut rows = BTreeMap::<Row, (Vec<Row>, Vec<Row>)>::new();
    for (side, database) in [left.1, right.1].into_iter().enumerate() {
        for row in read(database, table, &columns, filter) {
            let place = rows.entry(key.iter().map(|index| row[*index].clone()).collect()).or_default();
            if side == 0 { place.0.push(row) } else { place.1.push(row) }
        }
    }
    let mut told = Vec::new();
    let mut untold = 0;
    for (key_values, (mut here, mut there)) in rows {
        here.sort();
        there.sort();
        if here == there {
            continue;
        }
        if told.len() == TOLD_MAX {
            untold += 1;
            continue;
        }
        let name = format!("{table} {}", list(key.iter().map(|index| &columns[*index].0), &key_values));
        told.push(match (here.as_slice(), there.as_slice()) {
            ([mine], [theirs]) => format!("{name}: {}", values(&columns, mine, theirs, left.0, right.0)),
            (here, []) => format!("{name}: {} at {}, not at {}", times(here.len()), left.0, right.0),
            ([], there) => format!("{name}: {} at {}, not at {}", times(there.len()), right.0, left.0),
            (here, there) => {
                format!("{name}: {} at {} | {} at {}", times(here.len()), left.0, times(there.len()), right.0)
            }
        });
    }
    if untold > 0 {
        told.push(format!("{table}: {untold} more rows differ"));
    }
    told
}

/// Asserts that these tables hold the same rows in both databases.
///
/// # Panics
/// If they do not, with the differences.
pub fn assert_equal(left: Named<'_>, right: Named<'_>, tables: &[&str]) {
    let found: Vec<String> = tables.iter().flat_map(|table| differences(left, right, table, None)).collect();
    assert!(found.is_empty(), "{} and {} differ:\n  {}", left.0, right.0, found.join("\n  "));
}

/// Names of the columns, sorted, and whether each belongs to the primary key.
fn columns(database: &Database, table: &str) -> Vec<(String, bool)> {
    let table = table.replace('\'', "''");
    let rows = database.rows(&format!(
        "select attname, attnum = any (coalesce((select indkey from pg_index where indrelid = attrelid and indisprimary), '')::int2[])
         from pg_attribute where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped order by attname collate \"C\""
    ));
    rows.into_iter().map(|row| (row[0].clone().unwrap_or_default(), row[1].as_deref() == Some("t"))).collect()
}

fn read(database: &Database, table: &str, columns: &[(String, bool)], filter: Option<&str>) -> Vec<Row> {
    let list: Vec<String> = columns.iter().map(|(name, _)| format!("\"{}\"", name.replace('"', "\"\""))).collect();
    // a table may have no columns, and still rows
    let list = if list.is_empty() { "''".to_owned() } else { list.join(", ") };
    let filter = filter.map_or_else(String::new, |filter| format!(" where {filter}"));
    database.rows(&format!(
        "set timezone = 'UTC'; set datestyle = 'ISO, YMD'; set intervalstyle = 'postgres'; set bytea_output = 'hex';
         set extra_float_digits = 3; select {list} from {table}{filter}"
    ))
}

fn list<'a>(names: impl Iterator<Item = &'a String>, values: &[Option<String>]) -> String {
    let pairs: Vec<String> = names.zip(values).map(|(name, value)| format!("{name}={}", show(value))).collect();
    pairs.join(", ")
}

fn values(columns: &[(String, bool)], mine: &Row, theirs: &Row, here: &str, there: &str) -> String {
    let pairs: Vec<String> = columns
        .iter()
        .zip(mine.iter().zip(theirs))
        .filter(|(_, (mine, theirs))| mine != theirs)
        .map(|((name, _), (mine, theirs))| format!("{name} {} at {here} | {} at {there}", show(mine), show(theirs)))
        .collect();
    pairs.join(", ")
}

fn show(value: &Option<String>) -> String {
    match value {
        None => "null".to_owned(),
        Some(text) if text.chars().count() > 60 => {
            format!("{:?}.. ({} bytes)", text.chars().take(60).collect::<String>(), text.len())
        }
        Some(text) => format!("{text:?}"),
    }
}

fn times(count: usize) -> String {
    if count == 1 { "one row".to_owned() } else { format!("{count} rows") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::shared;

    fn database(rows: &str) -> Database {
        let database = shared().database("harness");
        database
            .execute("create table sale (id int primary key, total numeric, note text); create table log (line text)");
        database.execute(rows);
        database
    }

    #[test]
    fn the_order_of_rows_and_columns_does_not_count() {
        let left =
            database("insert into sale values (1, 2.50, null), (2, 3, ''); insert into log values ('a'), ('b'), ('a')");
        let right = shared().database("harness");
        right.execute(
            "create table sale (note text, id int primary key, total numeric); create table log (line text);
             insert into sale values ('', 2, 3), (null, 1, 2.50); insert into log values ('a'), ('a'), ('b')",
        );
        assert_equal(("office", &left), ("shop", &right), &["sale", "log"]);
    }

    #[test]
    fn every_difference_is_told_by_key_and_column() {
        let left =
            database("insert into sale values (1, 2.50, null), (2, 3, 'x'); insert into log values ('a'), ('a')");
        let right = database("insert into sale values (1, 2.5, ''), (3, 3, 'x'); insert into log values ('a')");
        let sale = differences(("office", &left), ("shop", &right), "sale", None);
        assert_eq!(
            sale,
            [
                "sale id=\"1\": note null at office | \"\" at shop, total \"2.50\" at office | \"2.5\" at shop",
                "sale id=\"2\": one row at office, not at shop",
                "sale id=\"3\": one row at shop, not at office",
            ]
        );
        assert!(differences(("office", &left), ("shop", &right), "sale", Some("id > 9")).is_empty());
        let log = differences(("office", &left), ("shop", &right), "log", None);
        assert_eq!(log, ["log line=\"a\": 2 rows at office | one row at shop"]);
    }
}
