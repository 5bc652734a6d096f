//! Every address of the console is tried without a login, with a wrong one and with somebody else's. The addresses are
//! read from the source, so that one that is added is tried too.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use tests::kit::{Plan, World};

use crate::fixture::{Answer, Console, PASSWORD, add_user};

/// What is open to everybody, and why.
const OPEN: [(&str, &str); 3] = [
    ("/healthz", "says that the console is there, nothing else"),
    ("/login", "is where one becomes known"),
    ("/assets/{version}/{name}", "scripts and styles, the same for everybody"),
];

/// What changes nothing that belongs to the office, so that every role may do it.
const OWN: [&str; 1] = ["/logout"];

#[derive(Debug)]
struct Route {
    method: &'static str,
    template: String,
    path: String,
}

impl Route {
    fn is_of_programs(&self) -> bool {
        self.template.starts_with("/api/")
    }
}

/// All addresses, with something in the place of each name.
fn routes() -> Vec<Route> {
    let console = Path::new(env!("CARGO_MANIFEST_DIR")).join("../office-client/src/console");
    let source = |name: &str| fs::read_to_string(console.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let pages = source("routes.rs");
    let mut found = of_source("", &pages);
    for nested in pages.split(".nest(\"").skip(1) {
        let (prefix, rest) = nested.split_once('"').expect("a prefix");
        let module = rest.trim_start_matches([',', ' ', '\n']).split("::").next().expect("a module");
        found.extend(of_source(prefix, &source(&format!("{module}.rs"))));
    }
    found
}

fn of_source(prefix: &str, source: &str) -> Vec<Route> {
    let mut found = Vec::new();
    for part in source.split(".route(").skip(1) {
        let (template, rest) = part.split_once('"').and_then(|(_, rest)| rest.split_once('"')).expect("an address");
        let handlers = rest.split(".route(").next().unwrap_or_default();
        let template = format!("{prefix}{template}");
        let path =
            template.replace("{name}", "north").replace("{version}", "x").replace("{id}", "1").replace("{number}", "1");
        assert!(!path.contains('{'), "{template} has a name that is not known here");
        for (word, method) in [("get(", "GET"), ("post(", "POST"), ("put(", "PUT"), ("delete(", "DELETE")] {
            if handlers.contains(word) {
                found.push(Route { method, template: template.clone(), path: path.clone() });
            }
        }
    }
    found
}

#[test]
fn every_address_is_closed_without_a_login_with_a_wrong_one_and_with_somebody_elses() {
    let world = World::new(&Plan::of(
        "create table product (id bigint primary key, name text);",
        "name = \"small\"\n[tables]\nproduct = \"from-source\"",
        "insert into product values (1, 'tea');",
    ));
    world.enrol();
    add_user(&world, "look", "look");
    add_user(&world, "decide", "decide");
    let console = Console::start(&world);
    let (look, decide) = (console.log_in("look"), console.log_in("decide"));
    let token = |cookie: &str| format!("token={}", console.token(&[("Cookie", cookie)]));
    let (looks, decides) = (token(&look), token(&decide));
    let state = "select md5(string_agg(t::text, ',')) from sync.branch_synchronization t";
    let before = world.office.value(state);

    let routes = routes();
    assert!(routes.len() > 25, "only {routes:?}");
    for (template, _) in OPEN {
        assert!(routes.iter().any(|route| route.template == template), "{template} is no address any more");
    }
    for route in routes.iter().filter(|route| OPEN.iter().all(|(open, _)| route.template != *open)) {
        let closed = |answer: &Answer, how: &str| {
            let away = answer.status == 303 && answer.headers.get("location").is_some_and(|place| place == "/login");
            let is_closed = answer.status == 401 || (route.is_of_programs() && answer.status == 429);
            assert!(is_closed || (away && route.method == "GET"), "{route:?} {how}: {answer:?}");
        };
        let ask = |headers: &[(&str, &str)], body: &str| console.ask(route.method, &route.path, headers, body);
        closed(&ask(&[], &decides), "without a login");
        if route.is_of_programs() {
            let basic = |user: &str, password: &str| {
                let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                format!("Basic {pair}")
            };
            // a cookie is for pages
            closed(&ask(&[("Cookie", &decide)], &decides), "with a cookie");
            closed(&ask(&[("Authorization", &basic("nobody", PASSWORD))], ""), "as nobody");
            if route.method != "GET" {
                let answer = ask(&[("Authorization", &basic("look", PASSWORD))], "{}");
                assert!([403, 429].contains(&answer.status), "{route:?} by somebody who may look: {answer:?}");
            }
            continue;
        }
        closed(&ask(&[("Cookie", "office_console=0123456789abcdef")], &decides), "with a made-up cookie");
        if route.method != "GET" {
            assert_eq!(ask(&[("Cookie", &decide)], &looks).status, 403, "{route:?} with somebody else's token");
            assert_eq!(ask(&[("Cookie", &decide)], "").status, 403, "{route:?} without a token");
            if !OWN.contains(&route.template.as_str()) {
                assert_eq!(ask(&[("Cookie", &look)], &looks).status, 403, "{route:?} by somebody who may look");
            }
        }
    }
    assert_eq!(world.office.value(state), before, "nothing was changed");
    assert_eq!(world.office.int("select count(*) from sync.run"), 0, "nothing was started");
}
