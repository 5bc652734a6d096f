//! Bad input of every kind gets the fault that the protocol names, says what happened without a value of a row in it, and
//! changes nothing.

#[path = "bad_input/cases.rs"]
mod cases;
#[path = "bad_input/wire.rs"]
mod wire;

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;
use protocol::fault::Fault;
use protocol::xmlrpc::{Value, write_call};
use tests::database::Database;
use tests::kit::{Plan, World};

use cases::{CANARIES, Chunk, Expected, Request};
use wire::{Answer, http, post};

const SCHEMA: &str = "
create table kind (id int primary key, name varchar(10) not null unique);
create table item (
    id bigint primary key, kind_id int not null references kind, label varchar(12) not null, amount numeric(6,2) check (amount >= 0),
    born date, state boolean, twice numeric generated always as (amount * 2) stored);
create table receipt (id bigserial primary key, note text);
create table till (id int primary key, cash numeric);
create table pair (a int, b int, note text, primary key (a, b));
create table heap (line text);
create table \"Odd Name\" (\"Id\" int primary key, \"select\" text);
create function shout() returns trigger language plpgsql as $$ begin raise exception 'refused: %', new.note; end $$;
create trigger shouts before insert on pair for each row when (new.a = 13) execute function shout();
";

const POLICY: &str = r#"
name = "p"
[tables]
kind = "from-source"
item = "from-source"
heap = "from-source"
"Odd Name" = "from-source"
pair = "both"
receipt = "from-target"
till = "local"
[table.pair]
triggers = "fire"
"#;

const ROWS: &str = "
insert into kind values (1, 'old'), (2, 'used');
insert into item values (1, 1, 'first', 1.00, '2020-01-01', true), (2, 1, 'second', 2.00, null, null);
insert into receipt (note) values ('mine');
insert into till values (1, 100);
insert into pair values (1, 1, 'x');
insert into heap values ('line');
insert into \"Odd Name\" values (1, 'odd');
";

/// Everything that must stay as it is: rows, catalogue, roles, sequences, what the product knows about tables and ids.
fn digests(database: &Database) -> Vec<(String, Option<String>)> {
    let rows = ["kind", "item", "receipt", "till", "pair", "heap", "\"Odd Name\"", "sync.captured_table"];
    let catalogue = [
        // how often it was in contact, and what has been pruned, grows with time
        "select to_jsonb(node) - 'mark' - 'pruned_below' from sync.node",
        "select relname, relnamespace::regnamespace::text, relkind, reloptions::text, relacl::text, relrowsecurity from pg_class",
        "select attrelid, attname, atttypid, attnotnull, attisdropped from pg_attribute",
        "select conname, conrelid, contype, convalidated from pg_constraint",
        "select tgname, tgrelid, tgenabled from pg_trigger",
        "select proname, pronamespace, proowner, md5(prosrc) from pg_proc",
        "select nspname, nspacl::text from pg_namespace",
        "select rolname, rolsuper, rolcanlogin from pg_roles",
        "select typname, typnamespace from pg_type",
        "select schemaname, sequencename, last_value from pg_sequences where schemaname <> 'sync'",
        "select setdatabase, setrole, setconfig::text from pg_db_role_setting",
        "select extname from pg_extension",
    ];
    let own = rows.iter().map(|table| format!("select * from {table}"));
    let queries: Vec<String> = own.chain(catalogue.iter().map(|query| (*query).to_owned())).collect();
    let digest =
        |query| format!("select md5(string_agg(r::text, E'\\n' order by r::text collate \"C\")) from ({query}) r;");
    let values = database.rows(&queries.iter().map(digest).collect::<String>());
    assert_eq!(values.len(), queries.len());
    queries.into_iter().zip(values.into_iter().map(|mut row| row.swap_remove(0))).collect()
}

/// One world for all cases, and what it looked like at first.
struct Bench {
    world: World,
    before: Vec<(String, Option<String>)>,
    changes: Vec<u8>,
    marker: std::path::PathBuf,
}

impl Bench {
    fn new() -> Self {
        let world = World::new(&Plan::of(SCHEMA, POLICY, ""));
        world.shops[0].database.execute(ROWS);
        let marker = world.dir().join("marker");
        let mut bench = Self { world, before: Vec::new(), changes: Vec::new(), marker };
        bench.changes = bench.diff();
        bench.before = digests(&bench.world.shops[0].database);
        bench
    }

