//! docs/PROTOCOL.md is true: every example in it is carried out, in its order, against one agent.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use protocol::dialect::{DialectErrorKind, Reader, ReaderLimits};
use protocol::xmlrpc::{Limits, parse_response};
use tests::kit::{Plan, World};
use tests::process::root;

/// What the page writes for the number of a session, for a watermark, and for what is different each time.
const SID: &str = "1804289383";
const WATERMARK: &str = "2026-01-02T03:04:05.678901234Z";
const ANYTHING: char = '…';

/// A fenced block: its line, its label, its text.
struct Block {
    line: usize,
    label: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let page = std::fs::read_to_string(root().join("docs/PROTOCOL.md")).expect("docs/PROTOCOL.md");
    let mut blocks: Vec<Block> = Vec::new();
    let mut inside = false;
    for (line, text) in page.lines().enumerate() {
        match text.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(label) => {
                blocks.push(Block { line: line + 1, label: label.trim().to_owned(), text: String::new() });
                inside = true;
            }
            None if inside => {
                let block = blocks.last_mut().expect("a block");
                block.text.push_str(text);
                block.text.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// Sends a request as it is; all that comes back.
fn exchange(url: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).expect("the agent");
    stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("to be heard");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn call(url: &str, document: &str) -> String {
    let head = "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nConnection: close";
    let answer = exchange(url, &format!("{head}\r\nContent-Length: {}\r\n\r\n{document}", document.len()));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

/// White space between tags and at line ends means nothing on the page.
fn plain(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("\n").replace(">\n<", "><")
}

/// Holds a text against a pattern with holes; what filled the holes.
fn holes(pattern: &str, text: &str) -> Option<Vec<String>> {
    let mut pieces = pattern.split(ANYTHING);
    let mut rest = text.strip_prefix(pieces.next()?)?;
    let mut found = Vec::new();
    let pieces: Vec<&str> = pieces.collect();
    for (number, piece) in pieces.iter().enumerate() {
        let is_last = number + 1 == pieces.len();
        let at = if is_last {
            rest.len().checked_sub(piece.len()).filter(|_| rest.ends_with(piece))
        } else {
            rest.find(piece)
        };
        let at = at?;
        found.push(rest[..at].to_owned());
        rest = &rest[at + piece.len()..];
    }
    rest.is_empty().then_some(found)
}

fn read_dialect(script: &str) -> Result<(), protocol::dialect::DialectError> {
    let mut reader = Reader::new(BufReader::new(script.as_bytes()), ReaderLimits::default());
    while reader.next()?.is_some() {}
    Ok(())
}

/// The script in an answer that is one base64.
fn unpacked(answer: &str) -> String {
    let value = parse_response(answer.as_bytes(), &Limits::default()).expect("XML-RPC").expect("no fault");
    let mut script = String::new();
    let packed = value.as_bytes().expect("base64");
    flate2::read::MultiGzDecoder::new(packed).read_to_string(&mut script).expect("gzip");
    script
}

#[test]
fn every_example_of_the_page_is_true() {
    let blocks = blocks();
    let of = |label: &str| &blocks.iter().find(|block| block.label == label).expect("a block").text;
    let world = World::new(&Plan::of(of("sql schema"), of("toml policy"), ""));
    let shop = &world.shops[0];
    let (mut sid, mut watermark, mut answer) = (SID.to_owned(), WATERMARK.to_owned(), String::new());
    let mut done = 0;
    for Block { line, label, text } in &blocks {
        let place = format!("docs/PROTOCOL.md:{line}");
        done += 1;
        match label.as_str() {
            "sql schema" | "toml policy" => {}
            "http request" => {
                let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
                let request = format!("{}\r\n\r\n{}", head.trim_end().replace('\n', "\r\n"), body.trim_end());
                answer = exchange(shop.url(), &request);
            }
            "http answer" => {
                let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{place}: no answer"));
                let (wanted, wanted_body) = text.split_once("\n\n").unwrap_or((text, ""));
                for wanted in wanted.lines() {
                    assert!(head.lines().any(|line| holes(wanted, line).is_some()), "{place}: no {wanted} in\n{head}");
                }
                assert!(
                    plain(wanted_body).is_empty() || holes(&plain(wanted_body), &plain(body)).is_some(),
                    "{place}: {body}"
                );
            }
            "xml call" => answer = call(shop.url(), &text.replace(SID, &sid).replace(WATERMARK, &watermark)),
            "xml answer" => {
                let wanted = plain(text);
                if wanted.contains(SID) && holes(&wanted, &plain(&answer.replace(&sid, SID))).is_none() {
                    let found = holes(&wanted.replace(SID, &ANYTHING.to_string()), &plain(&answer));
                    sid =
                        found.and_then(|found| found.into_iter().next()).unwrap_or_else(|| panic!("{place}: {answer}"));
                    assert!(sid.parse::<i32>().is_ok_and(|sid| sid > 0), "{place}: {sid}");
                } else {
                    let found = plain(&answer.replace(&sid, SID));
                    assert!(holes(&wanted, &found).is_some(), "{place}: expected\n{wanted}\nfound\n{found}");
                }
            }
            "sql at the shop" => shop.database.execute(text),
            "sql diff" => {
                let script = unpacked(&answer);
                let wanted = plain(&text.replace(WATERMARK, &ANYTHING.to_string()));
                let found = holes(&wanted, &plain(&script));
                watermark = found
                    .and_then(|found| found.into_iter().next_back())
                    .unwrap_or_else(|| panic!("{place}: {script}"));
                read_dialect(&script).expect("the dialect");
            }
            "sql" => read_dialect(text).unwrap_or_else(|error| panic!("{place}: {error}")),
            "sql refused" => {
                let error = read_dialect(text).expect_err(&place);
                assert_eq!(error.kind, DialectErrorKind::Refused, "{place}: {error}");
            }
            other => panic!("{place}: a block that nothing tests: {other:?}"),
        }
    }
    assert!(done > 60, "{done} blocks");
}

#[test]
fn every_method_and_every_fault_is_on_the_page() {
    let page = std::fs::read_to_string(root().join("docs/PROTOCOL.md")).expect("docs/PROTOCOL.md");
    for method in protocol::methods::all() {
        let short = method.name.strip_prefix("system").filter(|rest| rest.starts_with('.')).unwrap_or(method.name);
        assert!(page.contains(short), "{} is missing", method.name);
    }
    for code in protocol::fault::FaultCode::ALL {
        assert!(page.contains(&format!("| {} | {} |", code.code(), code.name())), "{} is missing", code.name());
    }
}
