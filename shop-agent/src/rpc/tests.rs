//! Methods and sessions against a shop without a database.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use protocol::fault::{Fault, FaultCode};
use protocol::watermark::Since;
use protocol::xmlrpc::{Blob, MethodCall, Struct, Value};
use tokio_util::task::TaskTracker;

use super::fake::{FakeShop, NextApply};
use super::{Agent, AgentOptions};
use crate::limits::SessionLimits;
use crate::server::{Caller, Dispatch, Reply, Request, Slice};

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct Bench {
    shop: Arc<FakeShop>,
    agent: Arc<Agent<FakeShop>>,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> std::io::Result<Self> {
        Self::with_idle(Duration::from_secs(3600))
    }

    fn with_idle(session_idle: Duration) -> std::io::Result<Self> {
        Self::with(SessionLimits { session_idle, ..limits() })
    }

    fn with(limits: SessionLimits) -> std::io::Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::create_dir(dir.path().join("sessions"))?;
        let shop = FakeShop::new(dir.path().to_owned());
        let agent = agent(&shop, dir.path(), limits);
        Ok(Self { shop, agent, dir })
    }

    /// The same shop and files, as after a restart.
    fn restart(&mut self) {
        self.agent = agent(&self.shop, self.dir.path(), limits());
    }

    /// Waits until an apply that follows a session has read that much.
    async fn has_read(&self, text: &str) {
        while self.shop.lock().arriving != text.as_bytes() {
            self.shop.read.notified().await;
        }
    }

    async fn reply(&self, office: &str, method: &str, params: Vec<Value>) -> Result<Reply, Fault> {
        let caller = Caller { office: office.into(), user: None, no_nil: false, peer: IpAddr::from([127, 0, 0, 1]) };
        let request = Request { call: MethodCall { method: method.into(), params }, blobs: Vec::new() };
        Arc::clone(&self.agent).call(caller, request).await
    }

    async fn call(&self, method: &str, params: Vec<Value>) -> Result<Value, Fault> {
        match self.reply("centre", method, params).await? {
            Reply::Value(value) => Ok(value),
            Reply::Slice(_) => Err(Fault::new(FaultCode::Internal, "a slice")),
        }
    }

    async fn code(&self, method: &str, params: Vec<Value>) -> Option<FaultCode> {
        self.call(method, params).await.err().and_then(|fault| fault.known())
    }

    async fn open(&self) -> Result<Value, Fault> {
        self.call("sql_prepare", vec![]).await
    }
}

fn limits() -> SessionLimits {
    SessionLimits {
        session_bytes_max: 1 << 20,
        session_idle: Duration::from_secs(3600),
        chunks_max: 100,
        ..SessionLimits::default()
    }
}

fn agent(shop: &Arc<FakeShop>, dir: &Path, limits: SessionLimits) -> Arc<Agent<FakeShop>> {
    let options = AgentOptions {
        branch: "lisbon".into(),
        sessions_dir: dir.join("sessions"),
        sessions: limits,
        chunk_bytes_max: 1 << 20,
        force_clean: false,
        quit: None,
        time_zone: TimeZone::UTC,
    };
    Arc::new(Agent::new(Arc::clone(shop), options, TaskTracker::new()))
}

fn bytes(text: &str) -> Value {
    Value::Base64(Blob::Inline(text.as_bytes().to_vec()))
}

fn options(members: &[(&str, Value)]) -> Value {
    Value::Struct(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Struct>())
}

#[tokio::test]
async fn a_session_is_applied_once_with_all_its_chunks_in_order() -> Outcome {
    let bench = Bench::new()?;
    let sid = bench.open().await?;
    bench.call("sql_create", vec![sid.clone(), bytes("one ")]).await?;
    bench.call("sql_create", vec![sid.clone(), "two ".into(), Value::Int(1)]).await?;
    bench.call("sql_insert", vec![sid.clone(), bytes("three")]).await?;
    for _ in 0..2 {
        assert_eq!(bench.call("sql_finish", vec![sid.clone()]).await?, Value::Nil);
    }
    assert_eq!(bench.shop.lock().applied, vec![(1, b"one two three".to_vec())]);
    assert!(!bench.dir.path().join("sessions/1").exists());
    assert_eq!(bench.code("sql_create", vec![sid, bytes("x")]).await, Some(FaultCode::SessionEnded));
    Ok(())
}

