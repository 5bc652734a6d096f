//! The same schedules against real databases and the real programs, a few: a seed's work and its faults (deaths at the kill
//! points, calls lost, answered into the void, delivered twice or late, backups put back, transactions that stay open) with
//! one shop or several, then healing, then the model's judgement. What stays imitated in memory is played for true here; it is slower, so fewer seeds are played.

use std::collections::BTreeMap;

use protocol::merge::{ConflictKind, Image};

use super::chance::Chance;
use super::faults::{AGENT, CALLS, Fault, Faults, OF_AGENT, OF_CALLS, TIMES};
use super::judge;
use super::model::{Model, Node};
use super::schema::{self, NAMES, POLICY};
use super::store::{KeptConflict, Key, Write};
use super::work;
use super::world::tables_of;
use crate::cluster;
use crate::database::Database;
use crate::kit::{Plan, World};
use crate::proxy::{Cut, Direction, Line, Place, Proxy, Trick};

/// The shops; a schedule plays the first of them, or more.
const SHOPS: [&str; 3] = ["north", "south", "west"];
/// Updates before healing.
const RUNS: u64 = 7;
/// Statements of applications before each.
const WRITES: usize = 5;
/// Rounds of updates after which everything must have come to rest.
const ROUNDS_MAX: u32 = 8;
/// Requests among which one is chosen for a fault of the line.
const REQUESTS: usize = 7;

/// Where the simulation's office-client may die, and the kill point of the program.
const CLIENT_POINTS: &[(&str, &str)] = &[
    ("freeze-push.after", "office.push.frozen"),
    ("prepare.after", "office.push.prepared"),
    ("send.after", "office.push.chunk"),
    ("finish.before ", "office.push.finish.before"),
    ("finish.after ", "office.push.finished"),
    ("record-push.before", "office.push.record.before"),
    ("record-push.after", "office.push.recorded"),
    ("open-diff.after", "office.pull.opened"),
    ("receive-diff.after", "office.pull.received"),
    ("apply-diff.before", "office.pull.apply.before"),
    ("apply-diff.after", "office.pull.applied"),
    ("advance.after", "office.pull.advanced"),
];
/// Where its agent may die: the simulation's places are the program's kill points. No update cleans.
fn agent_points() -> impl Iterator<Item = &'static str> {
    AGENT.iter().copied().filter(|point| !point.starts_with("clean") && !point.starts_with("setidstart"))
}

/// Columns of a table, behind its id.
fn columns(table: u8) -> &'static [&'static str] {
    match table {
        schema::PRODUCT | schema::SALE | schema::SALE_ITEM | schema::REFUND | schema::TILL_NOTE => &["n"],
        schema::ACCOUNT => &["a", "points"],
        _ => &["a", "b"],
    }
}

fn name(table: u8) -> &'static str {
    NAMES[usize::from(table)]
}

fn tables_sql() -> String {
    let table = |table: &u8| {
        let columns: Vec<String> = columns(*table)
            .iter()
            .map(|column| format!("{column} {}", if *column == "points" { "bigint not null" } else { "text" }))
            .collect();
        // only what a shop adds to has ids of its own
        let id = if *table == schema::CARD { "bigint" } else { "bigserial" };
        format!("create table {} (id {id} primary key, {});\n", name(*table), columns.join(", "))
    };
    (0..=schema::TILL_NOTE).collect::<Vec<_>>().iter().map(table).collect()
}

fn quoted(value: &Option<String>) -> String {
    value.as_ref().map_or_else(|| "null".to_owned(), |text| format!("'{text}'"))
}

fn insert_sql(key: Key, row: &Image) -> String {
    let names: Vec<&str> = row.keys().map(String::as_str).collect();
    let values: Vec<String> = row.values().map(quoted).collect();
    let (table, id) = (name(key.0), key.1);
    format!("insert into {table} (id, {}) values ({id}, {})", names.join(", "), values.join(", "))
}

/// A transaction that stays open over one run or more: what it is of the model, and its connection.
struct Long {
    number: usize,
    writes: Vec<Write>,
    client: tokio_postgres::Client,
}

