//! Scalars and compounds: rows T and S of the conformance table.

use super::super::{DateTime, Struct, Value};
use super::{around, value_of};

const INVALID: Result<Value, i32> = Err(-32600);
const ILL_FORMED: Result<Value, i32> = Err(-32700);

/// The one door: the content of `<value>` and what it is.
fn check(content: &str, want: Result<Value, i32>) {
    let got = value_of(around(&format!("<value>{content}</value>")).as_bytes());
    assert_eq!(got, want, "{content}");
}

fn text(text: &str) -> Result<Value, i32> {
    Ok(text.into())
}

fn bytes(bytes: &[u8]) -> Result<Value, i32> {
    Ok(bytes.into())
}

#[test]
fn integers() {
    for (spelling, int) in [
        ("0", 0),
        ("-0", 0),
        ("+1", 1),
        ("007", 7),
        ("2147483647", i32::MAX),
        ("-2147483648", i32::MIN),
        (" 7 ", 7),
        ("\n7\n", 7),
        ("7<!--c-->8", 78),
        ("&#49;", 1),
        ("<![CDATA[5]]>", 5),
        ("1<?pi?>2", 12),
    ] {
        check(&format!("<int>{spelling}</int>"), Ok(int.into()));
        check(&format!("<i4>{spelling}</i4>"), Ok(int.into()));
        check(&format!("<i8>{spelling}</i8>"), Ok(i64::from(int).into()));
    }
    for bad in ["", "1.0", "0x10", "1_000", "- 1", "１", "2147483648", "-2147483649", "+", "--1", "1 2", "7<b/>"] {
        check(&format!("<int>{bad}</int>"), INVALID);
    }
    check("<int/>", INVALID);
    check(&format!("<int>{}</int>", "0".repeat(2000)), Err(-32000));
    check("<i8>9223372036854775807</i8>", Ok(i64::MAX.into()));
    check("<i8>-9223372036854775808</i8>", Ok(i64::MIN.into()));
    check("<i8>9223372036854775808</i8>", INVALID);
    check("<ex:i8 xmlns:ex='http://ws.apache.org/xmlrpc/namespaces/extensions'>5</ex:i8>", Ok(5i64.into()));
    check("<i1>127</i1>", Ok(127.into()));
    check("<i1>128</i1>", INVALID);
    check("<ex:i2>-32768</ex:i2>", Ok((-32768).into()));
    check("<i2>32768</i2>", INVALID);
}

#[test]
fn types_that_are_not_ours_are_refused() {
    for name in [
        "biginteger",
        "bigdecimal",
        "ex:dateTime",
        "ex:dom",
        "ex:serializable",
        "ex:int",
        "INT",
        "Int",
        "date",
        "p:string",
    ] {
        check(&format!("<{name}>1</{name}>"), INVALID);
    }
    assert_eq!(value_of(around("<VALUE>1</VALUE>").as_bytes()), INVALID);
}

#[test]
fn booleans_and_nil() {
    check("<boolean>1</boolean>", Ok(true.into()));
    check("<boolean>0</boolean>", Ok(false.into()));
    check("<boolean> 1 </boolean>", Ok(true.into()));
    for bad in ["true", "false", "TRUE", "2", "01", "-1", ""] {
        check(&format!("<boolean>{bad}</boolean>"), INVALID);
    }
    for nil in ["<nil/>", "<nil></nil>", "<ex:nil/>", "<x:nil></x:nil>", "<nil> </nil>"] {
        check(nil, Ok(Value::Nil));
    }
    check("<nil>x</nil>", INVALID);
    check("<nil><b/></nil>", INVALID);
}

#[test]
fn strings() {
    for empty in ["", "<string></string>", "<string/>"] {
        check(empty, text(""));
    }
    assert_eq!(value_of(around("<value/>").as_bytes()), text(""));
    check("abc", text("abc"));
    check("  a b \n", text("  a b \n"));
    check("<string> a </string>", text(" a "));
    check(" \n <string>a</string> \n", text("a"));
    check("a\r\nb\rc", text("a\nb\nc"));
    check("<string>a\r\nb\rc&#13;\n</string>", text("a\nb\nc\r\n"));
    check("<![CDATA[a\r\nb]]>", text("a\nb"));
    check("&lt;&gt;&amp;&apos;&quot;&#233;&#x20AC;&#128512;", text("<>&'\"é€😀"));
    check("a<!-- c -->b<![CDATA[<&]]>c<?pi x?>d", text("ab<&cd"));
    check("<string>]]&gt;</string>", text("]]>"));
    for bad in [
        "&#0;",
        "&#1;",
        "&#xD800;",
        "&#xFFFF;",
        "\u{1}",
        "a]]>b",
        "a & b",
        "&nbsp;",
        "&",
        "&lt",
        "\u{ffff}",
        "<![CDATA[\u{2}]]>",
    ] {
        check(bad, ILL_FORMED);
        check(&format!("<string>{bad}</string>"), ILL_FORMED);
    }
    check("<string>a<b/>c</string>", INVALID);
}

#[test]
fn a_value_holds_one_thing() {
    check(" \n <int>5</int> \n", Ok(5.into()));
    check("x<int>5</int>", INVALID);
    check("<int>5</int>x", INVALID);
    check("<int>5</int><int>6</int>", INVALID);
    check("<![CDATA[x]]><int>5</int>", INVALID);
    check("<!-- c --><int>5</int><?pi?>", Ok(5.into()));
}

