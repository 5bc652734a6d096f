//! Every bound holds, and names itself.

use super::super::{Limits, ReadErrorKind, parse_call, read_call};
use super::around;

fn check(document: &str, limits: &Limits, what: &str) {
    let error = parse_call(document.as_bytes(), limits).unwrap_err();
    match error.kind {
        ReadErrorKind::Limit { what: found, .. } => assert_eq!(found, what),
        other => panic!("{other} instead of the limit of {what}"),
    }
}

fn nested(depth: usize) -> String {
    let open = "<value><array><data>".repeat(depth);
    around(&format!("{open}{}", "</data></array></value>".repeat(depth)))
}

#[test]
fn nesting_is_taken_up_to_64_and_costs_no_stack_beyond() {
    let limits = Limits::default();
    assert!(parse_call(nested(64).as_bytes(), &limits).is_ok());
    check(&nested(65), &limits, "arrays and structs inside each other");
    check(&nested(200_000), &limits, "arrays and structs inside each other");
    let structs = "<value><struct><member><name>a</name>".repeat(65);
    check(&around(&structs), &limits, "arrays and structs inside each other");
    // However large the limit, what is read can be dropped and compared.
    let generous = Limits { depth_max: usize::MAX, ..limits };
    assert_eq!(
        parse_call(nested(512).as_bytes(), &generous).unwrap(),
        parse_call(nested(512).as_bytes(), &generous).unwrap()
    );
    check(&nested(513), &generous, "arrays and structs inside each other");
}

#[test]
fn counts_and_lengths_are_bounded() {
    let limits = Limits {
        elements_max: 10,
        text_bytes_max: 100,
        name_bytes_max: 20,
        markup_bytes_max: 200,
        blob_bytes_max: 30,
        tree_bytes_max: 150,
        ..Limits::default()
    };
    let value = |content: &str| around(&format!("<value>{content}</value>"));
    check(&value(&format!("<array><data>{}</data></array>", "<value/>".repeat(10))), &limits, "values in the document");
    assert!(
        parse_call(value(&format!("<array><data>{}</data></array>", "<value/>".repeat(9))).as_bytes(), &limits).is_ok()
    );
    assert!(parse_call(value(&"x".repeat(100)).as_bytes(), &limits).is_ok());
    for text in [
        "x".repeat(101),
        "&lt;".repeat(101),
        "<![CDATA[xx]]>".repeat(51),
        "x".repeat(100_000),
        format!("<![CDATA[{}]]>", "x".repeat(99_999)),
    ] {
        check(&value(&text), &limits, "bytes of text in one value");
        check(&value(&format!("<string>{text}</string>")), &limits, "bytes of text in one value");
    }
    let member = format!("<struct><member><name>{}</name><value></value></member></struct>", "n".repeat(21));
    check(&value(&member), &limits, "bytes of text in one value");
    for markup in [
        format!("<!--{}-->", "c".repeat(201)),
        format!("<?p {}?>", "c".repeat(201)),
        format!("<int a='{}'>1</int>", "c".repeat(201)),
    ] {
        check(&value(&markup), &limits, "bytes in one tag, comment or instruction");
    }
    check(&value(&format!("<base64>{}</base64>", "AAAA".repeat(11))), &limits, "bytes in one base64");
    let texts = format!("<array><data>{}</data></array>", format!("<value>{}</value>", "x".repeat(80)).repeat(2));
    check(&value(&texts), &limits, "bytes in all values together");
    let blobs = format!(
        "<array><data>{}</data></array>",
        format!("<value><base64>{}</base64></value>", "AAAA".repeat(10)).repeat(6)
    );
    check(&value(&blobs), &limits, "bytes in all values together");
    check(&value(&"x".repeat(50)), &Limits { total_bytes_max: 100, ..limits }, "bytes in the document");
}

#[test]
fn markup_without_an_end_is_not_read_for_ever() {
    for start in ["<a", "<!--", "<![CDATA[", "<?p ", "<!DOCTYPE x ", "<a b='", "&", "</a"] {
        let endless = std::io::Read::chain(start.as_bytes(), std::io::BufReader::new(std::io::repeat(b'a')));
        let limits = Limits { text_bytes_max: 1000, markup_bytes_max: 1000, ..Limits::default() };
        let document = std::io::Read::chain(&b"<methodCall>"[..], endless);
        let error = read_call(document, None, &limits, None).unwrap_err();
        assert!(matches!(error.kind, ReadErrorKind::Limit { .. }), "{start}: {error}");
    }
}

#[test]
fn infinity_is_taken_only_when_asked_for() {
    let document = around("<value><double>-inf</double></value>");
    let limits = Limits { non_finite_doubles: true, ..Limits::default() };
    assert_eq!(parse_call(document.as_bytes(), &limits).unwrap().params, [f64::NEG_INFINITY.into()]);
}

/// What is at hand whole is read in a short way, which has the same bounds at the same places.
#[test]
fn bounds_are_the_same_however_the_bytes_arrive() {
    let tight = Limits {
        elements_max: 20,
        text_bytes_max: 50,
        name_bytes_max: 20,
        tree_bytes_max: 100,
        depth_max: 4,
        ..Limits::default()
    };
    let list = |items: String| around(&format!("<value><array><data>{items}</data></array></value>"));
    let member = |name: &str, text: &str| {
        format!("<value><struct><member><name>{name}</name><value>{text}</value></member></struct></value>")
    };
    let text = |length: usize| format!("<value><string>{}</string></value>", "x".repeat(length));
    let deep =
        |depth: usize| format!("{}{}", "<value><array><data>".repeat(depth), "</data></array></value>".repeat(depth));
    let names =
        |length: usize| format!("<member><name>{}</name><value></value></member>", "n".repeat(length)).repeat(6);
    type Document<'a> = &'a dyn Fn(usize) -> String;
    let cases: [(&str, usize, Document<'_>); 8] = [
        ("values", 19, &|count| list("<value><int>1</int></value>".repeat(count))),
        ("text", 50, &|length| list(text(length))),
        ("untyped text", 50, &|length| list(format!("<value>{}</value>", "&amp;".repeat(length)))),
        ("white space", 50, &|length| list(format!("{}{}", " ".repeat(length), text(1)))),
        ("name", 20, &|length| list(member(&"n".repeat(length), "x"))),
        ("all names", 16, &|length| list(format!("<value><struct>{}</struct></value>", names(length)))),
        ("all texts", 20, &|length| list(text(length).repeat(5))),
        ("depth", 3, &|depth| list(deep(depth))),
    ];
    for (what, most, document) in cases {
        for (size, is_taken) in [(most - 1, true), (most, true), (most + 1, false)] {
            let document = document(size);
            let whole = parse_call(document.as_bytes(), &tight);
            let pieces = std::io::BufReader::with_capacity(1, document.as_bytes());
            let single = read_call(pieces, None, &tight, None);
            assert_eq!((whole.is_ok(), single.is_ok()), (is_taken, is_taken), "{what}: {size}; {whole:?}, {single:?}");
        }
    }
}