fn statement(write: &Write) -> String {
    match write {
        Write::Insert(key, row) => insert_sql(*key, row),
        Write::Set((table, id), set) => {
            let set: Vec<String> = set.iter().map(|(name, value)| format!("{name} = {}", quoted(value))).collect();
            format!("update {} set {} where id = {id}", name(*table), set.join(", "))
        }
        Write::Add((table, id), column, by) => {
            format!("update {} set {column} = {column} + {by} where id = {id}", name(*table))
        }
        Write::Delete((table, id)) => format!("delete from {} where id = {id}", name(*table)),
    }
}

/// A node's database, with what the model has to know of it.
#[derive(Default)]
struct Seat {
    long: Option<Long>,
    /// Commits that the database has, by their numbers in the model.
    commits: Vec<usize>,
    backup: Option<(Database, Vec<usize>)>,
}

/// A schedule that is being played.
struct Stage {
    seed: u64,
    world: World,
    office: Seat,
    shops: Vec<Seat>,
    model: Model,
    faults: Faults,
    made: u64,
    /// Of the shops' commits, those that an office which was put back had taken in.
    taken: std::collections::BTreeSet<usize>,
    told: Vec<String>,
}

/// What came of a seed.
#[derive(Debug)]
pub struct Played {
    /// Promises that were broken.
    pub violations: Vec<String>,
    /// Faults that happened.
    pub struck: Vec<super::Struck>,
    /// What was done, in order.
    pub told: Vec<String>,
}

/// Plays a seed against real databases.
///
/// # Panics
/// If a program does what no fault explains.
pub fn play(seed: u64) -> Played {
    let mut stage = Stage::new(seed);
    for run in 0..RUNS {
        stage.work(run);
        stage.history(run);
        stage.run(run);
    }
    let mut violations = stage.heal();
    if violations.is_empty() {
        violations = stage.judge();
    }
    Played { violations, struck: stage.faults.struck.clone(), told: std::mem::take(&mut stage.told) }
}

impl Stage {
    fn new(seed: u64) -> Self {
        let data: String = work::begin().iter().map(|(key, row)| insert_sql(*key, row) + ";\n").collect();
        let shops = 1 + Chance::about(seed, "shops", 0).below(SHOPS.len());
        let branches = SHOPS[..shops].iter().map(|name| (*name).to_owned()).collect();
        let world = World::new(&Plan { branches, ..Plan::of(&tables_sql(), POLICY, &data) });
        world.enrol();
        world.clone_all();
        Self {
            seed,
            office: Seat::default(),
            shops: (0..shops).map(|_| Seat::default()).collect(),
            world,
            model: Model::default(),
            faults: Faults::new(seed, Faults::plan_of(seed)),
            made: 0,
            taken: std::collections::BTreeSet::new(),
            told: Vec::new(),
        }
    }

    fn tell(&mut self, what: String) {
        self.told.push(what);
    }

    fn database(&self, node: Node) -> &Database {
        match node {
            Node::Office => &self.world.office,
            Node::Shop(index) => &self.world.shops[index].database,
        }
    }

    fn seat(&mut self, node: Node) -> &mut Seat {
        match node {
            Node::Office => &mut self.office,
            Node::Shop(index) => &mut self.shops[index],
        }
    }

    fn nodes(&self) -> Vec<Node> {
        std::iter::once(Node::Office).chain((0..self.shops.len()).map(Node::Shop)).collect()
    }

    /// Applications work at both ends.
    fn work(&mut self, run: u64) {
        let mut chance = Chance::about(self.seed, "work", run);
        for _ in 0..WRITES {
            let node = self.somewhere(&mut chance);
            self.write(node, &mut chance);
        }
        for node in self.nodes() {
            // one that began before the last run, which has not seen it, ends now or later
            if self.seat(node).long.is_some() {
                if chance.permille(600) {
                    self.end_long(node);
                }
            } else if chance.permille(200)
                || TIMES.iter().any(|at| self.faults.strike(at, &[Fault::LongTransaction]).is_some())
            {
                self.begin_long(node);
            }
        }
    }

