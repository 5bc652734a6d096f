//! A running console, and requests to it byte by byte.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tests::kit::World;
use tests::process::Process;

/// A password that is long enough.
pub(crate) const PASSWORD: &str = "correct horse";

/// A console that runs until it is dropped.
pub(crate) struct Console {
    pub(crate) process: Process,
    pub(crate) url: String,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// By name, in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
    /// Of head and body together, as they came.
    pub(crate) bytes: usize,
}

/// Lets somebody log in, with [`PASSWORD`].
pub(crate) fn add_user(world: &World, name: &str, role: &str) {
    let file = world.dir().join("console-password");
    fs::write(&file, PASSWORD).expect("a password file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a private file");
    let file = file.display().to_string();
    world.office(&["console", "user", "add", name, "--role", role, "--password-file", &file]).succeeded();
}

impl Console {
    /// Starts it on a free port of this machine.
    pub(crate) fn start(world: &World) -> Self {
        let mut process = world.start_office(&["console", "--listen", "127.0.0.1:0"]);
        let url = process.url();
        Self { process, url }
    }

    /// One request with these header lines; `Host` is its address unless they name one.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let address = self.url.strip_prefix("http://").expect("plain HTTP");
        let mut stream = TcpStream::connect(address).expect("the console listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request.push_str(&format!("Host: {address}\r\n"));
        }
        if method == "POST" && !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request.push_str("Content-Type: application/x-www-form-urlencoded\r\n");
        }
        headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
        request.push_str("\r\n");
        request.push_str(body);
        stream.write_all(request.as_bytes()).expect("the request is taken");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer");
        Answer { bytes: bytes.len(), ..Answer::parse(&String::from_utf8_lossy(&bytes)) }
    }

    /// One request for a page.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, headers, "")
    }

    /// Logs somebody in; returns the cookie.
    pub(crate) fn log_in(&self, user: &str) -> String {
        let answer = self.ask("POST", "/login", &[], &format!("user={user}&password={}", PASSWORD.replace(' ', "+")));
        assert_eq!(answer.status, 303, "{answer:?}");
        answer.headers["set-cookie"].split(';').next().expect("a cookie").to_owned()
    }

    /// The token that the forms of this visitor carry.
    pub(crate) fn token(&self, headers: &[(&str, &str)]) -> String {
        let page = self.get("/", headers).body;
        let at = page.find("name=\"token\" value=\"").expect("a form") + "name=\"token\" value=\"".len();
        page[at..].split('"').next().expect("a token").to_owned()
    }
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self { status: status.unwrap_or(0), headers, body: body.to_owned(), bytes: 0 }
    }
}
