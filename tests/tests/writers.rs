//! Nothing is lost and nothing doubled while programs write: concurrent writers of every kind, crashes, cursors that do
//! lose rows, and the watermarks behind it all.

#[path = "writers/crashes.rs"]
mod crashes;
#[path = "writers/cursors.rs"]
mod cursors;
#[path = "writers/echo.rs"]
mod echo;
#[path = "writers/ledger.rs"]
mod ledger;
#[path = "writers/marks.rs"]
mod marks;
#[path = "writers/workload.rs"]
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::methods::SessionKind;
use protocol::watermark::{Since, Watermark};
use replica::ReplicaError;
use tests::compare;
use tests::database::Database;
use tests::engine::{Engine, OFFICE};

use cursors::Cursor;
use ledger::Ledger;
use workload::{Journal, Manner, OFFICE_TABLES, POLICY, SCHEMA, SHOP_TABLES, Tables};

/// How often changes are asked for.
const PULSE: Duration = Duration::from_millis(30);

/// How long the writers write.
const BUSY: Duration = Duration::from_secs(6);

/// Writers that write until the flag is set.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<Journal>>,
}

impl Writers {
    pub(crate) fn start(database: &Database, journals: Vec<Journal>, manner: impl Fn(usize) -> Manner) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |(index, journal): (usize, Journal)| {
            tokio::spawn(journal.write(database.clone(), manner(index), stop.clone()))
        };
        let tasks = journals.into_iter().enumerate().map(start).collect();
        Self { stop, tasks }
    }

    pub(crate) async fn join(self) -> Vec<Journal> {
        let mut journals = Vec::new();
        for task in self.tasks {
            journals.push(task.await.expect("a writer does not fail"));
        }
        journals
    }

    pub(crate) async fn stop(self) -> Vec<Journal> {
        self.stop.store(true, Ordering::Relaxed);
        self.join().await
    }
}

/// One in four is slow, one in three commits asynchronously.
fn mixed(index: usize) -> Manner {
    Manner {
        asynchronous: if index.is_multiple_of(3) { 80 } else { 10 },
        long: if index.is_multiple_of(4) { 90 } else { 15 },
    }
}

/// Pulls once, booking what was delivered; whether there was anything. Every few times the answer gets lost and the diff
/// is asked for again, or the same diff is applied twice.
pub(crate) async fn pull(engine: &Engine, name: &str, ledger: &mut Ledger) -> Result<bool, ReplicaError> {
    let branch = engine.branch(name).await;
    let shop = &engine.shop(name).shop;
    let stored = branch.timestamp.clone().expect("the shop has been cloned");
    let since = Since::parse(&stored).expect("an issued watermark");
    let diff = shop.open_diff(OFFICE, since).await?;
    let watermark = diff.watermark.clone().expect("every diff has its watermark");
    if diff.rows == 0 {
        ledger.empty += 1;
        assert_eq!(watermark, stored, "an empty diff re-points the watermark it was asked with");
        engine.office.advance_timestamp(&branch, &watermark).await?;
        return Ok(false);
    }
    assert!(Some(since.watermark().map(|w| w.micros)) < Some(watermark.parse::<Watermark>().ok().map(|w| w.micros)));
    let path = shop.spool().data_path(&diff.id);
    let deliveries = ledger::read(&path);
    if ledger.diffs % 5 == 1 {
        let again = shop.open_diff(OFFICE, since).await?;
        assert_eq!(again, diff, "asked for again, a diff is the same diff");
        ledger.repeats += 1;
    }
    let open = || Box::new(std::fs::File::open(&path).expect("a frozen diff"));
    engine.office.apply_pull(&branch, Some(&watermark), open()).await?;
    if ledger.diffs % 7 == 1 {
        let again = engine.office.apply_pull(&branch, Some(&watermark), open()).await?;
        assert!(again.repeated && again.rows == 0, "{again:?}");
        ledger.repeats += 1;
    }
    ledger.book(&deliveries);
    Ok(true)
}

/// Pushes once, booking what was delivered; whether there was anything. Every few times the answer gets lost and the
/// same stream is sent again.
async fn push(engine: &Engine, name: &str, ledger: &mut Ledger) -> Result<bool, ReplicaError> {
    let branch = engine.branch(name).await;
    let Some(outgoing) = engine.office.freeze_push(&branch).await? else {
        ledger.empty += 1;
        return Ok(false);
    };
    let deliveries = ledger::read(&engine.office.spool().data_path(&outgoing.stream.id));
    engine.send(name, &outgoing.key, SessionKind::Update, &outgoing.stream.id).await?;
    if ledger.diffs % 5 == 1 {
        let found = engine.office.freeze_push(&branch).await?.expect("it waits until it is recorded");
        assert_eq!((&found.key, &found.stream, found.resumed), (&outgoing.key, &outgoing.stream, true));
        let again = engine.send(name, &found.key, SessionKind::Update, &found.stream.id).await?;
        assert!(again.repeated, "{again:?}");
        ledger.repeats += 1;
    }
    engine.office.record_push(&branch, &outgoing).await?;
    ledger.book(&deliveries);
    Ok(true)
}

