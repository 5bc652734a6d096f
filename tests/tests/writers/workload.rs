//! Programs that write: transactions of every kind, and what each writer knows to be committed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use tests::database::Database;
use tokio_postgres::{Client, NoTls};

/// Tables of a side that writes: a parent, its children, and a table with direction `both`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tables {
    pub(crate) parent: &'static str,
    pub(crate) child: &'static str,
    pub(crate) both: &'static str,
}

pub(crate) const SHOP_TABLES: Tables = Tables { parent: "ticket", child: "ticket_line", both: "member" };
pub(crate) const OFFICE_TABLES: Tables = Tables { parent: "offer", child: "offer_line", both: "member" };

pub(crate) const SCHEMA: &str = "
create sequence pulse;
create table ticket(id bigint primary key, writer int not null, version bigint not null, note text not null,
    ts timestamptz not null default now(), seq bigint not null default nextval('pulse'));
create table ticket_line(id bigint not null references ticket on delete cascade, line int not null, writer int not null,
    version bigint not null, note text not null, primary key (id, line));
create table offer(id bigint primary key, writer int not null, version bigint not null, note text not null,
    ts timestamptz not null default now(), seq bigint not null default nextval('pulse'));
create table offer_line(id bigint not null references offer on delete cascade, line int not null, writer int not null,
    version bigint not null, note text not null, primary key (id, line));
create table member(id bigint primary key, writer int not null, version bigint not null, note text not null,
    ts timestamptz not null default now(), seq bigint not null default nextval('pulse'));
";

pub(crate) const POLICY: &str = r#"
name = "writers"
[tables]
ticket = "from-target"
ticket_line = "from-target"
offer = "from-source"
offer_line = "from-source"
member = "both"
[table.ticket]
deletes = "send"
[table.ticket_line]
deletes = "send"
"#;

/// Table, id, and line (0 where there is none).
pub(crate) type Key = (&'static str, i64, i32);

/// Rows of one writer and their versions. Only their writer touches them, so nothing is ever uncertain but commits.
pub(crate) type Rows = BTreeMap<Key, i64>;

/// The text that belongs to a version: quotes, a backslash, a tab and more than ASCII.
pub(crate) fn note_of(version: i64) -> String {
    format!("v{version} 'né\\'\t☃")
}

/// A number that stands for one row; a set of rows has the sum of them.
pub(crate) fn mark(key: &Key, version: i64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, version).hash(&mut hasher);
    hasher.finish()
}

/// The number of a set of rows.
pub(crate) fn sum(rows: &Rows) -> u64 {
    rows.iter().fold(0, |sum, (key, version)| sum.wrapping_add(mark(key, *version)))
}

/// What one writer knows.
pub(crate) struct Journal {
    pub(crate) writer: i32,
    tables: Tables,
    rng: StdRng,
    next_id: i64,
    next_version: i64,
    /// After each commit, in order; the first is the empty one.
    pub(crate) states: Vec<Rows>,
    /// States before this one cannot be lost any more.
    pub(crate) certain: usize,
    pub(crate) commits: usize,
    pub(crate) rolled_back: usize,
    pub(crate) lost: usize,
}

/// How a writer works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Share of transactions that commit asynchronously, in percent.
    pub(crate) asynchronous: u32,
    /// Share of transactions that stay open for up to half a second, in percent.
    pub(crate) long: u32,
}

impl Journal {
    pub(crate) fn new(writer: i32, tables: Tables) -> Self {
        Self {
            writer,
            tables,
            rng: StdRng::seed_from_u64(0x5eed ^ u64::try_from(writer).unwrap_or(0)),
            next_id: i64::from(writer) * 1_000_000,
            next_version: 0,
            states: vec![Rows::new()],
            certain: 0,
            commits: 0,
            rolled_back: 0,
            lost: 0,
        }
    }

    pub(crate) fn now(&self) -> &Rows {
        &self.states[self.states.len() - 1]
    }

    /// Writes until told to stop, or until the database is gone.
    pub(crate) async fn write(mut self, database: Database, manner: Manner, stop: Arc<AtomicBool>) -> Self {
        let Ok(client) = open(&database).await else { return self };
        while !stop.load(Ordering::Relaxed) {
            if self.transaction(&client, manner).await.is_err() {
                assert!(
                    client.is_closed() || self.gone(&client).await,
                    "writer {} failed for another reason",
                    self.writer
                );
                break;
            }
        }
        self
    }

