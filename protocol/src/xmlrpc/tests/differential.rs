//! A second, independent XML parser judges the tree that ours builds.
//!
//! Documents are put together from valid and invalid pieces. Where `xml` finds a document ill-formed, we must refuse it, and
//! where both take it, they must see the same value. (`xml` knows nothing of XML-RPC, so the judge here is a small and
//! recursive reader over its events.)

use proptest::prelude::*;
use xml::reader::{EventReader, ParserConfig, XmlEvent};

use super::super::*;

/// An element of the judge's tree: name, own text, children.
#[derive(Debug)]
struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

/// `None` for what is not well-formed.
fn judge(document: &str) -> Option<Element> {
    let config = ParserConfig::new().cdata_to_characters(true).whitespace_to_characters(true).ignore_comments(true);
    let mut stack: Vec<Element> = Vec::new();
    let mut root = None;
    for event in EventReader::new_with_config(document.as_bytes(), config) {
        match event.ok()? {
            XmlEvent::StartElement { name, .. } => {
                stack.push(Element { name: name.local_name, text: String::new(), children: Vec::new() });
            }
            XmlEvent::EndElement { .. } => {
                let done = stack.pop()?;
                match stack.last_mut() {
                    Some(parent) => parent.children.push(done),
                    None if root.is_some() => return None,
                    None => root = Some(done),
                }
            }
            XmlEvent::Characters(text) => stack.last_mut()?.text.push_str(&text),
            _ => {}
        }
    }
    root
}

/// The XML-RPC value of a `<value>` element; `None` where there is none, or for types left to other tests.
fn value(element: &Element) -> Option<Value> {
    let blank = |element: &Element| element.text.chars().all(is_xml_space);
    if element.children.is_empty() {
        return Some(element.text.as_str().into());
    }
    let [typed] = element.children.as_slice() else { return None };
    if !blank(element) {
        return None;
    }
    let scalar = typed.children.is_empty();
    match typed.name.as_str() {
        "string" if scalar => Some(typed.text.as_str().into()),
        "int" if scalar => typed.text.trim_matches(is_xml_space).parse::<i32>().ok().map(Value::from),
        "nil" if scalar && blank(typed) => Some(Value::Nil),
        "array" => {
            let [data] = typed.children.as_slice() else { return None };
            let fits = data.name == "data"
                && blank(typed)
                && blank(data)
                && data.children.iter().all(|item| item.name == "value");
            fits.then(|| data.children.iter().map(value).collect::<Option<Vec<_>>>())?.map(Value::from)
        }
        "struct" if blank(typed) => {
            let member = |member: &Element| {
                let mut parts: Vec<&Element> = member.children.iter().collect();
                parts.sort_by_key(|part| part.name.clone());
                let [name, content] = parts.as_slice() else { return None };
                let fits = member.name == "member" && name.name == "name" && content.name == "value";
                (fits && blank(member) && name.children.is_empty())
                    .then(|| Some((name.text.clone(), value(content)?)))?
            };
            typed
                .children
                .iter()
                .map(member)
                .collect::<Option<Vec<_>>>()
                .map(|members| Value::Struct(members.into_iter().collect()))
        }
        _ => None,
    }
}

/// Pieces of text, most of them fine.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "x",
        " ",
        "\n",
        "\r\n",
        "\r",
        "é",
        "😀",
        "&amp;",
        "&lt;",
        "&#65;",
        "&#x20AC;",
        "&#13;",
        "<!-- c -->",
        "<![CDATA[<&>]]>",
        "<?pi y?>",
        "7",
        "]]",
        "]]>",
        "&nbsp;",
        "&#0;",
        "&",
        "<!-- -- -->",
        "\u{1}",
        "<b/>",
        "<",
        "</int>",
        "<string>",
    ];
    prop::sample::select(pieces.to_vec()).prop_map(str::to_owned)
}

