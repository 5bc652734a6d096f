//! The XML layer: rows X of the conformance table.

use super::super::Limits;
use super::super::read_call;
use super::{around, call};

const BODY: &str = "<methodCall><methodName>m</methodName></methodCall>";

/// The one door: a document, and the fault code that answers it (`Ok` with the method's name when it is fine).
fn check(document: impl AsRef<[u8]>, want: Result<&str, i32>) {
    let document = document.as_ref();
    let got = call(document).map(|call| call.method).map_err(|error| error.fault_code().code());
    assert_eq!(got.as_deref().map_err(|code| *code), want, "{}", String::from_utf8_lossy(document));
}

#[test]
fn declarations() {
    for good in [
        "",
        "\n",
        "<?xml version='1.0'?>",
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>",
        "<?xml version='1.0' encoding='UTF-8' standalone='yes'?>",
        "<?xml version='1.1'?>\r\n",
        "\u{feff}",
        "\u{feff}<?xml version='1.0'?>",
        "<?xml version='1.0' encoding='UTF-16'?>",
        "<!-- c -->",
        "<?pi?>",
    ] {
        check(format!("{good}{BODY}"), Ok("m"));
    }
    for bad in [
        " <?xml version='1.0'?>",
        "<!-- c --><?xml version='1.0'?>",
        "<?xml version='1.0'?><?xml version='1.0'?>",
        "<?xml?>",
        "<?xml version='2.0'?>",
        "<?xml encoding='UTF-8' version='1.0'?>",
        "<?xml version='1.0' standalone='maybe'?>",
        "<?XML version='1.0'?>",
        "<?xml version=1.0?>",
        "<?xml version='1.0' x='y'?>",
        "<?1pi?>",
        "< ?pi?>",
    ] {
        check(format!("{bad}{BODY}"), Err(-32700));
    }
    check(format!("{BODY}<?xml version='1.0'?>"), Err(-32700));
}

#[test]
fn what_is_around_the_root_element() {
    for good in ["", "\n ", "<!-- c -->", "<?pi x?>\n"] {
        check(format!("{BODY}{good}"), Ok("m"));
    }
    for bad in ["x", "<x/>", BODY, "</x>", "&amp;", "<![CDATA[]]>", "<", "\u{0}", "<!", "<!-- c"] {
        check(format!("{BODY}{bad}"), Err(-32700));
    }
    check(format!("x{BODY}"), Err(-32700));
    check("", Err(-32600));
    check(" \n ", Err(-32600));
    check("\u{feff}", Err(-32600));
    check("<html><body>404</body></html>", Err(-32600));
    check("not xml at all", Err(-32700));
}

#[test]
fn truncated_at_any_byte_a_document_is_not_well_formed() {
    let document = "<?xml version='1.0'?><methodCall><methodName>m</methodName><params><param><value><base64>eW91</base64></value></param>\
                    <param><value>a&amp;b<!--c--><![CDATA[d]]></value></param></params></methodCall>";
    check(document, Ok("m"));
    for end in 0..document.len() {
        let want = if document[..end].ends_with("?>") || end == 0 { -32600 } else { -32700 };
        check(&document[..end], Err(want));
    }
}

#[test]
fn a_doctype_is_refused_before_anything_is_expanded() {
    for doctype in [
        "<!DOCTYPE methodCall>",
        "<!DOCTYPE>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]>",
        "<!DOCTYPE x SYSTEM 'file:///etc/passwd'>",
        "<!doctype html>",
        "<!DOCTYPE x [<!ENTITY a \"b\"><!ENTITY c \"&a;&a;&a;\">]>",
    ] {
        check(format!("{doctype}{BODY}"), Err(-32600));
        check(format!("<?xml version='1.0'?>\n{doctype}\n{BODY}"), Err(-32600));
    }
}

