//! Watermarks: what a `since` selects, whatever it is, and whatever the clock does.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::fault::FaultCode;
use protocol::watermark::{Since, Watermark};
use replica::ReplicaError;
use replica::spool::FrozenStream;
use replica::watermark::{current_snapshot, issue};
use tests::database::Database;
use tests::engine::{Engine, OFFICE, connection};

use crate::ledger;
use crate::workload::{POLICY, SCHEMA};

/// Same as the harness gives every shop.
const SKEW: Duration = Duration::from_secs(300);

const MINUTE: i64 = 60_000_000;

async fn north() -> (Engine, Database) {
    let engine = Engine::new(SCHEMA, POLICY, &["north"]).await;
    engine.clone_shop("north").await.expect("a clone");
    let database = engine.shop("north").database.clone();
    (engine, database)
}

async fn execute(database: &Database, sql: &str) {
    tokio::task::block_in_place(|| database.execute(sql));
}

async fn write(database: &Database, id: i64) {
    execute(database, &format!("insert into ticket(id, writer, version, note) values ({id}, 0, {id}, 'x')")).await;
}

async fn open(engine: &Engine, since: &str) -> Result<FrozenStream, ReplicaError> {
    let since = Since::parse(since).unwrap_or_else(|error| panic!("{error}"));
    engine.shop("north").shop.open_diff(OFFICE, since).await
}

/// A diff: ids of the tickets in it, and its watermark.
async fn diff(engine: &Engine, since: &str) -> (Vec<i64>, String) {
    let stream = open(engine, since).await.unwrap_or_else(|error| panic!("{since}: {error:?}"));
    let watermark = stream.watermark.clone().expect("every diff has a watermark");
    if stream.rows == 0 {
        return (Vec::new(), watermark);
    }
    let deliveries = ledger::read(&engine.shop("north").shop.spool().data_path(&stream.id));
    assert_eq!(u64::try_from(deliveries.len()).ok(), Some(stream.rows));
    (deliveries.iter().map(|delivery| delivery.key.1).collect(), watermark)
}

