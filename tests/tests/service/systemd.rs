//! The words exchanged with systemd, with a socket of our own in its place.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tests::kit::{Plan, World};
use tests::process::Process;
use tests::wait_for;

/// What a service manager hears.
struct Manager {
    heard: Arc<Mutex<Vec<String>>>,
    path: std::path::PathBuf,
}

impl Manager {
    fn listen(dir: &std::path::Path) -> Self {
        let path = dir.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut message = [0; 4096];
            while let Ok(length) = socket.recv(&mut message) {
                let text = String::from_utf8_lossy(&message[..length]).into_owned();
                into.lock().expect("no listener panics").push(text);
            }
        });
        Self { heard, path }
    }

    fn all(&self) -> String {
        self.heard.lock().expect("no listener panics").concat()
    }
}

#[test]
fn systemd_hears_readiness_signs_of_life_and_the_end() {
    let mut world = World::new(&Plan::with_branches(&["north"]));
    let manager = Manager::listen(world.dir());
    let path = manager.path.to_str().expect("UTF-8").to_owned();
    let north = world.shop_mut("north");
    north.stop_agent();
    assert_eq!(manager.all(), "");
    north.start_in(&[], &[("NOTIFY_SOCKET", &path), ("WATCHDOG_USEC", "200000")]);
    wait_for::condition("READY=1", || manager.all().contains("READY=1\n"));
    assert!(manager.all().contains("STATUS=branch north, listening on 127.0.0.1:"), "{}", manager.all());
    wait_for::condition("three signs of life", || manager.all().matches("WATCHDOG=1").count() >= 3);
    wait_for::condition("a line on where things stand", || manager.all().contains("the office has not asked yet"));
    north.stop_agent();
    wait_for::condition("STOPPING=1", || manager.all().contains("STOPPING=1\n"));
}

#[test]
fn a_socket_that_systemd_opened_is_used_and_calls_that_came_before_are_answered() {
    let mut world = World::new(&Plan::with_branches(&["north"]));
    let north = world.shop_mut("north");
    north.stop_agent();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    // somebody calls before the agent runs: the socket takes the connection, the agent answers it
    let early = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(address).expect("the socket is open");
        stream.set_read_timeout(Some(wait_for::BOUND)).expect("a timeout");
        let body = "<methodCall><methodName>system.listMethods</methodName></methodCall>";
        let request = format!(
            "POST /RPC2 HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("the request is taken");
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).expect("an answer");
        answer
    });
    std::thread::sleep(Duration::from_millis(1)); // only makes it likelier that the call comes first

    let agent = north.command("run");
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" "$@""#]);
    command.arg(agent.get_program()).args(agent.get_args()).arg("--no-auth").args(["--listen", "127.0.0.1:1"]);
    for (name, value) in agent.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    let mut agent = Process::spawn(&mut command);
    assert_eq!(agent.url(), format!("http://{address}"), "the socket goes before --listen");
    assert!(early.join().expect("the caller").contains("sql_prepare"));
    assert!(agent.terminate().success());
}
