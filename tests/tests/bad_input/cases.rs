//! One row per kind of bad input.

#[path = "sql.rs"]
mod sql;

use protocol::fault::FaultCode;
use protocol::fault::FaultCode::{
    ChunkGap, DamagedChunk, InvalidCharacter, InvalidRequest, LimitExceeded, NotWellFormed, SessionEnded,
    StatementFailed, StatementRefused, UncertainRepeat, UnknownMethod, UnknownSession, UnsupportedEncoding,
    WrongParameters,
};

use super::gzip;

/// Values of rows and parameters that no fault and no line of the log may tell.
pub(crate) const CANARIES: [&str; 3] = ["CANARY", "98765", "2077-07-07"];

/// One kind of bad input.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) request: Request,
    pub(crate) expected: Expected,
}

/// How it is sent.
pub(crate) enum Request {
    /// A script, sent as one chunk and finished; `MARKER` in it is a file that must not come to be.
    Sql(String),
    /// Chunks of a session that is then finished.
    Chunks(Vec<Chunk>),
    /// The body of a request; `{sid}` in it is an open session.
    Xml(Vec<u8>),
    /// A whole request.
    Http(Vec<u8>),
    /// This method on a session that was ended by that one.
    Finished(&'static str, &'static str),
}

/// A chunk.
pub(crate) enum Chunk {
    Bytes(Vec<u8>),
    Numbered(i32, Vec<u8>),
}

/// What the answer must be.
#[derive(Debug)]
pub(crate) enum Expected {
    /// A fault with this code, that says these words.
    Fault(FaultCode, Vec<&'static str>),
    /// A fault with one of these codes.
    OneOf(Vec<FaultCode>),
    /// An HTTP status; head and body, in lower case, say these words.
    Http(u16, Vec<&'static str>),
}

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(requests());
    cases.extend(parameters());
    cases.extend(sessions());
    cases.extend(damaged());
    cases.extend(sql::refused());
    cases.extend(sql::outside());
    cases.extend(sql::failed());
    cases.extend(statuses());
    cases
}

fn case(name: &'static str, request: Request, code: FaultCode, words: &[&'static str]) -> Case {
    Case { name, request, expected: Expected::Fault(code, words.to_vec()) }
}

