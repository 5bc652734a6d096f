//! What may not happen, target by target. Each panics when a promise is broken, and otherwise says in a few words what
//! became of the input: inputs with a new outcome are worth keeping.

use std::io::{BufRead, BufReader, Cursor, Read, Write};

use protocol::chunk::{ChunkError, ChunkWriter, InflateLimits, Inflater};
use protocol::dialect::{DialectErrorKind, Event, Reader, ReaderLimits};
use protocol::policy::Policy;
use protocol::watermark::Since;
use protocol::xmlrpc::{
    Limits, MethodCall, Value, parse_call, parse_response, read_call, read_response, write_call, write_response,
};

/// One reader under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Feeds it one input.
    pub run: fn(&[u8]) -> String,
    /// Words that mean something to it.
    pub dictionary: &'static [&'static str],
}

/// Every target that needs no running program; the HTTP path is [`super::http`].
pub fn all() -> &'static [Target] {
    &TARGETS
}

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

const TARGETS: [Target; 5] = [
    Target { name: "xmlrpc", run: xmlrpc, dictionary: XML_WORDS },
    Target { name: "chunk", run: chunk, dictionary: CHUNK_WORDS },
    Target { name: "sql", run: sql, dictionary: SQL_WORDS },
    Target { name: "policy", run: policy, dictionary: POLICY_WORDS },
    Target { name: "since", run: since, dictionary: SINCE_WORDS },
];

/// Limits low enough that small inputs meet them.
fn xml_limits() -> Limits {
    Limits {
        depth_max: 16,
        elements_max: 1000,
        text_bytes_max: 4096,
        name_bytes_max: 256,
        markup_bytes_max: 1024,
        blob_bytes_max: 8192,
        tree_bytes_max: 16_384,
        total_bytes_max: 64 << 10,
        ..Limits::default()
    }
}

/// The reader of XML-RPC: it ends, in bounded memory, however the input is cut; what it takes can be written, and means
/// the same when it is read again (dates are written in UTC and without fractions, so the texts are compared).
fn xmlrpc(bytes: &[u8]) -> String {
    let limits = xml_limits();
    let call = parse_call(bytes, &limits);
    let response = parse_response(bytes, &limits);
    for capacity in [1, 7, 64] {
        // of two faults in one document, which is met first may depend on the cut; what is taken may not
        let cut = read_call(BufReader::with_capacity(capacity, bytes), None, &limits, None);
        assert_eq!(call.as_ref().ok(), cut.as_ref().ok(), "a call in pieces of {capacity}");
        let cut = read_response(BufReader::with_capacity(capacity, bytes), None, &limits, None);
        assert_eq!(response.as_ref().ok(), cut.as_ref().ok(), "a response in pieces of {capacity}");
    }
    assert!(call.is_err() || response.is_err(), "a call and a response at once");
    if let Ok(MethodCall { method, params }) = &call {
        let written = write_call(method, params).unwrap_or_else(|error| panic!("read and not writable: {error}"));
        let again = parse_call(&written, &Limits::default());
        let again = again.ok().and_then(|again| write_call(&again.method, &again.params).ok());
        assert_eq!(again.as_ref(), Some(&written), "{}", String::from_utf8_lossy(&written));
    }
    if let Ok(Ok(value)) = &response {
        let written = write_response(value).unwrap_or_else(|error| panic!("read and not writable: {error}"));
        let again = parse_response(&written, &Limits::default());
        let again = again.ok().and_then(Result::ok).and_then(|again| write_response(&again).ok());
        assert_eq!(again.as_ref(), Some(&written), "{}", String::from_utf8_lossy(&written));
    }
    match (call, response) {
        (Ok(call), _) => format!("call {}", call.params.iter().map(shape).collect::<String>()),
        (_, Ok(Ok(value))) => format!("response {}", shape(&value)),
        (_, Ok(Err(fault))) => format!("fault {}", fault.code.signum()),
        (Err(one), Err(other)) => format!("{} {}", words(&one.to_string()), words(&other.to_string())),
    }
}

/// The types of a value, not too deep.
fn shape(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().take(3).map(|item| item.type_name()).collect::<String>()),
        Value::Struct(members) => {
            format!("{{{}}}", members.iter().take(3).map(|(_, item)| item.type_name()).collect::<String>())
        }
        other => other.type_name().to_owned(),
    }
}

/// An error's text without what is the input's own.
fn words(text: &str) -> String {
    text.chars().filter(|character| character.is_ascii_lowercase() || *character == ' ').take(60).collect()
}