    /// Commits one change asynchronously.
    pub(crate) async fn change(&mut self, client: &Client) {
        let before = self.now().clone();
        while *self.now() == before {
            let manner = Manner { asynchronous: 100, long: 0 };
            self.transaction(client, manner).await.expect("the shop's database answers");
        }
    }

    async fn gone(&self, client: &Client) -> bool {
        match client.batch_execute("rollback").await {
            Ok(()) => false,
            Err(error) => error.is_closed() || error.code().is_none_or(|code| code.code().starts_with("57")),
        }
    }

    async fn transaction(&mut self, client: &Client, manner: Manner) -> Result<(), tokio_postgres::Error> {
        let asynchronous = self.rng.random_range(0..100) < manner.asynchronous;
        let long = self.rng.random_range(0..100) < manner.long;
        let ends = self.rng.random_range(0..10) > 0;
        let mut rows = self.now().clone();
        let mut steps = Vec::new();
        for _ in 0..self.rng.random_range(1..=3) {
            self.step(&mut rows, &mut steps, 0);
        }
        let setting = if asynchronous { "off" } else { "on" };
        run(client, &format!("begin; set local synchronous_commit = {setting}")).await?;
        let pause = if long { self.rng.random_range(0..500) / steps.len().max(1) } else { 0 };
        for sql in &steps {
            run(client, sql).await?;
            tokio::time::sleep(Duration::from_millis(u64::try_from(pause).unwrap_or(0))).await;
        }
        if !ends {
            self.rolled_back += 1;
            return client.batch_execute("rollback").await;
        }
        // without an answer it may have been committed or not
        self.states.push(rows);
        client.batch_execute("commit").await?;
        self.commits += 1;
        if !asynchronous {
            self.certain = self.states.len() - 1;
        }
        Ok(())
    }

    /// One thing that a program does; inside a savepoint every now and then.
    fn step(&mut self, rows: &mut Rows, steps: &mut Vec<String>, depth: u32) {
        let Tables { parent, child, both } = self.tables;
        let crowded = rows.len() > 60;
        match self.rng.random_range(0..100) {
            0..15 if depth < 2 => {
                let before = rows.clone();
                steps.push(format!("savepoint s{depth}"));
                for _ in 0..self.rng.random_range(1..=2) {
                    self.step(rows, steps, depth + 1);
                }
                if self.rng.random() {
                    steps.push(format!("release s{depth}"));
                } else {
                    steps.push(format!("rollback to s{depth}"));
                    *rows = before;
                }
            }
            // more subtransactions than a backend announces one by one
            15 if depth == 0 => {
                let ids: Vec<i64> = (0..70).map(|_| self.id()).collect();
                let mut sql = String::new();
                for id in &ids[..] {
                    let insert = self.insert(rows, both, &[(*id, 0)]);
                    let _ = write!(sql, "savepoint many; {insert}; release many; ");
                }
                steps.push(sql);
                steps.push(self.delete(rows, both, &ids));
            }
            16..55 if !crowded => {
                let ids: Vec<i64> = (0..self.rng.random_range(1..=3)).map(|_| self.id()).collect();
                let keys: Vec<(i64, i32)> = ids.iter().map(|id| (*id, 0)).collect();
                steps.push(self.insert(rows, parent, &keys));
                let lines = self.rng.random_range(1..=4);
                let lines: Vec<(i64, i32)> = ids.iter().flat_map(|id| (1..=lines).map(|line| (*id, line))).collect();
                steps.push(self.insert(rows, child, &lines));
            }
            55..65 if !crowded => {
                let keys: Vec<(i64, i32)> = (0..self.rng.random_range(1..=4)).map(|_| (self.id(), 0)).collect();
                steps.push(self.insert(rows, both, &keys));
            }
            65..85 => {
                let table = [parent, child, both][self.rng.random_range(0..3)];
                steps.extend(self.update(rows, table));
            }
            85..90 => steps.extend(self.rekey(rows, child)),
            _ => {
                let table = [parent, child, both][self.rng.random_range(0..3)];
                let ids: Vec<i64> = self.some(rows, table).into_iter().map(|key| key.1).collect();
                if table == parent && self.rng.random() {
                    // the children first, as programs without a cascade do
                    steps.push(self.delete(rows, child, &ids));
                }
                steps.push(self.delete(rows, table, &ids));
            }
        }
    }

    fn id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    fn version(&mut self) -> i64 {
        self.next_version += 1;
        self.next_version
    }

    fn some(&mut self, rows: &Rows, table: &str) -> Vec<Key> {
        let count = self.rng.random_range(1..=4);
        rows.keys().filter(|key| key.0 == table).copied().choose_multiple(&mut self.rng, count)
    }

