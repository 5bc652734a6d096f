//! The programming interface, schedules and alerts: what runs and tells without anybody at a page.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use serde_json::Value;
use tests::kit::{Plan, World};
use tests::wait_for;

use crate::fixture::{Console, PASSWORD, add_user};

const SCHEMA: &str = "create table product (id bigint primary key, name text);";
const POLICY: &str = "name = \"small\"\n[tables]\nproduct = \"from-source\"";

fn world() -> World {
    let world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea');"));
    world.enrol();
    world.clone_all();
    world
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_program_asks_how_branches_stand_and_updates_them_with_the_same_logins() {
    let world = world();
    add_user(&world, "till", "sync");
    add_user(&world, "screen", "look");
    let console = Console::start(&world);
    let login = |user: &str, password: &str| {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
    };
    let (till, screen, wrong) = (login("till", PASSWORD), login("screen", PASSWORD), login("till", "guess"));
    let get = |path: &str, login: &str| console.get(path, &[("Authorization", login)]);
    assert_eq!(console.get("/api/v1/branches", &[]).status, 401);
    assert_eq!(get("/api/v1/branches", &wrong).status, 401);
    let cookie = console.log_in("till");
    assert_eq!(console.get("/api/v1/branches", &[("Cookie", &cookie)]).status, 401, "a cookie is for pages");

    let branches = json(&get("/api/v1/branches", &screen).body);
    assert_eq!((&branches["branches"][0]["branch"], &branches["branches"][0]["state"]), (&"north".into(), &"ok".into()));
    let branch = json(&get("/api/v1/branches/north", &screen).body);
    assert!(branch["status"]["freshness_s"].is_i64() && branch.get("password_file").is_none(), "{branch}");

    world.office.execute("insert into product values (2, 'coffee')");
    let post = |path: &str, login: &str| console.ask("POST", path, &[("Authorization", login)], "");
    assert_eq!(post("/api/v1/branches/north/update", &screen).status, 403);
    let cross = [("Authorization", till.as_str()), ("Sec-Fetch-Site", "cross-site")];
    assert_eq!(console.ask("POST", "/api/v1/branches/north/update", &cross, "").status, 403);
    let started = post("/api/v1/branches/north/update", &till);
    assert_eq!(started.status, 202, "{started:?}");
    let run = json(&started.body)["run"].as_str().expect("its id").to_owned();
    let ended = wait_for::some("the run ends", || {
        let run = json(&get(&format!("/api/v1/runs/{run}"), &screen).body);
        (run["at_work"] == false).then_some(run)
    });
    assert_eq!((&ended["report"]["result"], &ended["report"]["pushed_rows"]), (&"done".into(), &1.into()), "{ended}");
    assert_eq!(world.shop("north").database.int("select count(*) from product"), 2);

    let history = json(&get("/api/v1/history?limit=1", &screen).body);
    assert_eq!(history["runs"][0]["pushed_rows"], 1, "{history}");
    assert_eq!(json(&get("/api/v1/conflicts", &screen).body)["conflicts"], Value::Array(vec![]));
    assert_eq!(json(&get("/api/v1/openapi.json", &screen).body)["openapi"], "3.1.0");
    let missing = get("/api/v1/branches/nobody", &screen);
    assert!(missing.status == 400 && json(&missing.body)["error"].is_string(), "{missing:?}");
    let csv = console.get("/history.csv", &[("Cookie", &cookie)]);
    assert!(csv.headers["content-type"].starts_with("text/csv") && csv.body.contains("north,clone,done"), "{csv:?}");
}

#[test]
fn a_branch_that_is_due_is_updated_once_by_two_consoles_and_a_paused_one_is_not() {
    let world = world();
    let refused = world.office(&["branch", "set", "north", "--schedule", "now and then"]).ended_with(2);
    assert!(refused.stderr.contains("every 15m"), "{}", refused.stderr);
    world.office(&["branch", "set", "north", "--schedule", "every 1h"]).succeeded();
    world.office.execute("insert into product values (2, 'coffee')");
    // the last run was long ago: what was missed is caught up once
    world.office.execute("update sync.run set started_at = now() - interval '3 days'");
    world.office(&["branch", "pause", "north"]).succeeded();
    let runs = "select count(*) from sync.run where kind = 'update'";
    let (first, second) = (Console::start(&world), Console::start(&world));
    let page = first.get("/branches/north", &[]).body;
    assert!(page.contains("Paused: nothing is updated by itself"), "{page}");
    assert_eq!(world.office.int(runs), 0);
    world.office(&["branch", "resume", "north"]).succeeded();
    wait_for::condition("the branch is updated by itself", || world.office.int(runs) > 0);
    assert_eq!(world.shop("north").database.int("select count(*) from product"), 2);
    let page = second.get("/branches/north", &[]).body;
    assert!(page.contains("Next update"), "{page}");
    assert_eq!(world.office.int(runs), 1, "once");
}

#[test]
fn a_branch_that_fails_again_and_again_is_told_on_the_page_in_status_and_by_the_offices_own_command() {
    let mut world = world();
    world.shop_mut("north").stop_agent();
    let told = world.dir().join("told");
    let config = world.dir().join("office-client.toml");
    let command = format!("echo \\\"$ALERT_BRANCH $ALERT_KIND $ALERT_TEXT\\\" >> {}", told.display());
    fs::write(&config, format!("alert-command = \"{command}\"\n")).expect("a configuration");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("readable");
    for _ in 0..3 {
        world.office(&["--retry-for", "1ms", "update", "north"]).ended_with(5);
    }
    let status = world.office(&["--json", "status"]).succeeded();
    assert_eq!(json(&status)["alerts"][0]["kind"], "failing", "{status}");
    let config = config.display().to_string();
    let mut process = world.start_office(&["--config", &config, "console", "--listen", "127.0.0.1:0"]);
    let console = Console { url: process.url(), process };
    let page = console.get("/", &[]).body;
    assert!(page.contains("the last 3 runs failed"), "{page}");
    let words = wait_for::some("the command is run", || fs::read_to_string(&told).ok().filter(|text| text.ends_with('\n')));
    assert_eq!(words, "north failing the last 3 runs failed\n");
}
