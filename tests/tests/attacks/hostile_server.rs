//! A server that is not the shop it should be: what it answers costs office-client little, and changes nothing at the office.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use protocol::fault::{Fault, FaultCode};
use protocol::xmlrpc::{Limits, Value, parse_call, write_fault, write_response};
use tests::kit::{Plan, World};
use tests::process::{Process, binary};

/// Most memory office-client may have, in KiB.
const MEMORY_KIB_MAX: u64 = 128 << 10;

/// Most that is taken of an answer without an end, in bytes.
const ANSWER_BYTES_MAX: u64 = 200 << 20;

type Handler = dyn Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

/// Serves until the test ends; the handler gets the body of each request.
fn serve(handler: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let handler: Arc<Handler> = Arc::new(handler);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handler = Arc::clone(&handler);
            thread::spawn(move || connection(stream, &*handler));
        }
    });
    format!("http://{address}")
}

fn connection(mut stream: TcpStream, handler: &Handler) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                let body = body.to_owned();
                bytes.clear();
                if handler(&body, &mut stream).is_err() {
                    return;
                }
                continue;
            }
        }
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => bytes.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
}

fn answer(stream: &mut TcpStream, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n{headers}Content-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(body)
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

fn response(value: &str) -> Vec<u8> {
    format!("<methodResponse><params><param>{value}</param></params></methodResponse>").into_bytes()
}

/// Runs `office-client call` and gives its exit code, its words, and the most memory it had.
fn call(url: &str) -> (Option<i32>, String, u64) {
    let mut client = Process::spawn(Command::new(binary("office-client")).args(["call", url, "get_station_name"]));
    let (mut memory, began) = (0, Instant::now());
    while client.is_running() {
        memory = memory.max(super::besieged::memory_kib(client.pid()).unwrap_or(0));
        assert!(began.elapsed() < Duration::from_secs(180), "it does not end: {}", client.stderr());
        thread::sleep(Duration::from_millis(2));
    }
    (client.wait().code(), client.stderr(), memory)
}

#[test]
fn answers_that_explode_or_never_end_are_given_up_and_cost_little() {
    let spaces = vec![b' '; 1 << 20];
    let text = |value: String| response(&value);
    let nested = "<value><array><data>".repeat(100_000) + &"</data></array></value>".repeat(100_000);
    let attributes: String = (0..1_000_000).map(|n| format!(" a{n}=''")).collect();
    let laughs = b"<!DOCTYPE m [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><methodResponse><params><param><value>&b;</value></param></params></methodResponse>";
    let external = b"<!DOCTYPE m [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><methodResponse><params><param><value>&a;</value></param></params></methodResponse>";
    let bodies: Vec<(&str, &str, Vec<u8>)> = vec![
        ("a bomb of gzip", "Content-Encoding: gzip\r\n", gzip(&[(b"<methodResponse>", 1), (&spaces, 1024)])),
        (
            "a bomb in a text",
            "Content-Encoding: gzip\r\n",
            gzip(&[(b"<methodResponse><params><param><value>", 1), (&spaces, 512)]),
        ),
        (
            "a bomb in base64",
            "Content-Encoding: gzip\r\n",
            gzip(&[(b"<methodResponse><params><param><value><base64>", 1), (&vec![b'A'; 1 << 20], 512)]),
        ),
        ("nesting", "", text(nested)),
        ("attributes", "", text(format!("<value><int{attributes}>1</int></value>"))),
        (
            "a million values",
            "",
            text(format!("<value><array><data>{}</data></array></value>", "<value/>".repeat(1_000_000))),
        ),
        ("entities", "", laughs.to_vec()),
        ("an external entity", "", external.to_vec()),
        ("no XML", "", b"<html>hello".to_vec()),
        ("another coding", "Content-Encoding: br\r\n", b"xxxx".to_vec()),
        ("damaged gzip", "Content-Encoding: gzip\r\n", b"\x1f\x8b\x08xxxx".to_vec()),
    ];
    for (name, headers, body) in bodies {
        let headers = headers.to_owned();
        let url = serve(move |_, stream| answer(stream, &headers, &body));
        let (code, words, memory) = call(&url);
        println!("{name}: {code:?}, {memory} KiB");
        assert!(matches!(code, Some(1 | 5)), "{name}: {code:?} {words}");
        assert!(memory < MEMORY_KIB_MAX, "{name}: {memory} KiB");
        assert!(!words.contains("root:") && !words.contains("panicked"), "{name}: {words}");
    }
}

#[test]
fn answers_without_an_end_are_hung_up_on() {
    for (name, head) in [
        ("body", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n<methodResponse>"),
        ("head", "HTTP/1.1 200 OK\r\nX: "),
        ("headers", "HTTP/1.1 200 OK\r\n"),
        ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("interim answers", ""),
    ] {
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let piece = match name {
            "headers" => "X-A: b\r\n".repeat(1000),
            "chunks" => format!("{:x}\r\n{}\r\n", 8000, " ".repeat(8000)),
            "interim answers" => "HTTP/1.1 100 Continue\r\n\r\n".repeat(100),
            _ => " ".repeat(8000),
        };
        let url = serve(move |_, stream| {
            stream.write_all(head.as_bytes())?;
            let began = Instant::now();
            loop {
                stream.write_all(piece.as_bytes())?;
                let total = counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
                if total > 4 * ANSWER_BYTES_MAX || began.elapsed() > Duration::from_secs(60) {
                    return Err(std::io::ErrorKind::TimedOut.into());
                }
            }
        });
        let (code, words, memory) = call(&url);
        let taken = sent.load(Ordering::Relaxed);
        println!("{name}: {code:?} after {taken} bytes, {memory} KiB");
        assert!(matches!(code, Some(1 | 5)), "{name}: {words}");
        assert!(taken < ANSWER_BYTES_MAX, "{name}: {taken} bytes were taken");
        assert!(memory < MEMORY_KIB_MAX, "{name}: {memory} KiB");
    }
}

#[test]
fn nobody_is_sent_elsewhere() {
    let hits = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&hits);
    let elsewhere = serve(move |_, stream| {
        counter.fetch_add(1, Ordering::Relaxed);
        answer(stream, "", &response("<value>hello</value>"))
    });
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let elsewhere = elsewhere.clone();
        let url = serve(move |_, stream| {
            write!(stream, "HTTP/1.1 {status}\r\nLocation: {elsewhere}/RPC2\r\nContent-Length: 0\r\n\r\n")
        });
        let (code, words, _) = call(&url);
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains("sends elsewhere"), "{words}");
    }
    assert_eq!(hits.load(Ordering::Relaxed), 0, "somebody followed");
}

