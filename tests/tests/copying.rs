//! The first copy of a branch is sent while it is still being written; a shop that works already keeps its tables until
//! the copy is whole. Here the office cannot read its second table until the test lets it.

use tests::kit::{Plan, World};
use tests::process::Process;
use tests::proxy::{Line, Proxy};
use tests::{runtime, wait_for};
use tokio_postgres::Client;

const SCHEMA: &str = "
create table a_product(id bigint primary key, name text not null);
create table b_price(id bigint primary key, amount numeric not null);
";
const POLICY: &str = "name = \"p\"\n[tables]\na_product = \"from-source\"\nb_price = \"from-source\"\n";
const DATA: &str = "
insert into a_product select id, md5(id::text) || md5((-id)::text) from generate_series(1, 40000) id;
insert into b_price select id, id * 1.5 from generate_series(1, 1000) id;
";

struct Held {
    world: World,
    lock: Option<Client>,
}

impl Held {
    fn new() -> Self {
        let world = World::new(&Plan::of(SCHEMA, POLICY, ""));
        world.office.execute(DATA);
        world.enrol();
        let mut held = Self { world, lock: None };
        held.hold();
        held
    }

    /// From here on a copy comes as far as the second table.
    fn hold(&mut self) {
        let client = self.world.office.connect();
        let lock = "begin; lock table b_price in access exclusive mode";
        self.lock = Some(runtime::run(async move {
            client.batch_execute(lock).await.expect("a lock");
            client
        }));
    }

    fn let_go(&mut self) {
        self.lock = None;
    }

    /// Bytes of chunks that the shop holds.
    fn arrived(&self) -> u64 {
        let sessions = self.world.shops[0].state_dir().join("sessions");
        let logs = std::fs::read_dir(sessions).into_iter().flatten().flatten();
        logs.filter_map(|entry| entry.path().join("chunks.log").metadata().ok()).map(|log| log.len()).sum()
    }

    fn clone_until_some_of_it_has_arrived(&self) -> Process {
        let clone = self.world.start_office(&["--json", "clone", "north"]);
        wait_for::condition("the first chunks arrive", || self.arrived() > 0);
        wait_for::condition("the copy comes to the second table", || self.is_copying());
        clone
    }

    fn assert_cloned(&self) {
        self.world.assert_agree(&["a_product", "b_price"]);
        assert_eq!(self.world.shops[0].database.int("select count(*) from b_price"), 1000);
    }

    fn is_copying(&self) -> bool {
        let copying = "select count(*) from pg_stat_activity where query ilike 'copy%' and wait_event_type = 'Lock'";
        self.world.office.int(copying) == 1
    }
}

#[test]
fn the_first_copy_of_a_branch_is_sent_while_it_is_being_written() {
    let mut held = Held::new();
    let mut clone = held.clone_until_some_of_it_has_arrived();
    held.let_go();
    assert!(clone.wait().success(), "{}", clone.stderr());
    held.assert_cloned();
}

#[test]
fn what_the_office_changes_while_its_copy_travels_is_no_difference() {
    let mut held = Held::new();
    let mut clone = held.clone_until_some_of_it_has_arrived();
    held.world
        .office
        .execute("update a_product set name = 'later' where id <= 10; delete from a_product where id > 39990");
    held.let_go();
    assert!(clone.wait().success(), "{}", clone.stderr());
    let told: serde_json::Value = serde_json::from_str(clone.stdout().trim()).expect("one object");
    assert_eq!((&told["verified"], &told["differing"]), (&true.into(), &serde_json::json!([])), "{told}");
    held.world.office(&["update", "north"]).succeeded();
    held.world.assert_agree(&["a_product", "b_price"]);
}

#[test]
fn an_office_that_dies_with_half_a_copy_begins_anew() {
    let mut held = Held::new();
    let mut clone = held.clone_until_some_of_it_has_arrived();
    clone.kill();
    held.let_go();
    let text = held.world.office(&["clone", "north"]).succeeded();
    assert!(text.contains("41000 rows pushed"), "{text}");
    held.assert_cloned();
}

#[test]
fn a_copy_that_fails_says_why_and_the_next_run_begins_anew() {
    let mut held = Held::new();
    let mut clone = held.clone_until_some_of_it_has_arrived();
    held.world.office.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'copy%' and wait_event_type = 'Lock'",
    );
    assert!(!clone.wait().success());
    held.let_go();
    held.world.office(&["clone", "north"]).succeeded();
    held.assert_cloned();
}

#[test]
fn a_line_that_is_lost_meanwhile_leaves_a_whole_copy_which_is_sent_on() {
    let mut held = Held::new();
    let proxy = Proxy::start(held.world.shops[0].url(), Line { rate: Some(200_000), ..Line::default() });
    held.world.office(&["branch", "set", "north", "--url", &proxy.url()]).succeeded();
    let mut clone = held.world.start_office(&["clone", "north", "--retry-for", "1s", "--verbose"]);
    wait_for::condition("the first chunks arrive", || held.arrived() > 0);
    drop(proxy);
    clone.wait_for_line("the copy goes on", |line| line.contains("the copy is finished"));
    held.let_go();
    assert!(!clone.wait().success());
    held.world.office(&["branch", "set", "north", "--url", held.world.shops[0].url()]).succeeded();
    // a copy made anew would have it
    held.world.office.execute("insert into b_price values (1001, 1)");
    let text = held.world.office(&["clone", "north"]).succeeded();
    assert!(text.contains("41000 rows pushed"), "{text}");
    held.world.office(&["update", "north"]).succeeded();
    held.world.assert_agree(&["a_product", "b_price"]);
}

#[test]
fn a_shop_that_works_keeps_its_tables_until_the_copy_is_whole() {
    let mut held = Held::new();
    held.let_go();
    held.world.office(&["clone", "north"]).succeeded();
    held.hold();
    let mut clone = held.world.start_office(&["clone", "north"]);
    wait_for::condition("the copy is being written", || held.is_copying());
    assert_eq!(held.world.shops[0].database.int("select count(*) from a_product"), 40_000);
    held.let_go();
    assert!(clone.wait().success(), "{}", clone.stderr());
    held.assert_cloned();
}
