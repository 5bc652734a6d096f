//! What is killed: worlds at rest just before a command, with the states that the command may leave.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use replica::killpoint;
use tests::cluster::Cluster;
use tests::database::Database;
use tests::kit::{Plan, Resting, World};
use tests::process::Finished;
use tokio_postgres::error::SqlState;

use crate::fixture;

/// Name of the only branch.
pub(crate) const BRANCH: &str = "north";

/// Two servers, one for each end, so that either can be killed alone.
pub(crate) struct Servers {
    /// The office's.
    pub(crate) office: Cluster,
    /// The shop's.
    pub(crate) shop: Cluster,
}

impl Servers {
    pub(crate) fn start() -> Self {
        Self { office: Cluster::start(false), shop: Cluster::start(false) }
    }
}

/// The rows of all synchronised tables, as one fingerprint a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture(Vec<String>);

impl Picture {
    pub(crate) fn of(database: &Database) -> Self {
        let one = |table: &&str| {
            format!(
                "select '{table} ' || count(*) || ' ' || coalesce(md5(string_agg(t::text, E'\\n' order by t::text collate \"C\")), '-') from {table} t"
            )
        };
        let sql: Vec<String> = fixture::TABLES.iter().map(one).collect();
        let sql = sql.join(" union all ");
        // whoever reads several tables while a clone is applied may be the victim of a deadlock, and reads again
        let rows = tests::wait_for::some("a look at all tables", || match database.try_rows(&sql) {
            Err(error) if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) => None,
            rows => Some(rows.unwrap_or_else(|error| panic!("{}: {error:?}", database.name()))),
        });
        Self(rows.into_iter().map(|mut row| row.swap_remove(0).unwrap_or_default()).collect())
    }

    /// Of the tables whose changes flow; what is copied once may differ later.
    fn flowing(&self) -> &[String] {
        &self.0[..fixture::TABLES.len() - 1]
    }
}

/// A command, and the world just before it.
pub(crate) struct Stage {
    /// In messages: clone, update..
    pub(crate) name: &'static str,
    /// What `office-client` is told to do.
    pub(crate) command: &'static [&'static str],
    resting: Resting,
    /// The pictures that the shop may show at any time, the last being the one at the end.
    pub(crate) shop: Vec<Picture>,
    /// The same of the office.
    pub(crate) office: Vec<Picture>,
    /// Conflicts that are recorded at the end, at the office and at the shop.
    conflicts: [i64; 2],
    /// Points of person 15 at the end, at the office and at the shop.
    points_of_15: [i64; 2],
    /// How long the command takes when nobody is killed.
    pub(crate) duration: Duration,
    /// The points that it reaches then, and how often.
    pub(crate) points: BTreeMap<String, u64>,
}

impl Stage {
    /// The first clone of a shop whose tables hold rows from an earlier life.
    pub(crate) fn clone(servers: &Servers) -> Self {
        let plan = Plan { shop_data: fixture::OLD_SHOP_DATA.into(), ..plan() };
        let world = World::in_clusters(&servers.office, &servers.shop, &plan);
        world.enrol();
        Self::new("clone", &["clone", BRANCH], world, servers, &[&Self::emptied(servers)])
    }

    /// An update with changes, a conflict and amounts on both sides.
    pub(crate) fn update(servers: &Servers) -> Self {
        let world = World::in_clusters(&servers.office, &servers.shop, &plan());
        world.enrol();
        world.clone_all();
        world.office.execute(fixture::OFFICE_DAY);
        world.shop(BRANCH).database.execute(fixture::SHOP_DAY);
        let stage = Self::new("update", &["update", BRANCH], world, servers, &[]);
        // what both sides added to an amount is all there; after the kills it has to look the same
        assert_eq!(stage.points_of_15, [26, 26], "15 at first, 10 from the office, 1 from the shop");
        assert_eq!(stage.conflicts[0], 1, "the phone of person 1");
        stage
    }

    /// The adoption of a shop that has its data already, with rows of every direction that differ and are brought together.
    pub(crate) fn adopt(servers: &Servers) -> Self {
        let plan = Plan { shop_data: format!("{}{}", fixture::OFFICE_DATA, fixture::OWN_SHOP_DATA), ..plan() };
        let world = World::in_clusters(&servers.office, &servers.shop, &plan);
        world.enrol();
        Self::new("adopt", &["adopt", BRANCH, "--repair"], world, servers, &[])
    }

    /// An update that has nothing to take in.
    pub(crate) fn push_alone(servers: &Servers) -> Self {
        let world = World::in_clusters(&servers.office, &servers.shop, &plan());
        world.enrol();
        world.clone_all();
        world.office.execute(fixture::OFFICE_DAY);
        Self::new("update without news from the shop", &["update", BRANCH], world, servers, &[])
    }

