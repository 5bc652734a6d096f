//! What is told to those who do not look.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tests::kit::{Plan, World};
use tests::wait_for;

use crate::fixture::Console;

const SCHEMA: &str = "create table product (id bigint primary key, name text);";
const POLICY: &str = "name = \"small\"\n[tables]\nproduct = \"both\"";

/// A program at an address, which is handed what is posted to it.
fn receiver() -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/hook?key=1", listener.local_addr().expect("its address"));
    let (said, heard) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let (mut text, mut piece) = (String::new(), [0; 4096]);
            let body = loop {
                let count = stream.read(&mut piece).expect("a request");
                text.push_str(&String::from_utf8_lossy(&piece[..count]));
                if let Some((head, body)) = text.split_once("\r\n\r\n")
                    && let Some(length) = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))
                    && body.len() >= length.parse().expect("a length")
                {
                    assert!(head.starts_with("POST /hook?key=1 HTTP/1.1"), "{head}");
                    break body.to_owned();
                }
            };
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("an answer");
            if said.send(serde_json::from_str(&body).expect("JSON")).is_err() {
                return;
            }
        }
    });
    (url, heard)
}

#[test]
fn what_somebody_should_know_is_on_the_page_in_status_and_told_once_by_command_and_webhook() {
    let mut world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea');"));
    world.enrol();
    world.clone_all();
    // a conflict that waits, and data that is old
    world.office.execute("update product set name = 'Tea of the Office'");
    world.shop("north").database.execute("update product set name = 'Tea of the North'");
    world.office(&["update", "north"]).succeeded();
    assert_eq!(world.office.int("select count(*) from sync.conflict where resolved_at is null"), 1);
    world.office.execute("update sync.branch_synchronization set pulled_at = now() - interval '5 hours'");
    let kinds = |args: &[&str]| -> Vec<String> {
        let status = world.office(args).succeeded();
        let status: Value = serde_json::from_str(&status).expect("JSON");
        let alerts = status["alerts"].as_array().expect("a list");
        alerts.iter().map(|alert| alert["kind"].as_str().expect("a kind").to_owned()).collect()
    };
    assert_eq!(kinds(&["--json", "status"]), ["conflicts"], "26 hours are the usual threshold");
    world.office(&["branch", "set", "north", "--alert-after", "4h"]).succeeded();
    assert_eq!(kinds(&["--json", "status"]), ["stale", "conflicts"]);
    world.shop_mut("north").stop_agent();
    for _ in 0..3 {
        world.office(&["--retry-for", "1ms", "update", "north"]).ended_with(5);
    }

    let (url, heard) = receiver();
    let told = world.dir().join("told");
    let config = world.dir().join("office-client.toml");
    let command = format!("echo \\\"$ALERT_BRANCH|$ALERT_KIND|$ALERT_TEXT\\\" >> {}", told.display());
    let text = format!("alert-command = \"{command}\"\nalert-webhook = \"{url}\"\nalert-room = \"900000 GiB\"\n");
    fs::write(&config, text).expect("a configuration");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("readable");
    let config = config.display().to_string();
    let status = world.office(&["--config", &config, "status"]);
    for words in
        ["north: its sales were last taken in 5 hours ago", "the last 3 runs failed", "1 conflict to decide", " left"]
    {
        assert!(status.stderr.contains(words), "{words}: {}", status.stderr);
    }

    // two consoles, of which one tells
    let start = || {
        let mut process = world.start_office(&["--config", &config, "console", "--listen", "127.0.0.1:0"]);
        Console { url: process.url(), process }
    };
    let consoles = [start(), start()];
    for console in &consoles {
        let page = console.get("/", &[]).body;
        for words in ["5 hours ago", "the last 3 runs failed", " left", "1 conflict"] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }
    let mut kinds: Vec<String> = (0..4)
        .map(|_| heard.recv_timeout(Duration::from_secs(120)).expect("a message"))
        .map(|message| {
            assert!(message["text"].as_str().expect("words").ends_with(message["words"].as_str().expect("words")));
            assert_eq!(message["branch"].is_null(), message["kind"] == "disk", "{message}");
            message["kind"].as_str().expect("a kind").to_owned()
        })
        .collect();
    kinds.sort();
    assert_eq!(kinds, ["conflicts", "disk", "failing", "stale"]);
    let lines = wait_for::some("the command was run for each", || {
        let text = fs::read_to_string(&told).ok()?;
        (text.lines().count() >= 4).then_some(text)
    });
    assert!(lines.contains("north|failing|the last 3 runs failed\n"), "{lines}");
    // each looks again: what a page does makes it
    for console in &consoles {
        let before = world.office.value("select max(seen_at)::text from sync.alert").expect("a moment");
        let token = format!("token={}", console.token(&[]));
        assert_eq!(console.ask("POST", "/branches/north/resume", &[], &token).status, 303);
        let seen = format!("select count(*) from sync.alert where seen_at > '{before}'");
        wait_for::condition("it has looked", || world.office.int(&seen) == 4);
    }
    assert!(heard.try_recv().is_err(), "nothing is told twice");
    assert_eq!(fs::read_to_string(&told).expect("the lines").lines().count(), 4);
}
