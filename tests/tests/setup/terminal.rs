//! The same with somebody at a terminal, who types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tests::cluster;
use tests::wait_for;

use crate::flags::{Machine, line_with};

/// A program with a terminal around it.
struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<String>>,
    answered: usize,
}

impl Terminal {
    fn open(command: &mut Command) -> Self {
        let pair = nix::pty::openpty(None, None).expect("a pseudo-terminal");
        let end = || Stdio::from(pair.slave.try_clone().expect("a descriptor"));
        command.stdin(end()).stdout(end()).stderr(end());
        // SAFETY: setsid and ioctl are async-signal-safe, and nothing is allocated between fork and exec
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let child = command.spawn().expect("the program starts");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        drop(pair.slave);
        let keyboard = File::from(pair.master.try_clone().expect("a descriptor"));
        let mut screen = File::from(pair.master);
        let shown = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // the end of the program is an error of the terminal
            while let Ok(length @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]).replace('\r', "");
                into.lock().expect("no reader panics").push_str(&text);
            }
        });
        Self { child, keyboard, shown, answered: 0 }
    }

    fn text(&self) -> String {
        self.shown.lock().expect("no reader panics").clone()
    }

    /// Waits for the question, and types the answer.
    fn answer(&mut self, question: &str, answer: &str) {
        let child = &mut self.child;
        let (shown, from) = (&self.shown, self.answered);
        wait_for::condition(&format!("the question {question:?}"), || {
            // what was said last is still on its way to the screen when the program has ended
            let has_ended = child.try_wait().is_ok_and(|status| status.is_some());
            let text = shown.lock().expect("no reader panics").clone();
            assert!(!has_ended || text[from..].contains(question), "it ended before {question:?}:\n{text}");
            text[from..].contains(question)
        });
        let text = self.text();
        self.answered += text[self.answered..].find(question).map_or(0, |at| at + question.len());
        // the whole of the question, so that the terminal is as the program wants it
        wait_for::condition("its end", || self.text()[self.answered..].contains(": "));
        self.keyboard.write_all(format!("{answer}\n").as_bytes()).expect("typed");
    }

    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().expect("its end");
        std::thread::sleep(std::time::Duration::from_millis(50)); // what is still on its way to the screen
        (status.code(), self.text())
    }
}

#[test]
fn a_shop_is_set_up_by_answers_typed_at_a_terminal_and_no_password_is_shown() {
    let machine = Machine::new();
    let shop = cluster::shared().database("shop");
    shop.load(fixtures::SCHEMA);
    let mut terminal = Terminal::open(&mut machine.shell("exec shop-agent setup --config shop.toml --state-dir s"));
    terminal.answer("Name of this branch", "two words");
    terminal.answer("a name has letters", "lisbon");
    terminal.answer("Database of this shop", shop.url());
    terminal.answer("Policy", "no-such-policy");
    terminal.answer("neither a file nor a preset", "./retail.toml");
    terminal.answer("Address to listen on", "");
    terminal.answer("Certificate, PEM", "");
    terminal.answer("Where the office reaches", "https://lisbon.example:9000");
    terminal.answer("Name under which the office logs in", "centre");
    terminal.answer("Its password", "correct horse");
    terminal.answer("Again", "correct horsf");
    terminal.answer("Its password", "correct horse");
    terminal.answer("Again", "correct horse");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains("correct hors"), "what is typed as a password is not shown\n{text}");
    assert!(text.contains("the two passwords differ"), "{text}");

    let add = line_with(&text, "office-client branch add lisbon");
    assert!(add.contains("--url https://lisbon.example:9000") && add.contains("--user centre"), "{add}");
    let pinned = add.split("--fingerprint ").nth(1).expect("a fingerprint").replace(':', "");
    let read_out: String = text
        .lines()
        .skip_while(|line| !line.starts_with("Fingerprint"))
        .skip(2)
        .take(4)
        .flat_map(|line| line.split_whitespace())
        .collect();
    assert_eq!(read_out, pinned, "the groups to be read out are the fingerprint\n{text}");
    // the typed password is the one that counts
    let users = std::fs::read_to_string(machine.at("s/users.json")).expect("a credential");
    assert!(users.contains("\"centre\"") && !users.contains("correct"), "{users}");
    let configuration = std::fs::read_to_string(machine.at("shop.toml")).expect("a configuration");
    assert!(configuration.contains("\nlisten = \"0.0.0.0:9000\"\n"), "{configuration}");
}

#[test]
fn an_office_is_set_up_by_answers_typed_at_a_terminal() {
    let machine = Machine::new();
    let office = cluster::shared().database("office");
    let mut terminal = Terminal::open(
        &mut machine
            .shell("exec office-client --config office.toml --state-dir o setup --schema retail.sql --tls-self-signed"),
    );
    terminal.answer("The office's database", "postgresql://");
    // that is a URL as well: the one of the environment. Nothing listens there, and check says so
    terminal.answer("Policy", "./retail.toml");
    terminal.answer("Where the web console listens", "nowhere");
    terminal.answer("write it as in", "0.0.0.0:8900");
    terminal.answer("Who may log in", "ana");
    terminal.answer("password for `ana`", "");
    let (code, text) = terminal.end();
    assert_ne!(code, Some(0), "{text}");
    assert!(text.contains("the office's database"), "{text}");

    let mut terminal = Terminal::open(&mut machine.shell(&format!(
        "exec office-client --config office.toml --database '{}' --state-dir o setup --schema retail.sql --tls-self-signed --force",
        office.url()
    )));
    terminal.answer("Policy", "./retail.toml");
    terminal.answer("Where the web console listens", "0.0.0.0:8900");
    terminal.answer("Who may log in", "ana");
    terminal.answer("password for `ana`", "");
    let (code, text) = terminal.end();
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("Password of ana at the console (shown this once)"), "{text}");
    assert!(text.contains("ok    console: 0.0.0.0:8900, a certificate of its own, 1 users"), "{text}");
    assert_eq!(office.int("select count(*) from information_schema.tables where table_name = 'product'"), 1);
}