    fn insert(&mut self, rows: &mut Rows, table: &'static str, keys: &[(i64, i32)]) -> String {
        let lines = table.ends_with("_line");
        let values: Vec<String> = keys
            .iter()
            .map(|&(id, line)| {
                let version = self.version();
                rows.insert((table, id, line), version);
                let line = if lines { format!("{line}, ") } else { String::new() };
                format!("({id}, {line}{}, {version}, {})", self.writer, literal(version))
            })
            .collect();
        let line = if lines { "line, " } else { "" };
        format!("insert into {table}(id, {line}writer, version, note) values {}", values.join(", "))
    }

    fn update(&mut self, rows: &mut Rows, table: &'static str) -> Option<String> {
        let keys = self.some(rows, table);
        let values: Vec<String> = keys
            .iter()
            .map(|key| {
                let version = self.version();
                rows.insert(*key, version);
                format!("({}, {}, {version}, {})", key.1, key.2, literal(version))
            })
            .collect();
        let (cursors, line) = if table.ends_with("_line") {
            ("", " and t.line = x.line")
        } else {
            (", ts = now(), seq = nextval('pulse')", "")
        };
        (!values.is_empty()).then(|| {
            format!(
                "update {table} t set version = x.version, note = x.note{cursors}
                 from (values {}) x(id, line, version, note) where t.id = x.id{line}",
                values.join(", ")
            )
        })
    }

    /// Another key for a row; keys are never used again.
    fn rekey(&mut self, rows: &mut Rows, table: &'static str) -> Option<String> {
        let key = self.some(rows, table).into_iter().next()?;
        let version = self.version();
        rows.remove(&key);
        rows.insert((key.0, key.1, key.2 + 100), version);
        Some(format!(
            "update {table} set line = line + 100, version = {version}, note = {} where id = {} and line = {}",
            literal(version),
            key.1,
            key.2
        ))
    }

    fn delete(&mut self, rows: &mut Rows, table: &'static str, ids: &[i64]) -> String {
        let children = self.tables.child;
        let cascades = table == self.tables.parent;
        rows.retain(|key, _| !(ids.contains(&key.1) && (key.0 == table || cascades && key.0 == children)));
        let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
        format!("delete from {table} where id = any ('{{{}}}')", ids.join(","))
    }

    /// After a crash: the database must hold one of the states that the last certain commit and later ones left. What
    /// was committed asynchronously after it is lost.
    pub(crate) fn reconcile(&mut self, found: &Rows) {
        let at = self.states.iter().rposition(|rows| rows == found);
        let at = at.unwrap_or_else(|| {
            panic!("writer {}: after the crash the shop holds a state that never was: {found:?}", self.writer)
        });
        assert!(at >= self.certain, "writer {}: a durable commit was lost", self.writer);
        self.lost += self.states.len() - 1 - at;
        self.states.truncate(at + 1);
        self.certain = at;
    }
}

/// A connection of a program.
pub(crate) async fn open(database: &Database) -> Result<Client, tokio_postgres::Error> {
    let mut config = database.config().clone();
    config.application_name("till");
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn run(client: &Client, sql: &str) -> Result<(), tokio_postgres::Error> {
    let done = client.batch_execute(sql).await;
    if let Err(error) = &done
        && let Some(error) = error.as_db_error()
        && !error.code().code().starts_with("57")
    {
        panic!("{error}\n  in: {sql}");
    }
    done
}

fn literal(version: i64) -> String {
    format!("'{}'", note_of(version).replace('\'', "''"))
}

/// The rows of all writers in a database; every text is checked against its version.
pub(crate) fn rows_of(database: &Database, tables: Tables) -> BTreeMap<i32, Rows> {
    let mut found = BTreeMap::<i32, Rows>::new();
    for table in [tables.parent, tables.child, tables.both] {
        let line = if table == tables.child { "line" } else { "0" };
        for row in database.rows(&format!("select id, {line}, version, note, writer from {table}")) {
            let number = |index: usize| row[index].as_deref().and_then(|text| text.parse::<i64>().ok()).unwrap_or(-1);
            let (version, writer) = (number(2), i32::try_from(number(4)).unwrap_or(-1));
            let key = (table, number(0), i32::try_from(number(1)).unwrap_or(-1));
            assert_eq!(row[3].as_deref(), Some(note_of(version).as_str()), "{key:?}");
            assert_eq!(found.entry(writer).or_default().insert(key, version), None, "{key:?} twice");
        }
    }
    found
}