    fn somewhere(&self, chance: &mut Chance) -> Node {
        if chance.permille(400) { Node::Office } else { Node::Shop(chance.below(self.shops.len())) }
    }

    /// Begins a transaction that writes rows of its own, so that nobody waits for it, and leaves it open.
    fn begin_long(&mut self, node: Node) {
        self.made += 1;
        let n = self.made;
        let key = |table| (table, self.low(node) + i64::try_from(n).unwrap_or(0));
        let row =
            |names: &[&str]| -> Image { names.iter().map(|name| ((*name).to_owned(), Some(n.to_string()))).collect() };
        let writes = match node {
            Node::Office => vec![
                Write::Insert(key(schema::PRODUCT), row(&["n"])),
                Write::Insert(key(schema::NOTE), row(&["a", "b"])),
            ],
            Node::Shop(_) => {
                vec![Write::Insert(key(schema::SALE), row(&["n"])), Write::Insert(key(schema::SALE_ITEM), row(&["n"]))]
            }
        };
        let client = self.database(node).connect();
        let sql = format!("begin; {}", writes.iter().map(statement).collect::<Vec<_>>().join("; "));
        let client = crate::runtime::run(async move {
            client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{error}: {sql}"));
            client
        });
        let number = self.model.begin(node);
        self.tell(format!("{node:?} begins {writes:?} and leaves it open"));
        self.seat(node).long = Some(Long { number, writes, client });
    }

    fn end_long(&mut self, node: Node) {
        let Some(Long { number, writes, client }) = self.seat(node).long.take() else { return };
        crate::runtime::run(async move { client.batch_execute("commit").await })
            .unwrap_or_else(|error| panic!("{error}"));
        self.model.committed(number, &writes, &BTreeMap::new());
        self.seat(node).commits.push(number);
        self.tell(format!("{node:?} commits {writes:?}"));
    }

    /// Where the ids of a node begin.
    fn low(&self, node: Node) -> i64 {
        match node {
            Node::Office => 1000,
            Node::Shop(_) => self.database(node).int("select id_low from sync.node"),
        }
    }

    /// A transaction of an application; rows that are not there are left alone.
    fn write(&mut self, node: Node, chance: &mut Chance) {
        self.made += 1;
        let n = self.made;
        let tables = tables_of(node);
        let table = tables[chance.below(tables.len())];
        let database = self.database(node);
        let ids = database.rows(&format!("select id from {} order by id", name(table)));
        let ids: Vec<i64> = ids.iter().filter_map(|row| row[0].as_ref()?.parse().ok()).collect();
        let fresh = self.low(node) + i64::try_from(n).unwrap_or(0);
        let existing = chance.pick(&ids).copied();
        let text = |name: &str, value: String| Image::from([(name.to_owned(), Some(value))]);
        let version = || text("n", n.to_string());
        let mut writes = Vec::new();
        match table {
            schema::SALE | schema::SALE_ITEM => {
                for table in [schema::SALE, schema::SALE_ITEM] {
                    writes.push(match existing {
                        Some(id) if n.is_multiple_of(3) => Write::Set((table, id), version()),
                        _ => Write::Insert((table, fresh), version()),
                    });
                }
            }
            schema::ACCOUNT => match existing {
                Some(id) if chance.permille(700) => {
                    writes.push(Write::Add((table, id), "points", 1 + i64::try_from(chance.below(9)).unwrap_or(0)));
                }
                Some(id) => writes.push(Write::Set((table, id), text("a", format!("v{n}")))),
                None => {}
            },
            schema::PRODUCT | schema::REFUND | schema::TILL_NOTE => writes.push(match existing {
                Some(id) if chance.permille(250) => Write::Delete((table, id)),
                Some(id) if chance.permille(400) => Write::Set((table, id), version()),
                _ => Write::Insert((table, fresh), version()),
            }),
            _ => writes.push(match existing {
                Some(id) if chance.permille(120) => Write::Delete((table, id)),
                Some(id) if chance.permille(800) => {
                    let column = if chance.permille(500) { ("a", "v") } else { ("b", "w") };
                    Write::Set((table, id), text(column.0, format!("{}{n}", column.1)))
                }
                _ => {
                    let id =
                        if table == schema::CARD { 1 + i64::try_from(chance.below(4)).unwrap_or(0) } else { fresh };
                    if ids.contains(&id) {
                        return;
                    }
                    let mut row = text("a", format!("v{n}"));
                    row.extend(text("b", format!("w{n}")));
                    Write::Insert((table, id), row)
                }
            }),
        }
        self.commit(node, &writes);
    }

