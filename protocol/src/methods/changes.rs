//! The answer of the legacy method `changes`: a diff's script as nested lists of strings.
//!
//! ```text
//! [[table, [[id, [[column, literal], ...], te_created_id, te_modified_id, te_time, user_id, station_id], ...]], ...]
//! ```
//!
//! Every scalar is a string that holds an SQL literal, as in the implementation of 2006: XML-RPC had no long integers, and
//! its clients paste them into statements. There are no rows for deletes, which the form cannot carry. We keep no
//! transaction entries: their ids, the user and the station are `NULL`, and the time is that of the diff.

use std::collections::HashMap;
use std::io::BufRead;

use crate::dialect::{DialectError, Event, Reader, ReaderLimits, Statement, WriteKind, literal_of_field};
use crate::names::TableName;
use crate::xmlrpc::Value;

/// Bytes of all strings of one answer: it is held in memory as a whole.
pub const CHANGES_BYTES_MAX: usize = 16 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// More than fits into one answer.
    #[error("there are more changes than changes() can carry ({CHANGES_BYTES_MAX} bytes): call diff instead")]
    TooLarge,
    /// The script is no script of ours.
    #[error("the diff cannot be read")]
    Script(#[from] DialectError),
    /// A row is not of its statement's form.
    #[error("a row of the diff cannot be read")]
    Row(#[from] std::io::Error),
}

/// The rows of a script, table by table.
///
/// # Errors
/// When the script cannot be read, or its rows are too large for one answer.
pub fn changes(script: impl BufRead) -> Result<Value, ChangesError> {
    let mut reader = Reader::new(script, ReaderLimits::default());
    let mut found = Found { left: CHANGES_BYTES_MAX, ..Found::default() };
    let mut head = None;
    while let Some(event) = reader.next()? {
        match event {
            Event::Statement(statement) => head = found.statement(statement),
            Event::Row(row) => {
                if let Some(head) = &head {
                    found.row(head, row)?;
                }
            }
            Event::Watermark(watermark) => found.time = format!("'{watermark}'"),
            Event::SetVal { .. } | Event::Note { .. } => {}
        }
    }
    Ok(found.into_value())
}

/// What a row needs of its statement.
struct Head {
    table: usize,
    columns: Vec<String>,
    key: Vec<String>,
}

#[derive(Default)]
struct Found {
    tables: Vec<(TableName, Vec<Row>)>,
    places: HashMap<TableName, usize>,
    /// Key columns of tables whose rows come as a DELETE and an INSERT.
    keys: HashMap<TableName, Vec<String>>,
    time: String,
    left: usize,
}

struct Row {
    id: String,
    columns: Vec<(String, String)>,
}

impl Found {
    fn statement(&mut self, statement: &Statement) -> Option<Head> {
        let columns = statement.columns.clone();
        let key = match statement.kind {
            WriteKind::Delete => {
                self.keys.insert(statement.table.clone(), columns);
                return None;
            }
            WriteKind::Update => columns[statement.set_len..statement.set_len + statement.key_len].to_vec(),
            _ if statement.conflict.is_empty() => self.keys.get(&statement.table).cloned().unwrap_or_default(),
            _ => statement.conflict.clone(),
        };
        let tables = &mut self.tables;
        let table = *self.places.entry(statement.table.clone()).or_insert_with(|| {
            tables.push((statement.table.clone(), Vec::new()));
            tables.len() - 1
        });
        Some(Head { table, columns, key })
    }

    fn row(&mut self, head: &Head, row: &[u8]) -> Result<(), ChangesError> {
        let mut columns: Vec<(String, String)> = Vec::with_capacity(head.columns.len());
        for (name, field) in head.columns.iter().zip(row.split(|&byte| byte == b'\t')) {
            // a guard names a column a second time, with its old value
            if columns.iter().any(|(known, _)| known == name) {
                continue;
            }
            let literal = carried(literal_of_field(field)?);
            let bytes = name.len() + literal.len() + 64;
            self.left = self.left.checked_sub(bytes).ok_or(ChangesError::TooLarge)?;
            columns.push((name.clone(), literal));
        }
        let literal = |name: &String| columns.iter().find(|(known, _)| known == name).map(|(_, literal)| literal);
        let mut key: Vec<String> = head.key.iter().filter_map(literal).map(|literal| plain(literal)).collect();
        let id = match (key.pop(), key.is_empty()) {
            (None, _) => columns.first().map(|(_, literal)| plain(literal)).unwrap_or_default(),
            (Some(only), true) => only,
            (Some(last), false) => format!("({}, {last})", key.join(", ")),
        };
        if let Some((_, rows)) = self.tables.get_mut(head.table) {
            rows.push(Row { id, columns });
        }
        Ok(())
    }

    fn into_value(self) -> Value {
        let Self { tables, time, .. } = self;
        let list = |values: Vec<Value>| Value::Array(values);
        let row = |row: Row| {
            let pair = |(name, literal): (String, String)| list(vec![name.into(), literal.into()]);
            let columns = list(row.columns.into_iter().map(pair).collect());
            let null = || Value::from("NULL");
            list(vec![row.id.into(), columns, null(), null(), time.as_str().into(), null(), null()])
        };
        let table = |(name, rows): (TableName, Vec<Row>)| {
            list(vec![name.to_string().into(), list(rows.into_iter().map(row).collect())])
        };
        list(tables.into_iter().filter(|(_, rows)| !rows.is_empty()).map(table).collect())
    }
}

/// A literal as XML can carry it: control characters, which it has not, as escapes.
fn carried(literal: String) -> String {
    let is_outside = |character: char| matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    if !literal.contains(is_outside) {
        return literal;
    }
    let mut escaped = String::from("E");
    for character in literal.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            character if is_outside(character) => escaped.push_str(&format!("\\u{:04x}", u32::from(character))),
            character => escaped.push(character),
        }
    }
    escaped
}

