//! Lists that are long: turned page by page, downloaded whole, and light.

use std::collections::BTreeSet;

use tests::kit::{Plan, World};

use crate::fixture::Console;

const SCHEMA: &str = "create table product (id bigint primary key, name text);";
const POLICY: &str = "name = \"small\"\n[tables]\nproduct = \"both\"";
/// What a page may weigh on the wire.
const PAGE_BYTES_MAX: usize = 100_000;

fn world() -> World {
    let world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'tea');"));
    world.enrol();
    world
}

/// All that a page has between two words, page after page.
fn turn(console: &Console, first: &str, from: &str, to: &str) -> Vec<String> {
    let (mut found, mut path, mut seen) = (Vec::new(), first.to_owned(), BTreeSet::new());
    loop {
        assert!(seen.insert(path.clone()), "{path} comes again");
        let body = console.get(&path, &[]).body;
        let parts = body.split(from).skip(1);
        found.extend(parts.map(|part| part.split(to).next().expect("its end").to_owned()));
        let next = ["Older runs", "Older conflicts", "Next rows"]
            .iter()
            .find_map(|words| body.split(&format!("\">{words}</a>")).next().filter(|before| before.len() < body.len()));
        let Some(before) = next else { return found };
        let address = before.rsplit("href=\"").next().expect("an address");
        path = address.replace("&amp;", "&").replace("&#38;", "&");
    }
}

#[test]
fn a_long_history_is_turned_page_by_page_drawn_and_downloaded_whole() {
    let world = world();
    world.office.execute(
        "insert into sync.run(branch_id, branch, kind, result, pulled_rows, pushed_rows, sent_bytes, received_bytes, started_at, seconds, error)
         select 1, 'north', 'update', case when n % 10 = 0 then 'failed' else 'done' end, n, n / 2, n * 10, n * 20,
                now() - interval '1 hour' * (2300 - n), 1.5, case when n % 10 = 0 then '=cmd|''x'' said \"no\", twice' end
         from generate_series(1, 2300) n",
    );
    let console = Console::start(&world);
    let failed = turn(&console, "/history?branch=north&result=failed", "href=\"/history/", "\"");
    let distinct: BTreeSet<&String> = failed.iter().collect();
    assert_eq!((failed.len(), distinct.len()), (230, 230), "every run once");

    let page = console.get("/history?branch=north", &[]).body;
    let charts: Vec<&str> = page.split("<svg ").skip(1).collect();
    assert_eq!(charts.len(), 4, "rows, bytes, duration, and the age of the data");
    for chart in charts {
        assert!(chart.contains("role=\"img\" aria-label=\"") && chart.contains(" runs: at most "), "{chart}");
    }
    assert!(console.get("/history", &[]).body.contains("Download as CSV"));

    let csv = console.get("/history.csv?branch=north&result=", &[]);
    assert!(csv.headers["content-type"].starts_with("text/csv"), "{csv:?}");
    assert!(csv.headers["content-disposition"].contains("history.csv"));
    let lines: Vec<&str> = csv.body.lines().filter(|line| line.contains(',')).collect();
    assert_eq!(lines.len(), 2301, "a heading and every run, also those behind the first thousand");
    assert!(lines[0].starts_with("number,branch,run,result,started_at,"), "{}", lines[0]);
    assert!(
        lines[1].contains(",north,update,failed,") && lines[1].ends_with("\"'=cmd|'x' said \"\"no\"\", twice\""),
        "{}",
        lines[1]
    );
    assert!(lines[2300].contains(",north,update,done,"), "{}", lines[2300]);
    let failed = console.get("/history.csv?branch=north&result=failed", &[]).body;
    assert_eq!(failed.lines().filter(|line| line.contains(",failed,")).count(), 230);
}

#[test]
fn conflicts_and_rows_in_quarantine_are_turned_page_by_page() {
    let world = world();
    world.clone_all();
    world.office.execute("insert into product select n, 'office' from generate_series(2, 46) n; alter table product add constraint nothing_bad check (name <> 'bad')");
    world.office(&["update", "north"]).succeeded();
    world.office.execute("update product set name = 'office again' where id > 1");
    let shop = &world.shop("north").database;
    shop.execute("update product set name = 'shop' where id > 1; insert into product select n, 'bad' from generate_series(101, 145) n");
    world.office(&["update", "north"]);
    let console = Console::start(&world);
    for (path, from) in [
        ("/conflicts", "<article class=\"card conflict\" id=\"conflict-"),
        ("/quarantine?branch=north", "<article class=\"card conflict\" id=\"row-"),
    ] {
        let numbers = turn(&console, path, from, "\"");
        let distinct: BTreeSet<&String> = numbers.iter().collect();
        assert_eq!((numbers.len(), distinct.len()), (45, 45), "{path}: {numbers:?}");
    }
}