    fn url(&self) -> &str {
        self.world.shops[0].url()
    }

    fn call(&self, method: &str, params: &[Value]) -> Result<Value, Fault> {
        let body = write_call(method, params).expect("a call");
        post(self.url(), "/RPC2", &body).value()
    }

    /// What `diff(0)` gives, without its watermark.
    fn diff(&self) -> Vec<u8> {
        let answer = self.call("diff", &[Value::Int(0)]).expect("a diff");
        let mut text = Vec::new();
        let packed = answer.as_bytes().expect("the receipt that was made here");
        std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(packed), &mut text).expect("gzip");
        let line = text.windows(14).rposition(|window| window == b"-- watermark: ").expect("a watermark");
        text.truncate(line);
        text
    }

    fn session(&self) -> i32 {
        let sid = self.call("sql_prepare", &[]).expect("a session");
        i32::try_from(sid.as_long().expect("a number")).expect("31 bits")
    }

    fn create(&self, sid: i32, data: Vec<u8>, seq: Option<i32>) -> Result<Value, Fault> {
        let mut params = vec![Value::Int(sid), Value::from(data)];
        params.extend(seq.map(Value::Int));
        self.call("sql_create", &params)
    }

    /// Sends chunks and finishes; the first fault, which must be the session's for good.
    fn apply(&self, name: &str, chunks: &[Chunk]) -> Answer {
        let sid = self.session();
        for chunk in chunks {
            let (data, seq) = match chunk {
                Chunk::Bytes(bytes) => (bytes.clone(), None),
                Chunk::Numbered(seq, bytes) => (bytes.clone(), Some(*seq)),
            };
            if let Err(fault) = self.create(sid, data, seq) {
                // it stays open or not; nothing of it may be applied by the next case
                let _ = self.call("sql_abort", &[Value::Int(sid)]);
                return Answer::Fault(fault);
            }
        }
        let finish = || self.call("sql_finish", &[Value::Int(sid)]);
        let first = finish();
        let again = finish();
        match (first, again) {
            (Err(first), Err(again)) => {
                assert_eq!(first, again, "{name}: sql_finish says something else the second time");
                let late = self.create(sid, gzip(b"BEGIN;COMMIT;"), None).expect_err("a session that is over");
                assert_eq!(late.code, 17, "{name}: a chunk after the end: {late}");
                assert_eq!(self.told(&late.message), None, "{name}: {late}");
                Answer::Fault(first)
            }
            (first, _) => panic!("{name}: was accepted: {first:?}"),
        }
    }

    fn ask(&self, name: &str, request: &Request) -> Answer {
        match request {
            Request::Sql(sql) => {
                let sql = sql.replace("MARKER", &self.marker.to_string_lossy());
                self.apply(name, &[Chunk::Bytes(gzip(sql.as_bytes()))])
            }
            Request::Chunks(chunks) => self.apply(name, chunks),
            Request::Xml(xml) => {
                let sid = self.session();
                let answer = post(self.url(), "/RPC2", &replace(xml, b"{sid}", sid.to_string().as_bytes())).answer();
                self.call("sql_abort", &[Value::Int(sid)]).unwrap_or_else(|fault| panic!("{name}: {fault}"));
                answer
            }
            Request::Http(text) => http(self.url(), text).answer(),
            Request::Finished(method, finished) => {
                let sid = self.session();
                self.create(sid, gzip(b"BEGIN;COMMIT;"), None).expect("an empty script");
                self.call(finished, &[Value::Int(sid)]).expect("an end");
                let params = match *method {
                    "sql_create" => vec![Value::Int(sid), Value::from(gzip(b"BEGIN;"))],
                    _ => vec![Value::Int(sid)],
                };
                self.call(method, &params).map_or_else(Answer::Fault, |value| panic!("{name}: accepted: {value:?}"))
            }
        }
    }

    /// A fault must not tell what rows hold, where files are or who is let in.
    fn told(&self, message: &str) -> Option<String> {
        let dir = self.world.dir().to_string_lossy().into_owned();
        let mut secrets: Vec<&str> = CANARIES.to_vec();
        secrets.extend([dir.as_str(), "/tmp/", "/etc/", self.world.shops[0].database.url()]);
        secrets.into_iter().find(|secret| message.contains(secret)).map(str::to_owned)
    }

    fn nothing_changed(&self, name: &str) {
        let after = digests(&self.world.shops[0].database);
        for ((query, before), (_, after)) in self.before.iter().zip(&after) {
            assert_eq!(before, after, "{name} changed: {query}");
        }
        assert!(!self.marker.exists(), "{name} ran a program or wrote a file");
    }
}

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    match text.windows(from.len()).position(|window| window == from) {
        Some(at) => [&text[..at], to, &text[at + from.len()..]].concat(),
        None => text.to_vec(),
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(data).expect("memory");
    packer.finish().expect("memory")
}