/// Bodies that are no call.
fn requests() -> Vec<Case> {
    let deep = |levels: usize| {
        let open = "<array><data><value>".repeat(levels);
        let close = "</value></data></array>".repeat(levels);
        call("diff", &format!("<value>{open}1{close}</value>"))
    };
    let bomb = "<?xml version=\"1.0\"?><!DOCTYPE m [<!ENTITY a \"CANARY\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\">]>\
                <methodCall><methodName>clean</methodName><params><param><value>&b;</value></param></params></methodCall>";
    let outside = "<?xml version=\"1.0\"?><!DOCTYPE m SYSTEM \"file:///etc/passwd\"><methodCall><methodName>clean</methodName></methodCall>";
    let many = "<value><i4>1</i4></value>".repeat(30_000);
    let bodies: Vec<(&'static str, Vec<u8>, FaultCode)> = vec![
        ("nothing", Vec::new(), InvalidRequest),
        ("not XML", b"CANARY".to_vec(), NotWellFormed),
        ("JSON", b"{\"method\": \"clean\", \"params\": [\"CANARY\"]}".to_vec(), NotWellFormed),
        ("XML that ends too early", b"<methodCall><methodName>clean</methodName><params>".to_vec(), NotWellFormed),
        ("XML that crosses", b"<methodCall><methodName>clean</methodCall></methodName>".to_vec(), NotWellFormed),
        ("two roots", [call("diff", "<value><i4>0</i4></value>"), b"<x/>".to_vec()].concat(), NotWellFormed),
        ("an unknown entity", call("diff", "<value><string>&CANARY;</string></value>"), NotWellFormed),
        ("HTML", b"<html><body>CANARY</body></html>".to_vec(), InvalidRequest),
        (
            "an answer",
            b"<methodResponse><params><param><value>CANARY</value></param></params></methodResponse>".to_vec(),
            InvalidRequest,
        ),
        ("no method", b"<methodCall><params/></methodCall>".to_vec(), InvalidRequest),
        ("an unknown type", call("diff", "<value><colour>CANARY</colour></value>"), InvalidRequest),
        ("a broken integer", call("diff", "<value><i4>98765x</i4></value>"), InvalidRequest),
        ("an integer of more than 32 bits", call("diff", "<value><i4>9876543210</i4></value>"), InvalidRequest),
        ("a broken boolean", call("diff", "<value><boolean>98765</boolean></value>"), InvalidRequest),
        (
            "a broken date",
            call("diff", "<value><dateTime.iso8601>2077-07-07T99:99:99</dateTime.iso8601></value>"),
            InvalidRequest,
        ),
        (
            "broken base64",
            call("sql_create", "<value><i4>{sid}</i4></value>|<value><base64>CANARY*</base64></value>"),
            InvalidRequest,
        ),
        ("a DOCTYPE with entities", bomb.as_bytes().to_vec(), InvalidRequest),
        ("a DOCTYPE with a file", outside.as_bytes().to_vec(), InvalidRequest),
        ("nesting 100 deep", deep(100), LimitExceeded),
        ("nesting 100,000 deep", deep(100_000), LimitExceeded),
        ("30,000 values", call("diff", &format!("<value><array><data>{many}</data></array></value>")), LimitExceeded),
        (
            "bytes that are no UTF-8",
            [b"<methodCall><methodName>".to_vec(), vec![0xff, 0xfe, b'a'], b"</methodName></methodCall>".to_vec()]
                .concat(),
            InvalidCharacter,
        ),
        ("a control character", call("diff", "<value><string>CANARY\u{1}</string></value>"), NotWellFormed),
        (
            "an unknown encoding",
            b"<?xml version=\"1.0\" encoding=\"klingon\"?><methodCall><methodName>clean</methodName></methodCall>"
                .to_vec(),
            UnsupportedEncoding,
        ),
    ];
    bodies.into_iter().map(|(name, body, code)| case(name, Request::Xml(body), code, &[])).collect()
}

/// Calls with wrong parameters.
fn parameters() -> Vec<Case> {
    let text = "<value><string>CANARY</string></value>";
    let sid = "<value><i4>{sid}</i4></value>";
    let member = "<value><struct><member><name>x</name><value>CANARY</value></member></struct></value>";
    let rows: Vec<(&'static str, &'static str, String, FaultCode)> = vec![
        ("an unknown method", "CANARY.method", String::new(), UnknownMethod),
        ("a method in other letters", "SQL_PREPARE", String::new(), UnknownMethod),
        ("an unknown method of the system", "system.CANARY", String::new(), UnknownMethod),
        ("too few for sql_create", "sql_create", sid.into(), WrongParameters),
        (
            "too many for sql_create",
            "sql_create",
            format!("{sid}|{text}|<value><i4>0</i4></value>|{text}"),
            WrongParameters,
        ),
        ("none for sql_finish", "sql_finish", String::new(), WrongParameters),
        ("too many for clean", "clean", format!("{member}|{text}"), WrongParameters),
        ("a text for clean", "clean", text.into(), WrongParameters),
        ("none for setidstart", "setidstart", String::new(), WrongParameters),
        ("two for diff", "diff", format!("{text}|{text}"), WrongParameters),
        ("a text as sid", "sql_finish", text.into(), WrongParameters),
        ("a negative sid", "sql_finish", "<value><i4>-98765</i4></value>".into(), WrongParameters),
        ("a sid of 64 bits", "sql_finish", "<value><i8>9876500000000</i8></value>".into(), WrongParameters),
        ("a struct as chunk", "sql_create", format!("{sid}|{member}"), WrongParameters),
        ("a number as chunk", "sql_create", format!("{sid}|<value><i4>98765</i4></value>"), WrongParameters),
        ("a negative seq", "sql_create", format!("{sid}|{text}|<value><i4>-98765</i4></value>"), WrongParameters),
        ("a text as seq", "sql_create", format!("{sid}|{text}|{text}"), WrongParameters),
        ("an array as id", "setidstart", "<value><array><data/></array></value>".into(), WrongParameters),
        ("a fraction as id", "setidstart", "<value><double>98765.5</double></value>".into(), WrongParameters),
        ("a negative id", "setidstart", "<value><i4>-98765</i4></value>".into(), WrongParameters),
        ("no time as since", "diff", "<value>yesterday</value>".into(), WrongParameters),
        ("a struct as since", "diff", member.into(), WrongParameters),
        ("a text as options", "sql_prepare", text.into(), WrongParameters),
        (
            "a range the wrong way round",
            "bump_sequences",
            format!("<value><array><data>{text}</data></array></value>|<value>98765</value>|<value>5</value>"),
            WrongParameters,
        ),
        ("an unknown sid for sql_create", "sql_create", format!("<value><i4>4711</i4></value>|{text}"), UnknownSession),
        ("an unknown sid for sql_finish", "sql_finish", "<value><i4>4711</i4></value>".into(), UnknownSession),
        ("an unknown sid for sql_status", "sql_status", "<value><i4>4711</i4></value>".into(), UnknownSession),
    ];
    rows.into_iter()
        .map(|(name, method, params, code)| case(name, Request::Xml(call(method, &params)), code, &[]))
        .collect()
}

