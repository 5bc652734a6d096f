//! Promises of the writer and the reader together.

mod accepted;
mod refused;
mod round_trip;
mod stability;

use std::io::BufReader;

use super::*;
use crate::names::TableName;

/// Everything a script yields, as lines of text, and how it ended.
fn read_with(script: &[u8], buffer: usize, limits: ReaderLimits) -> (Vec<String>, Result<(), DialectError>) {
    let mut reader = Reader::new(BufReader::with_capacity(buffer, script), limits);
    let mut events = Vec::new();
    loop {
        match reader.next() {
            Ok(None) => return (events, Ok(())),
            Ok(Some(event)) => events.push(describe(&event)),
            Err(error) => return (events, Err(error)),
        }
    }
}

fn describe(event: &Event<'_>) -> String {
    match event {
        Event::Statement(statement) => {
            let Statement { number, table, kind, columns, set_len, key_len, overriding, conflict, updates } = statement;
            let mut text = format!("{number} {kind:?} {table} {}", columns.join(","));
            if *key_len > 0 {
                text += &format!(" set={set_len} key={key_len}");
            }
            if *overriding {
                text += " overriding";
            }
            if !conflict.is_empty() {
                text += &format!(" conflict={} updates={}", conflict.join(","), updates.join(","));
            }
            text
        }
        Event::Row(row) => format!("row {}", String::from_utf8_lossy(row)),
        Event::SetVal { sequence, value, called } => format!("setval {sequence} {value} {called}"),
        Event::Note { name, json } => format!("note {name} {json}"),
        Event::Watermark(text) => format!("watermark {text}"),
    }
}

/// The events of a script that must be accepted.
fn events(script: &str) -> Vec<String> {
    let (events, end) = read_with(script.as_bytes(), 8192, ReaderLimits::default());
    if let Err(error) = end {
        panic!("refused: {error}\n{script}");
    }
    events
}

/// The error of a script that must be refused.
fn refusal(script: impl AsRef<[u8]>) -> DialectError {
    let script = script.as_ref();
    match read_with(script, 8192, ReaderLimits::default()) {
        (_, Err(error)) => error,
        (events, Ok(())) => panic!("accepted: {} {events:?}", String::from_utf8_lossy(script)),
    }
}

fn column(name: &str, key: bool, literal: LiteralKind) -> ShapeColumn {
    ShapeColumn { name: name.to_owned(), key, literal, always_identity: false }
}

fn product() -> Shape {
    Shape {
        table: TableName::public("product"),
        columns: vec![
            column("id", true, LiteralKind::Number),
            column("name", false, LiteralKind::Text),
            column("price", false, LiteralKind::Number),
            column("active", false, LiteralKind::Bool),
        ],
        deferrable_key: false,
    }
}

fn script(write: impl FnOnce(&mut ScriptWriter<Vec<u8>>) -> std::io::Result<()>) -> String {
    let mut writer = ScriptWriter::new(Vec::new()).expect("a vector takes everything");
    write(&mut writer).expect("the rows can be written");
    String::from_utf8(writer.finish(Some("2006-09-22T14:03:11.042317123Z")).expect("the script ends")).expect("UTF-8")
}
