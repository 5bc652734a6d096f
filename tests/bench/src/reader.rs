//! The strict SQL reader.

use protocol::dialect::{Event, LiteralKind, Reader, ReaderLimits, ScriptWriter, Shape, ShapeColumn};
use protocol::names::TableName;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::measure::{Comparison, Settings, Target, compare, time};

const ROWS: usize = 100_000;

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    let text = script(ROWS / settings.share);
    let rows = ROWS / settings.share;
    let ours = || {
        time(|| {
            let mut reader = Reader::new(text.as_bytes(), ReaderLimits::default());
            let mut read = 0;
            while let Some(event) = reader.next().expect("our own script") {
                read += usize::from(matches!(event, Event::Row(_)));
            }
            assert_eq!(read, rows);
        })
    };
    // its parser does not know the watermark line's place, and needs none of the preamble
    let bare: String =
        text.lines().filter(|line| !line.starts_with("--")).fold(String::new(), |all, line| all + line + "\n");
    let parser = || time(|| Parser::parse_sql(&PostgreSqlDialect {}, &bare).expect("plain SQL"));
    vec![compare(settings, "read 100,000 rows of SQL text", "sqlparser", Target::SpeedAtLeast(10.0), ours, parser)]
}

/// What a diff of products looks like.
fn script(rows: usize) -> String {
    let column =
        |name: &str, literal| ShapeColumn { name: name.into(), key: name == "id", literal, always_identity: false };
    let shape = Shape {
        table: TableName::public("product"),
        columns: vec![
            column("id", LiteralKind::Number),
            column("name", LiteralKind::Text),
            column("price", LiteralKind::Number),
            column("changed_at", LiteralKind::Text),
            column("on_sale", LiteralKind::Bool),
            column("remark", LiteralKind::Text),
        ],
        deferrable_key: false,
    };
    let mut writer = ScriptWriter::new(Vec::new()).expect("memory");
    for row in 0..rows {
        let line = format!(
            "{row}\tProduct 'no' {row}, quite a long description of it\t{}.95\t2026-11-21 10:00:00+00\tt\t\\N",
            row % 1000
        );
        writer.upsert(&shape, line.as_bytes()).expect("memory");
    }
    String::from_utf8(writer.finish(Some("2026-11-21T10:00:00.000000001Z")).expect("memory")).expect("UTF-8")
}