#[tokio::test]
async fn a_clone_is_taken_in_while_it_arrives_and_ends_with_its_finish() -> Outcome {
    let bench = Bench::new()?;
    let sid = bench.call("sql_prepare", vec![options(&[("kind", "clone".into())])]).await?;
    bench.call("sql_create", vec![sid.clone(), bytes("one "), Value::Int(0)]).await?;
    bench.has_read("one ").await;
    bench.call("sql_create", vec![sid.clone(), bytes("two"), Value::Int(1)]).await?;
    bench.has_read("one two").await;
    assert!(bench.shop.lock().applied.is_empty(), "nothing counts before the finish");
    for _ in 0..2 {
        assert_eq!(bench.call("sql_finish", vec![sid.clone()]).await?, Value::Nil);
    }
    assert_eq!(bench.shop.lock().applied, vec![(1, b"one two".to_vec())]);
    Ok(())
}

/// Whatever becomes of the intake: the session is applied once, whole, or not at all.
#[tokio::test]
async fn a_clone_that_arrives_too_slowly_is_applied_from_its_log() -> Outcome {
    let bench = Bench::with(SessionLimits { intake_wait_max: Duration::ZERO, ..limits() })?;
    let sid = bench.call("sql_prepare", vec![options(&[("kind", "clone".into())])]).await?;
    for (number, text) in ["one ", "two ", "three"].into_iter().enumerate() {
        let number = Value::Int(i32::try_from(number)?);
        bench.call("sql_create", vec![sid.clone(), bytes(text), number]).await?;
    }
    bench.shop.lock().next = NextApply::IsRefused;
    assert_eq!(bench.code("sql_finish", vec![sid.clone()]).await, Some(FaultCode::StatementRefused));
    assert!(bench.shop.lock().applied.is_empty());

    bench.shop.lock().next = NextApply::Succeeds;
    let sid = bench.call("sql_prepare", vec![options(&[("kind", "clone".into())])]).await?;
    bench.call("sql_create", vec![sid.clone(), bytes("all"), Value::Int(0)]).await?;
    bench.call("sql_finish", vec![sid]).await?;
    assert_eq!(bench.shop.lock().applied, vec![(2, b"all".to_vec())]);
    Ok(())
}

#[tokio::test]
async fn a_clean_and_an_abort_take_back_what_has_been_taken_in() -> Outcome {
    let bench = Bench::new()?;
    let sid = bench.call("sql_prepare", vec![options(&[("kind", "clone".into())])]).await?;
    bench.call("sql_create", vec![sid.clone(), bytes("one "), Value::Int(0)]).await?;
    bench.has_read("one ").await;
    bench.call("clean", vec![options(&[("force", true.into())])]).await?;
    assert!(bench.shop.lock().arriving.is_empty(), "let go before the clean");
    bench.call("sql_create", vec![sid.clone(), bytes("two"), Value::Int(1)]).await?;
    bench.call("sql_finish", vec![sid]).await?;
    assert_eq!(bench.shop.lock().applied, vec![(1, b"one two".to_vec())]);

    let sid = bench.call("sql_prepare", vec![options(&[("kind", "clone".into())])]).await?;
    bench.call("sql_create", vec![sid.clone(), bytes("half"), Value::Int(0)]).await?;
    bench.has_read("half").await;
    bench.call("sql_abort", vec![sid.clone()]).await?;
    assert!(bench.shop.lock().arriving.is_empty());
    assert_eq!(bench.code("sql_finish", vec![sid]).await, Some(FaultCode::SessionEnded));
    assert_eq!(bench.shop.lock().applied.len(), 1);
    Ok(())
}

