//! Hostile documents: XML that grows, nests or never ends, and gzip that does not stop.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use protocol::fault::FaultCode;
use protocol::xmlrpc::{Struct, Value};

use super::besieged::{As, Besieged, MEMORY_KIB_MAX, base64};

fn call(value: &str) -> Vec<u8> {
    format!("<methodCall><methodName>m</methodName><params><param>{value}</param></params></methodCall>").into_bytes()
}

fn gzip(parts: &[(&[u8], usize)]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for (part, times) in parts {
        for _ in 0..*times {
            encoder.write_all(part).expect("memory");
        }
    }
    encoder.finish().expect("memory")
}

/// Entities that expand, entities from elsewhere, nesting, attributes, names, and texts without an end.
#[test]
fn documents_that_explode_get_a_fault_and_cost_little() {
    let besieged = Besieged::new();
    let laughs: String =
        (1..10).map(|n| format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10))).collect();
    let doctype = |inner: &str| {
        [format!("<?xml version=\"1.0\"?><!DOCTYPE m [{inner}]>").into_bytes(), call("<value>&l9;</value>")].concat()
    };
    let nested =
        |open: &str, close: &str, depth: usize| call(&format!("{}{}", open.repeat(depth), close.repeat(depth)));
    let attributes: String = (0..1_000_000).map(|n| format!(" a{n}=''")).collect();
    let namespaces: String = (0..100_000).map(|n| format!(" xmlns:a{n}='u'")).collect();
    let documents: Vec<(&str, Vec<u8>)> = vec![
        ("billion laughs", doctype(&format!("<!ENTITY l0 \"lol\">{laughs}"))),
        ("quadratic blow-up", doctype(&format!("<!ENTITY l9 \"{}\">", "x".repeat(100_000)))),
        ("external entity", doctype("<!ENTITY l9 SYSTEM \"file:///etc/passwd\">")),
        ("external subset", [b"<!DOCTYPE m SYSTEM \"http://127.0.0.1:1/x\">".to_vec(), call("<value/>")].concat()),
        ("parameter entity", doctype("<!ENTITY % p SYSTEM \"file:///etc/passwd\"> %p;")),
        ("100,000 arrays", nested("<value><array><data>", "</data></array></value>", 100_000)),
        ("100,000 structs", nested("<value><struct><member><name>n</name>", "</member></struct></value>", 100_000)),
        ("100,000 unknown tags", nested("<a>", "</a>", 100_000)),
        ("a million attributes", call(&format!("<value><int{attributes}>1</int></value>"))),
        ("100,000 namespaces", call(&format!("<value{namespaces}>1</value>"))),
        (
            "a million values",
            call(&format!("<value><array><data>{}</data></array></value>", "<value/>".repeat(1_000_000))),
        ),
        ("a name of 10 MB", call(&format!("<value><{}>1</int></value>", "n".repeat(10_000_000)))),
        ("a text of 20 MB", call(&format!("<value>{}</value>", "x".repeat(20_000_000)))),
        ("a comment of 20 MB", call(&format!("<!--{}--><value/>", "c".repeat(20_000_000)))),
        ("text that is no UTF-8", call("<value>\u{0}</value>")),
        ("half a pair", call("<value>&#xD800;</value>")),
    ];
    for (name, document) in &documents {
        for who in [As::Office, As::Nobody] {
            let answer = besieged.ask(who, document);
            if who == As::Nobody {
                // whoever goes on talking to a closed door may not hear the answer
                assert!([0, 401, 413].contains(&answer.status), "{name}: {}", answer.status);
                continue;
            }
            let refused = answer.status == 413 || answer.fault().is_some();
            assert!(refused, "{name}: {}", answer.text.chars().take(300).collect::<String>());
            assert!(!answer.text.contains("root:"), "{name} read a file");
        }
        besieged.serves();
    }
    besieged.stood();
}