/// Chunks and calls out of order.
fn sessions() -> Vec<Case> {
    let good = gzip(b"BEGIN; INSERT INTO item (id, kind_id, label) VALUES (98765, 1, 'CANARY'); COMMIT;");
    let half = good.len() / 2;
    let numbered = |seqs: &[i32]| seqs.iter().map(|seq| Chunk::Numbered(*seq, good.clone())).collect();
    vec![
        case("a chunk that is not the first", Request::Chunks(numbered(&[1])), ChunkGap, &["0"]),
        case("a gap between chunks", Request::Chunks(numbered(&[0, 2])), ChunkGap, &["1"]),
        case(
            "a chunk that equals the one before it",
            Request::Chunks(vec![Chunk::Bytes(good.clone()), Chunk::Bytes(good.clone())]),
            UncertainRepeat,
            &["chunk 1"],
        ),
        case(
            "slices in the wrong order",
            Request::Chunks(vec![Chunk::Bytes(good[half..].to_vec()), Chunk::Bytes(good[..half].to_vec())]),
            StatementRefused,
            &["statement 1"],
        ),
        case(
            "a chunk for an applied session",
            Request::Finished("sql_create", "sql_finish"),
            SessionEnded,
            &["applied"],
        ),
        case("a chunk for a dropped session", Request::Finished("sql_create", "sql_abort"), SessionEnded, &["dropped"]),
        case("the end of a dropped session", Request::Finished("sql_finish", "sql_abort"), SessionEnded, &["dropped"]),
        case("dropping an applied session", Request::Finished("sql_abort", "sql_finish"), SessionEnded, &["applied"]),
    ]
}

/// Chunks that cannot be unpacked. What came before the damage must not stay.
fn damaged() -> Vec<Case> {
    let rows: String = (0..2000)
        .map(|n| format!("INSERT INTO item (id, kind_id, label) VALUES ({}, 1, 'CANARY {n}');\n", n + 10))
        .collect();
    let whole = gzip(format!("BEGIN;\n{rows}COMMIT;\n").as_bytes());
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let member = gzip(b"BEGIN; INSERT INTO item (id, kind_id, label) VALUES (98765, 1, 'CANARY');\n");
    let mut length = whole.clone();
    let end = length.len();
    length[end - 4..].copy_from_slice(&[1, 2, 3, 4]);
    let chunks: Vec<(&'static str, Vec<u8>)> = vec![
        ("gzip without its last byte", whole[..end - 1].to_vec()),
        ("gzip without its check", whole[..end - 8].to_vec()),
        ("half of a gzip", whole[..end / 2].to_vec()),
        ("the head of a gzip", whole[..10].to_vec()),
        ("three bytes of gzip", whole[..3].to_vec()),
        ("a bit flipped early", flipped(20)),
        ("a bit flipped in the check", flipped(end - 6)),
        ("a wrong length", length),
        ("a method that is not deflate", {
            let mut bytes = whole.clone();
            bytes[2] = 7;
            bytes
        }),
        ("a good member and half of one", [member.clone(), whole[..end / 2].to_vec()].concat()),
        ("bzip2 by its first bytes only", b"BZh91AY&SYCANARY-CANARY-CANARY".to_vec()),
    ];
    let mut cases: Vec<Case> = chunks
        .into_iter()
        .map(|(name, bytes)| case(name, Request::Chunks(vec![Chunk::Bytes(bytes)]), DamagedChunk, &[]))
        .collect();
    let torn = vec![
        Chunk::Numbered(0, whole[..end / 2].to_vec()),
        Chunk::Numbered(1, flipped(end * 3 / 4)[end / 2..].to_vec()),
    ];
    // the check stands at the end of a member: damage may make nonsense of the SQL before it is found
    for (name, chunks) in [
        ("a bit flipped in the middle", vec![Chunk::Bytes(flipped(end / 2))]),
        ("a bit flipped in the second slice", torn),
    ] {
        let expected = Expected::OneOf(vec![DamagedChunk, StatementRefused, StatementFailed]);
        cases.push(Case { name, request: Request::Chunks(chunks), expected });
    }
    cases
}

