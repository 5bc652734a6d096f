//! What the writer writes, the reader gives back.

use proptest::prelude::*;

use super::*;

/// Any value that PostgreSQL can hold, as a COPY text field.
fn field() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        "'",
        "''",
        "\\",
        "\\\\",
        "\\N",
        "\\.",
        "\\.\n",
        "\n\\.\n",
        "\r\n",
        "\r",
        "\t",
        "\u{8}",
        "\u{b}",
        "\u{c}",
        "\u{1}",
        "\u{7f}",
        "--",
        "--@ x {}\n",
        "/*",
        "$$",
        ";",
        "'; DROP TABLE t; --",
        "\\! ls",
        "\u{feff}",
        "\u{10ffff}",
        "E'",
        "\\D",
        "-- watermark: x\n",
        "NULL",
        "",
    ]);
    let text = prop_oneof![
        any::<String>().prop_map(|text| text.replace('\0', "")),
        prop::collection::vec(nasty, 0..6).prop_map(|parts| parts.concat()),
        "[ -~]{0,40}",
    ];
    prop_oneof![1 => Just("\\N".to_owned()), 8 => text.prop_map(|text| escaped(&text))]
}

/// As COPY TO writes it.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            other => out.push(other),
        }
        out
    })
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
        prop::sample::select(vec!["NaN", "Infinity", "-Infinity", "\\N", "1e-05", "-0.00", "12.340"])
            .prop_map(str::to_owned),
    ]
}

fn row() -> impl Strategy<Value = String> {
    let boolean = prop::sample::select(vec!["t", "f", "\\N"]);
    (any::<i64>(), field(), number(), boolean)
        .prop_map(|(id, name, price, active)| format!("{id}\t{name}\t{price}\t{active}"))
}

fn rows_of(events: &[String]) -> Vec<&str> {
    events.iter().filter_map(|event| event.strip_prefix("row ")).collect()
}

proptest! {
    /// I14: values survive byte for byte.
    #[test]
    fn rows_survive_every_form(rows in prop::collection::vec(row(), 1..40)) {
        let shape = product();
        let deferrable = Shape { deferrable_key: true, ..product() };
        let copy: String = rows.iter().map(|row| format!("{row}\n")).collect();
        let text = script(|w| {
            w.copy_block_begin(&shape.table, &["id", "name", "price", "active"])?;
            w.copy_block_rows(copy.as_bytes())?;
            w.copy_block_end()
        });
        let read = events(&text);
        prop_assert_eq!(rows_of(&read), rows.iter().map(String::as_str).collect::<Vec<_>>());

        let text = script(|w| rows.iter().try_for_each(|row| w.upsert(&shape, row.as_bytes())));
        let read = events(&text);
        prop_assert_eq!(&read[0], "4 Upsert product id,name,price,active conflict=id updates=name,price,active");
        prop_assert_eq!(rows_of(&read), rows.iter().map(String::as_str).collect::<Vec<_>>());

        let text = script(|w| rows.iter().try_for_each(|row| w.upsert(&deferrable, row.as_bytes())));
        let read = events(&text);
        prop_assert_eq!(rows_of(&read)[rows.len()..].to_vec(), rows.iter().map(String::as_str).collect::<Vec<_>>());

        let text = script(|w| rows.iter().try_for_each(|row| w.update(&shape, &[1, 3], row.as_bytes(), None)));
        let expected: Vec<String> = rows.iter().map(|row| {
            let fields: Vec<&str> = row.split('\t').collect();
            format!("{}\t{}\t{}", fields[1], fields[3], fields[0])
        }).collect();
        let read = events(&text);
        prop_assert_eq!(rows_of(&read), expected);
    }

    #[test]
    fn composite_keys_survive_deletes(keys in prop::collection::vec((any::<i32>(), field()), 1..20)) {
        let shape = Shape {
            table: TableName::new("Other", "a.b\"c"),
            columns: vec![column("A", true, LiteralKind::Number), column("b c", true, LiteralKind::Text)],
            deferrable_key: false,
        };
        let keys: Vec<String> =
            keys.into_iter().filter(|key| key.1 != "\\N").map(|(a, b)| format!("{a}\t{b}")).collect();
        prop_assume!(!keys.is_empty());
        let text = script(|w| keys.iter().try_for_each(|key| w.delete(&shape, key.as_bytes())));
        let read = events(&text);
        prop_assert_eq!(&read[0], "4 Delete Other.a.b\"c A,b c set=0 key=2");
        prop_assert_eq!(rows_of(&read), keys.iter().map(String::as_str).collect::<Vec<_>>());
    }

    #[test]
    fn old_values_survive_as_note_and_guard(old in any::<String>(), row in row()) {
        prop_assume!(!old.contains('\0'));
        let was = serde_json::json!({ "name": old, "price": null }).to_string();
        let text = script(|w| w.update(&product(), &[1, 2], row.as_bytes(), Some(&was)));
        let read = events(&text);
        prop_assert_eq!(&read[0], &format!("note was {was}"));
        prop_assert_eq!(&read[1], "4 Update product name,price,id,name,price set=2 key=1");
        let guards = format!("\t{}\t\\N", escaped(&old));
        prop_assert!(read[2].ends_with(&guards), "{}", read[2]);
    }
}

