//! The staff's work, done by a real headless Chromium (tests/browser); what it came to is looked up in the databases.

use std::process::Command;

use tests::kit::{Plan, World};
use tests::process::{self, root};
use tests::{not_run, wait_for};

use crate::fixture::{Console, add_user};

/// Where Debian, and others, put it.
fn chromium() -> Option<&'static str> {
    let runs = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    ["chromium", "chromium-browser", "google-chrome"].iter().find(|name| runs(name)).copied()
}

fn play(scene: &str, console: &Console, world: &World, browser: &str) {
    let mut command = Command::new("node");
    command.current_dir(root().join("tests/browser")).args(["staff.mjs", scene, &console.url]);
    command.env("SYNC_CHROMIUM", browser).env("SHOP_URL", world.shop("west").url());
    process::run(&mut command).succeeded();
}

#[test]
fn staff_add_clone_update_watch_stop_decide_and_understand_failures_in_a_browser() {
    let has_packages = root().join("tests/browser/node_modules/playwright-core").exists();
    let Some(browser) = chromium().filter(|_| has_packages) else {
        return not_run::because("the console in a browser (Chromium, and npm packages of tests/browser)");
    };
    let mut world = World::new(&Plan::with_branches(&["north", "south", "west"]));
    world.office(&["init"]).succeeded();
    for (name, id) in [("north", "1"), ("south", "2")] {
        world.office(&["branch", "add", name, "--id", id, "--url", world.shop(name).url()]).succeeded();
        world.office(&["clone", name]).succeeded();
    }
    add_user(&world, "ana", "decide");
    let mut console = Console::start(&world);

    play("begin", &console, &world, browser);
    world.assert_agree(&["product", "category", "person"]);

    // enough that it moves for a while over a line that is slow: what was received is kept when it is stopped
    let (office, north) = (&world.office, &world.shop("north").database);
    world.office(&["branch", "set", "north", "--rate-limit", "6KiB/s"]).succeeded();
    north.load(&fixtures::trade::day_of_sales(41, 900, 1));
    play("watch", &console, &world, browser);
    assert_eq!(office.value("select result from sync.run order by run desc limit 1").as_deref(), Some("interrupted"));

    world.office(&["branch", "set", "north", "--rate-limit", ""]).succeeded();
    let person = office.int("select min(person_id) from client");
    office.execute(&format!("update person set name = 'Ada of the Office' where id = {person}"));
    north.execute(&format!("update person set name = 'Ada of the North' where id = {person}"));
    // behind the back of both, for a comparison to find
    let secretly = |change: &str| {
        north.execute(&format!(
            "set session_replication_role = replica; update product set name = {change} where id = 1"
        ));
    };
    secretly("name || ' (secretly)'");
    play("again", &console, &world, browser);
    secretly("replace(name, ' (secretly)', '')");
    assert_eq!(office.int("select count(*) from sync.conflict where resolved_at is null"), 1);

    play("decide", &console, &world, browser);
    let name = format!("select name from person where id = {person}");
    assert_eq!(office.value(&name).as_deref(), Some("Ada of the North"));
    assert_eq!(office.int("select count(*) from sync.conflict where resolution = 'shop'"), 1);

    world.shop_mut("south").stop_agent();
    play("failing", &console, &world, browser);
    world.shop_mut("south").start();

    play("phone", &console, &world, browser);
    play("plain", &console, &world, browser);
    wait_for::condition("the last run is recorded", || {
        world.office.value("select result from sync.run order by run desc limit 1").as_deref() == Some("done")
    });
    assert!(console.process.terminate().success(), "{}", console.process.stderr());
}
