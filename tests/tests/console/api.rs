//! The programming interface: what its document says is what it answers.

use std::collections::BTreeSet;

use base64::Engine as _;
use serde_json::{Value, json};
use tests::kit::{Plan, World};
use tests::wait_for;

use crate::fixture::{Answer, Console, PASSWORD, add_user};

const SCHEMA: &str = "create table product (id bigint primary key, name text);
    create table sale (id bigint primary key, product_id bigint not null references product);";
const POLICY: &str = "name = \"small\"\n[tables]\nproduct = \"both\"\nsale = \"from-target\"";

fn login(user: &str, password: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Holds an answer against a schema of the document. Answers of ours have no field that is not described.
fn hold(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let place = name.strip_prefix('#').expect("a place in the document");
        return hold(document, document.pointer(place).unwrap_or_else(|| panic!("{name}")), value, at);
    }
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value} is none of {words:?}");
        return;
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => panic!("{at}: the schema says no type: {schema}"),
    };
    let fits = kinds.iter().any(|kind| match *kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{at}: {other}"),
    });
    assert!(fits, "{at}: {value} is no {kinds:?}");
    if let (Some(described), Some(fields)) = (schema["properties"].as_object(), value.as_object()) {
        let required = schema["required"].as_array().unwrap_or_else(|| panic!("{at}: nothing is required"));
        for name in required.iter().filter_map(Value::as_str) {
            assert!(fields.contains_key(name), "{at}: {name} is missing in {value}");
        }
        for (name, value) in fields {
            let schema = described.get(name).unwrap_or_else(|| panic!("{at}.{name} is not described"));
            hold(document, schema, value, &format!("{at}.{name}"));
        }
    }
    if let Some(values) = value.as_array() {
        values.iter().for_each(|value| hold(document, &schema["items"], value, &format!("{at}[]")));
    }
}