/// What HTTP answers.
fn statuses() -> Vec<Case> {
    let body = "<methodCall><methodName>clean</methodName></methodCall>";
    let length = format!("Content-Length: {}", body.len());
    let xml = "Content-Type: text/xml";
    let request = |line: &str, headers: &[&str], body: &str| {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n{body}").into_bytes()
    };
    let rows: Vec<(&'static str, Vec<u8>, u16, Vec<&'static str>)> = vec![
        ("another path", request("POST /rpc", &[xml, &length], body), 404, vec![]),
        ("a path that climbs", request("POST /RPC2/../etc/passwd", &[xml, &length], body), 404, vec![]),
        ("GET", request("GET /RPC2", &[], ""), 405, vec!["allow: post"]),
        ("PUT", request("PUT /", &[xml, &length], body), 405, vec!["allow: post"]),
        (
            "OPTIONS of a browser",
            request("OPTIONS /RPC2", &["Origin: http://example.com"], ""),
            405,
            vec!["allow: post"],
        ),
        ("no length", request("POST /RPC2", &[xml], ""), 411, vec![]),
        ("too long by what it says", request("POST /RPC2", &[xml, "Content-Length: 9876500000000"], ""), 413, vec![]),
        (
            "a form",
            request("POST /RPC2", &["Content-Type: application/x-www-form-urlencoded", &length], body),
            415,
            vec![],
        ),
        ("plain text", request("POST /RPC2", &["Content-Type: text/plain", &length], body), 415, vec![]),
        ("JSON by its type", request("POST /RPC2", &["Content-Type: application/json", &length], body), 415, vec![]),
        (
            "brotli",
            request("POST /RPC2", &[xml, &length, "Content-Encoding: br"], body),
            415,
            vec!["accept-encoding: gzip"],
        ),
        ("gzip that is none", request("POST /RPC2", &[xml, &length, "Content-Encoding: gzip"], body), 400, vec![]),
        ("another expectation", request("POST /RPC2", &[xml, &length, "Expect: CANARY"], body), 417, vec![]),
        (
            "no Host",
            format!("POST /RPC2 HTTP/1.1\r\n{xml}\r\n{length}\r\nConnection: close\r\n\r\n{body}").into_bytes(),
            400,
            vec![],
        ),
        (
            "another Host",
            format!(
                "POST /RPC2 HTTP/1.1\r\nHost: evil.example\r\n{xml}\r\n{length}\r\nConnection: close\r\n\r\n{body}"
            )
            .into_bytes(),
            421,
            vec![],
        ),
    ];
    rows.into_iter()
        .map(|(name, request, status, words)| Case {
            name,
            request: Request::Http(request),
            expected: Expected::Http(status, words),
        })
        .collect()
}

/// A call; parameters are parted by `|`.
fn call(method: &str, params: &str) -> Vec<u8> {
    let params: String =
        params.split('|').filter(|value| !value.is_empty()).map(|value| format!("<param>{value}</param>")).collect();
    format!(
        "<?xml version=\"1.0\"?><methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>"
    )
    .into_bytes()
}