/// The reader of chunks: it ends within its limits, however the input is cut; and what a writer packs is unpacked.
fn chunk(bytes: &[u8]) -> String {
    let limits = InflateLimits { bytes_max: 1 << 20, ratio_max: 1100 };
    let whole = inflate(Cursor::new(bytes), limits);
    let cut = inflate(BufReader::with_capacity(1, bytes), limits);
    assert_eq!(whole, cut, "in pieces of one byte");
    assert!(whole.0.len() as u64 <= limits.bytes_max, "{} bytes came out", whole.0.len());

    let mut packer = ChunkWriter::new(Vec::new(), 64, 1);
    let packed = packer.write_all(bytes).and_then(|()| packer.finish());
    let (packed, ends) = packed.unwrap_or_else(|error| panic!("packing: {error}"));
    assert_eq!(inflate(Cursor::new(&packed[..]), InflateLimits::default()).0, bytes);
    let mut start = 0;
    let mut members = Vec::new();
    for end in ends {
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        members.extend(inflate(Cursor::new(&packed[start..end]), InflateLimits::default()).0);
        start = end;
    }
    assert_eq!(members, bytes, "member by member");
    let kind = bytes.first().map_or(0, |first| u8::from(*first == 0x1f) + 2 * u8::from(*first == b'B'));
    format!("{kind} {} {}", whole.1, whole.0.len().min(1 << 16).checked_ilog2().unwrap_or_default())
}

fn inflate(input: impl BufRead, limits: InflateLimits) -> (Vec<u8>, &'static str) {
    let mut inflater = Inflater::new(input, limits);
    let mut out = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match inflater.read(&mut piece) {
            Ok(0) => return (out, "end"),
            Ok(count) => out.extend_from_slice(&piece[..count]),
            Err(error) => {
                let what = match ChunkError::of(&error) {
                    Some(ChunkError::Damaged { .. }) => "damaged",
                    Some(ChunkError::TooLarge { .. }) => "too large",
                    None => panic!("an error that is none of a chunk: {error}"),
                };
                // how much came out before an error depends on how it was cut
                return (Vec::new(), what);
            }
        }
    }
}

/// The reader of SQL: what it yields does not depend on how the input is cut, every row has the fields that its statement
/// names, and a refusal repeats no value of the input.
fn sql(bytes: &[u8]) -> String {
    let whole = events(bytes, 4096);
    for capacity in [1, 13] {
        assert_eq!(whole, events(bytes, capacity), "in pieces of {capacity}");
    }
    format!("{} {}", whole.0.iter().map(|event| &event[..1]).take(8).collect::<String>(), whole.1)
}

fn events(bytes: &[u8], capacity: usize) -> (Vec<String>, String) {
    let limits = ReaderLimits { row_bytes_max: 8192, lookahead_bytes: 1024, columns_max: 20 };
    let mut reader = Reader::new(BufReader::with_capacity(capacity, bytes), limits);
    let mut width = 0;
    let mut events = Vec::new();
    loop {
        match reader.next() {
            Ok(None) => return (events, "end".to_owned()),
            Ok(Some(Event::Statement(statement))) => {
                width = statement.columns.len();
                assert!(width <= limits.columns_max && statement.set_len + statement.key_len <= width);
                events.push(format!("s{statement:?}"));
            }
            Ok(Some(Event::Row(row))) => {
                let fields = row.split(|&byte| byte == b'\t').count();
                assert!(width == 0 || fields == width, "{fields} fields for {width} columns");
                events.push(format!("r{}", String::from_utf8_lossy(row)));
            }
            Ok(Some(event)) => events.push(format!("{event:?}").to_lowercase()),
            Err(error) => {
                let exact = matches!(error.kind, DialectErrorKind::Refused | DialectErrorKind::Syntax);
                assert!(reader.next().is_err(), "goes on after an error");
                // where in a long literal a limit or a bad byte is noticed may differ, and what came before it with it
                if !exact {
                    return (Vec::new(), "too long or not UTF-8".to_owned());
                }
                // behind it stands as much of the statement as was at hand
                let what = error.message.split("; line").next().unwrap_or_default();
                return (events, format!("{:?} {}", error.kind, words(what)));
            }
        }
    }
}