#[tokio::test]
async fn sessions_survive_a_restart_and_go_on_where_they_were() -> Outcome {
    let mut bench = Bench::new()?;
    let key = options(&[("key", "k".into()), ("kind", "update".into())]);
    let sid = bench.call("sql_prepare", vec![key.clone()]).await?;
    bench.call("sql_create", vec![sid.clone(), bytes("one "), Value::Int(0)]).await?;
    bench.restart();
    assert_eq!(bench.call("sql_prepare", vec![key]).await?, sid);
    let status = bench.call("sql_status", vec![sid.clone()]).await?;
    let member = |name| status.as_struct().and_then(|members| members.get(name)).cloned();
    assert_eq!(member("next_seq").and_then(|value| value.as_long()), Some(1));
    assert_eq!(member("bytes").and_then(|value| value.as_long()), Some(4));
    assert_eq!(member("state"), Some("open".into()));
    bench.call("sql_create", vec![sid.clone(), bytes("one "), Value::Int(0)]).await?;
    assert_eq!(bench.code("sql_create", vec![sid.clone(), bytes("x"), Value::Int(2)]).await, Some(FaultCode::ChunkGap));
    bench.call("sql_create", vec![sid.clone(), bytes("two"), Value::Int(1)]).await?;
    bench.call("sql_finish", vec![sid]).await?;
    assert_eq!(bench.shop.lock().applied, vec![(1, b"one two".to_vec())]);
    Ok(())
}