    /// A clone that is run again after one that died when its session was open and had received nothing.
    pub(crate) fn clone_again(servers: &Servers) -> Self {
        let world = World::in_clusters(&servers.office, &servers.shop, &plan());
        world.enrol();
        let mut command = world.office_command(&["clone", BRANCH]);
        let died = tests::process::run(command.env(killpoint::VARIABLE, "office.push.prepared"));
        assert_eq!(died.code, Some(137), "{}", died.stderr);
        Self::new("clone run again", &["clone", BRANCH], world, servers, &[&Self::emptied(servers)])
    }

    /// What a shop looks like between clean and the end of a clone.
    fn emptied(servers: &Servers) -> Picture {
        let database = servers.shop.database("emptied");
        database.execute(fixture::SCHEMA);
        Picture::of(&database)
    }

    /// Lets the world rest, and runs the command once on a copy of it.
    fn new(
        name: &'static str,
        command: &'static [&'static str],
        world: World,
        servers: &Servers,
        between: &[&Picture],
    ) -> Self {
        let mut office = vec![Picture::of(&world.office)];
        let mut shop = vec![Picture::of(&world.shop(BRANCH).database)];
        shop.extend(between.iter().map(|picture| (*picture).clone()));
        let resting = world.rest();
        let mut stage = Self {
            name,
            command,
            resting,
            shop: Vec::new(),
            office: Vec::new(),
            conflicts: [0, 0],
            points_of_15: [0, 0],
            duration: Duration::ZERO,
            points: BTreeMap::new(),
        };
        let mut case = stage.set_up(servers);
        let log = case.world.dir().join("points");
        let environment = [(killpoint::LOG_VARIABLE, log.to_str().expect("a plain path"))];
        case.start_agent(&environment);
        let mut client = case.world.office_command(command);
        let began = Instant::now();
        tests::process::run(client.envs(environment)).succeeded();
        stage.duration = began.elapsed();
        for point in std::fs::read_to_string(&log).expect("the points reached").lines() {
            *stage.points.entry(point.to_owned()).or_default() += 1;
        }
        office.push(Picture::of(&case.world.office));
        shop.push(Picture::of(&case.world.shop(BRANCH).database));
        let flowing = |pictures: &[Picture]| pictures.last().map(|picture| picture.flowing().to_vec());
        assert_eq!(flowing(&office), flowing(&shop), "{name}: the two ends differ after an unharmed run");
        stage.conflicts = case.facts().map(|facts| facts.conflicts);
        let points = |database: &Database| database.int("select coalesce(sum(points), 0) from person where id = 15");
        stage.points_of_15 = [points(&case.world.office), points(&case.world.shop(BRANCH).database)];
        (stage.office, stage.shop) = (office, shop);
        case.assert_complete(&stage, "an unharmed run");
        stage
    }

    /// A copy of the world.
    pub(crate) fn set_up<'a>(&self, servers: &'a Servers) -> Case<'a> {
        Case { world: self.resting.copy(&servers.office, &servers.shop), servers }
    }
}

fn plan() -> Plan {
    Plan::of(fixture::SCHEMA, fixture::POLICY, fixture::OFFICE_DATA)
}

/// What one end has written down beside the rows.
#[derive(Debug)]
struct Facts {
    conflicts: i64,
    waiting: i64,
    unfinished: i64,
    range: Option<String>,
}

/// A copy of a stage's world, in which something is killed.
pub(crate) struct Case<'a> {
    pub(crate) world: World,
    servers: &'a Servers,
}