    /// One transaction: no run is under way, so what is read first is what is written over.
    fn commit(&mut self, node: Node, writes: &[Write]) {
        if writes.is_empty() {
            return;
        }
        let database = self.database(node);
        let before: BTreeMap<Key, Image> =
            writes.iter().filter_map(|write| Some((write.key(), row_of(database, write.key())?))).collect();
        let statements: Vec<String> = writes.iter().map(statement).collect();
        database.execute(&format!("begin; {}; commit", statements.join("; ")));
        let number = self.model.begin(node);
        self.model.committed(number, writes, &before);
        self.seat(node).commits.push(number);
        self.tell(format!("{node:?} writes {writes:?}"));
    }

    /// Backups are made, and put back where the seed is about that.
    fn history(&mut self, run: u64) {
        if run == 2 {
            for node in self.nodes() {
                self.back_up(node);
            }
        }
        if run < 3 {
            return;
        }
        let wanted = [Fault::ShopRestored, Fault::OfficeRestored];
        match TIMES.iter().find_map(|place| self.faults.strike(place, &wanted)) {
            Some(Fault::ShopRestored) => {
                let shop = Chance::about(self.seed, "restored", run).below(self.shops.len());
                self.put_back(Node::Shop(shop));
            }
            Some(Fault::OfficeRestored) => self.put_back(Node::Office),
            _ => {}
        }
    }

    fn back_up(&mut self, node: Node) {
        // a database is copied while nobody is connected
        self.end_long(node);
        if let Node::Shop(index) = node {
            self.world.shops[index].stop_agent();
        }
        let backup = cluster::shared().copy_of("backup", self.database(node));
        match node {
            Node::Office => self.taken = self.model.all_taken(),
            Node::Shop(index) => self.world.shops[index].start(),
        }
        let seat = self.seat(node);
        seat.backup = Some((backup, seat.commits.clone()));
        self.tell(format!("{node:?} is backed up"));
    }

    fn put_back(&mut self, node: Node) {
        let Some((backup, commits)) = self.seat(node).backup.take() else { return };
        self.tell(format!("{node:?} is put back to its backup"));
        let seat = self.seat(node);
        // what is open is rolled back
        seat.long = None;
        let lost: Vec<usize> = seat.commits.iter().copied().filter(|number| !commits.contains(number)).collect();
        seat.commits = commits;
        self.model.lost(&lost);
        match node {
            Node::Office => {
                self.world.office = backup;
                let taken = self.taken.clone();
                self.model.only_taken(&taken);
                // what a person does who has put a backup back
                (0..self.shops.len()).for_each(|shop| self.repair(shop));
            }
            Node::Shop(index) => {
                let shop = &mut self.world.shops[index];
                shop.kill_agent();
                shop.database = backup;
                shop.start();
                self.repair(index);
            }
        }
    }

    /// Repairs a branch over a sound line.
    fn repair(&mut self, shop: usize) {
        self.dial(shop, None);
        let name = SHOPS[shop];
        let done = self.world.office(&["verify", name, "--repair"]);
        if !matches!(done.code, Some(0 | 4)) {
            self.tell(format!("verify {name} --repair: {} {}", done.stdout, done.stderr));
        }
        self.tell(format!("{name} is repaired: {:?}", done.code));
    }

    /// Where office-client finds a shop: its agent, or a line to it.
    fn dial(&self, shop: usize, line: Option<&Proxy>) {
        let url = line.map_or_else(|| self.world.shops[shop].url().to_owned(), Proxy::url);
        self.world.office(&["branch", "set", SHOPS[shop], "--url", &url]).succeeded();
    }

