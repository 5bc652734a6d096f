//! `/healthz`, `/readyz` and `/metrics`.

use std::io::{Read, Write};
use std::net::TcpStream;

use tests::cluster::Cluster;
use tests::kit::{Plan, World};
use tests::wait_for;

/// One GET: status and body.
fn get(address: &str, path: &str, token: Option<&str>) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the monitor listens");
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the request is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn monitor_of(world: &mut World, name: &str) -> String {
    let agent = world.shop_mut(name).agent();
    let line = agent.wait_for_line("monitor on http://", |line| line.contains("monitor on http://"));
    line.split_once("http://").map(|(_, address)| address.trim().to_owned()).unwrap_or_default()
}

#[test]
fn a_database_that_is_away_makes_the_agent_unready_but_not_unhealthy() {
    let (office, shops) = (Cluster::start(true), Cluster::start(true));
    let mut world = World::in_clusters(&office, &shops, &Plan::with_branches(&["north"]));
    let north = world.shop_mut("north");
    north.stop_agent();
    north.start_with(&["--monitor", "127.0.0.1:0"]);
    let address = monitor_of(&mut world, "north");

    assert_eq!(get(&address, "/healthz", None), (200, "ok\n".to_owned()));
    assert_eq!(get(&address, "/readyz", None), (200, "ok\n".to_owned()));
    shops.kill();
    wait_for::condition("the agent to say that it is not ready", || get(&address, "/readyz", None).0 == 503);
    assert_eq!(get(&address, "/healthz", None).0, 200, "a new start would not bring the database back");
    let (status, metrics) = get(&address, "/metrics", None);
    assert_eq!(status, 200, "figures are given as far as there are any");
    assert!(metrics.contains("\nshop_agent_ready 0"), "{metrics}");
    shops.restart();
    wait_for::condition("the agent to be ready by itself", || get(&address, "/readyz", None).0 == 200);
}

#[test]
fn figures_tell_what_was_called_and_when_the_office_was_last_there() {
    let mut world = World::new(&Plan::with_branches(&["north"]));
    let north = world.shop_mut("north");
    north.stop_agent();
    north.start_with(&["--monitor", "127.0.0.1:0"]);
    let address = monitor_of(&mut world, "north");
    let before = get(&address, "/metrics", None).1;
    assert!(!before.contains(r#"method="clean""#) && !before.contains("office_contact_seconds{"), "{before}");

    world.enrol();
    world.clone_all();
    world.office(&["update", "north"]).succeeded();

    let metrics = get(&address, "/metrics", None).1;
    for line in [
        r#"shop_agent_info{version="#,
        r#"shop_agent_calls_total{method="clean",result="done"} 1"#,
        r#"shop_agent_office_contact_seconds{office="default"} "#,
        "\nshop_agent_change_log_bytes ",
        "shop_agent_disk_free_bytes ",
        "\nshop_agent_ready 1",
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
    let (_, at) = metrics.split_once(r#"contact_seconds{office="default"} "#).expect("the line is there");
    let at: f64 = at.lines().next().and_then(|value| value.parse().ok()).expect("a number");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!((now - 3600.0..=now + 60.0).contains(&at), "{at} is not about {now}");
    assert_eq!(get(&address, "/RPC2", None).0, 404, "the office's calls are not answered here");
}

#[test]
fn beyond_loopback_the_monitor_wants_a_token() {
    let mut world = World::new(&Plan::with_branches(&["north"]));
    let north = world.shop_mut("north");
    north.stop_agent();
    let refused = north.run("check", &["--monitor", "0.0.0.0:0"]);
    assert!(refused.stdout.contains("monitor_token_file"), "{}", refused.stdout);
    assert_eq!(refused.code, Some(1));

    let token = world.dir().join("token");
    std::fs::write(&token, "0123456789abcdef0123\n").expect("a file");
    let path = token.to_str().expect("UTF-8").to_owned();
    world.shop_mut("north").start_with(&["--monitor", "0.0.0.0:0", "--monitor-token-file", &path]);
    let port = monitor_of(&mut world, "north").rsplit(':').next().unwrap_or_default().to_owned();
    let address = format!("127.0.0.1:{port}");
    for path in ["/healthz", "/readyz", "/metrics", "/other"] {
        assert_eq!(get(&address, path, None).0, 401, "{path} without the token");
        assert_eq!(get(&address, path, Some("0123456789abcdef0124")).0, 401, "{path} with another");
    }
    assert_eq!(get(&address, "/metrics", Some("0123456789abcdef0123")).0, 200);
}