/// Asserts that a database holds what the journals say, no more and no less.
pub(crate) fn assert_holds(name: &str, database: &Database, tables: Tables, journals: &[Journal]) {
    let found = tokio::task::block_in_place(|| workload::rows_of(database, tables));
    let expected: BTreeMap<i32, _> =
        journals.iter().filter(|j| !j.now().is_empty()).map(|j| (j.writer, j.now().clone())).collect();
    for (writer, rows) in &expected {
        let held = found.get(writer).cloned().unwrap_or_default();
        let missing: Vec<_> = rows.iter().filter(|(key, version)| held.get(key) != Some(version)).take(5).collect();
        let invented: Vec<_> = held.iter().filter(|(key, version)| rows.get(key) != Some(version)).take(5).collect();
        assert!(
            missing.is_empty() && invented.is_empty(),
            "{name}, writer {writer}: missing or old {missing:?}, invented or old {invented:?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{name}: rows of unknown writers");
}

/// Asserts that two databases hold the same rows, in every column.
pub(crate) fn assert_equal(office: &Database, shop: &Database, tables: Tables) {
    let names = [tables.parent, tables.child, tables.both];
    tokio::task::block_in_place(|| compare::assert_equal(("office", office), ("shop", shop), &names));
}

pub(crate) fn figures(name: &str, began: Instant, journals: &[Journal], ledger: &Ledger) {
    let commits: usize = journals.iter().map(|journal| journal.commits).sum();
    let rolled_back: usize = journals.iter().map(|journal| journal.rolled_back).sum();
    println!(
        "{name}: {:?}, {} writers, {commits} commits, {rolled_back} rolled back, {} diffs with {} rows, {} empty, {} repeated",
        began.elapsed(),
        journals.len(),
        ledger.diffs,
        ledger.delivered,
        ledger.empty,
        ledger.repeats
    );
}

/// I1, I7: nothing that was committed is missing, and every diff is a cut.
#[tokio::test(flavor = "multi_thread")]
async fn writers_at_a_shop_lose_nothing_where_cursors_do() {
    let began = Instant::now();
    let engine = Engine::new(SCHEMA, POLICY, &["north"]).await;
    engine.clone_shop("north").await.unwrap();
    let shop = engine.shop("north").database.clone();
    let journals = (1..=12).map(|writer| Journal::new(writer, SHOP_TABLES)).collect();
    let writers = Writers::start(&shop, journals, mixed);
    let stop = writers.stop.clone();
    let by_time = Cursor::start(&shop, "ts", "'-infinity'::timestamptz", PULSE, stop.clone());
    let by_sequence = Cursor::start(&shop, "seq", "0::bigint", PULSE, stop);
    let mut ledger = Ledger::default();
    while began.elapsed() < BUSY || ledger.diffs <= 20 {
        pull(&engine, "north", &mut ledger).await.unwrap();
        tokio::time::sleep(PULSE).await;
    }
    let journals = writers.stop().await;
    while pull(&engine, "north", &mut ledger).await.unwrap() {}

    ledger.assert_sound(&journals);
    assert_holds("shop", &shop, SHOP_TABLES, &journals);
    assert_holds("office", &engine.database, SHOP_TABLES, &journals);
    assert_equal(&engine.database, &shop, SHOP_TABLES);
    figures("shop", began, &journals, &ledger);
    assert!(ledger.repeats > 2, "too few repeats to prove anything");

    // the same workload at the same time, read as it is usually done
    for cursor in [by_time, by_sequence] {
        let name = cursor.column;
        let (lost, rows) = cursor.finish(&journals).await;
        println!("cursor {name}: {lost} of {rows} rows lost");
        assert!(lost > 0, "a cursor on {name} has lost nothing: this workload proves nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_the_office_reach_two_shops() {
    let began = Instant::now();
    let engine = Arc::new(Engine::new(SCHEMA, POLICY, &["north", "south"]).await);
    for name in ["north", "south"] {
        engine.clone_shop(name).await.unwrap();
    }
    let journals = (1..=10).map(|writer| Journal::new(writer, OFFICE_TABLES)).collect();
    let writers = Writers::start(&engine.database, journals, mixed);
    // the second shop is dialled less often, so that it gets many changes of a row at once
    let pushers: Vec<_> = [("north", PULSE), ("south", PULSE * 15)]
        .into_iter()
        .map(|(name, pulse)| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let mut ledger = Ledger::default();
                while began.elapsed() < BUSY || ledger.diffs <= 8 {
                    push(&engine, name, &mut ledger).await.unwrap();
                    tokio::time::sleep(pulse).await;
                }
                (name, ledger)
            })
        })
        .collect();
    let mut ledgers = Vec::new();
    for pusher in pushers {
        ledgers.push(pusher.await.unwrap());
    }
    let journals = writers.stop().await;
    for (name, ledger) in &mut ledgers {
        while push(&engine, name, ledger).await.unwrap() {}
        ledger.assert_sound(&journals);
        let shop = &engine.shop(name).database;
        assert_holds(name, shop, OFFICE_TABLES, &journals);
        assert_equal(&engine.database, shop, OFFICE_TABLES);
        figures(name, began, &journals, ledger);
        assert!(ledger.repeats > 0, "too few repeats to prove anything");
    }
    assert_holds("office", &engine.database, OFFICE_TABLES, &journals);
}