impl Case<'_> {
    /// Starts the agent (again), with these environment variables.
    pub(crate) fn start_agent(&mut self, environment: &[(&str, &str)]) {
        let shop = self.world.shop_mut(BRANCH);
        let is_first = shop.url().is_empty();
        shop.start_in(&[], environment);
        let url = shop.url().to_owned();
        if is_first {
            // it must survive the death of a server that by default acknowledges commits before they are written
            self.call_at(&url);
        }
    }

    /// Where the agent listens.
    pub(crate) fn agent_url(&self) -> &str {
        self.world.shop(BRANCH).url()
    }

    /// From now on the office calls the shop there.
    pub(crate) fn call_at(&mut self, url: &str) {
        self.world
            .office
            .execute(&format!("set synchronous_commit = on; update sync.branch_synchronization set url = '{url}'"));
    }

    /// I5: neither end shows anything but a state before or after a whole step.
    pub(crate) fn assert_whole(&self, stage: &Stage, what: &str) {
        let shop = Picture::of(&self.world.shop(BRANCH).database);
        assert!(
            stage.shop.contains(&shop),
            "{}, {what}: the shop is between two states\n{shop:#?}\n{:#?}",
            stage.name,
            stage.shop
        );
        let office = Picture::of(&self.world.office);
        assert!(
            stage.office.contains(&office),
            "{}, {what}: the office is between two states\n{office:#?}",
            stage.name
        );
    }

    /// The command has succeeded: both ends agree, everything is recorded once, nothing is left over, nothing moves again.
    pub(crate) fn assert_complete(&self, stage: &Stage, what: &str) {
        let context = |told: &str| format!("{}, {what}: {told}", stage.name);
        self.assert_final(stage, &context("after the run"));
        let again = self.world.office(&["--json", "update", BRANCH]);
        assert!(again.is_success(), "{}\n{}{}", context("the next update fails"), again.stdout, again.stderr);
        let still = again.stdout.contains("\"pulled_rows\":0") && again.stdout.contains("\"pushed_rows\":0");
        assert!(still, "{}\n{}", context("rows move again"), again.stdout);
        self.assert_final(stage, &context("after the next update"));
        let facts = self.facts();
        let context = context(&format!("{facts:?}"));
        assert_eq!(
            facts.each_ref().map(|facts| facts.conflicts),
            stage.conflicts,
            "conflicts are missing or doubled: {context}"
        );
        assert_eq!(facts.each_ref().map(|facts| facts.waiting), [0, 0], "rows wait in quarantine: {context}");
        assert_eq!(facts.each_ref().map(|facts| facts.unfinished), [0, 0], "a stream or a session is open: {context}");
        assert_eq!(facts[0].range, facts[1].range, "the shop has other ids than the office gave it: {context}");
        let began = Instant::now();
        // an agent that has just been started sweeps soon, not at once
        while !self.files_left().is_empty() && began.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.files_left(), Vec::<String>::new(), "files are left over: {context}");
    }

    fn assert_final(&self, stage: &Stage, context: &str) {
        let shop = Picture::of(&self.world.shop(BRANCH).database);
        assert_eq!(Some(&shop), stage.shop.last(), "the shop is not as it should be: {context}");
        let office = Picture::of(&self.world.office);
        assert_eq!(Some(&office), stage.office.last(), "the office is not as it should be: {context}");
    }

    /// What the office and the shop have written down beside the rows.
    fn facts(&self) -> [Facts; 2] {
        let read = |database: &Database, unfinished: &str, range: &str| {
            let sql = format!(
                "select (select count(*) from sync.conflict), (select count(*) from sync.quarantine), ({unfinished}), ({range})"
            );
            let row = database.rows(&sql).swap_remove(0);
            let number = |index: usize| row[index].as_deref().and_then(|text| text.parse().ok()).expect("a number");
            Facts { conflicts: number(0), waiting: number(1), unfinished: number(2), range: row[3].clone() }
        };
        [
            read(
                &self.world.office,
                "select count(*) from sync.branch_synchronization where outgoing_key is not null",
                "select format('%s-%s', low, high) from sync.id_slot order by slot desc limit 1",
            ),
            read(
                &self.world.shop(BRANCH).database,
                "select count(*) from sync.session where state = 'open'",
                "select format('%s-%s', id_low, id_high) from sync.node",
            ),
        ]
    }

    /// Frozen streams, received parts and chunks that nobody needs any more.
    fn files_left(&self) -> Vec<String> {
        let office = self.world.office_state_dir();
        let shop = self.world.shop(BRANCH).state_dir();
        let places = [office.join("spool"), office.join("receive"), shop.join("spool"), shop.join("sessions")];
        let entries = places.iter().filter_map(|place| std::fs::read_dir(place).ok()).flatten().flatten();
        entries.map(|entry| entry.path().display().to_string()).collect()
    }

    /// The same command again, which must succeed without anybody's help.
    pub(crate) fn run_again(&self, stage: &Stage, what: &str, first: &Finished) {
        let again = self.world.office(stage.command);
        assert!(
            again.is_success(),
            "{}, {what}: run again, it ended with {:?}\n{}{}\nthe first run ended with {:?}\n{}{}",
            stage.name,
            again.code,
            again.stdout,
            again.stderr,
            first.code,
            first.stdout,
            first.stderr
        );
    }
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let shop = self.world.shop_mut(BRANCH);
        shop.kill_agent();
        self.servers.shop.remove_database(&shop.database);
        self.servers.office.remove_database(&self.world.office);
    }
}
