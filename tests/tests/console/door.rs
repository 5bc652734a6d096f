//! Who is let in, and what a page of another site cannot do.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use tests::kit::{Plan, World};

use crate::fixture::{Console, add_user};

const SCHEMA: &str = "create table product (id bigint primary key, name text);";
const POLICY: &str = "name = \"small\"\n[tables]\nproduct = \"from-source\"";

fn world() -> World {
    let world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea');"));
    world.enrol();
    world
}

#[test]
fn on_this_machine_nobody_logs_in_and_no_other_site_gets_anything() {
    let world = world();
    let mut console = Console::start(&world);
    let page = console.get("/", &[]);
    assert_eq!(page.status, 200);
    assert!(page.body.contains("north"), "{}", page.body);
    let policy = &page.headers["content-security-policy"];
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("cache-control", "no-store")]
    {
        assert_eq!(page.headers[name], value);
    }
    // nothing inline, or the policy would not let it run
    assert!(!page.body.contains("<style") && !page.body.contains(" style=") && !page.body.contains("onclick"));
    assert!(!page.body.contains("<script>"), "{}", page.body);

    // a name of elsewhere that was made to point here
    assert_eq!(console.get("/", &[("Host", "evil.example")]).status, 421);
    // a form of another site, with and without the token; one of ours without it
    let token = console.token(&[]);
    let pause =
        |headers: &[(&str, &str)], body: &str| console.ask("POST", "/branches/north/pause", headers, body).status;
    assert_eq!(pause(&[("Sec-Fetch-Site", "cross-site")], &format!("token={token}")), 403);
    assert_eq!(pause(&[("Origin", "http://evil.example")], &format!("token={token}")), 403);
    assert_eq!(pause(&[("Sec-Fetch-Site", "same-origin")], ""), 403);
    assert_eq!(pause(&[("Sec-Fetch-Site", "same-origin")], "token=0"), 403);
    assert_eq!(world.office.int("select count(*) from sync.branch_synchronization where paused"), 0);
    assert_eq!(pause(&[("Sec-Fetch-Site", "same-origin")], &format!("token={token}")), 303);
    assert_eq!(world.office.int("select count(*) from sync.branch_synchronization where paused"), 1);

    assert_eq!(console.get("/no/such/page", &[]).status, 404);
    assert_eq!(console.get("/branches/nobody", &[]).status, 404);
    assert!(console.process.terminate().success(), "{}", console.process.stderr());
}

#[test]
fn beyond_this_machine_it_is_refused_without_users_and_without_encryption() {
    let world = world();
    let listen = ["console", "--listen", "0.0.0.0:0"];
    let refused = world.office(&listen).ended_with(2).stderr;
    assert!(refused.contains("open to everybody") && refused.contains("console user add"), "{refused}");
    add_user(&world, "ana", "look");
    let refused = world.office(&listen).ended_with(2).stderr;
    assert!(refused.contains("plain text") && refused.contains("--tls-self-signed"), "{refused}");
    let mut console = world.start_office(&["console", "--listen", "0.0.0.0:0", "--tls-self-signed"]);
    console.wait_for_line("that it listens", |line| line.contains("listening on https://"));
    assert!(console.terminate().success());
}

#[test]
fn a_login_may_do_what_its_role_says_and_ends_when_the_user_is_removed() {
    let world = world();
    for role in ["look", "sync", "decide"] {
        add_user(&world, role, role);
    }
    let console = Console::start(&world);
    let away = console.get("/", &[]);
    assert_eq!((away.status, away.headers["location"].as_str()), (303, "/login"));
    assert_eq!(console.get("/live/branches", &[]).status, 401);
    assert_eq!(console.ask("POST", "/update", &[], "token=").status, 401);

    let answer = console.ask("POST", "/login", &[], "user=look&password=correct+horse");
    let cookie = &answer.headers["set-cookie"];
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");

    for (user, update, pause) in [("look", 403, 403), ("sync", 303, 403), ("decide", 303, 303)] {
        let cookie = console.log_in(user);
        let headers = [("Cookie", cookie.as_str())];
        // somebody who may only look has no forms but the one that logs out
        let token = format!("token={}", console.token(&headers));
        let post = |path: &str| console.ask("POST", path, &headers, &token).status;
        assert_eq!(post("/branches/north/update"), update, "{user} updates");
        assert_eq!(post("/branches/north/pause"), pause, "{user} pauses");
        let page = console.get("/", &headers).body;
        assert_eq!(page.contains("id=\"update-all\""), user != "look", "{user} is offered what they may do");
    }
    // a token is its visitor's: another's is worth nothing
    let (first, second) = (console.log_in("decide"), console.log_in("decide"));
    let token = console.token(&[("Cookie", first.as_str())]);
    let foreign =
        console.ask("POST", "/branches/north/resume", &[("Cookie", second.as_str())], &format!("token={token}"));
    assert_eq!(foreign.status, 403);

    world.office(&["console", "user", "remove", "decide"]).succeeded();
    assert_eq!(console.get("/", &[("Cookie", first.as_str())]).status, 303);
}

/// What docs/SECURITY.md says of `console_connections_max`.
const CONNECTIONS_MAX: usize = 256;

#[test]
fn boundary_of_console_connections_max() {
    let world = world();
    let console = Console::start(&world);
    let address = console.url.strip_prefix("http://").expect("plain HTTP").to_owned();
    let connect = || {
        let stream = TcpStream::connect(&address).expect("the console listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        stream
    };
    let ask = |mut stream: &TcpStream| {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the request is taken");
        let mut answer = [0_u8; 12];
        stream.read_exact(&mut answer).map(|()| String::from_utf8_lossy(&answer).into_owned())
    };
    // each has been answered, so each has its seat
    let mut seated: Vec<TcpStream> = Vec::new();
    for count in 1..=CONNECTIONS_MAX {
        let stream = connect();
        assert_eq!(ask(&stream).expect("an answer"), "HTTP/1.1 200", "connection {count}");
        seated.push(stream);
    }
    let late = connect();
    late.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    let waited = ask(&late).expect_err("one more waits");
    assert!(matches!(waited.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{waited}");
    seated.pop();
    late.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut answer = [0_u8; 12];
    (&late).read_exact(&mut answer).expect("a seat that was left is taken");
    assert_eq!(&answer, b"HTTP/1.1 200");
}