fn content() -> impl Strategy<Value = String> {
    let text = || {
        prop::collection::vec(prop_oneof![9 => prop::sample::select(vec!["x", "7", " ", "&amp;", "<!-- c -->", "\r\n"]).prop_map(str::to_owned), 1 => piece()], 0..5)
        .prop_map(|pieces| pieces.concat())
    };
    let leaf = prop_oneof![
        text(),
        text().prop_map(|text| format!("<string>{text}</string>")),
        text().prop_map(|text| format!("<int>{text}</int>")),
        Just("<int>7</int>".to_owned()),
        Just("<nil/>".to_owned()),
        Just("<string a='1' b='2'/>".to_owned()),
        Just("<string a='1' a='2'/>".to_owned()),
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| {
                let items: String = items.iter().map(|item| format!("<value>{item}</value>\n")).collect();
                format!("<array><data>{items}</data></array>")
            }),
            prop::collection::vec((text(), inner), 0..4).prop_map(|members| {
                let member = |(name, value): &(String, String)| {
                    format!("<member><name>{name}</name><value>{value}</value></member>")
                };
                format!("<struct>{}</struct>", members.iter().map(member).collect::<String>())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_parsers_see_the_same(content in content(), tail in prop_oneof![9 => Just(""), 1 => Just("x"), 1 => Just("<!-- c -->"), 1 => Just("<x/>")]) {
        let document = format!(
            "<?xml version='1.0'?><methodResponse><params><param><value>{content}</value></param></params></methodResponse>{tail}"
        );
        let ours = parse_response(document.as_bytes(), &Limits::default());
        for piece in [1, 30, 100] {
            let pieces = std::io::BufReader::with_capacity(piece, document.as_bytes());
            let read = read_response(pieces, None, &Limits::default(), None);
            let seen = |read: &Result<Result<Value, crate::fault::Fault>, ReadError>| {
                format!("{:?}", read.as_ref().map_err(|error| error.fault_code()))
            };
            prop_assert_eq!(seen(&ours), seen(&read), "{} bytes at a time", piece);
        }
        let judged = judge(&document);
        let theirs = judged.as_ref().and_then(|root| {
            // methodResponse, params, param, value: one child each, as long as the content did not break out of its element.
            let mut element = root;
            for name in ["params", "param", "value"] {
                match element.children.as_slice() {
                    [only] if only.name == name && element.text.is_empty() => element = only,
                    _ => return None,
                }
            }
            value(element)
        });
        match (&ours, &theirs) {
            (Ok(Ok(ours)), Some(theirs)) => prop_assert_eq!(ours, theirs),
            (Err(_), None) => {}
            _ => prop_assert!(false, "ours {:?}, theirs {:?}", ours, theirs),
        }
        if let (Err(error), None) = (&ours, &judged) {
            // Both find it ill-formed, or we stopped earlier because it was no XML-RPC.
            prop_assert!(matches!(error.fault_code().code(), -32700 | -32600), "{error}");
        }
    }
}

/// Pieces of the envelope of a call, most of them what everybody writes.
fn envelope() -> impl Strategy<Value = String> {
    let one = |usual: &'static str, others: &'static [&'static str]| prop_oneof![6 => Just(usual), 1 => prop::sample::select(others.to_vec())];
    let declaration = one(
        "<?xml version=\"1.0\"?>",
        &[
            "",
            "\n",
            "<?xml version='1.0' encoding='UTF-8'?>",
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n",
            "\u{feff}",
            "<?xml?>",
            "<?xml version=\"1.0\"?><?xml version=\"1.0\"?>",
            "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>",
            "<!DOCTYPE methodCall>",
        ],
    );
    let call =
        one("<methodCall>", &["\n<methodCall>\n", "<methodCall >", "<methodCall><!-- c -->", "<methodResponse>", ""]);
    let name = one(
        "<methodName>m</methodName>",
        &[
            "<methodName> m\r\n</methodName>",
            "<methodName></methodName>",
            "<methodName>\t</methodName>",
            "<methodName>m&amp;é</methodName>",
            "<methodName/>",
            "<methodName>m",
            "",
            "<methodName>m</methodName><methodName>n</methodName>",
            "x<methodName>m</methodName>",
        ],
    );
    let params = one(
        "<params><param><value>1</value></param></params>",
        &[
            "",
            "<params/>",
            "<params></params>",
            "\r\n<params>\n<param> <value><int>7</int></value></param></params> ",
            "<params><param><value><base64>eA==</base64></value></param></params>",
            "<params><param/></params>",
            "<params>x</params>",
            "<params></params><params></params>",
            "<params><param><value>1</value><value>2</value></param></params>",
            "<params><param><value>1</value></param><param><value><array><data/></array></value></param></params>",
        ],
    );
    let end = one(
        "</methodCall>",
        &[
            "</methodCall>\r\n",
            "</methodCall><!-- c -->",
            "</methodCall>x",
            "</methodCall><x/>",
            "",
            "</methodcall>",
            "\n</methodCall>",
        ],
    );
    (declaration, call, name, params, end).prop_map(|(a, b, c, d, e)| [a, b, c, d, e].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// A short call is read in one go where everything is as usual: what it is taken for is what it is with care.
    #[test]
    fn the_short_way_through_a_call_sees_what_the_long_one_sees(document in envelope()) {
        let seen = |read: Result<MethodCall, ReadError>| format!("{:?}", read.map_err(|error| error.fault_code()));
        let with_care = seen(read_call(document.as_bytes(), None, &Limits::default(), None));
        for charset in [None, Some("UTF-8")] {
            let short = seen(parse_labelled_call(document.as_bytes(), charset, &Limits::default()));
            let long = seen(read_call(document.as_bytes(), charset, &Limits::default(), None));
            prop_assert_eq!(&short, &long, "{:?}", charset);
        }
        prop_assert_eq!(seen(parse_call(document.as_bytes(), &Limits::default())), with_care);
    }
}

/// The inputs that fuzzing has found worth keeping, and every vector of conformance that is in UTF-8.
#[test]
fn nothing_of_the_corpus_is_taken_that_another_parser_finds_ill_formed() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/corpus/xmlrpc");
    let mut judged = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        // the judge is for text; other encodings have tests of their own
        let Ok(text) = std::str::from_utf8(&bytes) else { continue };
        let ours = (parse_call(&bytes, &Limits::default()), parse_response(&bytes, &Limits::default()));
        let is_taken = ours.0.is_ok() || ours.1.is_ok();
        let theirs = judge(text.trim_start_matches('\u{feff}'));
        assert!(!is_taken || theirs.is_some(), "{}: taken, and ill-formed", path.display());
        judged += 1;
    }
    assert!(judged >= 10, "{judged} documents");
}