#[tokio::test]
async fn an_uncertain_repeat_is_never_applied_even_after_a_restart() -> Outcome {
    let mut bench = Bench::new()?;
    let sid = bench.open().await?;
    bench.call("sql_create", vec![sid.clone(), bytes("same")]).await?;
    bench.restart();
    let again = vec![sid.clone(), bytes("same")];
    assert_eq!(bench.code("sql_create", again).await, Some(FaultCode::UncertainRepeat));
    assert_eq!(bench.code("sql_finish", vec![sid.clone()]).await, Some(FaultCode::UncertainRepeat));
    bench.restart();
    assert_eq!(bench.code("sql_finish", vec![sid]).await, Some(FaultCode::UncertainRepeat));
    assert!(bench.shop.lock().applied.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_finish_goes_on_without_its_caller_and_a_repeat_waits_for_it() -> Outcome {
    let bench = Bench::new()?;
    bench.shop.lock().next = NextApply::Waits;
    let sid = bench.open().await?;
    bench.call("sql_create", vec![sid.clone(), bytes("x")]).await?;
    // the first caller hangs up as soon as the apply runs
    tokio::select! {
        biased;
        _ = bench.call("sql_finish", vec![sid.clone()]) => return Err("the apply waits".into()),
        () = bench.shop.applying.notified() => {}
    }
    assert_eq!(bench.code("sql_abort", vec![sid.clone()]).await, Some(FaultCode::Busy));
    let repeat = bench.call("sql_finish", vec![sid]);
    tokio::pin!(repeat);
    assert!(futures_util::poll!(&mut repeat).is_pending());
    bench.shop.go.notify_one();
    assert_eq!(repeat.await?, Value::Nil);
    assert_eq!(bench.shop.lock().applied.len(), 1);
    Ok(())
}

#[tokio::test]
async fn busy_leaves_a_session_open_and_a_refusal_ends_it() -> Outcome {
    let bench = Bench::new()?;
    let sid = bench.open().await?;
    bench.call("sql_create", vec![sid.clone(), bytes("x")]).await?;
    bench.shop.lock().next = NextApply::IsBusy;
    assert_eq!(bench.code("sql_finish", vec![sid.clone()]).await, Some(FaultCode::Busy));
    bench.shop.lock().next = NextApply::IsRefused;
    let fault = bench.call("sql_finish", vec![sid.clone()]).await.err().ok_or("must fail")?;
    assert_eq!(fault.known(), Some(FaultCode::StatementRefused));
    assert!(fault.message.contains("statement 3"), "{fault:?}");
    bench.shop.lock().next = NextApply::Succeeds;
    let again = bench.call("sql_finish", vec![sid]).await.err();
    assert_eq!(again, Some(fault));
    Ok(())
}

#[tokio::test]
async fn a_session_belongs_to_its_office() -> Outcome {
    let bench = Bench::new()?;
    let sid = bench.open().await?;
    for method in ["sql_finish", "sql_status", "sql_abort"] {
        let fault = bench.reply("elsewhere", method, vec![sid.clone()]).await.err();
        assert_eq!(fault.and_then(|fault| fault.known()), Some(FaultCode::ForeignSession), "{method}");
    }
    assert_eq!(bench.code("sql_finish", vec![Value::Int(99)]).await, Some(FaultCode::UnknownSession));
    Ok(())
}

#[tokio::test]
async fn boundary_of_sessions_per_office_max() -> Outcome {
    let bench = Bench::new()?;
    let mut sids = Vec::new();
    for _ in 0..4 {
        sids.push(bench.open().await?);
    }
    assert_eq!(bench.code("sql_prepare", vec![]).await, Some(FaultCode::TooManySessions));
    assert!(bench.reply("elsewhere", "sql_prepare", vec![]).await.is_ok());
    for _ in 0..2 {
        bench.call("sql_abort", vec![sids[0].clone()]).await?;
    }
    assert!(bench.open().await.is_ok());
    Ok(())
}

#[tokio::test]
async fn an_idle_session_expires_and_its_chunks_go() -> Outcome {
    let bench = Bench::with_idle(Duration::ZERO)?;
    let sid = bench.open().await?;
    let fault = bench.call("sql_create", vec![sid.clone(), bytes("x")]).await.err();
    assert_eq!(fault.and_then(|fault| fault.known()), Some(FaultCode::SessionExpired));
    assert_eq!(bench.code("sql_finish", vec![sid]).await, Some(FaultCode::SessionExpired));
    std::fs::create_dir(bench.dir.path().join("sessions/77"))?;
    bench.agent.sessions().sweep().await?;
    assert_eq!(std::fs::read_dir(bench.dir.path().join("sessions"))?.count(), 0);
    Ok(())
}

#[tokio::test]
async fn without_a_database_faults_say_so_and_no_more() -> Outcome {
    let bench = Bench::new()?;
    let sid = bench.open().await?;
    bench.call("sql_create", vec![sid.clone(), bytes("x")]).await?;
    bench.shop.lock().is_down = true;
    for (method, params) in
        [("diff", vec![Value::Int(0)]), ("sql_prepare", vec![]), ("sql_status", vec![Value::Int(9)])]
    {
        let fault = bench.call(method, params).await.err().ok_or("must fail")?;
        assert_eq!(fault.known(), Some(FaultCode::DatabaseUnavailable), "{method}");
        assert!(!fault.message.contains("secret"), "{fault:?}");
    }
    // chunks of a known session need no database
    bench.call("sql_create", vec![sid.clone(), bytes("y")]).await?;
    bench.shop.lock().is_down = false;
    bench.call("sql_finish", vec![sid]).await?;
    assert_eq!(bench.shop.lock().applied, vec![(1, b"xy".to_vec())]);
    Ok(())
}

#[tokio::test]
async fn diffs_are_slices_of_the_frozen_file() -> Outcome {
    let bench = Bench::new()?;
    assert_eq!(bench.call("diff", vec![Value::Int(0)]).await?, Value::Nil);
    let open = bench.call("sync.diff_open", vec!["0".into()]).await?;
    assert_eq!(open.as_struct().and_then(|members| members.get("id")), Some(&"".into()));
    assert!(open.as_struct().and_then(|members| members.get("watermark")).is_some());
    bench.shop.lock().diff = b"0123456789".to_vec();
    let path = bench.dir.path().join("d-1");
    let slice = |offset, length| Slice { path: path.clone(), offset, length };
    let Reply::Slice(all) = bench.reply("centre", "diff", vec![Value::Int(0)]).await? else {
        return Err("slice".into());
    };
    assert_eq!(all, slice(0, 10));
    let read = |offset: i32, length: i32| vec!["d-1".into(), Value::Int(offset), Value::Int(length)];
    let Reply::Slice(tail) = bench.reply("centre", "sync.diff_read", read(8, 100)).await? else {
        return Err("slice".into());
    };
    assert_eq!(tail, slice(8, 2));
    assert_eq!(bench.code("sync.diff_read", read(11, 1)).await, Some(FaultCode::WrongParameters));
    assert_eq!(bench.code("sync.diff_read", read(-1, 1)).await, Some(FaultCode::WrongParameters));
    let foreign = bench.reply("elsewhere", "sync.diff_read", read(0, 1)).await.err();
    assert_eq!(foreign.and_then(|fault| fault.known()), Some(FaultCode::DiffExpired));
    Ok(())
}

#[tokio::test]
async fn every_listed_method_is_known_and_counts_its_parameters() -> Outcome {
    let bench = Bench::new()?;
    for method in protocol::methods::all() {
        let ten = vec![Value::Int(1); 10];
        let code = bench.code(method.name, ten).await;
        assert_eq!(code, Some(FaultCode::WrongParameters), "{}", method.name);
    }
    assert_eq!(bench.code("no.such", vec![]).await, Some(FaultCode::UnknownMethod));
    Ok(())
}

#[tokio::test]
async fn changes_are_lists_of_literals_under_the_own_policys_name() -> Outcome {
    let bench = Bench::new()?;
    let ask = |policy: &str| vec![policy.into(), "2006-09-22 14:03:11.042317".into()];
    assert_eq!(bench.call("changes", ask("shop")).await?, Value::Array(vec![]), "nothing has changed");
    let script = "BEGIN;\nUPDATE person SET phone = '2' WHERE id = 7;\nCOMMIT;\n-- watermark: 2006-09-22T14:03:11Z\n";
    bench.shop.lock().diff = script.into();
    std::fs::write(bench.dir.path().join("d-1"), script)?;
    let answer = bench.call("changes", ask("shop")).await?;
    assert!(format!("{answer:?}").contains("person"), "{answer:?}");
    assert_eq!(bench.code("changes", ask("other")).await, Some(FaultCode::Application));
    Ok(())
}

#[tokio::test]
async fn a_time_without_a_zone_is_of_the_one_that_is_configured() -> Outcome {
    let mut bench = Bench::new()?;
    let east = TimeZone::fixed(jiff::tz::offset(2));
    for (zone, utc) in [(TimeZone::UTC, "2006-09-22T14:03:11Z"), (east, "2006-09-22T12:03:11Z")] {
        let options = AgentOptions { time_zone: zone, ..bench.agent.options.clone() };
        bench.agent = Arc::new(Agent::new(Arc::clone(&bench.shop), options, TaskTracker::new()));
        for method in ["diff", "sync.diff_open"] {
            bench.call(method, vec!["2006-09-22 14:03:11".into()]).await?;
            assert_eq!(bench.shop.lock().since, Some(Since::parse(utc)?), "{method}, {utc}");
            bench.call(method, vec!["2006-09-22T14:03:11Z".into()]).await?;
            assert_eq!(bench.shop.lock().since, Some(Since::parse("2006-09-22T14:03:11Z")?), "{method}, {utc}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn nobody_quits_an_agent_that_does_not_allow_it() -> Outcome {
    let mut bench = Bench::new()?;
    assert_eq!(bench.code("quit", vec![]).await, Some(FaultCode::Application));
    let stop = tokio_util::sync::CancellationToken::new();
    bench.agent = {
        let options = AgentOptions { quit: Some(stop.clone()), ..bench.agent.options.clone() };
        Arc::new(Agent::new(Arc::clone(&bench.shop), options, TaskTracker::new()))
    };
    assert_eq!(bench.call("quit", vec![]).await?, Value::Nil);
    assert!(stop.is_cancelled());
    Ok(())
}

#[tokio::test]
async fn a_multicall_goes_on_after_a_fault() -> Outcome {
    let bench = Bench::new()?;
    let call =
        |method: &str, params: Vec<Value>| options(&[("methodName", method.into()), ("params", Value::Array(params))]);
    let calls = vec![
        call("get_station_name", vec![]),
        call("no.such", vec![]),
        call("setidstart", vec!["5000000000".into()]),
        call("bump_sequences", vec![Value::Array(vec!["a_id_seq".into()]), "10".into(), "20".into()]),
        Value::Int(1),
    ];
    let answers = bench.call("system.multicall", vec![Value::Array(calls)]).await?;
    let answers = answers.as_array().ok_or("array")?;
    assert_eq!(answers.len(), 5);
    assert_eq!(answers[0], Value::Array(vec!["lisbon".into()]));
    assert!(answers[1].as_struct().is_some_and(|fault| fault.get("faultCode").is_some()));
    assert_eq!(bench.shop.lock().id_ranges, vec![(5_000_000_000, None), (10, Some(20))]);
    Ok(())
}

#[tokio::test]
async fn clean_is_refused_unless_forced() -> Outcome {
    let bench = Bench::new()?;
    assert_eq!(bench.code("clean", vec![]).await, Some(FaultCode::CleanRefused));
    bench.call("clean", vec![options(&[("force", Value::Bool(true))])]).await?;
    Ok(())
}

#[tokio::test]
async fn hello_tells_what_this_end_is() -> Outcome {
    let bench = Bench::new()?;
    let answer = bench.call("sync.hello", vec![options(&[("protocol", Value::Int(1)), ("new", Value::Nil)])]).await?;
    let member = |name| answer.as_struct().and_then(|members| members.get(name)).cloned();
    assert_eq!(member("branch"), Some("lisbon".into()));
    assert_eq!(member("clock"), Some("1970-01-01T00:00:01Z".into()));
    assert_eq!(member("id_low").and_then(|value| value.as_long()), Some(5));
    Ok(())
}

#[tokio::test]
async fn boundary_of_session_bytes_max() -> Outcome {
    let bench = Bench::new()?;
    let max = 1 << 20;
    for (length, taken) in [(max - 1, true), (max, true), (max + 1, false)] {
        let sid = bench.open().await?;
        bench.call("sql_create", vec![sid.clone(), bytes("x"), Value::Int(0)]).await?;
        let rest = Value::Base64(Blob::Inline(vec![b'y'; length - 1]));
        let answer = bench.code("sql_create", vec![sid.clone(), rest, Value::Int(1)]).await;
        assert_eq!(answer, (!taken).then_some(FaultCode::ChunkTooLarge), "{length}");
        let _ = bench.call("sql_abort", vec![sid]).await;
    }
    Ok(())
}

#[tokio::test]
async fn boundary_of_chunks_max() -> Outcome {
    let bench = Bench::new()?;
    let sid = bench.open().await?;
    for seq in 0..100 {
        bench.call("sql_create", vec![sid.clone(), bytes("x"), Value::Int(seq)]).await?;
    }
    let more = vec![sid.clone(), bytes("x"), Value::Int(100)];
    assert_eq!(bench.code("sql_create", more).await, Some(FaultCode::ChunkTooLarge));
    bench.call("sql_finish", vec![sid]).await?;
    assert_eq!(bench.shop.lock().applied, vec![(1, vec![b'x'; 100])]);
    Ok(())
}

#[tokio::test]
async fn boundary_of_session_idle() -> Outcome {
    for (idle, alive) in [(Duration::from_secs(3600), true), (Duration::ZERO, false)] {
        let bench = Bench::with_idle(idle)?;
        let sid = bench.open().await?;
        let answer = bench.code("sql_create", vec![sid, bytes("x")]).await;
        assert_eq!(answer, (!alive).then_some(FaultCode::SessionExpired), "{idle:?}");
    }
    Ok(())
}

#[tokio::test]
async fn boundary_of_key_bytes_max() -> Outcome {
    let bench = Bench::new()?;
    let max = crate::limits::KEY_BYTES_MAX;
    for (length, taken) in [(max - 1, true), (max, true), (max + 1, false)] {
        let key = options(&[("key", "k".repeat(length).into())]);
        let answer = bench.code("sql_prepare", vec![key]).await;
        assert_eq!(answer, (!taken).then_some(FaultCode::WrongParameters), "{length}");
    }
    Ok(())
}

#[tokio::test]
async fn boundary_of_answer_bytes_max() -> Outcome {
    let bench = Bench::new()?;
    let max = crate::limits::ANSWER_BYTES_MAX;
    for (length, taken) in [(max - 1, true), (max, true), (max + 1, false)] {
        let key = format!("{{\"a\":\"{}\"}}", "k".repeat(length - 8));
        let answer = bench.code("sync.rows", vec!["t".into(), Value::Array(vec![key.into()])]).await;
        assert_eq!(answer, (!taken).then_some(FaultCode::ChunkTooLarge), "{length}");
    }
    Ok(())
}

#[tokio::test]
async fn boundary_of_row_keys_max() -> Outcome {
    let bench = Bench::new()?;
    let max = crate::limits::ROW_KEYS_MAX;
    for (keys, taken) in [(max - 1, true), (max, true), (max + 1, false)] {
        let answer = bench.code("sync.mark", vec!["t".into(), Value::Array(vec!["{}".into(); keys])]).await;
        assert_eq!(answer, (!taken).then_some(FaultCode::WrongParameters), "{keys}");
    }
    Ok(())
}

#[tokio::test]
async fn boundary_of_multicall_bytes_max() -> Outcome {
    let bench = Bench::new()?;
    let max = crate::limits::MULTICALL_BYTES_MAX;
    // of values, and of the bytes that a slice becomes
    let echo = |length: usize| {
        let text = "e".repeat(length - size_of::<Value>() - Value::Array(vec![]).bytes());
        options(&[("methodName", "sync.echo".into()), ("params", Value::Array(vec![text.into()]))])
    };
    for (lengths, taken) in [([max - 100, 99], true), ([max - 100, 100], true), ([max - 100, 101], false)] {
        let calls = lengths.iter().map(|length| echo(*length)).collect();
        let answers = bench.call("system.multicall", vec![Value::Array(calls)]).await?;
        let last = answers.as_array().and_then(|answers| answers.last()).cloned().ok_or("two answers")?;
        assert_eq!(last.as_array().is_some(), taken, "{lengths:?}: {last:?}");
    }
    bench.shop.lock().diff = vec![7; max + 1];
    bench.call("sync.diff_open", vec!["0".into()]).await?;
    let read = |length: usize| {
        let params = vec!["d-1".into(), Value::Int(0), Value::Int(i32::try_from(length).unwrap_or(0))];
        options(&[("methodName", "sync.diff_read".into()), ("params", Value::Array(params))])
    };
    for (lengths, taken) in [([max - 2, 1], true), ([max - 1, 1], true), ([max, 1], false)] {
        let calls = lengths.iter().map(|length| read(*length)).collect();
        let answers = bench.call("system.multicall", vec![Value::Array(calls)]).await?;
        let last = answers.as_array().and_then(|answers| answers.last()).cloned().ok_or("two answers")?;
        assert_eq!(last.as_array().is_some(), taken, "{lengths:?}: {last:?}");
    }
    Ok(())
}