fn mark(text: &str) -> Watermark {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn now_micros() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(now.as_micros()).expect("a clock before the year 294247")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_since_gives_the_same_changes_and_later_ones_but_never_fewer() {
    let (engine, shop) = north().await;
    write(&shop, 1).await;
    let (rows, first) = diff(&engine, "0").await;
    assert_eq!(rows, [1]);
    write(&shop, 2).await;
    let once = open(&engine, &first).await.unwrap();
    write(&shop, 3).await;
    let again = open(&engine, &first).await.unwrap();
    assert_eq!(once, again, "a repeated call gets the frozen diff of the first");
    let second = once.watermark.expect("every diff has a watermark");
    assert_eq!(diff(&engine, &second).await.0, [3]);
    assert_eq!(diff(&engine, &first).await.0, [2, 3], "one that went further than it had stored can go back");
    assert_eq!(diff(&engine, &second).await.0, [3]);
    // the digits of the tag left away: the same snapshot, though it acknowledges nothing
    let untagged = Watermark::new(mark(&second).micros, None).to_string();
    assert_eq!(diff(&engine, &untagged).await.0, [3]);
    for zero in ["0", "", "-infinity"] {
        assert_eq!(diff(&engine, zero).await.0, [1, 2, 3], "everything since clean");
    }
    execute(&shop, "delete from ticket where id = 2; update ticket set version = 9 where id = 3").await;
    let mut rows = diff(&engine, &first).await.0;
    rows.sort_unstable();
    assert_eq!(rows, [2, 3], "the net effect: each row once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_since_that_was_never_issued_repeats_and_never_skips() {
    let (engine, shop) = north().await;
    let mut written: Vec<(i64, i64)> = Vec::new();
    // ten minutes pass after every row; every other time a watermark is issued
    for id in 1..=10 {
        write(&shop, id).await;
        written.push((id, now_micros()));
        if id % 2 == 0 {
            diff(&engine, "0").await;
        } else {
            engine.shop("north").shop.tick().await.unwrap();
        }
        execute(&shop, "update sync.watermark set issued = issued - interval '10 minutes'").await;
        for (_, at) in &mut written {
            *at -= 10 * MINUTE;
        }
    }
    let skew = i64::try_from(SKEW.as_micros()).expect("a short time");
    let mut sizes = BTreeSet::new();
    // from before the first row to the future, as far as clocks may differ
    for minutes in (-113..=4).step_by(3) {
        let since = now_micros() + minutes * MINUTE;
        let (rows, _) = diff(&engine, &Watermark::new(since, None).to_string()).await;
        for (id, at) in &written {
            assert!(rows.contains(id) || *at <= since - skew, "since {minutes} min: row {id} skipped, got {rows:?}");
        }
        sizes.insert(rows.len());
        // what the test itself asked for must not stand in the way of what it asks for next
        execute(&shop, "delete from sync.watermark where issued > clock_timestamp() - interval '2 minutes'").await;
    }
    assert!(sizes.contains(&10) && sizes.iter().any(|size| *size <= 1), "it does choose: {sizes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tagged_watermark_that_is_not_stored_is_a_fault() {
    let (engine, shop) = north().await;
    write(&shop, 1).await;
    let issued = mark(&diff(&engine, "0").await.1);
    let tag = issued.tag.expect("issued watermarks are tagged");
    let code = |outcome: Result<FrozenStream, ReplicaError>| outcome.map_err(|error| error.fault_code()).err();
    let ours = Watermark::new(issued.micros + 1, Some(tag)).to_string();
    assert_eq!(code(open(&engine, &ours).await), Some(FaultCode::UnknownWatermark));
    for micros in [issued.micros, issued.micros + 1] {
        let foreign = Watermark::new(micros, Some((tag + 1) % 1000)).to_string();
        assert_eq!(code(open(&engine, &foreign).await), Some(FaultCode::Restored), "{foreign}");
    }
    assert_eq!(diff(&engine, &issued.to_string()).await.0, [0; 0]);

    // issued to one office, it means nothing to another
    let since = Since::parse(&issued.to_string()).unwrap();
    let other = engine.shop("north").shop.open_diff("second", since).await;
    assert_eq!(code(other), Some(FaultCode::UnknownWatermark));

    // a backup brought back: the database does not know what the witness beside it does
    execute(&shop, "delete from sync.watermark; delete from ticket").await;
    let restored = engine.open_shop("north", &shop).await;
    assert_eq!(code(restored.open_diff(OFFICE, since).await), Some(FaultCode::Restored));
    let fresh = restored.open_diff(OFFICE, Since::Zero).await.unwrap().watermark.expect("every diff has a watermark");
    assert_ne!(mark(&fresh).tag, Some(tag), "a new history has a new tag");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_diff_moves_its_watermark_to_the_new_snapshot_and_loses_nothing() {
    let (engine, shop) = north().await;
    write(&shop, 1).await;
    let (_, watermark) = diff(&engine, "0").await;
    let stored = || {
        let micros = mark(&watermark).micros;
        tokio::task::block_in_place(|| {
            shop.value(&format!(
                "select snapshot from sync.watermark where issued = timestamptz 'epoch' + {micros} * interval '1 microsecond'"
            ))
        })
    };
    // a transaction that is under way in both snapshots
    let slow = tokio::task::block_in_place(|| shop.connect());
    slow.batch_execute("begin; insert into ticket(id, writer, version, note) values (2, 0, 2, 'x')").await.unwrap();
    let before = stored();
    execute(&shop, "create table elsewhere(); drop table elsewhere").await;
    assert_eq!(diff(&engine, &watermark).await, (vec![], watermark.clone()));
    assert_ne!(stored(), before, "a quiet shop does not look at old transactions again");
    slow.batch_execute("commit").await.unwrap();
    assert_eq!(diff(&engine, &watermark).await.0, [2]);
    assert_eq!(diff(&engine, &watermark).await.0, [2]);
}

/// I8, I17: watermarks never move back, whatever the clock does.
#[tokio::test(flavor = "multi_thread")]
async fn watermarks_strictly_increase_when_the_clock_is_behind() {
    let (engine, shop) = north().await;
    write(&shop, 1).await;
    let (_, first) = diff(&engine, "0").await;
    execute(
        &shop,
        "insert into sync.watermark(peer, issued, snapshot, incarnation)
         select 0, clock_timestamp() + interval '1 hour', pg_current_snapshot(), max(number) from sync.incarnation",
    )
    .await;
    let mut last = first;
    for id in 2..=6 {
        write(&shop, id).await;
        let (rows, watermark) = diff(&engine, &last).await;
        assert_eq!(rows, [id]);
        assert!(mark(&watermark) > mark(&last), "{watermark} is not after {last}");
        assert!(id > 2 || mark(&watermark).micros > now_micros() + 59 * MINUTE);
        last = watermark;
        engine.shop("north").shop.tick().await.unwrap();
    }

    // many at once, for many peers
    let incarnation = {
        let client = connection(&shop).await.connect("test").await.unwrap();
        replica::node::incarnation(&client).await.unwrap()
    };
    let start = std::sync::Arc::new(tokio::sync::Barrier::new(8));
    let tasks: Vec<_> = (100..108)
        .map(|peer| {
            let (shop, incarnation, start) = (shop.clone(), incarnation.clone(), start.clone());
            tokio::spawn(async move {
                let mut client = connection(&shop).await.connect("test").await.unwrap();
                let mut issued = Vec::new();
                for _ in 0..15 {
                    start.wait().await;
                    let snapshot = current_snapshot(&client).await.unwrap();
                    issued.push(issue(&mut client, peer, &snapshot, &incarnation).await.unwrap().micros);
                }
                issued
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        let issued = task.await.unwrap();
        assert!(issued.is_sorted(), "{issued:?}");
        assert!(issued[0] > mark(&last).micros);
        all.extend(issued);
    }
    let distinct: BTreeSet<i64> = all.iter().copied().collect();
    assert_eq!(distinct.len(), all.len(), "one timestamp was issued twice");
}