    /// An update under the fault that the seed has for it, if any.
    fn run(&mut self, run: u64) {
        let mut chance = Chance::about(self.seed, "line", run);
        let shop = chance.below(self.shops.len());
        let name = SHOPS[shop];
        let covered: Vec<usize> = self.shops[shop].commits.clone();
        let mut command = self.world.office_command(&["--retry-for", "30s", "update", name]);
        let mut line = Line::default();
        let mut agent = None;
        if let Some(point) = CLIENT_POINTS.iter().find_map(|(place, point)| {
            self.faults.strike(place, &[Fault::ClientDies, Fault::OfficePowerCut]).map(|_| *point)
        }) {
            self.tell(format!("office-client will die at {point}"));
            command.env("SYNC_KILL_AT", point);
        } else if let Some(point) = agent_points().find(|place| self.faults.strike(place, OF_AGENT).is_some()) {
            self.tell(format!("the agent will die at {point}"));
            agent = Some(point);
        } else if let Some(fault) = CALLS.iter().find_map(|call| self.faults.strike(call, OF_CALLS)) {
            let message = chance.below(REQUESTS) as u64;
            self.tell(format!("{fault:?} at message {message}"));
            let places = [Place::FirstByte, Place::HeadEnd, Place::MiddleOfBody];
            let place = places[chance.below(places.len())];
            match fault {
                Fault::CallLost => {
                    line.cut = Some(Cut { direction: Direction::ToAgent, message, place, for_good: false });
                }
                Fault::ReplyLost => line.trick = Some(Trick::LoseReply(message)),
                Fault::CallTwice if chance.permille(500) => line.trick = Some(Trick::TwiceAtOnce),
                Fault::CallTwice => line.trick = Some(Trick::Twice),
                _ => line.trick = Some(Trick::Late),
            }
        }
        if let Some(point) = agent {
            self.world.shops[shop].stop_agent();
            self.world.shops[shop].start_in(&[], &[("SYNC_KILL_AT", point)]);
            // who finds nobody gives up soon; the agent is started again below
            command = self.world.office_command(&["--retry-for", "0s", "update", name]);
        }
        let proxy = Proxy::start(self.world.shops[shop].url(), line);
        self.dial(shop, Some(&proxy));
        let done = crate::process::run(&mut command);
        self.tell(format!("update {run} of {name}: {:?}", done.code));
        if agent.is_some() {
            self.world.shops[shop].kill_agent();
            self.world.shops[shop].start();
        }
        drop(proxy);
        match done.code {
            Some(0) => self.model.taken(covered.into_iter()),
            // dead, unreachable, refused until it is repaired; a busy shop after a death
            Some(1 | 4 | 5 | 137) => {}
            code => panic!(
                "seed {}: update ended with {code:?}: {} {}\n{}",
                self.seed,
                done.stdout,
                done.stderr,
                self.told.join("\n")
            ),
        }
    }

    /// No more faults: a bounded number of updates brings everything to rest.
    fn heal(&mut self) -> Vec<String> {
        self.tell("healing".to_owned());
        for node in self.nodes() {
            self.end_long(node);
        }
        for round in 0..ROUNDS_MAX {
            let mut is_quiet = true;
            for (shop, name) in SHOPS.iter().enumerate().take(self.shops.len()) {
                let covered = self.shops[shop].commits.clone();
                self.dial(shop, None);
                let done = self.world.office(&["--json", "update", name]);
                self.tell(format!("round {round}, {name}: {:?} {}", done.code, done.stdout.trim()));
                match done.code {
                    Some(0) => self.model.taken(covered.into_iter()),
                    Some(4) => self.repair(shop),
                    _ => {}
                }
                is_quiet &= done.code == Some(0)
                    && done.stdout.contains("\"pulled_rows\":0")
                    && done.stdout.contains("\"pushed_rows\":0");
            }
            if is_quiet {
                return Vec::new();
            }
        }
        vec![format!("convergence: rows still move, or runs still fail, after {ROUNDS_MAX} rounds")]
    }

