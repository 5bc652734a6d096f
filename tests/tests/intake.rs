//! A clone is taken in while it arrives, in a transaction that can be thrown away: whatever happens on the way, the shop
//! has all of it after the finish, and nothing before; and its tables do not wait for the line.

#[path = "bad_input/wire.rs"]
#[allow(dead_code, reason = "shared with bad_input, which needs more of it")]
mod wire;

use protocol::chunk::ChunkWriter;
use protocol::fault::{Fault, FaultCode};
use protocol::xmlrpc::{Value, write_call};
use tests::kit::{Plan, World};
use tests::wait_for;

const SCHEMA: &str = "
create table product(id bigint primary key, name text not null unique);
create table price(id bigint primary key, product_id bigint not null references product, amount numeric(10,2) not null check (amount >= 0));
";
const POLICY: &str = "name = \"p\"\n[tables]\nproduct = \"from-source\"\nprice = \"from-source\"\n";

/// Rows in the tables; none where they are locked.
const ROWS: &str = "select (select count(*) from product) + (select count(*) from price)";

struct Till {
    world: World,
    sid: Value,
}

impl Till {
    /// A shop with a session for a clone.
    fn new() -> Self {
        let world = World::new(&Plan::of(SCHEMA, POLICY, ""));
        let mut till = Self { world, sid: Value::Nil };
        till.sid = till.call("sql_prepare", &[kind_clone()]).expect("a session");
        till
    }

    fn call(&self, method: &str, params: &[Value]) -> Result<Value, Fault> {
        wire::post(self.world.shops[0].url(), "/RPC2", &write_call(method, params).expect("a call")).value()
    }

    fn send(&self, seq: i32, data: &[u8]) {
        let chunk = [self.sid.clone(), Value::from(data), Value::Int(seq)];
        self.call("sql_create", &chunk).unwrap_or_else(|fault| panic!("chunk {seq}: {fault}"));
    }

    fn finish(&self) -> Result<Value, Fault> {
        self.call("sql_finish", std::slice::from_ref(&self.sid))
    }

    /// What a till sees of the tables, if it does not want to wait.
    fn rows(&self) -> Option<i64> {
        let looked = self.world.shops[0].database.try_rows(&format!("set lock_timeout = '50ms'; {ROWS}"));
        match looked {
            Ok(rows) => rows.last().and_then(|row| row[0].as_deref()).and_then(|count| count.parse().ok()),
            Err(error) => {
                assert_eq!(error.code().map(|code| code.code()), Some("55P03"), "{error}");
                None
            }
        }
    }

    /// Waits until the clone is being taken in.
    fn is_taken_in(&self) {
        wait_for::condition("the tables are locked", || self.rows().is_none());
    }
}

/// 300 products with a price each; the prices refer to the products.
fn script(prices: &str) -> Vec<u8> {
    let mut sql = String::from("BEGIN;\nCOPY \"public\".\"product\" (\"id\", \"name\") FROM stdin;\n");
    for id in 1..=300 {
        sql += &format!("{id}\tproduct {id}\n");
    }
    sql += "\\.\nCOPY \"public\".\"price\" (\"id\", \"product_id\", \"amount\") FROM stdin;\n";
    for id in 1..=300 {
        sql += &format!("{id}\t{id}\t{}\n", prices.replace("ID", &id.to_string()));
    }
    sql += "\\.\nCOMMIT;\n";
    sql.into_bytes()
}

/// As the office does it: a gzip of several members, cut anywhere.
fn chunks(script: &[u8]) -> Vec<Vec<u8>> {
    let mut writer = ChunkWriter::new(Vec::new(), 512, 1);
    std::io::Write::write_all(&mut writer, script).expect("memory");
    let (packed, _) = writer.finish().expect("memory");
    packed.chunks(packed.len().div_ceil(4)).map(<[u8]>::to_vec).collect()
}

#[test]
fn a_clone_is_taken_in_while_it_arrives_and_seen_after_its_finish() {
    let till = Till::new();
    let chunks = chunks(&script("ID.50"));
    till.send(0, &chunks[0]);
    till.is_taken_in();
    for (seq, chunk) in (1..).zip(&chunks[1..]) {
        till.send(seq, chunk);
    }
    assert_eq!(till.rows(), None);
    till.finish().expect("a clone");
    assert_eq!(till.rows(), Some(600));
    till.finish().expect("the same answer again");
    assert_eq!(till.rows(), Some(600));
}

