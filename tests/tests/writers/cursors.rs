//! Readers as they are usually written: "give me what is greater than the last I saw". They lose rows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::database::Database;
use tokio_postgres::Client;

use crate::workload::{self, Journal, SHOP_TABLES};

/// A reader with a cursor on a column of [`SHOP_TABLES`]' parent and `both` tables.
pub(crate) struct Cursor {
    pub(crate) column: &'static str,
    task: tokio::task::JoinHandle<(Reader, Client)>,
}

struct Reader {
    column: &'static str,
    last: [String; 2],
    seen: BTreeSet<(&'static str, i64, i64)>,
}

impl Reader {
    async fn read(&mut self, client: &Client) {
        for (table, last) in [SHOP_TABLES.parent, SHOP_TABLES.both].into_iter().zip(&mut self.last) {
            let column = self.column;
            let sql =
                format!("select id, version, {column}::text from {table} where {column} > {last} order by {column}");
            for row in client.query(&sql, &[]).await.expect("the reader reads") {
                self.seen.insert((table, row.get(0), row.get(1)));
                let kind = if column == "ts" { "timestamptz" } else { "bigint" };
                *last = format!("'{}'::{kind}", row.get::<_, String>(2));
            }
        }
    }
}

impl Cursor {
    pub(crate) fn start(
        database: &Database,
        column: &'static str,
        first: &str,
        pulse: Duration,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let mut reader = Reader { column, last: [first.to_owned(), first.to_owned()], seen: BTreeSet::new() };
        let database = database.clone();
        let task = tokio::spawn(async move {
            let client = workload::open(&database).await.expect("the reader connects");
            while !stop.load(Ordering::Relaxed) {
                reader.read(&client).await;
                tokio::time::sleep(pulse).await;
            }
            (reader, client)
        });
        Self { column, task }
    }

    /// Reads a last time, after the writers have ended: how many of the committed rows were never seen, of how many.
    pub(crate) async fn finish(self, journals: &[Journal]) -> (usize, usize) {
        let (mut reader, client) = self.task.await.expect("the reader does not fail");
        reader.read(&client).await;
        let rows: Vec<_> = journals
            .iter()
            .flat_map(|journal| journal.now().iter())
            .filter(|(key, _)| key.0 != SHOP_TABLES.child)
            .collect();
        let lost = rows.iter().filter(|(key, version)| !reader.seen.contains(&(key.0, key.1, **version))).count();
        (lost, rows.len())
    }
}
