//! What is written is read back the same, in the smallest pieces and in other charsets.

use proptest::prelude::*;

use super::super::*;

pub(super) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~\\t\\n]{0,20}",
        "\\PC{0,8}",
        prop::collection::vec(
            prop::sample::select(vec!["<", "&", ">", "]]>", "\r", "\r\n", " ", "é", "😀", "&amp;", "<!--", "\t", "x"]),
            0..8
        )
        .prop_map(|parts| parts.concat()),
    ]
    .prop_filter("XML has no such characters", |text| text.chars().all(super::super::text::is_xml_char))
}

fn datetime() -> impl Strategy<Value = DateTime> {
    (1i16..=9999, 1i8..=12, 1i8..=28, 0i8..24, 0i8..60, 0i8..60).prop_map(|(year, month, day, hour, minute, second)| {
        DateTime { year, month, day, hour, minute, second, micro: 0, offset_minutes: None }
    })
}

pub(super) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<i32>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |double| double.is_finite()).prop_map(Value::from),
        text().prop_map(Value::from),
        datetime().prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..5)
                .prop_map(|members| Value::Struct(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn a_call(method in "[a-zA-Z._]{1,20}", params in prop::collection::vec(value(), 0..4), buffer in 1usize..40) {
        let document = write_call(&method, &params).unwrap();
        let source = std::io::BufReader::with_capacity(buffer, &document[..]);
        let read = read_call(source, None, &Limits::default(), None).unwrap();
        prop_assert_eq!(read, MethodCall { method, params });
    }

    #[test]
    fn a_response_in_utf_16(value in value()) {
        let document = String::from_utf8(write_response(&value).unwrap()).unwrap();
        let wide: Vec<u8> = format!("\u{feff}{document}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        prop_assert_eq!(parse_response(&wide, &Limits::default()).unwrap(), Ok(value));
    }

    #[test]
    fn a_value_through_serde(value in value()) {
        // Not the dates, which serde knows as text.
        prop_assume!(!format!("{value:?}").contains("DateTime"));
        from_value::<::serde::de::IgnoredAny>(value).unwrap();
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..400, charset in prop::option::of("(utf-8|latin1|utf-16|ascii)")) {
        let mut document = write_call("m", &["text & more".into(), vec![Value::from(&b"bytes"[..]), Value::Nil].into()]).unwrap();
        let at = at.min(document.len());
        let end = (at + bytes.len() / 2).min(document.len());
        document.splice(at..end, bytes);
        let limits = Limits { text_bytes_max: 64, markup_bytes_max: 64, ..Limits::default() };
        let _ = read_call(std::io::BufReader::with_capacity(5, &document[..]), charset.as_deref(), &limits, None);
    }
}
