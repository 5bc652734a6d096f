//! Offices with so many shops, all of them cloned, and what one real shop and its agent have said, recorded.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use protocol::policy::Policy;
use replica::office::{NewBranch, Office, OfficeOptions};
use replica::retention::Retention;
use tests::database::Database;
use tests::kit::{Plan, World};
use tests::process::{Process, binary};

use super::recorder::Recorder;
use super::recording::{Range, Recording, Update};
use super::stub::Shops;
use crate::processor::peak_memory;
use crate::world;

const SCHEMA: &str = "
create table product (id bigint primary key, code text not null unique, name text not null, price numeric(12, 2) not null);
create table sale (id bigserial primary key, sold_at timestamptz not null default now(), total numeric(12, 2) not null);
create index on sale (sold_at);
create table sale_item (sale_id bigint not null references sale, line int not null,
    product_id bigint not null references product, quantity int not null, amount numeric(12, 2) not null,
    primary key (sale_id, line));
create table payment (id bigserial primary key, sale_id bigint not null references sale, amount numeric(12, 2) not null);
create index on payment (sale_id);
";

const POLICY: &str = "
name = \"bench\"
[tables]
product = \"from-source\"
sale = \"from-target\"
sale_item = \"from-target\"
payment = \"from-target\"
";

const PRODUCTS: &str = "insert into product select i, 'C' || i, 'Product ' || i, i from generate_series(1, 500) i;";

/// Rows that each shop sends and gets in one update.
const ROWS: i64 = 20;

/// What is sold in a shop between two updates: four sales of three items, paid.
const SALES: &str = "
with sold as (insert into sale (total) select 30 from generate_series(1, 4) returning id),
     items as (insert into sale_item select id, line, line * 7, 1, 10 from sold, generate_series(1, 3) line)
insert into payment (sale_id, amount) select id, 30 from sold";

/// What is changed at an office between two updates.
const PRICES: &str = "update product set price = price + 0.01 where id % 25 = 0";

const ID_SPAN: i64 = 1_000_000_000_000;

/// Offices, each with shops of its own.
pub(super) struct Offices {
    offices: Vec<OneOffice>,
    shops: Shops,
    dir: tempfile::TempDir,
}

struct OneOffice {
    database: Database,
    shops: usize,
}

impl Offices {
    /// An office for each number of shops; as many updates can be run of each.
    pub(super) fn prepare(counts: &[usize], updates: usize) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let recording = record(updates);
        let shops = Shops::start(&recording);
        let offices = counts.iter().enumerate().map(|(index, count)| {
            let database = world::office().database("chain");
            database.load(SCHEMA);
            database.load(PRODUCTS);
            world::wait(open_shops(&database, &state_dir(dir.path(), index), *count, &recording, |name, low| {
                shops.url(index, name, low)
            }));
            database.execute("vacuum analyze");
            OneOffice { database, shops: *count }
        });
        let offices = offices.collect();
        Self { offices, shops, dir }
    }

    /// Process of the server with the offices' databases.
    pub(super) fn server(&self) -> i32 {
        world::office().embedded().pid().expect("the server of the offices runs")
    }

    /// How many shops an office has.
    pub(super) fn shops_of(&self, index: usize) -> usize {
        self.offices[index].shops
    }

    /// Process of the recorded shops.
    pub(super) fn stub(&self) -> i32 {
        self.shops.pid()
    }

    /// Prices change at an office.
    pub(super) fn trade(&self, index: usize) {
        let database = &self.offices[index].database;
        database.execute(PRICES);
        database.execute("checkpoint");
    }

    /// Updates all shops of an office; the most memory that it took.
    pub(super) fn update(&self, index: usize, arguments: &[&str]) -> u64 {
        let mut command = Command::new(binary("office-client"));
        command.env("HOME", self.dir.path()).env("XDG_CONFIG_HOME", self.dir.path());
        command.args(["--database", self.offices[index].database.url(), "--state-dir"]);
        command.arg(state_dir(self.dir.path(), index)).args(["update", "--all"]).args(arguments);
        let mut client = Process::spawn(&mut command);
        let mut peak = 0;
        while client.is_running() {
            peak = peak.max(peak_memory(client.pid()));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(client.wait().success(), "{}{}", client.stdout(), client.stderr());
        peak
    }

    /// Whether each shop of an office has sent and got in the last update what there was.
    pub(super) fn check(&self, index: usize) {
        let OneOffice { database, shops } = &self.offices[index];
        let whole = database.int(&format!(
            "select count(distinct branch_id) from (select * from sync.run order by run desc limit {shops}) last
             where result = 'done' and pulled_rows = {ROWS} and pushed_rows = {ROWS}"
        ));
        assert_eq!(whole, *shops as i64, "shops that were updated whole");
    }
}

fn state_dir(dir: &Path, index: usize) -> std::path::PathBuf {
    dir.join(format!("office{index}"))
}

/// Runs updates of a real shop with a real agent, and writes down what the agent says.
fn record(updates: usize) -> Recording {
    let world = World::in_clusters(world::office(), world::shop(), &Plan::of(SCHEMA, POLICY, PRODUCTS));
    world.enrol();
    world.clone_all();
    let of_branch = |column: &str| {
        let text = world.office.value(&format!("select {column}::text from sync.branch_synchronization"));
        text.unwrap_or_default()
    };
    let (cloned, incarnation) = (of_branch("\"timestamp\""), of_branch("incarnation"));
    let ids = world.office.rows("select low, high from sync.id_slot").remove(0);
    let [low, high] = [0, 1].map(|at| ids[at].as_deref().and_then(|id| id.parse().ok()).expect("an id"));
    let recorder = Recorder::start(world.shop("north").url());
    world.office(&["branch", "set", "north", "--url", &recorder.url]).succeeded();
    let update = |_| -> Update {
        world.shop("north").database.execute(SALES);
        world.office.execute(PRICES);
        world.office(&["update", "north"]).succeeded();
        recorder.take()
    };
    Recording { ids: Range { low, high }, incarnation, cloned, updates: (0..updates).map(update).collect() }
}

/// Makes a database an office with shops that have been cloned.
async fn open_shops(
    database: &Database,
    state_dir: &Path,
    count: usize,
    recording: &Recording,
    url: impl Fn(&str, i64) -> String,
) {
    let options = OfficeOptions {
        database: tests::engine::connection(database).await,
        state_dir: state_dir.to_owned(),
        id_span: ID_SPAN,
        retention: Retention::default(),
        recheck: Duration::ZERO,
    };
    let office = Office::init(options).await.expect("an office");
    let policy = Policy::parse(POLICY).expect("our own policy");
    office.import_policy(&policy).await.expect("imported");
    for number in 1..=count {
        let name = format!("shop{number}");
        let low = ID_SPAN * number as i64;
        let new = NewBranch { url: url(&name, low), name, policy: policy.name().to_owned(), ..NewBranch::default() };
        let branch = office.add_branch(new).await.expect("a branch");
        let range = office.id_range(&branch, false).await.expect("ids");
        assert_eq!(range.0, low, "the shops draw their ids one after the other");
        let outgoing = office.freeze_clone(&branch).await.expect("a copy");
        let incarnation = Some(recording.incarnation.as_str());
        office.record_clone(&branch, &outgoing, &recording.cloned, incarnation).await.expect("recorded");
    }
    office.close().await.expect("closed");
}