    fn judge(&mut self) -> Vec<String> {
        for node in self.nodes() {
            for conflict in conflicts(self.database(node)) {
                self.model.kept(node, &conflict);
            }
        }
        let office = rows(&self.world.office);
        let shops: Vec<_> = self.world.shops.iter().map(|shop| rows(&shop.database)).collect();
        let shops: Vec<_> = shops.iter().enumerate().collect();
        let mut broken = judge::of_rows(&self.model, &office, &shops, &work::begin());
        for shop in &self.world.shops {
            // a session that nobody goes on with expires later; the one that was applied is recorded once
            let twice = "select count(*) from (select key from sync.session where state = 'applied' and key is not null
                         group by office, key having count(*) > 1) s";
            if shop.database.int(twice) > 0 {
                broken.push(format!("I2, I13: a session of {} was applied twice", shop.name));
            }
        }
        broken
    }
}

fn row_of(database: &Database, (table, id): Key) -> Option<Image> {
    read(database, table, &format!("where id = {id}")).remove(&(table, id))
}

fn read(database: &Database, table: u8, condition: &str) -> BTreeMap<Key, Image> {
    let names = columns(table);
    let found = database.rows(&format!("select id, {} from {} {condition}", names.join(", "), name(table)));
    let row = |mut row: Vec<Option<String>>| {
        let id = row.remove(0).and_then(|text| text.parse().ok()).unwrap_or(0);
        ((table, id), names.iter().map(|name| (*name).to_owned()).zip(row).collect())
    };
    found.into_iter().map(row).collect()
}

fn rows(database: &Database) -> BTreeMap<Key, Image> {
    (0..=schema::TILL_NOTE).flat_map(|table| read(database, table, "")).collect()
}

/// The conflicts that a database keeps.
fn conflicts(database: &Database) -> Vec<KeptConflict> {
    let mut found = Vec::new();
    for row in database.rows("select table_name, key->>'id', kind, ours::text, theirs::text from sync.conflict") {
        let table = NAMES.iter().position(|name| Some(*name) == row[0].as_deref());
        let Some(table) = table.and_then(|table| u8::try_from(table).ok()) else { continue };
        let id = row[1].as_ref().and_then(|text| text.parse().ok()).unwrap_or(0);
        let image = |text: &Option<String>| -> Option<Image> {
            let object: BTreeMap<String, serde_json::Value> = serde_json::from_str(text.as_deref()?).ok()?;
            let text = |value: serde_json::Value| match value {
                serde_json::Value::Null => None,
                serde_json::Value::String(text) => Some(text),
                other => Some(other.to_string()),
            };
            Some(object.into_iter().map(|(name, value)| (name, text(value))).collect())
        };
        let (ours, theirs) = (image(&row[3]), image(&row[4]));
        // what one side has and the other has not is about the row's being there, by whichever rule
        let kind = match row[2].as_deref() {
            _ if ours.is_none() || theirs.is_none() => ConflictKind::UpdateDelete,
            Some("insert-insert") => ConflictKind::InsertInsert,
            _ => ConflictKind::Columns,
        };
        found.push(KeptConflict { key: (table, id), kind, ours, theirs });
    }
    found
}

/// The seeds among these whose faults can be played here, spread evenly over what they are about.
pub fn playable(seeds: std::ops::Range<u64>) -> Vec<u64> {
    let is_here = |seed: &u64| {
        let super::faults::Plan::Seeded { focus: (fault, place), .. } = Faults::plan_of(*seed) else { return false };
        CLIENT_POINTS.iter().any(|(name, _)| *name == place)
            && [Fault::ClientDies, Fault::OfficePowerCut].contains(&fault)
            || agent_points().any(|point| point == place) && fault == Fault::AgentDies
            || CALLS.contains(&place) && OF_CALLS.contains(&fault)
            || super::faults::OF_HISTORY.contains(&fault)
            || fault == Fault::LongTransaction
    };
    seeds.filter(is_here).collect()
}
