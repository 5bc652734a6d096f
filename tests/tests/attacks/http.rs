//! HTTP that two readers understand in two ways, and connections that are opened to be held.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::xmlrpc::write_call;

use super::besieged::{Answer, As, Besieged};

fn small_call() -> String {
    String::from_utf8(write_call("get_station_name", &[]).expect("a call")).expect("XML is UTF-8")
}

/// Whatever frames a request in two ways is refused, and what stands behind it is never taken for a request.
#[test]
fn a_request_that_is_framed_in_two_ways_is_refused_and_nothing_is_smuggled() {
    let besieged = Besieged::new();
    let authorized = As::Office.header();
    // the hidden request would be answered with the name of the station
    let hidden = format!(
        "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\n{authorized}Content-Length: {}\r\n\r\n{}",
        small_call().len(),
        small_call()
    );
    let start = format!("POST /RPC2 HTTP/1.1\r\nHost: localhost\r\n{authorized}");
    let cases = [
        (
            "length and chunked",
            format!("{start}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        ("two lengths", format!("{start}Content-Length: 0\r\nContent-Length: {}\r\n\r\n{hidden}", hidden.len())),
        ("two lengths in one", format!("{start}Content-Length: 0, {}\r\n\r\n{hidden}", hidden.len())),
        ("a signed length", format!("{start}Content-Length: +0\r\n\r\n{hidden}")),
        ("a negative length", format!("{start}Content-Length: -1\r\n\r\n{hidden}")),
        ("a length in hex", format!("{start}Content-Length: 0x0\r\n\r\n{hidden}")),
        ("a length of 2^64", format!("{start}Content-Length: 18446744073709551616\r\n\r\n{hidden}")),
        ("an unknown coding", format!("{start}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}")),
        ("chunked twice", format!("{start}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}")),
        ("chunked behind a vertical tab", format!("{start}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n{hidden}")),
        ("a space before the colon", format!("{start}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}")),
        ("a folded header", format!("{start}X: a\r\n Content-Length: 0\r\n\r\n{hidden}")),
        ("a size beyond 64 bits", format!("{start}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{hidden}")),
        ("a signed size", format!("{start}Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n{hidden}")),
        ("a NUL in a header", format!("{start}X: a\0b\r\nContent-Length: 0\r\n\r\n{hidden}")),
        ("a bare CR in a header", format!("{start}X: a\rContent-Length: 0\r\n\r\n{hidden}")),
        ("no version", format!("POST /RPC2\r\n\r\n{hidden}")),
    ];
    for (name, request) in cases {
        // what follows is sent later, so that only the framing of the first decides
        let answer = Answer::of(&besieged.raw(request.as_bytes()));
        assert!(!answer.text.contains("north"), "{name}: the hidden request was answered: {}", answer.text);
        // a length beside chunks counts for nothing, and the connection ends behind the answer (RFC 9112, 6.1)
        let framed_by_chunks = answer.fault().is_some() && answer.text.to_lowercase().contains("connection: close");
        let is_refused = answer.status == 0 || (400..=501).contains(&answer.status);
        assert!(is_refused || framed_by_chunks, "{name}: {}", answer.text);
        besieged.serves();
    }
    besieged.stood();
}

/// What a caller sends never becomes a header, or a line of the log.
#[test]
fn nothing_of_a_request_comes_back_as_a_header_or_as_a_line_of_the_log() {
    let mut besieged = Besieged::new();
    let injected = "\r\nX-Injected: yes\r\n2026-01-01 ERROR forged";
    let escaped = injected.replace('\r', "&#13;").replace('\n', "&#10;");
    for body in [
        format!("<methodCall><methodName>a{escaped}</methodName><params/></methodCall>"),
        format!(
            "<methodCall><methodName>set_station_by_name</methodName><params><param><value>{escaped}</value></param></params></methodCall>"
        ),
        format!(
            "<methodCall><methodName>sync.diff_read</methodName><params><param><value>{escaped}</value></param><param><value><int>0</int></value></param><param><value><int>1</int></value></param></params></methodCall>"
        ),
    ] {
        let answer = besieged.ask(As::Office, body.as_bytes());
        let head = answer.text.split("\r\n\r\n").next().unwrap_or_default().to_lowercase();
        assert!(answer.status == 200 && !head.contains("x-injected"), "{}", answer.text);
    }
    for line in [
        "GET /%0d%0aX-Injected:%20yes HTTP/1.1\r\nHost: a\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n",
    ] {
        let answer = Answer::of(&besieged.raw(format!("{line}Connection: close\r\n\r\n").as_bytes()));
        assert!(
            (400..500).contains(&answer.status) && !answer.text.to_lowercase().contains("x-injected: yes"),
            "{}",
            answer.text
        );
    }
    let log = besieged.world.shops[0].agent().stderr();
    assert!(!log.lines().any(|line| line.starts_with("2026-01-01 ERROR forged")), "{log}");
    besieged.stood();
}

/// Three forms of holding connections: heads that never end, bodies that never end, and answers that nobody reads.
#[test]
fn connections_that_are_held_keep_nobody_out() {
    let besieged = Besieged::new();
    let address = besieged.address();
    let over = AtomicBool::new(false);
    let authorized = As::Office.header();
    // without a credential: silent, half a head, a head in drops; more of them than there are places
    let starts: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"POST /RPC2 HTTP/1.1\r\nHost: local".to_vec(),
        b"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nX: ".to_vec(),
        b"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n<meth".to_vec(),
    ];
    // with one: half a body, and answers that are not read
    let half =
        format!("POST /RPC2 HTTP/1.1\r\nHost: localhost\r\n{authorized}Content-Length: 1000000\r\n\r\n<methodCall>");
    let list = String::from_utf8(write_call("system.listMethods", &[]).expect("a call")).expect("UTF-8");
    let unread =
        format!("POST /RPC2 HTTP/1.1\r\nHost: localhost\r\n{authorized}Content-Length: {}\r\n\r\n{list}", list.len());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut held = Vec::new();
            while !over.load(Ordering::Relaxed) {
                for start in &starts {
                    let Ok(mut stream) = TcpStream::connect(&address) else { continue };
                    let _ = stream.write_all(start);
                    held.push(stream);
                }
                // every one of them says one byte more now and then
                held.retain_mut(|stream| stream.write_all(b"x").is_ok());
                if held.len() > 200 {
                    held.drain(..100);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        scope.spawn(|| {
            let mut held = Vec::new();
            for _ in 0..4 {
                let mut stream = TcpStream::connect(&address).expect("the agent");
                stream.write_all(half.as_bytes()).expect("half a body");
                held.push(stream);
            }
            let mut greedy = TcpStream::connect(&address).expect("the agent");
            greedy.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
            // asked until nothing more fits into the line, and never listened to
            while greedy.write_all(unread.as_bytes()).is_ok() && !over.load(Ordering::Relaxed) {}
            while !over.load(Ordering::Relaxed) {
                held.iter_mut().for_each(|stream| drop(stream.write_all(b"x")));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let began = Instant::now();
        let mut served = 0;
        while began.elapsed() < Duration::from_secs(4) {
            besieged.serves();
            served += 1;
        }
        over.store(true, Ordering::Relaxed);
        println!("{served} calls of the honest office were answered meanwhile");
        assert!(served > 3, "only {served} calls");
    });
    besieged.stood();
}

/// A flood of connections, more than there may be, from one address.
#[test]
fn a_flood_of_connections_does_not_shut_the_door() {
    let besieged = Besieged::new();
    let mut flood = Vec::new();
    for n in 0..300 {
        flood.push(TcpStream::connect(besieged.address()).expect("the agent accepts"));
        if n % 30 == 0 {
            besieged.serves();
        }
    }
    // those who came first had to go
    let mut first = flood.swap_remove(0);
    first.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    assert_eq!(first.read(&mut [0; 1]).unwrap_or(0), 0);
    besieged.stood();
}