/// The reader of policies: what it takes keeps its meaning when written out and read again.
fn policy(bytes: &[u8]) -> String {
    match Policy::parse(&String::from_utf8_lossy(bytes)) {
        Err(error) => words(&error.to_string()),
        Ok(policy) => {
            let written = policy.to_toml();
            let again = Policy::parse(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
            assert_eq!(again.digest(), policy.digest(), "{written}");
            format!("policy of {}", written.lines().count().min(40))
        }
    }
}

/// The reader of `since`: what it takes can be written out, and is the same watermark again.
fn since(bytes: &[u8]) -> String {
    match Since::parse(&String::from_utf8_lossy(bytes)) {
        Err(_) => "refused".to_owned(),
        Ok(since) => {
            let Some(watermark) = since.watermark() else { return "everything".to_owned() };
            let written = watermark.to_string();
            if written.starts_with('-') {
                return "before the first year: everything".to_owned();
            }
            let again = Since::parse(&written).ok().and_then(|since| since.watermark());
            assert_eq!(again, Some(watermark), "{written}");
            format!("watermark {}", watermark.tag.is_some())
        }
    }
}

const XML_WORDS: &[&str] = &[
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
    "encoding=\"ISO-8859-1\"",
    "encoding=\"UTF-16\"",
    "<methodCall>",
    "</methodCall>",
    "<methodName>",
    "</methodName>",
    "<methodResponse>",
    "</methodResponse>",
    "<params>",
    "</params>",
    "<params/>",
    "<param>",
    "</param>",
    "<value>",
    "</value>",
    "<value/>",
    "<int>",
    "</int>",
    "<i4>",
    "</i4>",
    "<i8>",
    "</i8>",
    "<ex:i8>",
    "</ex:i8>",
    "<boolean>",
    "</boolean>",
    "<string>",
    "</string>",
    "<string/>",
    "<double>",
    "</double>",
    "<dateTime.iso8601>",
    "</dateTime.iso8601>",
    "<base64>",
    "</base64>",
    "<nil/>",
    "<ex:nil/>",
    "<array>",
    "</array>",
    "<data>",
    "</data>",
    "<data/>",
    "<struct>",
    "</struct>",
    "<member>",
    "</member>",
    "<name>",
    "</name>",
    "<fault>",
    "</fault>",
    "faultCode",
    "faultString",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<?pi ",
    "?>",
    "<!DOCTYPE a>",
    "<!ENTITY",
    "&amp;",
    "&lt;",
    "&#13;",
    "&#x1F600;",
    "&#0;",
    "&#xD800;",
    "&",
    "xmlns=\"\"",
    " a=\"1\"",
    "2147483648",
    "-9223372036854775808",
    "1e400",
    "5e-324",
    "NaN",
    "19980717T14:08:55",
    "+02:00",
    "eW8=",
    "\r\n",
    "\u{feff}",
    "\u{0}",
    "é",
    "😀",
];

const CHUNK_WORDS: &[&str] =
    &["\u{1f}", "\u{8}\u{0}", "BZh9", "BZh1", "1AY&SY", "SET client_encoding = 'UTF8';", "\u{0}\u{0}"];

const SQL_WORDS: &[&str] = &[
    "SET client_encoding = 'UTF8';",
    "SET standard_conforming_strings = on;",
    "BEGIN;",
    "COMMIT;",
    "INSERT INTO t (a, b) VALUES ",
    "(1, 'x')",
    " ON CONFLICT (a) DO UPDATE SET b = excluded.b;",
    " ON CONFLICT DO NOTHING;",
    "OVERRIDING SYSTEM VALUE",
    "DEFAULT",
    "NULL",
    "true",
    "B'01'",
    "E'",
    "''",
    "'",
    "\"",
    "$$",
    "UPDATE t SET a = 1 WHERE b = 2;",
    " AND a IS NOT DISTINCT FROM NULL",
    "DELETE FROM t WHERE a IN (1, 2);",
    "DELETE FROM t WHERE (a, b) IN ((1, 2));",
    "COPY t (a, b) FROM stdin;\n",
    "\\.\n",
    "\\N",
    "\\t",
    "\t",
    "\n",
    "--",
    "--@ was {}\n",
    "-- watermark: 2006-09-22T14:03:11Z\n",
    "/*",
    "*/",
    "SELECT pg_catalog.setval('public.s', 5, true);",
    "SELECT pg_catalog.set_config('search_path', '', false);",
    "\\restrict x\n",
    "\\unrestrict x\n",
    "1e5",
    "-",
    "::",
    "(",
    ")",
    ",",
    ";",
    "\u{0}",
    "é",
];

const POLICY_WORDS: &[&str] = &[
    "name = \"p\"\n",
    "[tables]\n",
    "[table.x]\n",
    "x = \"from-source\"\n",
    "\"from-target\"",
    "\"both\"",
    "\"initial\"",
    "\"local\"",
    "conflict = \"office-wins\"\n",
    "\"newest-wins\"",
    "\"manual\"",
    "delta = [\"a\"]\n",
    "rows = \"branch_id = :branch\"\n",
    "rows = \"via parent\"\n",
    "max_age = \"1d\"\n",
    "deletes = \"send\"\n",
    "history = \"90d\"\n",
    "history_column = \"a\"\n",
    "triggers = \"fire\"\n",
    "\"x_*\"",
    "*",
    "\"",
    "\"\"\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    "=",
    "\n",
    "#",
    "\\u0000",
    "9999999999999999999d",
];

const SINCE_WORDS: &[&str] = &[
    "2006-09-22T14:03:11.042317123Z",
    "20060922T14:03:11",
    "2006-09-22 14:03:11",
    "+02:00",
    "-0300",
    "Z",
    ".5",
    "T",
    ":",
    "-",
    "0",
    "1158933791",
    "1e9",
    "9999-12-31",
    "-0001",
    "24:00:00",
    "60",
];