const SCHEMA: &str =
    "create table product (id bigint primary key, name text); create table sale (id bigint primary key, note text);
    create table till (id int primary key, cash numeric);";
const POLICY: &str = "name = \"p\"\n[tables]\nproduct = \"from-source\"\nsale = \"from-target\"\ntill = \"local\"\n";

/// A shop whose answers to `diff` are these bytes, and that knows the base methods alone.
fn shop(diff: Value) -> String {
    serve(move |body, stream| {
        let method = parse_call(body.as_bytes(), &Limits::default()).map(|call| call.method).unwrap_or_default();
        let reply = match method.as_str() {
            "diff" => write_response(&diff).expect("an answer"),
            "sql_prepare" => write_response(&Value::Int(7)).expect("an answer"),
            "sql_create" | "sql_finish" | "setidstart" | "clean" => write_response(&Value::Nil).expect("an answer"),
            _ => write_fault(&Fault::new(FaultCode::UnknownMethod, "unknown method")),
        };
        answer(stream, "", &reply)
    })
}

/// A shop that was taken over sends SQL of its own: only rows of its tables, as data, ever arrive.
#[test]
fn a_poisoned_diff_changes_nothing_at_the_office() {
    let mut world = World::new(&Plan::of(
        SCHEMA,
        POLICY,
        "insert into product values (1, 'bolt'); insert into till values (1, 100);",
    ));
    world.enrol();
    world.clone_all();
    world.shops[0].stop_agent();
    let marker = world.dir().join("marker");
    let marked = marker.to_str().expect("UTF-8").to_owned();
    let mark = "-- watermark: 2077-07-07T00:00:00.000000Z\n";
    let start = "SET client_encoding = 'UTF8'; SET standard_conforming_strings = on; BEGIN;\n";
    let packed = |sql: &str| Value::from(gzip(&[(format!("{start}{sql}\nCOMMIT;\n{mark}").as_bytes(), 1)]));
    let digest = "select md5(string_agg(r::text, '' order by r::text)) from (select relname::text, relacl::text, '' from pg_class union all select rolname, rolsuper::text, '' from pg_roles union all select 'p', id::text, name from product union all select 's', id::text, note from sale union all select 't', id::text, cash::text from till) r";
    let before = world.office.value(digest);
    let watermark = "select \"timestamp\" from sync.branch_synchronization";
    let seen = world.office.value(watermark);
    let cases: Vec<(&str, Value)> = vec![
        ("DDL", packed("DROP TABLE sale;")),
        ("a role", packed("CREATE ROLE canary SUPERUSER LOGIN;")),
        ("a program", packed(&format!("COPY sale FROM PROGRAM 'touch {marked}';"))),
        ("a shell", packed(&format!("\\! touch {marked}\n"))),
        ("a function", packed("SELECT pg_catalog.lo_import('/etc/passwd');")),
        ("the office's tables", packed("UPDATE product SET name = 'free' WHERE id = 1;")),
        ("a local table", packed("INSERT INTO till (id, cash) VALUES (2, 1000000);")),
        ("the product's own tables", packed("DELETE FROM sync.branch_synchronization WHERE branch_id IN (1);")),
        ("good rows before a bad one", packed("INSERT INTO sale (id, note) VALUES (1, 'x');\nDROP TABLE product;")),
        ("a string", Value::from("DROP TABLE sale;")),
        ("a number", Value::Int(5)),
        ("a struct", Value::Struct([("a".to_owned(), Value::Int(1))].into_iter().collect())),
        ("a bomb", Value::from(gzip(&[(start.as_bytes(), 1), (b"-- ", 1), (&vec![b'x'; 1 << 20], 300)]))),
        ("half a stream", Value::from(gzip(&[(start.as_bytes(), 1)])[..20].to_vec())),
        (
            "no watermark",
            Value::from(gzip(&[(
                format!("{start}INSERT INTO sale (id, note) VALUES (1, 'x');\nCOMMIT;\n").as_bytes(),
                1,
            )])),
        ),
    ];
    for (name, diff) in cases {
        world.office(&["branch", "set", "north", "--url", &shop(diff)]).succeeded();
        let update = world.office(&["--retry-for", "1s", "update", "north"]);
        println!("{name}: {:?} {}", update.code, update.stderr.lines().next().unwrap_or_default());
        assert!(!update.is_success(), "{name} was taken: {}", update.stdout);
        assert!(!update.stderr.contains("panicked"), "{name}: {}", update.stderr);
        assert_eq!(world.office.value(digest), before, "{name} changed something");
        assert_eq!(world.office.value(watermark), seen, "{name} moved the watermark");
        assert!(!marker.exists(), "{name} ran a program");
    }
    // and rows that only look like SQL arrive as what they are
    let harmless = packed("INSERT INTO sale (id, note) VALUES (9, '''); DROP TABLE product; --');");
    world.office(&["branch", "set", "north", "--url", &shop(harmless)]).succeeded();
    world.office(&["--retry-for", "1s", "update", "north"]);
    assert_eq!(world.office.value("select note from sale where id = 9").as_deref(), Some("'); DROP TABLE product; --"));
    assert_eq!(world.office.int("select count(*) from product"), 1);
}