/// Gzip of HTTP and of chunks, bzip2, and gzip in gzip: what comes out is counted before it is kept.
#[test]
fn bombs_are_let_out_of_their_shell_in_small_portions_only() {
    let besieged = Besieged::new();
    let spaces = vec![b' '; 1 << 20];
    // a gigabyte as a body, before, inside and behind the document
    let (start, end) = (call("<value>"), b"</value>".to_vec());
    let bombs = [
        ("spaces", gzip(&[(&spaces, 1024)])),
        ("inside", gzip(&[(&start, 1), (&spaces, 1024), (&end, 1)])),
        ("behind", gzip(&[(&call("<value/>"), 1), (&spaces, 1024)])),
    ];
    for (name, bomb) in &bombs {
        let head = format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\n{}Content-Encoding: gzip\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            As::Office.header(),
            bomb.len()
        );
        let answer = super::besieged::Answer::of(&besieged.raw(&[head.as_bytes(), bomb].concat()));
        assert!(answer.status == 413 || answer.fault().is_some(), "{name}: {}", answer.text);
        besieged.serves();
    }

    // as chunks of a session: 256 MiB of nothing, from a few hundred KiB, and gzip inside gzip
    let zeros = gzip(&[(&vec![0; 1 << 20], 256)]);
    let comment = gzip(&[(b"BEGIN;\n-- ", 1), (&vec![b'x'; 1 << 20], 256), (b"\n", 1)]);
    let twice = gzip(&[(&zeros, 1)]);
    let bzip2 = bzip2_of_zeros();
    for (name, chunk) in [("zeros", &zeros), ("one comment", &comment), ("gzip in gzip", &twice), ("bzip2", &bzip2)] {
        let sid = besieged.call(As::Office, "sql_prepare", &[]).expect("a session");
        besieged
            .call(As::Office, "sql_create", &[sid.clone(), Value::from(chunk.clone())])
            .expect("a chunk is only kept");
        // a comment is no harm, whatever its length; all else is refused, and nothing is the agent's own fault
        match besieged.call(As::Office, "sql_finish", &[sid]) {
            Ok(_) => assert_eq!(name, "one comment"),
            Err(fault) => assert!(fault.known() != Some(FaultCode::Internal), "{name}: {fault}"),
        }
        besieged.serves();
    }
    besieged.stood();
}

/// 45 bytes of bzip2 for every 900 kB of zeros, as `head -c 256M /dev/zero | bzip2 -9` makes them.
fn bzip2_of_zeros() -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    for _ in 0..64 {
        encoder.write_all(&vec![0; 1 << 20]).expect("memory");
    }
    encoder.finish().expect("memory")
}

/// The largest chunk there may be does not go through memory, whoever sends it.
#[test]
fn the_largest_chunks_cost_disk_and_not_memory() {
    let mut besieged = Besieged::new();
    let sid = besieged.call(As::Office, "sql_prepare", &[]).expect("a session");
    let chunk = vec![7_u8; 40 << 20];
    let body = format!(
        "<methodCall><methodName>sql_create</methodName><params><param><value><int>{}</int></value></param>\
         <param><value><base64>{}</base64></value></param></params></methodCall>",
        sid.as_long().expect("a number"),
        base64(&chunk)
    );
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert!([0, 401].contains(&besieged.ask(As::Nobody, body.as_bytes()).status)));
        }
        let answer = besieged.ask(As::Office, body.as_bytes());
        assert!(answer.status == 200 && answer.fault().is_none(), "{}", answer.text);
    });
    besieged.call(As::Office, "sql_abort", &[sid]).expect("an end");
    assert!(besieged.memory_kib() < super::besieged::MEMORY_KIB_MAX);
    besieged.stood();
}

/// Rows as large as they may be, one after the other: they wait for the database, and take no more memory than few.
#[test]
fn rows_at_the_limit_take_bounded_memory_however_many_there_are() {
    let mut besieged = Besieged::new();
    let name = vec![b'x'; (12 << 20) - 16];
    for kind in ["update", "clone"] {
        let mut script = GzEncoder::new(Vec::new(), Compression::fast());
        script.write_all(b"BEGIN;\nCOPY product (id, name) FROM stdin;\n").expect("memory");
        for id in 100..112 {
            script.write_all(format!("{id}\t").as_bytes()).expect("memory");
            script.write_all(&name).expect("memory");
            script.write_all(b"\n").expect("memory");
        }
        script.write_all(b"\\.\nCOMMIT;\n").expect("memory");
        let chunk = script.finish().expect("memory");
        if kind == "clone" {
            let force = Struct::from_iter([("force".to_owned(), Value::Bool(true))]);
            besieged.call(As::Office, "clean", &[Value::Struct(force)]).expect("a clean shop");
        }
        let options = Struct::from_iter([("kind".to_owned(), Value::from(kind))]);
        let sid = besieged.call(As::Office, "sql_prepare", &[Value::Struct(options)]).expect("a session");
        besieged.call(As::Office, "sql_create", &[sid.clone(), Value::from(chunk)]).expect("a chunk");
        besieged.call(As::Office, "sql_finish", &[sid]).expect("twelve rows");
        assert_eq!(besieged.shop().int("select count(*) from product where length(name) > 1000000"), 12, "{kind}");
        let memory = besieged.memory_kib();
        println!("{kind}: {memory} KiB");
        assert!(memory < MEMORY_KIB_MAX, "{kind}: the agent took {memory} KiB");
    }
}