#[test]
fn every_described_call_answers_as_described_and_there_is_no_other() {
    let world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea');"));
    world.enrol();
    world.clone_all();
    // something of everything: a conflict, a row that waits, runs
    world.office.execute(
        "update product set name = 'Tea of the Office'; alter table sale add constraint no_two check (id <> 2)",
    );
    let shop = &world.shop("north").database;
    shop.execute("update product set name = 'Tea of the North'; insert into sale values (2, 1)");
    world.office(&["update", "north"]);
    assert_eq!(world.office.int("select count(*) from sync.conflict where resolved_at is null"), 1);
    let waiting = world.office.int("select min(entry) from sync.quarantine");
    add_user(&world, "till", "decide");
    let console = Console::start(&world);
    let till = login("till", PASSWORD);
    let call = |method: &str, path: &str, body: Option<&Value>| {
        let text = body.map(Value::to_string).unwrap_or_default();
        let kind = if body.is_some() { "application/json" } else { "text/plain" };
        console.ask(method, path, &[("Authorization", &till), ("Content-Type", kind)], &text)
    };
    let document = json(&call("GET", "/api/v1/openapi.json", None));
    let mut called = BTreeSet::new();
    let mut check = |method: &str, template: &str, path: &str, body: Option<&Value>| -> Value {
        let operation = &document["paths"][template][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {template} is not described");
        called.insert(format!("{method} {template}"));
        let answer = call(method, &format!("/api/v1{path}"), body);
        let described = &operation["responses"][answer.status.to_string()];
        assert!(described.is_object(), "{method} {path}: {answer:?} is not described");
        assert!(answer.headers["content-type"].starts_with("application/json"), "{answer:?}");
        let value = json(&answer);
        let what = format!("{method} {template}");
        hold(&document, &described["content"]["application/json"]["schema"], &value, &what);
        if let Some(body) = body {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            hold(&document, schema, body, &format!("{what}: request"));
        }
        value
    };
    let mut get = |template: &str, path: &str| check("GET", template, path, None);
    get("/openapi.json", "/openapi.json");
    assert_eq!(get("/branches", "/branches")["branches"][0]["branch"], "north");
    assert_eq!(get("/alerts", "/alerts")["alerts"][0]["kind"], "conflicts");
    assert_eq!(get("/branches/{name}", "/branches/north")["status"]["quarantined"], 1);
    assert_eq!(get("/history", "/history?branch=north&limit=1")["runs"].as_array().map(Vec::len), Some(1));
    let conflicts = get("/conflicts", "/conflicts?all=true");
    let conflict = conflicts["conflicts"][0]["conflict"].as_i64().expect("its number");
    get("/conflicts/{id}", &format!("/conflicts/{conflict}"));
    assert_eq!(get("/quarantine", "/quarantine")["quarantine"].as_array().map(Vec::len), Some(1));
    let take = json!({ "take": "shop" });
    check("POST", "/conflicts/{id}", &format!("/conflicts/{conflict}"), Some(&take));
    assert_eq!(world.office.value("select name from product").as_deref(), Some("Tea of the North"));
    let still = check("POST", "/quarantine/{id}/retry", &format!("/quarantine/{waiting}/retry"), None);
    assert_eq!(still["released"], false, "{still}");
    let started = check("POST", "/branches/{name}/update", "/branches/north/update", None);
    let run = started["run"].as_str().expect("its id").to_owned();
    check("POST", "/runs/{id}/stop", &format!("/runs/{run}/stop"), None);
    wait_for::condition("the run ends", || {
        check("GET", "/runs/{id}", &format!("/runs/{run}"), None)["at_work"] == false
    });

    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys().filter(|name| *name != "parameters") {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert_eq!(called, described, "each described call exists, and was held against its description");

    // and what goes wrong has the shape that is described for it
    let refused = &document["components"]["responses"]["Refused"]["content"]["application/json"]["schema"];
    for (method, path, body, status) in [
        ("GET", "/api/v1/branches/nobody", None, 404),
        ("GET", "/api/v1/conflicts/999", None, 404),
        ("GET", "/api/v1/conflicts/abc", None, 400),
        ("GET", "/api/v1/history?limit=abc", None, 400),
        ("GET", "/api/v1/runs/nothing", None, 404),
        ("GET", "/api/v1/nothing", None, 404),
        ("DELETE", "/api/v1/branches", None, 405),
        ("POST", "/api/v1/conflicts/1", Some(json!({ "take": "both" })), 400),
        ("POST", "/api/v1/conflicts/1", Some(json!({ "tke": "shop" })), 422),
        ("POST", "/api/v1/conflicts/1", None, 415),
    ] {
        let answer = call(method, path, body.as_ref());
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        hold(&document, refused, &json(&answer), path);
    }
}

#[test]
fn a_program_has_the_same_logins_as_people_and_no_page_of_another_site_can_use_them() {
    let world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea');"));
    world.enrol();
    world.clone_all();
    add_user(&world, "till", "sync");
    add_user(&world, "screen", "look");
    let console = Console::start(&world);
    let (till, screen, wrong) = (login("till", PASSWORD), login("screen", PASSWORD), login("till", "guess"));
    let get = |path: &str, login: &str| console.get(path, &[("Authorization", login)]);
    let away = console.get("/api/v1/branches", &[]);
    assert_eq!((away.status, away.headers["www-authenticate"].starts_with("Basic ")), (401, true));
    assert_eq!(get("/api/v1/branches", &wrong).status, 401);
    assert_eq!(get("/api/v1/branches", "Basic ????").status, 401);
    assert_eq!(get("/api/v1/branches", "Bearer x").status, 401);
    let cookie = console.log_in("till");
    assert_eq!(console.get("/api/v1/branches", &[("Cookie", &cookie)]).status, 401, "a cookie is for pages");
    assert_eq!(get("/", &till).status, 303, "and a program's login for programs");

    let branch = json(&get("/api/v1/branches/north", &screen));
    assert!(branch["status"]["freshness_s"].is_i64() && branch.get("password_file").is_none(), "{branch}");
    let post = |path: &str, headers: &[(&str, &str)]| console.ask("POST", path, headers, "").status;
    let update = "/api/v1/branches/north/update";
    assert_eq!(post(update, &[("Authorization", &screen)]), 403, "who may look may not update");
    for foreign in [("Sec-Fetch-Site", "cross-site"), ("Origin", "http://evil.example")] {
        assert_eq!(
            post(update, &[("Authorization", &till), foreign]),
            403,
            "{foreign:?}: a browser that was asked to keep the login"
        );
    }
    assert_eq!(world.office.int("select count(*) from sync.run where kind = 'update'"), 0);
    assert_eq!(post(update, &[("Authorization", &till)]), 202);
    wait_for::condition("it is updated", || {
        world.office.int("select count(*) from sync.run where kind = 'update'") == 1
    });

    // a user who is taken out is out, also where the password was right a moment ago
    world.office(&["console", "user", "remove", "screen"]).succeeded();
    assert_eq!(get("/api/v1/branches", &screen).status, 401);
    // and so is an old password
    std::fs::write(world.dir().join("new"), "another horse").expect("a password file");
    let file = world.dir().join("new");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("a private file");
    let file = file.display().to_string();
    world.office(&["console", "user", "add", "till", "--role", "sync", "--password-file", &file]).succeeded();
    assert_eq!(get("/api/v1/branches", &till).status, 401, "the old password");
    assert_eq!(get("/api/v1/branches", &login("till", "another horse")).status, 200);
    for _ in 0..12 {
        get("/api/v1/branches", &wrong);
    }
    assert_eq!(get("/api/v1/branches", &wrong).status, 429, "guesses are put off");
}

#[test]
fn on_this_machine_programs_need_no_login_as_long_as_there_are_no_users() {
    let world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea');"));
    world.enrol();
    let console = Console::start(&world);
    assert_eq!(json(&console.get("/api/v1/branches", &[]))["branches"][0]["state"], "new");
    let cross = [("Sec-Fetch-Site", "cross-site")];
    assert_eq!(console.ask("POST", "/api/v1/branches/north/update", &cross, "").status, 403);
    assert_eq!(console.get("/api/v1/branches", &[("Host", "evil.example")]).status, 421);
}