#[test]
fn doubles() {
    for (spelling, double) in [
        ("1.5", 1.5),
        ("-1.5", -1.5),
        ("+1.5", 1.5),
        ("1", 1.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-0.0", 0.0),
        ("5e-324", 5e-324),
        ("1e5", 1e5),
        ("1E-3", 1e-3),
        (" 2.5\n", 2.5),
    ] {
        check(&format!("<double>{spelling}</double>"), Ok(double.into()));
    }
    check("<float>1.5</float>", Ok(1.5.into()));
    check("<float>1e39</float>", INVALID);
    for bad in ["", "1,5", "0x1p3", "1e400", "inf", "nan", "INF", "Infinity", "-inf", ".", "e5", "1e", "NaN", "1_0.0"] {
        check(&format!("<double>{bad}</double>"), INVALID);
    }
}

#[test]
fn dates() {
    let day = |micro, offset_minutes| DateTime {
        year: 1998,
        month: 7,
        day: 17,
        hour: 14,
        minute: 8,
        second: 55,
        micro,
        offset_minutes,
    };
    check("<dateTime.iso8601>19980717T14:08:55</dateTime.iso8601>", Ok(day(0, None).into()));
    check("<dateTime.iso8601> 1998-07-17T14:08:55.5+02:00 </dateTime.iso8601>", Ok(day(500_000, Some(120)).into()));
    check("<dateTime.iso8601>19980230T14:08:55</dateTime.iso8601>", INVALID);
    check("<dateTime.iso8601/>", INVALID);
}

#[test]
fn base64() {
    check("<base64>eW91IGNhbid0IHJlYWQgdGhpcyE=</base64>", bytes(b"you can't read this!"));
    check("<base64>\r\n  eW9\n1\t</base64>", bytes(b"you"));
    for empty in ["<base64></base64>", "<base64/>", "<base64> \n </base64>"] {
        check(empty, bytes(b""));
    }
    for split in ["eW<!-- c -->91", "e<![CDATA[W9]]>1", "eW&#10;91", "eW&#57;1", "eW<?pi?>91", "<![CDATA[eW91]]>"] {
        check(&format!("<base64>{split}</base64>"), bytes(b"you"));
    }
    for bad in [
        "eW8",
        "eQ",
        "eQ=",
        "eW8==",
        "eW91=",
        "eR==",
        "eQ==eQ==",
        "e!W91",
        "eW-_",
        "eW91é",
        "eQ==<!-- c -->eQ==",
        "eW9<b/>1",
    ] {
        check(&format!("<base64>{bad}</base64>"), INVALID);
    }
    // What follows an empty element is not its content.
    check("<base64/>eW91", INVALID);
    for bad in ["eW91\u{1}AAA", "eW91&nbsp;", "eW91&", "eW91]]>"] {
        check(&format!("<base64>{bad}</base64>"), ILL_FORMED);
    }
}

#[test]
fn arrays() {
    let array = |items: &[Value]| Ok(Value::Array(items.to_vec()));
    check("<array><data></data></array>", array(&[]));
    check("<array><data/></array>", array(&[]));
    check(
        " <array>\n<data> <value>a</value>\n<value><int>1</int></value><value/> </data>\t</array> ",
        array(&["a".into(), 1.into(), "".into()]),
    );
    check(
        "<array><data><value><array><data><value><nil/></value></data></array></value></data></array>",
        array(&[vec![Value::Nil].into()]),
    );
    for bad in [
        "<array></array>",
        "<array/>",
        "<array><value>1</value></array>",
        "<array><data></data><data></data></array>",
        "<array><data><int>1</int></data></array>",
        "<array><data>x</data></array>",
        "<array>x<data></data></array>",
        "<array><data><value/></data>x</array>",
        "<array><data/></array><int>1</int>",
    ] {
        check(bad, INVALID);
    }
}

#[test]
fn structs() {
    let members = |members: &[(&str, i32)]| Ok(Value::Struct(members.iter().copied().collect::<Struct>()));
    check("<struct></struct>", members(&[]));
    check("<struct/>", members(&[]));
    check("<struct><member><name>a</name><value><int>1</int></value></member></struct>", members(&[("a", 1)]));
    check("<struct><member> <value><int>1</int></value> <name>a</name> </member></struct>", members(&[("a", 1)]));
    for (name, want) in [("", ""), (" a b ", " a b "), ("&lt;é", "<é"), ("a<!-- c -->b", "ab")] {
        check(
            &format!("<struct><member><name>{name}</name><value><int>1</int></value></member></struct>"),
            members(&[(want, 1)]),
        );
    }
    let member =
        |name: &str, value: i32| format!("<member><name>{name}</name><value><int>{value}</int></value></member>");
    check(
        &format!("<struct>{}{}{}</struct>", member("a", 1), member("b", 2), member("a", 3)),
        members(&[("a", 3), ("b", 2)]),
    );
    for bad in [
        "<member/>",
        "<member><name>a</name></member>",
        "<member><value/></member>",
        "<member><name>a</name><name>b</name><value/></member>",
        "<member><name>a</name><value/><value/></member>",
        "<member><value/><value/></member>",
        "<member><name>a</name><value/><x/></member>",
        "<name>a</name><value/>",
        "x",
        "<value/>",
        "<member>x<name>a</name><value/></member>",
        "<member><name><b/></name><value/></member>",
    ] {
        check(&format!("<struct>{bad}</struct>"), INVALID);
    }
}

#[test]
fn the_order_of_members_is_kept_for_the_writer() {
    let Ok(Value::Struct(members)) = value_of(
        around("<value><struct><member><name>z</name><value/></member><member><name>a</name><value/></member></struct></value>")
            .as_bytes(),
    ) else {
        panic!("no struct");
    };
    assert_eq!(members.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["z", "a"]);
}
