//! `call` of both programs: the same words mean the same, and the same ends have the same exit codes.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::fault::{Fault, FaultCode};
use protocol::xmlrpc::{Blob, Limits, MethodCall, Value, parse_call, write_fault, write_response};
use tests::process::{Finished, binary, run};

const PROGRAMS: [&str; 2] = ["office-client", "shop-agent"];

/// A server that keeps the calls it gets and gives every one the same answer.
struct Listening {
    url: String,
    calls: Arc<Mutex<Vec<(String, MethodCall)>>>,
}

impl Listening {
    fn answering(status: &'static str, body: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&calls);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Some(call) = answer(stream, status, &body) {
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(call);
                }
            }
        });
        Self { url, calls }
    }

    fn last(&self) -> (String, Vec<Value>) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let (path, call) = calls.last().expect("a call");
        (path.clone(), call.params.clone())
    }
}

/// Reads one request, answers it, and closes: its path and the call in it.
fn answer(mut stream: TcpStream, status: &str, body: &[u8]) -> Option<(String, MethodCall)> {
    let mut request = Vec::new();
    let (head, length) = loop {
        let mut piece = [0; 4096];
        let bytes = stream.read(&mut piece).ok().filter(|bytes| *bytes > 0)?;
        request.extend_from_slice(&piece[..bytes]);
        let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: "))?.trim().parse::<usize>().ok()?;
        break (end + 4, length);
    };
    let mut rest = vec![0; usize::checked_sub(head + length, request.len())?];
    stream.read_exact(&mut rest).ok()?;
    request.extend_from_slice(&rest);
    let path = String::from_utf8_lossy(&request).split(' ').nth(1)?.to_owned();
    let answer = format!("HTTP/1.1 {status}\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(answer.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    Some((path, parse_call(&request[head..], &Limits::default()).ok()?))
}

fn call(program: &str, url: &str, args: &[&str]) -> Finished {
    let mut command = Command::new(binary(program));
    command.args(["call", url, "method"]).args(args);
    for (variable, _) in std::env::vars_os() {
        if ["SHOP_AGENT_", "OFFICE_CLIENT_"].iter().any(|prefix| variable.to_string_lossy().starts_with(prefix)) {
            command.env_remove(variable);
        }
    }
    run(&mut command)
}

#[test]
fn an_argument_means_the_same_in_both_programs() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("bytes");
    fs::write(&file, b"abc").expect("written");
    let from_file = format!("b64:@{}", file.display());
    let bytes = || Value::Base64(Blob::Inline(b"abc".to_vec()));
    let server = Listening::answering("200 OK", write_response(&Value::from("fine")).expect("an answer"));
    for (written, meant) in [
        ("i:5", Value::Int(5)),
        ("i:5000000000", Value::Long(5_000_000_000)),
        ("l:5", Value::Long(5)),
        ("d:1.5", Value::Double(1.5)),
        ("b:true", Value::Bool(true)),
        ("b:0", Value::Bool(false)),
        ("bool:true", Value::Bool(true)),
        ("s:i:5", Value::from("i:5")),
        ("nil", Value::Nil),
        ("nil:", Value::Nil),
        ("b64:abc", bytes()),
        (from_file.as_str(), bytes()),
        ("json:[1,null]", Value::Array(vec![Value::Int(1), Value::Nil])),
        ("plain", Value::from("plain")),
        ("a: b", Value::from("a: b")),
        ("-5", Value::from("-5")),
        ("-1.5", Value::from("-1.5")),
    ] {
        for program in PROGRAMS {
            let said = call(program, &server.url, &[written]).succeeded();
            assert_eq!(said, "\"fine\"\n", "{program} {written}");
            assert_eq!(server.last(), ("/RPC2".to_owned(), vec![meant.clone()]), "{program} {written}");
        }
    }
    let moments: Vec<Vec<Value>> = PROGRAMS
        .iter()
        .map(|program| {
            call(program, &server.url, &["t:2006-01-02T03:04:05Z"]).succeeded();
            server.last().1
        })
        .collect();
    assert!(matches!(moments[0].as_slice(), [Value::DateTime(_)]) && moments[0] == moments[1], "{moments:?}");
    for wrong in ["i:x", "l:x", "b:yes", "d:nan", "t:yesterday", "b64:@/does/not/exist", "json:{"] {
        for program in PROGRAMS {
            let said = call(program, &server.url, &[wrong]).ended_with(2).stderr;
            assert!(said.contains(wrong.trim_start_matches("b64:@")), "{program} {wrong}: {said}");
        }
    }
    // flags are taken behind arguments too, and never sent
    for program in PROGRAMS {
        let password = dir.path().join("password");
        fs::write(&password, "secret\n").expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&password, mode).expect("closed");
        let file = password.display().to_string();
        call(program, &server.url, &["i:1", "--user", "u", "--password-file", &file]).succeeded();
        assert_eq!(server.last().1, [Value::Int(1)], "{program}");
    }
}

#[test]
fn an_answer_is_printed_alike_by_both_programs() {
    let value = Value::Array(vec![Value::Base64(Blob::Inline(b"abc".to_vec())), Value::Nil, Value::Long(5)]);
    let server = Listening::answering("200 OK", write_response(&value).expect("an answer"));
    let said: Vec<String> = PROGRAMS.iter().map(|program| call(program, &server.url, &[]).succeeded()).collect();
    assert_eq!(said[0], said[1]);
    assert!(said[0].contains("base64:YWJj"), "{}", said[0]);
}

#[test]
fn a_call_ends_with_the_same_code_in_both_programs() {
    let fault = |code| Listening::answering("200 OK", write_fault(&Fault::new(code, "no")));
    let refused = Listening::answering("401 Unauthorized", b"no".to_vec());
    let failing = Listening::answering("503 Service Unavailable", b"no".to_vec());
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    for (url, code, words) in [
        (fault(FaultCode::UnknownMethod).url.as_str(), 1, "no"),
        (&refused.url, 1, "401"),
        (&failing.url, 5, "503"),
        (&fault(FaultCode::CleanRefused).url, 4, "clean"),
        (&fault(FaultCode::Busy).url, 5, "busy"),
        (&nobody, 5, "cannot reach"),
        ("http://nowhere.invalid", 5, "nowhere.invalid:9000"),
        ("shop:9000", 2, "http://host:port"),
        ("http://u:secret@shop", 2, "--password-file"),
    ] {
        for program in PROGRAMS {
            let mut args = Vec::new();
            if program == "office-client" {
                args.extend(["--retry-for", "1s"]);
            }
            let ended = call(program, url, &args).ended_with(code);
            assert!(ended.stderr.contains(words), "{program} {url}: {}", ended.stderr);
            assert!(!ended.stderr.contains("secret@"), "{program}: {}", ended.stderr);
        }
    }
}