#[test]
fn the_script_reads_as_documented() {
    let shape = product();
    let pair = Shape {
        table: TableName::public("tag"),
        columns: vec![column("a", true, LiteralKind::Number), column("b", true, LiteralKind::Text)],
        deferrable_key: false,
    };
    let text = script(|w| {
        w.note("totals", r#"{"stock":"5"}"#)?;
        w.upsert(&shape, b"1\tit's\t2.50\tt")?;
        w.note("totals", r#"{"stock":"6"}"#)?;
        w.upsert(&shape, b"2\ta\\\\b\\nc\tNaN\t\\N")?;
        w.upsert(&pair, b"1\tx")?;
        w.update(&shape, &[2], b"1\tx\t3\tt", Some(r#"{"price":"2.50"}"#))?;
        w.delete(&shape, b"7")?;
        w.delete(&shape, b"8")?;
        w.delete(&pair, b"1\tx")?;
        assert_eq!(w.rows_written(), 7);
        Ok(())
    });
    assert_eq!(
        text,
        r#"SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; BEGIN;
--@ totals {"stock":"5"}
INSERT INTO "public"."product" ("id", "name", "price", "active") VALUES
(1, 'it''s', 2.50, true),
--@ totals {"stock":"6"}
(2, 'a\b
c', 'NaN', NULL)
ON CONFLICT ("id") DO UPDATE SET "name" = excluded."name", "price" = excluded."price", "active" = excluded."active";
INSERT INTO "public"."tag" ("a", "b") VALUES
(1, 'x')
ON CONFLICT ("a", "b") DO NOTHING;
--@ was {"price":"2.50"}
UPDATE "public"."product" SET "price" = 3 WHERE "id" = 1 AND "price" IS NOT DISTINCT FROM 2.50;
DELETE FROM "public"."product" WHERE "id" IN (
7,
8);
DELETE FROM "public"."tag" WHERE ("a", "b") IN (
(1, 'x'));
COMMIT;
-- watermark: 2006-09-22T14:03:11.042317123Z
"#
    );
    assert_eq!(events(&text).len(), 16);
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let mut w = ScriptWriter::new(Vec::new()).expect("a vector takes everything");
    let no_key = Shape { columns: vec![column("a", false, LiteralKind::Text)], ..product() };
    assert!(w.upsert(&no_key, b"1").is_err(), "a row without a key cannot be repeated");
    assert!(w.upsert(&product(), b"1\t2").is_err(), "a row needs all its fields");
    assert!(w.delete(&product(), b"\\N").is_err(), "a null key selects nothing");
    assert!(w.note("x y", "{}").is_err());
    assert!(w.note("x", "{}\nDROP TABLE t;").is_err(), "a note must not leave its comment");
    assert!(w.copy_block_rows(b"1\n").is_err(), "rows need a COPY block");
    let w = ScriptWriter::new(Vec::new()).expect("a vector takes everything");
    assert!(w.finish(Some("x\nDROP TABLE t;")).is_err(), "a watermark must not leave its comment");
}

#[test]
fn statements_are_grouped_within_bounds() {
    let shape = product();
    let text = script(|w| (0..1200).try_for_each(|id| w.upsert(&shape, format!("{id}\tx\t1\tt").as_bytes())));
    assert_eq!(text.matches("INSERT INTO").count(), 3);
    let wide = "y".repeat(40_000);
    let text = script(|w| (0..4).try_for_each(|id| w.upsert(&shape, format!("{id}\t{wide}\t1\tt").as_bytes())));
    assert_eq!(text.matches("INSERT INTO").count(), 2);
}