/// The roles of the cluster are compared, so that meanwhile nobody else may make any.
static ROLES: Mutex<()> = Mutex::new(());

#[test]
fn bad_input_gets_the_fault_of_the_protocol_and_changes_nothing() {
    let _roles = ROLES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bench = Bench::new();
    let all = cases::all();
    let mut wrong = Vec::new();
    for case in &all {
        let answer = bench.ask(case.name, &case.request);
        match (&answer, &case.expected) {
            (Answer::Fault(fault), Expected::Fault(code, words)) => {
                if fault.code != code.code() {
                    wrong.push(format!("{}: wanted {} ({}), got {fault}", case.name, code.code(), code.name()));
                }
                for word in words.iter().filter(|word| !fault.message.contains(**word)) {
                    wrong.push(format!("{}: the fault does not say {word:?}: {}", case.name, fault.message));
                }
                wrong
                    .extend(bench.told(&fault.message).map(|secret| format!("{}: tells {secret}: {fault}", case.name)));
            }
            (Answer::Fault(fault), Expected::OneOf(codes)) => {
                if codes.iter().all(|code| fault.code != code.code()) {
                    wrong.push(format!("{}: wanted one of {codes:?}, got {fault}", case.name));
                }
                wrong.extend(bench.told(&fault.message).map(|secret| format!("{}: tells {secret}", case.name)));
            }
            (Answer::Http(status, text), Expected::Http(wanted, words)) => {
                if status != wanted || words.iter().any(|word| !text.to_lowercase().contains(word)) {
                    wrong.push(format!("{}: wanted {wanted} {words:?}, got {text}", case.name));
                }
            }
            (answer, expected) => wrong.push(format!("{}: wanted {expected:?}, got {answer:?}", case.name)),
        }
        bench.nothing_changed(case.name);
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n  {}", wrong.len(), all.len(), wrong.join("\n  "));
    println!("{} cases", all.len());

    // nothing of it is sent to the office as a change of the shop, and the agent works as before
    assert_eq!(String::from_utf8_lossy(&bench.diff()), String::from_utf8_lossy(&bench.changes));
    let sid = bench.session();
    let sql = b"BEGIN; INSERT INTO item (id, kind_id, label) VALUES (3, 2, 'third'); DELETE FROM kind WHERE id IN (7); COMMIT;";
    bench.create(sid, gzip(sql), None).expect("a chunk");
    bench.call("sql_finish", &[Value::Int(sid)]).expect("good SQL");
    assert_eq!(bench.world.shops[0].database.value("select label from item where id = 3").as_deref(), Some("third"));
    let log = bench.world.shops[0].agent().stderr();
    for canary in CANARIES {
        assert!(!log.contains(canary), "the agent's log tells {canary}:\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
    bench.world.shops[0].stop_agent();
}

#[test]
fn a_gap_leaves_the_session_as_it_was_and_a_numbered_repeat_is_no_copy() {
    let _roles = ROLES.lock().unwrap_or_else(PoisonError::into_inner);
    let bench = Bench::new();
    let sid = bench.session();
    let sql = gzip(b"BEGIN; INSERT INTO item (id, kind_id, label) VALUES (3, 2, 'third'); COMMIT;");
    let (first, rest) = sql.split_at(20);
    bench.create(sid, first.to_vec(), Some(0)).expect("the first");
    assert_eq!(bench.create(sid, rest.to_vec(), Some(2)).expect_err("a gap").code, 4);
    bench.create(sid, first.to_vec(), Some(0)).expect("a repeat");
    bench.create(sid, rest.to_vec(), Some(1)).expect("the next");
    bench.create(sid, rest.to_vec(), Some(1)).expect("a repeat");
    bench.nothing_changed("before sql_finish");
    bench.call("sql_finish", &[Value::Int(sid)]).expect("whole");
    bench.call("sql_finish", &[Value::Int(sid)]).expect("whole still");
    assert_eq!(bench.world.shops[0].database.int("select count(*) from item where id = 3"), 1);
}