#[test]
fn tags_and_attributes() {
    for good in [
        "<methodCall a='1' b=\"2\"><methodName c = '&lt;'>m</methodName></methodCall>",
        "<methodCall xmlns='urn:x' xmlns:ex='urn:y'><methodName >m</methodName\n></methodCall >",
    ] {
        check(good, Ok("m"));
    }
    for bad in [
        "<methodCall a='1' a='2'><methodName>m</methodName></methodCall>",
        "<methodCall a=1><methodName>m</methodName></methodCall>",
        "<methodCall a><methodName>m</methodName></methodCall>",
        "<methodCall><1a/></methodCall>",
        "<methodCall>< methodName>m</methodName></methodCall>",
        "<methodCall><methodName>m</methodCall></methodName>",
        "<methodCall><methodName>m</methodname></methodCall>",
        "<methodCall><methodName>m</methodName x='1'></methodCall>",
        "<methodCall><!-- a -- b --></methodCall>",
        "<methodCall><!-- a ---></methodCall>",
        "<methodCall a='<'><methodName>m</methodName></methodCall>",
        "<methodCall></></methodCall>",
        "<methodCall><></methodCall>",
    ] {
        check(bad, Err(-32700));
    }
}

#[test]
fn encodings() {
    let call = |label: &str, name: &[u8]| {
        [
            b"<?xml version='1.0' encoding='",
            label.as_bytes(),
            b"'?><methodCall><methodName>",
            name,
            b"</methodName></methodCall>",
        ]
        .concat()
    };
    check(call("ISO-8859-1", b"\xe9"), Ok("é"));
    check(call("US-ASCII", b"e"), Ok("e"));
    check(call("us-ascii", b"\xe9"), Err(-32702));
    check(call("windows-1252", b"\x80"), Ok("€"));
    check(call("ISO-8859-15", b"\xa4"), Ok("€"));
    check(call("klingon", b"e"), Err(-32701));
    check(call("UTF-8", b"\xe9"), Err(-32702));
    check(call("UTF-8", b"\xed\xa0\xbd\xed\xb8\x80"), Err(-32702)); // CESU-8
    check(call("UTF-8", b"\xc0\xbc"), Err(-32702));
    let wide = format!("\u{feff}<?xml version='1.0' encoding='UTF-16'?>{}", BODY.replace(">m<", ">€😀<"));
    check(wide.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(), Ok("€😀"));
    check(wide.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>(), Ok("€😀"));
    let mut half: Vec<u8> = wide.encode_utf16().flat_map(u16::to_be_bytes).collect();
    half.pop();
    check(half, Err(-32702));
}

#[test]
fn the_charset_of_the_transport_beats_the_declaration() {
    let document = b"<?xml version='1.0' encoding='UTF-8'?><methodCall><methodName>\xe9</methodName></methodCall>";
    let call = read_call(&document[..], Some("iso-8859-1"), &Limits::default(), None).unwrap();
    assert_eq!(call.method, "é");
    let error = read_call(&document[..], Some("klingon"), &Limits::default(), None).unwrap_err();
    assert_eq!(error.to_string(), "unsupported encoding \"klingon\": send UTF-8 (byte 0)");
}

#[test]
fn an_error_names_its_place() {
    let at = |document: &str| call(document.as_bytes()).unwrap_err().offset;
    assert_eq!(at("<methodCall><methodName>m</methodName><foo/></methodCall>"), 38);
    assert_eq!(at("<methodCall>x</methodCall>"), 13);
    assert_eq!(at("<methodCall><methodName>m</methodName></methodCal>"), 38);
    assert_eq!(at("<methodCall><methodName>m\u{1}</methodName></methodCall>"), 24);
}

#[test]
fn characters_that_xml_does_not_allow_are_refused_inside_of_arrays_too() {
    for bad in ["\u{ffff}", "é\u{fffe}", "\u{b}", "&#xffff;"] {
        let document = around(&format!("<value><array><data><value>{bad}</value></data></array></value>"));
        assert_eq!(call(document.as_bytes()).unwrap_err().fault_code().code(), -32700, "{bad:?}");
    }
}
