//! Real clusters, real signals. Processes other than this one are this test program again, see [`helper_process`].

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User, chown, geteuid};
use tempfile::TempDir;
use tokio_postgres::NoTls;

use super::server::shared_memory_of;
use super::*;

const HELPER_DIR: &str = "EMBEDDED_TEST_DIR";
const HELPER_ROLE: &str = "EMBEDDED_TEST_ROLE";
const PATIENCE: Duration = Duration::from_secs(60);

/// A temporary directory that other users may pass through.
fn place() -> TempDir {
    tempfile::Builder::new().prefix("embedded-").permissions(Permissions::from_mode(0o755)).tempdir().unwrap()
}

fn options(dir: &Path) -> Options {
    Options { dir: dir.to_owned(), bin_dir: None, durable: true, settings: Vec::new() }
}

async fn execute(cluster: &Cluster, sql: &str) -> Result<Vec<tokio_postgres::Row>, tokio_postgres::Error> {
    let (client, connection) = cluster.config("postgres").connect(NoTls).await?;
    tokio::spawn(connection);
    client.query(sql, &[]).await
}

/// The same, again and again until it works.
async fn insist(cluster: &Cluster, sql: &str) -> Vec<tokio_postgres::Row> {
    let began = Instant::now();
    loop {
        match execute(cluster, sql).await {
            Ok(rows) => return rows,
            Err(error) if began.elapsed() > PATIENCE => panic!("{sql}: {error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn count(cluster: &Cluster) -> i64 {
    insist(cluster, "select count(*) from kept").await[0].get(0)
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "still waiting for: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_gone(pid: i32) -> bool {
    // a dead process of another parent may stay as a zombie for a moment: it has no command line
    fs::read(format!("/proc/{pid}/cmdline")).map_or(true, |line| line.is_empty())
}

fn helper(dir: &Path, role: &str) -> Child {
    helper_of(&std::env::current_exe().unwrap(), dir, role).spawn().unwrap()
}

fn helper_of(program: &Path, dir: &Path, role: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--exact", "embedded::tests::helper_process", "--ignored", "--nocapture"])
        .env(HELPER_DIR, dir)
        .env(HELPER_ROLE, role)
        .stdout(Stdio::null());
    command
}

/// Not a test: what another process does with a cluster.
#[tokio::test]
#[ignore = "started by the other tests"]
async fn helper_process() {
    let (Some(dir), Ok(role)) = (std::env::var_os(HELPER_DIR), std::env::var(HELPER_ROLE)) else {
        return;
    };
    let dir = PathBuf::from(dir);
    let cluster = Cluster::start(options(&dir)).await.unwrap();
    insist(&cluster, "create table if not exists kept (id int generated always as identity)").await;
    insist(&cluster, "insert into kept default values").await;
    match role.as_str() {
        "once" => cluster.stop().await.unwrap(),
        "hold" => {
            fs::write(dir.with_extension("ready"), cluster.pid().unwrap().to_string()).unwrap();
            // a backend that does not notice anything
            let _ = execute(&cluster, "do 'begin loop end loop; end'").await;
            std::future::pending::<()>().await;
        }
        "leave" => {} // dropped without a word, as by a program that forgets it
        other => panic!("unknown role {other}"),
    }
}

/// Starts a helper that holds the cluster; its process and that of the postmaster.
fn holder(dir: &Path) -> (Child, i32) {
    let ready = dir.with_extension("ready");
    let mut child = helper(dir, "hold");
    let mut postmaster = None;
    wait_for("the helper's cluster", || {
        assert!(child.try_wait().unwrap().is_none(), "the helper ended");
        postmaster = fs::read_to_string(&ready).ok().and_then(|text| text.parse().ok());
        postmaster.is_some()
    });
    (child, postmaster.unwrap())
}

#[tokio::test]
async fn a_cluster_may_be_started_by_a_task_of_its_own() {
    let place = place();
    let options = options(&place.path().join("main"));
    let cluster = tokio::spawn(Cluster::start(options)).await.unwrap().unwrap();
    tokio::spawn(async move {
        cluster.restart().await.unwrap();
        cluster.stop().await.unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_cluster_keeps_its_data_and_leaves_no_process_behind() {
    let place = place();
    let dir = place.path().join("main");
    let cluster = Cluster::start(options(&dir)).await.unwrap();
    let pid = cluster.pid().unwrap();
    cluster.ensure_database("till \"1\"").await.unwrap();
    cluster.ensure_database("till \"1\"").await.unwrap();
    execute(&cluster, "create table kept as select 1 as id").await.unwrap();
    let shown = execute(&cluster, "select current_setting('server_encoding'), current_setting('fsync')").await.unwrap();
    assert_eq!((shown[0].get(0), shown[0].get(1)), ("UTF8", "on"));
    assert!(cluster.url("main").parse::<tokio_postgres::Config>().unwrap().get_hosts().len() == 1);
    cluster.stop().await.unwrap();
    assert!(is_gone(pid));
    assert!(!dir.join(".s.PGSQL.5432").exists());

    let cluster = Cluster::start(options(&dir)).await.unwrap();
    assert_eq!(count(&cluster).await, 1);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_server_that_dies_is_started_again_with_everything_committed() {
    let place = place();
    let cluster = Cluster::start(options(&place.path().join("main"))).await.unwrap();
    let pid = cluster.pid().unwrap();
    execute(&cluster, "create table kept as select 1 as id").await.unwrap();
    let (busy, connection) = cluster.config("postgres").connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    // this backend survives its postmaster and holds the shared memory
    let busy = tokio::spawn(async move { busy.batch_execute("do 'begin loop end loop; end'").await });
    insist(&cluster, "select 1 / count(*) from pg_stat_activity where state = 'active' and query like '%loop%' and pid <> pg_backend_pid()").await;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    assert_eq!(count(&cluster).await, 1);
    assert_ne!(cluster.pid(), Some(pid));
    assert!(busy.await.unwrap().is_err());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_stays_down_until_it_is_asked_for() {
    let place = place();
    let cluster = Cluster::start(options(&place.path().join("main"))).await.unwrap();
    execute(&cluster, "create table kept as select 1 as id").await.unwrap();
    let killed = Pid::from_raw(cluster.pid().unwrap());
    cluster.kill().await.unwrap();
    assert_eq!(cluster.pid(), None);
    // found by CI: after four thousand tests on one machine no server could be started any more
    assert_eq!(shared_memory_of(killed), [0; 0], "the kernel keeps the shared memory of a killed server");
    tokio::time::sleep(Duration::from_millis(300)).await; // three looks of the keeper
    assert!(execute(&cluster, "select 1").await.is_err());
    cluster.restart().await.unwrap();
    assert_eq!(count(&cluster).await, 1);
    let pid = cluster.pid().unwrap();
    cluster.restart().await.unwrap();
    assert_ne!(cluster.pid(), Some(pid));
    assert_eq!(count(&cluster).await, 1);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn the_server_of_a_killed_process_ends_and_the_next_start_recovers() {
    let place = place();
    let dir = place.path().join("main");
    let (mut child, postmaster) = holder(&dir);
    child.kill().unwrap();
    child.wait().unwrap();
    let cluster = Cluster::start(options(&dir)).await.unwrap();
    assert!(is_gone(postmaster));
    assert_eq!(count(&cluster).await, 1);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn killing_process_and_server_together_loses_nothing() {
    let place = place();
    let dir = place.path().join("main");
    let (mut child, postmaster) = holder(&dir);
    kill(Pid::from_raw(postmaster), Signal::SIGKILL).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let cluster = Cluster::start(options(&dir)).await.unwrap();
    assert_eq!(count(&cluster).await, 1);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_program_that_forgets_its_cluster_leaves_no_server() {
    let place = place();
    let dir = place.path().join("main");
    assert!(helper(&dir, "leave").wait().unwrap().success());
    let cluster = Cluster::start(options(&dir)).await.unwrap();
    let pid = cluster.pid().unwrap();
    assert_eq!(count(&cluster).await, 1);
    drop(cluster);
    wait_for("the end of the server", || is_gone(pid));
}

#[tokio::test]
async fn whoever_remains_takes_the_server_over_from_an_owner_that_leaves_or_dies() {
    let place = place();
    let dir = place.path().join("main");
    let (mut child, first) = holder(&dir);
    let attached = Cluster::start(options(&dir)).await.unwrap();
    assert_eq!(attached.pid(), Some(first), "attached, not a second server");
    let third = Cluster::start(options(&dir)).await.unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(count(&attached).await, 1);
    assert_eq!(count(&third).await, 1);
    // one of the two runs it now; when they leave one by one the last finds it alive
    attached.stop().await.unwrap();
    assert_eq!(count(&third).await, 1);
    let last = third.pid();
    third.stop().await.unwrap();
    wait_for("the end of the server", || last.is_none_or(is_gone));
    assert!(!dir.join("data/postmaster.pid").exists());
}

#[tokio::test]
async fn many_processes_may_start_a_new_cluster_at_once() {
    let place = place();
    let dir = place.path().join("main");
    let children: Vec<Child> = (0..4).map(|_| helper(&dir, "once")).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert!(!dir.join("data/postmaster.pid").exists(), "the last one stopped it");
    let cluster = Cluster::start(options(&dir)).await.unwrap();
    assert_eq!(count(&cluster).await, 4);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_is_no_obstacle() {
    let place = place();
    let dir = place.path().join("d".repeat(120));
    let cluster = Cluster::start(options(&dir)).await.unwrap();
    assert!(cluster.socket_dir().starts_with("/tmp"));
    assert!(!execute(&cluster, "select 1").await.unwrap().is_empty());
    let socket_dir = cluster.socket_dir().to_owned();
    let other = Cluster::start(options(&dir)).await.unwrap();
    cluster.stop().await.unwrap();
    assert!(!insist(&other, "select 1").await.is_empty(), "the next owner opens the same socket");
    other.kill().await.unwrap();
    other.stop().await.unwrap();
    assert!(!socket_dir.exists());
}

#[tokio::test]
async fn a_pid_file_whose_number_was_reused_does_not_hold_up_the_start() {
    let place = place();
    let dir = place.path().join("main");
    let cluster = Cluster::start(options(&dir)).await.unwrap();
    cluster.kill().await.unwrap();
    cluster.stop().await.unwrap();
    let file = dir.join("data/postmaster.pid");
    let stale = fs::read_to_string(&file).unwrap();
    let (_, rest) = stale.split_once('\n').unwrap();
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    fs::write(&file, format!("{}\n{rest}", other.id())).unwrap();
    let cluster = Cluster::start(options(&dir)).await.unwrap();
    cluster.stop().await.unwrap();
    assert!(other.try_wait().unwrap().is_none(), "an innocent process was ended");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn an_interrupted_initdb_leaves_nothing_that_counts() {
    let place = place();
    let dir = place.path().join("main");
    fs::create_dir_all(dir.join("data.new")).unwrap();
    fs::write(dir.join("data.new/PG_VERSION"), "15\n").unwrap();
    Cluster::start(options(&dir)).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_directory_with_other_things_in_it_is_left_alone() {
    let place = place();
    fs::write(place.path().join("letter.txt"), "dear").unwrap();
    let error = Cluster::start(options(place.path())).await.unwrap_err();
    assert!(error.to_string().contains("a directory of its own"), "{error}");
}

#[tokio::test]
async fn a_setting_the_server_refuses_is_reported_with_its_words() {
    let place = place();
    let mut options = options(&place.path().join("main"));
    options.settings.push(("no_such_setting".into(), "1".into()));
    let error = Cluster::start(options).await.unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[tokio::test]
async fn a_server_started_by_hand_is_not_ours_to_stop() {
    let place = place();
    let dir = place.path().join("main");
    let cluster = Cluster::start(options(&dir)).await.unwrap();
    let postgres = cluster.binaries().program("postgres");
    cluster.stop().await.unwrap();
    let mut command = Command::new(postgres);
    command.arg("-D").arg(dir.join("data")).args(["-c", "listen_addresses=", "-k", "/tmp", "-p", "5999"]);
    if geteuid().is_root() {
        command.uid(std::os::unix::fs::MetadataExt::uid(&fs::metadata(dir.join("data")).unwrap()));
    }
    let mut by_hand = command.current_dir("/").stderr(Stdio::null()).spawn().unwrap();
    wait_for("the server", || {
        fs::read_to_string(dir.join("data/postmaster.pid")).is_ok_and(|text| text.contains("ready"))
    });
    let error = Cluster::start(options(&dir)).await.unwrap_err();
    assert!(error.to_string().contains("not started by this program"), "{error}");
    assert!(by_hand.try_wait().unwrap().is_none());
    kill(Pid::from_raw(by_hand.id().cast_signed()), Signal::SIGINT).unwrap();
    by_hand.wait().unwrap();
}

/// Needs root, which alone can become somebody else.
#[tokio::test]
async fn root_is_told_which_directory_is_closed_to_the_servers_user() {
    if !geteuid().is_root() {
        return;
    }
    let place = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap();
    let error = Cluster::start(options(&place.path().join("main"))).await.unwrap_err();
    assert!(error.to_string().contains(&format!("{} is closed to it", place.path().display())), "{error}");
}

/// Needs root, which alone can become somebody else; without root every other test here is this one.
#[tokio::test]
async fn an_ordinary_user_and_root_may_share_a_cluster() {
    let Some(user) = User::from_name("nobody").unwrap().filter(|_| geteuid().is_root()) else {
        return;
    };
    let place = place();
    chown(place.path(), Some(user.uid), Some(user.gid)).unwrap();
    // the program itself may lie where only root can go
    let program = place.path().join("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let dir = place.path().join("main");
    let run = || {
        let mut command = helper_of(&program, &dir, "once");
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir("/").env_remove("HOME");
        command.status().unwrap()
    };
    assert!(run().success());
    // root runs it as the user it belongs to, so that the user can go on
    let cluster = Cluster::start(options(&dir)).await.unwrap();
    let owner = fs::metadata(format!("/proc/{}", cluster.pid().unwrap())).unwrap();
    assert_eq!(Uid::from_raw(std::os::unix::fs::MetadataExt::uid(&owner)), user.uid);
    assert!(run().success(), "attached while root runs it");
    assert_eq!(count(&cluster).await, 2);
    cluster.stop().await.unwrap();
    assert!(run().success());
}
