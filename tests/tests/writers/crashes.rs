//! The shop's PostgreSQL ends while programs write and diffs are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use replica::office::NewBranch;
use tests::cluster::Cluster;
use tests::database::Database;
use tests::engine::{Engine, ShopSide};

use crate::ledger::Ledger;
use crate::workload::{self, Journal, Manner, POLICY, SCHEMA, SHOP_TABLES, rows_of};
use crate::{PULSE, Writers, assert_equal, assert_holds, figures, pull};

#[derive(Debug, Clone, Copy)]
enum End {
    /// The server's machine loses power, as far as the server can tell.
    Kill,
    /// The same right after a diff, when nobody else has made its asynchronous commits durable.
    KillAfterDiff,
    /// An orderly restart that ends all sessions.
    Fast,
    /// One backend is killed: the server throws everybody out and recovers.
    Backend,
}

/// The office is in a cluster of its own, so that its durable commits do not flush the shop's.
async fn shop_in(cluster: &Cluster) -> Engine {
    let mut engine = Engine::new(SCHEMA, POLICY, &[]).await;
    let database = tokio::task::block_in_place(|| cluster.database("shop"));
    let new = NewBranch {
        name: "north".into(),
        url: "http://127.0.0.1:9".into(),
        policy: engine.policy.name().to_owned(),
        ..NewBranch::default()
    };
    engine.office.add_branch(new).await.expect("a new branch");
    let shop = engine.open_shop("north", &database).await;
    engine.shops.push(ShopSide { name: "north".into(), shop, database });
    engine.clone_shop("north").await.expect("a clone");
    engine
}

fn crash(cluster: &Cluster, shop: &Database, end: End) {
    match end {
        End::Kill | End::KillAfterDiff => cluster.kill(),
        End::Fast => cluster.restart(),
        End::Backend => {
            let pid = shop.int("select pid from pg_stat_activity where application_name = 'till' limit 1");
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process number"));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("a backend of this test's server");
        }
    }
}

/// Stops pulling: what was pulled, and how many pulls have been interrupted so far.
async fn end_of(
    stop: &AtomicBool,
    puller: tokio::task::JoinHandle<(Ledger, usize)>,
    interrupted: usize,
) -> (Ledger, usize) {
    stop.store(true, Ordering::Relaxed);
    let (ledger, more) = puller.await.expect("pulling goes on after a crash");
    (ledger, interrupted + more)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_diff_has_delivered_is_never_taken_back_by_a_crash() {
    let began = Instant::now();
    let cluster = tokio::task::block_in_place(|| {
        let cluster = Cluster::start(true);
        // asynchronous commits stay in memory until somebody flushes them
        cluster.maintenance().execute("alter system set wal_writer_delay = '10s'");
        cluster.restart();
        cluster
    });
    let engine = Arc::new(shop_in(&cluster).await);
    let shop = engine.shop("north").database.clone();
    let mut journals: Vec<Journal> = (1..=8).map(|writer| Journal::new(writer, SHOP_TABLES)).collect();
    let mut ledger = Ledger::default();
    let mut interrupted = 0;
    for end in [End::Kill, End::KillAfterDiff, End::Backend, End::KillAfterDiff, End::Fast, End::KillAfterDiff] {
        let manner = |index| Manner { asynchronous: if index == 0 { 20 } else { 100 }, long: 10 };
        let writers = Writers::start(&shop, journals, manner);
        let stop = Arc::new(AtomicBool::new(false));
        let puller = tokio::spawn({
            let (engine, stop) = (engine.clone(), stop.clone());
            async move {
                let mut interrupted = 0;
                while !stop.load(Ordering::Relaxed) {
                    match pull(&engine, "north", &mut ledger).await {
                        Ok(_) => {}
                        Err(error) if error.is_passing() => interrupted += 1,
                        Err(error) => panic!("{error:?}"),
                    }
                    tokio::time::sleep(PULSE).await;
                }
                (ledger, interrupted)
            }
        });
        tokio::time::sleep(Duration::from_millis(700)).await;
        if matches!(end, End::KillAfterDiff) {
            journals = writers.stop().await;
            (ledger, interrupted) = end_of(&stop, puller, interrupted).await;
            let client = workload::open(&shop).await.expect("the shop's database");
            for _ in 0..3 {
                journals[3].change(&client).await;
                pull(&engine, "north", &mut ledger).await.unwrap();
            }
            tokio::task::block_in_place(|| cluster.kill());
            tokio::task::block_in_place(|| cluster.restart());
        } else {
            tokio::task::block_in_place(|| crash(&cluster, &shop, end));
            journals = writers.join().await;
            tokio::task::block_in_place(|| {
                if matches!(end, End::Kill) {
                    cluster.restart();
                }
                tests::wait_for::condition("the shop's database", || shop.try_execute("select 1").is_ok());
            });
            (ledger, interrupted) = end_of(&stop, puller, interrupted).await;
        }

        let mut found = tokio::task::block_in_place(|| rows_of(&shop, SHOP_TABLES));
        for journal in &mut journals {
            journal.reconcile(&found.remove(&journal.writer).unwrap_or_default());
        }
        while pull(&engine, "north", &mut ledger).await.unwrap() {}
        // also shows that no diff has delivered a state that the crash took back
        ledger.assert_sound(&journals);
        assert_holds("office", &engine.database, SHOP_TABLES, &journals);
        assert_equal(&engine.database, &shop, SHOP_TABLES);
    }
    figures("crashes", began, &journals, &ledger);
    let lost: usize = journals.iter().map(|journal| journal.lost).sum();
    println!("crashes: {lost} asynchronous commits taken back, {interrupted} pulls interrupted");
    assert!(lost > 0, "no crash has taken a commit back: this proves nothing");
}