/// An id that is a whole number goes without quotes: old clients take it for one.
fn plain(literal: &str) -> String {
    let bare = literal.trim_matches('\'');
    match bare.parse::<i64>() {
        Ok(number) if number.to_string() == bare => bare.to_owned(),
        _ => literal.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(script: &str) -> String {
        fn show(value: &Value) -> String {
            match value {
                Value::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
                other => other.as_str().unwrap_or("?").to_owned(),
            }
        }
        show(&changes(script.as_bytes()).unwrap())
    }

    const END: &str = "COMMIT;\n-- watermark: 2006-09-22T14:03:11.042317123Z\n";

    #[test]
    fn rows_come_as_lists_of_literals_table_by_table() {
        let script = format!(
            "BEGIN;\nINSERT INTO person (id, name) VALUES (7, 'O''Hara'), (8, NULL) ON CONFLICT (id) DO UPDATE SET name = \
             excluded.name;\nINSERT INTO w.t (a, b) VALUES (1, 'x') ON CONFLICT (a, b) DO NOTHING;\n{END}"
        );
        let time = "NULL NULL '2006-09-22T14:03:11.042317123Z' NULL NULL";
        let expected = format!(
            "[[person [[7 [[id '7'] [name 'O''Hara']] {time}] [8 [[id '8'] [name NULL]] {time}]]] \
             [w.t [[(1, 'x') [[a '1'] [b 'x']] {time}]]]]"
        );
        assert_eq!(of(&script), expected);
    }

    #[test]
    fn updates_bring_the_columns_they_set_and_deletes_nothing() {
        let script = format!(
            "BEGIN;\nUPDATE person SET phone = '2' WHERE id = 7 AND phone IS NOT DISTINCT FROM '1';\n\
             DELETE FROM person WHERE id IN (9, 10);\n{END}"
        );
        let time = "NULL NULL '2006-09-22T14:03:11.042317123Z' NULL NULL";
        assert_eq!(of(&script), format!("[[person [[7 [[phone '2'] [id '7']] {time}]]]]"));
        assert_eq!(of(&format!("BEGIN;\nDELETE FROM person WHERE id IN (9);\n{END}")), "[]");
    }

    #[test]
    fn characters_that_xml_has_not_are_escaped() {
        let script = format!("BEGIN;\nCOPY t (a, b) FROM stdin;\n1\t\u{1}\\\\'\n\\.\n{END}");
        assert!(of(&script).contains("[b E'\\u0001\\\\''']"), "{}", of(&script));
    }

    #[test]
    fn more_than_an_answer_can_hold_is_an_error_that_names_the_way_out() {
        let row = format!("1\t{}\n", "x".repeat(1 << 20));
        let script = format!("BEGIN;\nCOPY t (a, b) FROM stdin;\n{}\\.\n{END}", row.repeat(17));
        let error = changes(script.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("call diff instead"), "{error}");
    }
}