#[test]
fn a_line_that_pauses_keeps_no_till_waiting_and_loses_nothing() {
    let till = Till::new();
    let chunks = chunks(&script("ID.50"));
    till.send(0, &chunks[0]);
    till.is_taken_in();
    wait_for::condition("the tables are free again", || till.rows() == Some(0));
    for (seq, chunk) in (1..).zip(&chunks[1..]) {
        till.send(seq, chunk);
        assert_eq!(till.rows(), Some(0), "it is not tried again");
    }
    till.finish().expect("a clone");
    assert_eq!(till.rows(), Some(600));
}

/// I6, I20.
#[test]
fn an_agent_that_dies_meanwhile_goes_on_with_the_chunks_it_has() {
    let mut till = Till::new();
    let chunks = chunks(&script("ID.50"));
    till.send(0, &chunks[0]);
    till.send(1, &chunks[1]);
    till.is_taken_in();
    till.world.shops[0].kill_agent();
    wait_for::condition("nothing was taken in", || till.rows() == Some(0));
    till.world.shops[0].start();
    till.send(1, &chunks[1]);
    till.send(2, &chunks[2]);
    till.is_taken_in();
    till.send(3, &chunks[3]);
    till.finish().expect("a clone");
    assert_eq!(till.rows(), Some(600));
}

#[test]
fn an_aborted_or_cleaned_clone_leaves_nothing_at_once() {
    let mut till = Till::new();
    let chunks = chunks(&script("ID.50"));
    till.send(0, &chunks[0]);
    till.is_taken_in();
    till.call("clean", &[]).expect("a clean");
    assert_eq!(till.rows(), Some(0));
    till.call("sql_abort", std::slice::from_ref(&till.sid)).expect("an end");
    till.sid = till.call("sql_prepare", &[kind_clone()]).expect("a session");
    till.send(0, &chunks[0]);
    till.is_taken_in();
    till.call("sql_abort", std::slice::from_ref(&till.sid)).expect("an end");
    assert_eq!(till.rows(), Some(0));
    // neither had to wait until the intake gave up by itself
    let agent = till.world.shops[0].agent();
    wait_for::condition("two were let go", || agent.stderr().matches("clone was let go").count() == 2);
    assert!(!agent.stderr().contains("line is too slow"), "{}", agent.stderr());
}

/// What is wrong is said as for any session: at its finish, once and for all, and nothing stays.
#[test]
fn a_clone_that_cannot_be_applied_is_refused_with_the_same_words_as_one_that_was_kept_first() {
    // what fails while rows come in, and what fails when constraints are made again
    for (prices, word) in [("-1", "price_amount_check"), ("ID", "price_product_id_fkey")] {
        let script = if word.ends_with("fkey") {
            String::from_utf8(script(prices)).expect("text").replace("\n300\t300\t", "\n300\t999\t").into_bytes()
        } else {
            script(prices)
        };
        let chunks = chunks(&script);
        let faults: Vec<Fault> = [true, false]
            .into_iter()
            .map(|arrives| {
                let mut till = Till::new();
                if !arrives {
                    // one that does not say what it is
                    till.sid = till.call("sql_prepare", &[]).expect("a session");
                }
                till.send(0, &chunks[0]);
                if arrives {
                    till.is_taken_in();
                }
                for (seq, chunk) in (1..).zip(&chunks[1..]) {
                    till.send(seq, chunk);
                }
                let fault = till.finish().expect_err("a bad clone");
                assert_eq!(till.finish().expect_err("for good"), fault);
                assert_eq!(till.rows(), Some(0));
                fault
            })
            .collect();
        assert_eq!(faults[0], faults[1]);
        assert_eq!(faults[0].known(), Some(FaultCode::StatementFailed));
        assert!(faults[0].message.contains(word), "{}", faults[0].message);
    }
}

fn kind_clone() -> Value {
    Value::Struct([("kind".to_owned(), Value::from("clone"))].into_iter().collect())
}
