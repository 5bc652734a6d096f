//! A shop that is attacked: its agent with two credentials, what it looked like before, and whether it stood.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use protocol::fault::Fault;
use protocol::xmlrpc::{Base64Encoder, Limits, Value, parse_response, write_call};
use tests::database::Database;
use tests::kit::{Plan, World};

/// Most memory the agent may ever have had, in KiB: a bound that is promised, not a speed.
pub(crate) const MEMORY_KIB_MAX: u64 = 64 << 10;

/// What must show nowhere.
pub(crate) const PASSWORD: &str = "CANARY-s3cret:with colon";

const SCHEMA: &str = "
create table product (id bigint primary key, name text not null);
create table sale (id bigserial primary key, note text);
create table till (id int primary key, cash numeric);
";

const POLICY: &str = "name = \"p\"\n[tables]\nproduct = \"from-source\"\nsale = \"from-target\"\ntill = \"local\"\n";

/// A shop under attack.
pub(crate) struct Besieged {
    pub(crate) world: World,
    pub(crate) password_file: PathBuf,
    before: Vec<Option<String>>,
}

/// Whose words a request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    /// The honest office.
    Office,
    /// Another office with a credential of its own.
    Other,
    /// Nobody: no header.
    Nobody,
    /// The office's user with a wrong password.
    WrongPassword,
    /// A user that does not exist.
    Unknown,
}

impl As {
    /// The header, with its line end.
    pub(crate) fn header(self) -> String {
        let basic = |pair: String| format!("Authorization: Basic {}\r\n", base64(pair.as_bytes()));
        match self {
            Self::Office => basic(format!("ana:{PASSWORD}")),
            Self::Other => basic("eve:other".to_owned()),
            Self::Nobody => String::new(),
            Self::WrongPassword => basic("ana:wrong".to_owned()),
            Self::Unknown => basic("nobody:wrong".to_owned()),
        }
    }
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    let mut encoder = Base64Encoder::new();
    encoder.push(bytes, &mut text);
    encoder.finish(&mut text);
    String::from_utf8(text).expect("base64 is ASCII")
}

/// An answer, as far as one came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        Self { status: status.unwrap_or(0), text }
    }

    /// The fault in it, if it is one.
    pub(crate) fn fault(&self) -> Option<Fault> {
        let (_, body) = self.text.split_once("\r\n\r\n")?;
        parse_response(body.as_bytes(), &Limits::default()).ok()?.err()
    }
}

impl Besieged {
    /// A shop with something in it, whose agent lets in the users `ana` of office `centre` and `eve` of `elsewhere`.
    pub(crate) fn new() -> Self {
        let mut world = World::new(&Plan::of(SCHEMA, POLICY, "insert into product values (1, 'bolt');"));
        let shop = &mut world.shops[0];
        shop.stop_agent();
        shop.database.execute("insert into product values (1, 'bolt'); insert into till values (1, 100)");
        let password_file = shop.add_user("ana", "centre", PASSWORD);
        shop.add_user("eve", "elsewhere", "other");
        shop.start_guarded(&[]);
        let mut besieged = Self { world, password_file, before: Vec::new() };
        besieged.serves();
        besieged.call(As::Other, "get_station_name", &[]).expect("the other office");
        besieged.before = besieged.state();
        besieged
    }

    /// Gives the shop more to be asked about.
    pub(crate) fn fill(&mut self, sql: &str) {
        self.shop().execute(sql);
        self.before = self.state();
    }

    pub(crate) fn shop(&self) -> &Database {
        &self.world.shops[0].database
    }

    pub(crate) fn address(&self) -> String {
        self.world.shops[0].url().trim_start_matches("http://").to_owned()
    }

    /// Rows, catalogue and roles.
    fn state(&self) -> Vec<Option<String>> {
        let queries = [
            "select * from product",
            "select * from sale",
            "select * from till",
            "select relname, relacl::text, relowner from pg_class where relname !~ '^pg_toast'",
            "select proname, md5(prosrc) from pg_proc",
            "select rolname, rolsuper from pg_roles where rolsuper or rolcanlogin or rolcreaterole or rolcreatedb",
            "select nspname, nspacl::text from pg_namespace where nspname !~ '^pg_(toast_)?temp'",
        ];
        let digest = |query: &str| {
            let sql =
                format!("select md5(string_agg(r::text, E'\\n' order by r::text collate \"C\")) from ({query}) r");
            self.shop().value(&sql)
        };
        queries.iter().map(|query| digest(query)).collect()
    }

    /// A call of the honest office is answered.
    pub(crate) fn serves(&self) {
        let answer = self.ask(As::Office, &write_call("get_station_name", &[]).expect("a call"));
        assert!(answer.status == 200 && answer.text.contains("north"), "the honest office got {answer:?}");
    }

    /// Sends a body as XML.
    pub(crate) fn ask(&self, who: As, body: &[u8]) -> Answer {
        let head = format!(
            "POST /RPC2 HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n{}Content-Length: {}\r\nConnection: close\r\n\r\n",
            who.header(),
            body.len()
        );
        Answer::of(&self.raw(&[head.as_bytes(), body].concat()))
    }

    /// Makes a call.
    pub(crate) fn call(&self, who: As, method: &str, params: &[Value]) -> Result<Value, Fault> {
        let answer = self.ask(who, &write_call(method, params).expect("a call"));
        assert_eq!(answer.status, 200, "{}", answer.text);
        let (_, body) = answer.text.split_once("\r\n\r\n").expect("a head");
        parse_response(body.as_bytes(), &Limits::default()).expect("an answer")
    }

    /// Sends bytes, and gives what comes until the agent closes the connection.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address()).expect("the agent");
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout");
        // an agent that has heard enough closes before everything is said
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            answer.extend_from_slice(&buffer[..count]);
        }
        answer
    }

    /// Most memory the agent has ever had.
    pub(crate) fn memory_kib(&mut self) -> u64 {
        memory_kib(self.world.shops[0].agent().pid()).expect("the agent runs")
    }

    /// The agent stood: it serves, its memory was bounded, it told no secret and did not panic, and nothing has changed.
    pub(crate) fn stood(mut self) {
        self.serves();
        let memory = self.memory_kib();
        assert!(memory < MEMORY_KIB_MAX, "the agent took {memory} KiB");
        println!("most memory of the agent: {memory} KiB");
        assert_eq!(self.state(), self.before, "the database has changed");
        let log = self.world.shops[0].agent().stderr();
        for secret in ["CANARY", &base64(format!("ana:{PASSWORD}").as_bytes())] {
            assert!(!log.contains(secret), "the log tells {secret}:\n{log}");
        }
        assert!(!log.contains("panicked"), "{log}");
        self.world.shops[0].stop_agent();
    }
}

/// Most memory a process has had, as long as it runs.
pub(crate) fn memory_kib(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