#[test]
fn three_hundred_branches_are_a_light_page() {
    let world = world();
    world.office.execute(
        "insert into sync.peer(name) select 'branch shop-' || n from generate_series(2, 300) n;
         insert into sync.branch_synchronization(branch_id, branch, policy, peer, url)
         select n, 'shop-' || n, (select policy from sync.branch_synchronization limit 1),
                (select peer from sync.peer where name = 'branch shop-' || n), 'http://10.0.0.1:9000'
         from generate_series(2, 300) n;
         insert into sync.run(branch_id, branch, kind, result, started_at, seconds, error)
         select n, 'shop-' || n, 'update', 'unreachable', now() - interval '1 minute' * n, n, 'cannot reach 10.0.0.' || n
         from generate_series(2, 300) n",
    );
    let console = Console::start(&world);
    let light = console.get("/", &[("Accept-Encoding", "gzip")]);
    assert_eq!(light.headers["content-encoding"], "gzip");
    assert!(light.bytes < PAGE_BYTES_MAX, "{} bytes", light.bytes);
    assert_eq!(console.get("/", &[]).body.matches("<article").count(), 300);
}

#[test]
fn link_settings_are_changed_on_the_page_and_a_password_is_not_taken_to_another_address() {
    let world = world();
    let console = Console::start(&world);
    let token = console.token(&[]);
    let url = world.shop("north").url().to_owned();
    let change =
        |fields: &str| console.ask("POST", "/branches/north/settings", &[], &format!("token={token}&{fields}"));
    let setting = |name: &str| {
        world
            .office
            .value(&format!("select settings ->> '{name}' from sync.branch_synchronization where branch = 'north'"))
    };
    let page = console.get("/branches/north", &[]).body;
    assert!(page.contains("Change the link") && page.contains(&url), "{page}");

    let saved = change(&format!(
        "url={url}&user=office&password=a+good+one&rate_limit=3KiB/s&window=22:00-06:00&byte_budget=5MiB/day&alert_after=4h"
    ));
    assert_eq!(saved.status, 303, "{saved:?}");
    assert_eq!(setting("rate_limit").as_deref(), Some("3KiB/s"));
    assert_eq!(setting("alert_after").as_deref(), Some("4h"));
    let file = world.office.value("select password_file from sync.branch_synchronization").expect("a password file");
    assert_eq!(std::fs::read_to_string(&file).expect("the password"), "a good one");
    assert!(!console.get("/branches/north", &[]).body.contains("a good one"), "a password is never shown");

    for (wrong, words) in
        [("rate_limit=fast", "is no rate"), ("window=always", "22:00-06:00"), ("stop_deletes=many", "many")]
    {
        let answer = change(&format!("url={url}&user=office&{wrong}"));
        assert!(answer.status == 400 && answer.body.contains(words), "{wrong}: {answer:?}");
        let typed = wrong.split('=').nth(1).expect("a value");
        assert!(answer.body.contains(&format!("value=\"{typed}\"")), "what was typed is still there");
        assert!(answer.body.contains("role=\"alert\""), "{answer:?}");
    }
    let elsewhere = change("url=http://10.9.9.9:9000&user=office");
    assert!(elsewhere.status == 400 && elsewhere.body.contains("type the password"), "{elsewhere:?}");
    assert_eq!(
        world.office.value("select url from sync.branch_synchronization"),
        Some(url.clone()),
        "nothing is saved"
    );
    assert_eq!(setting("rate_limit").as_deref(), Some("3KiB/s"));
    assert_eq!(change("url=http://10.9.9.9:9000&user=office&password=another+one").status, 303);
    assert_eq!(change(&format!("url={url}&user=")).status, 303);
    assert_eq!(setting("rate_limit"), None, "an empty field takes a setting away");
    assert_eq!(world.office.value("select password_file from sync.branch_synchronization"), None);
    // commands and files of this machine are not for browsers
    assert_eq!(change(&format!("url={url}&link_up=reboot&ca=/etc/passwd&password_file=/etc/shadow")).status, 303);
    assert_eq!(world.office.value("select settings::text from sync.branch_synchronization").as_deref(), Some("{}"));
}
