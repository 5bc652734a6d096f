//! Staging tables, and the statements that merge them into their targets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::names::quote_identifier;
use tokio_postgres::{SimpleQueryMessage, Transaction};

use super::amounts;
use super::conflicts::Contest;
use super::target::{Shape, ShapeKind};
use super::{ApplyOrder, failure};
use crate::ReplicaError;
use crate::catalogue::{Table, column_list};
use crate::error::classify;

/// Rows of one shape, waiting to be merged.
pub(super) struct Staging {
    pub(super) shape: Arc<Shape>,
    /// Whether rows have been copied in since the last merge.
    pub(super) filled: bool,
    /// Tells it from other staging tables of its shape: rows that were put aside because a unique value is still taken by a
    /// row that the script changes or deletes further on, or that are all gathered before the first is merged.
    number: Option<usize>,
    /// Whether it is known that every staged row is the only one of its key, and that its row is in the table.
    all_there: AtomicBool,
}

/// What an attempt to merge came to.
pub(super) enum Attempt {
    /// So many rows changed.
    Rows(i64),
    /// Nothing yet: a unique value is still taken.
    Held,
    /// The database refused a row.
    Refused(tokio_postgres::Error),
}

/// Some of the staged rows.
#[derive(Clone)]
pub(super) enum Part {
    /// All of them.
    All,
    /// Those of the statements up to this one.
    UpTo(i64),
    /// Those behind one place and up to another.
    Between(Option<String>, Option<String>),
}

/// In [`Staging::statements`] of single rows: the variable with the row's place.
pub(super) const PLACE: &str = "sync$place";

impl Part {
    pub(super) fn condition(&self) -> String {
        match self {
            Self::All => "true".to_owned(),
            Self::UpTo(number) => format!("sync$n <= {number}"),
            Self::Between(low, high) => {
                let low = low.as_ref().map(|place| format!("ctid > '{place}'::tid"));
                let high = high.as_ref().map(|place| format!("ctid <= '{place}'::tid"));
                let both: Vec<String> = low.into_iter().chain(high).collect();
                if both.is_empty() { "true".to_owned() } else { both.join(" and ") }
            }
        }
    }
}

/// What a merge did.
pub(super) enum Merged {
    /// So many rows changed.
    Rows(i64),
    /// Nothing yet: a unique value is still taken.
    Held,
}

impl Staging {
    /// Creates the staging table; it goes with the transaction.
    pub(super) async fn create(
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        shape: Arc<Shape>,
        number: Option<usize>,
    ) -> Result<Self, ReplicaError> {
        let failed = |error| classify("create a staging table", error);
        let staging = Self { shape, filled: false, number, all_there: AtomicBool::new(false) };
        let columns: Vec<String> = match &staging.shape.kind {
            ShapeKind::Insert | ShapeKind::InsertIgnore | ShapeKind::Upsert(_) => quoted(&staging.shape.columns),
            ShapeKind::Delete => with("null::jsonb as sync$was", quoted(&staging.shape.columns)),
            ShapeKind::Update => {
                with("null::jsonb as sync$was, null::varbit as sync$has", quoted(&staging.shape.columns))
            }
            ShapeKind::GuardedUpdate => {
                let mut columns = with(
                    "null::jsonb as sync$was, null::varbit as sync$has, null::varbit as sync$guarded",
                    quoted(&staging.shape.columns),
                );
                columns.extend(
                    staging
                        .others()
                        .iter()
                        .enumerate()
                        .map(|(index, name)| format!("{} as sync$guard_{index}", quote_identifier(name))),
                );
                columns
            }
        };
        let name = staging.name();
        let mut columns = columns;
        if staging.shape.amounts {
            columns.push("null::jsonb as sync$totals".to_owned());
        }
        if staging.shape.stamped {
            columns.push("null::text as sync$stamp".to_owned());
        }
        let mut sql = format!(
            "create temp table {name} on commit drop as select null::bigint as sync$n, {} from {} with no data;",
            columns.join(", "),
            staging.shape.table.name.quoted()
        );
        if let Some(role) = &order.rights.role {
            sql += &format!("grant select on {name} to {};", quote_identifier(role));
        }
        transaction.batch_execute(&sql).await.map_err(failed)?;
        Ok(staging)
    }

    pub(super) fn name(&self) -> String {
        match self.number {
            Some(number) => format!("pg_temp.stage_{}_{number}", self.shape.id),
            None => format!("pg_temp.stage_{}", self.shape.id),
        }
    }

    /// Puts held rows aside under another name: rows that come later get a staging table of their own.
    pub(super) async fn put_aside(&mut self, transaction: &Transaction<'_>, number: usize) -> Result<(), ReplicaError> {
        let sql = format!("alter table {} rename to stage_{}_{number}", self.name(), self.shape.id);
        transaction.batch_execute(&sql).await.map_err(|error| classify("put rows aside", error))?;
        self.number = Some(number);
        Ok(())
    }

    pub(super) fn copy_statement(&self) -> String {
        format!("copy {} from stdin", self.name())
    }

    /// Tells the planner how many rows wait, and how their keys are spread. Nothing depends on the other columns, and to
    /// look at those would be dear: they hold old values and notes.
    pub(super) async fn analyze(&self, transaction: &Transaction<'_>) -> Result<(), ReplicaError> {
        let keys: Vec<&str> = (self.shape.table.key_columns().map(|column| column.name.as_str()))
            .filter(|name| self.shape.columns.iter().any(|column| column == name))
            .collect();
        let columns = if keys.is_empty() { "sync$n".to_owned() } else { column_list(keys) };
        let sql = format!("analyze {} ({columns})", self.name());
        transaction.batch_execute(&sql).await.map_err(|error| classify("merge rows", error))
    }

    pub(super) fn all_there(&self) -> bool {
        self.all_there.load(Ordering::Relaxed)
    }

    /// Columns of an update shape behind the key.
    pub(super) fn others(&self) -> &[String] {
        &self.shape.columns[self.shape.table.key.len()..]
    }

    /// Merges the rows into the table and empties the staging table; returns how many rows really changed.
    /// `may_hold`: deletes are still to come, so a clash of unique values need not be the last word.
    pub(super) async fn merge(
        &mut self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        may_hold: bool,
    ) -> Result<Merged, ReplicaError> {
        match self.attempt(transaction, order, may_hold).await? {
            Attempt::Rows(rows) => {
                let sql = format!("truncate {}", self.name());
                transaction.batch_execute(&sql).await.map_err(|error| classify("merge rows", error))?;
                self.filled = false;
                Ok(Merged::Rows(rows))
            }
            Attempt::Held => Ok(Merged::Held),
            Attempt::Refused(error) => {
                let statement = self.failing_statement(transaction, order).await?;
                Err(failure::of_shape(error, &self.shape, statement))
            }
        }
    }

    /// The same, but the rows stay staged, and what the database refuses is not yet an error; then nothing was merged.
    pub(super) async fn attempt(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        may_hold: bool,
    ) -> Result<Attempt, ReplicaError> {
        let failed = |error| classify("merge rows", error);
        transaction.batch_execute("savepoint merge").await.map_err(failed)?;
        let attempt = match self.try_merge(transaction, order, &Part::All).await {
            Ok(rows) => Attempt::Rows(rows),
            Err(error) => {
                transaction.batch_execute("rollback to savepoint merge").await.map_err(failed)?;
                match self.swap(transaction, order, &error).await? {
                    Some(rows) => Attempt::Rows(rows),
                    None if may_hold && order.rights.quiet && is_clash(&error) => Attempt::Held,
                    None => Attempt::Refused(error),
                }
            }
        };
        if let (Attempt::Rows(_), Some(contest)) = (&attempt, Contest::of(order, self)) {
            contest.keep_stamps(transaction).await?;
        }
        transaction.batch_execute("release savepoint merge").await.map_err(failed)?;
        Ok(attempt)
    }

    /// Settles the conflicts of rows that both sides changed, before they are merged; returns how many there were.
    pub(super) async fn settle(&self, transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<i64, ReplicaError> {
        let contest = Contest::of(order, self);
        if let Some(contest) = &contest {
            self.all_there.store(contest.lock(transaction).await?, Ordering::Relaxed);
        }
        if self.shape.amounts {
            amounts::settle(transaction, order, self).await?;
        }
        match contest {
            Some(contest) => contest.settle(transaction).await,
            None => Ok(0),
        }
    }

    /// Takes out of a held staging what a later statement deletes.
    pub(super) async fn forget_deleted(
        &self,
        transaction: &Transaction<'_>,
        deleted: &Self,
    ) -> Result<(), ReplicaError> {
        let sql = format!(
            "delete from {} t using {} s where {}",
            self.name(),
            deleted.name(),
            self.shape.table.same_key("t.", "s.")
        );
        transaction.batch_execute(&sql).await.map_err(|error| classify("merge rows", error))
    }

    /// The first statement whose rows cannot be merged, found by halving.
    async fn failing_statement(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
    ) -> Result<Option<u64>, ReplicaError> {
        let failed = |error| classify("find the failing statement", error);
        let rows = transaction
            .query(&format!("select distinct sync$n from {} order by sync$n", self.name()), &[])
            .await
            .map_err(failed)?;
        let numbers: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        transaction.batch_execute("savepoint merge").await.map_err(failed)?;
        let (mut good, mut bad) = (0, numbers.len());
        // numbers[..good] merge, numbers[..bad] do not
        while bad - good > 1 {
            let middle = usize::midpoint(good, bad);
            let merged = self.try_merge(transaction, order, &Part::UpTo(numbers[middle - 1])).await.is_ok();
            transaction.batch_execute("rollback to savepoint merge").await.map_err(failed)?;
            if merged {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Ok(bad.checked_sub(1).and_then(|index| numbers.get(index)).map(|number| number.unsigned_abs()))
    }

    /// Merges some of the rows; returns how many really changed.
    pub(super) async fn try_merge(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        part: &Part,
    ) -> Result<i64, tokio_postgres::Error> {
        let statements = self.statements(transaction, order, part, false).await?;
        let counts = run(transaction, order, &self.shape.table, &statements).await?;
        Ok(counts.into_iter().sum())
    }

    /// The statements that merge some of the rows; `singly`: the one row among them whose place a variable holds.
    pub(super) async fn statements(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        part: &Part,
        singly: bool,
    ) -> Result<Vec<String>, tokio_postgres::Error> {
        let table = &self.shape.table;
        let condition = if singly { format!("ctid = {PLACE}") } else { part.condition() };
        let rows = || format!("(select * from {} where {condition} order by ctid) s", self.name());
        Ok(match &self.shape.kind {
            ShapeKind::Insert => vec![self.insert_from(&rows(), "")],
            ShapeKind::InsertIgnore => vec![self.insert_from(&rows(), "on conflict do nothing")],
            ShapeKind::Upsert(updates) => self.upsert(order, updates, &condition),
            ShapeKind::Delete => {
                let keys = column_list(self.shape.columns.iter().map(String::as_str));
                vec![format!(
                    "delete from {} t using (select distinct {keys} from {} where {condition}) s where {}",
                    table.target(),
                    self.name(),
                    table.same_key("t.", "s.")
                )]
            }
            ShapeKind::Update | ShapeKind::GuardedUpdate => {
                self.update(transaction, order, part, singly, &condition).await?
            }
        })
    }

    /// The last row of every key (a later row of a script replaces an earlier one).
    pub(super) fn last_rows(&self, condition: &str) -> String {
        let keys = column_list(self.shape.table.key_columns().map(|column| column.name.as_str()));
        format!("(select distinct on ({keys}) * from {} where {condition} order by {keys}, ctid desc) s", self.name())
    }

    pub(super) fn insert_from(&self, rows: &str, conflict: &str) -> String {
        let columns = column_list(self.shape.columns.iter().map(String::as_str));
        let values: Vec<String> = quoted(&self.shape.columns).iter().map(|column| format!("s.{column}")).collect();
        format!(
            "insert into {} as t ({columns}) overriding system value select {} from {rows} {conflict}",
            self.shape.table.name.quoted(),
            values.join(", ")
        )
    }

    fn upsert(&self, order: &ApplyOrder, updates: &[String], condition: &str) -> Vec<String> {
        let table = &self.shape.table;
        let set: Vec<String> = updates
            .iter()
            .filter(|name| !table.is_key(name))
            .filter(|name| table.column(name).is_some_and(|column| !column.always_identity && !column.generated))
            .map(|name| quote_identifier(name))
            .collect();
        let rows = self.last_rows(condition);
        let tuple = |prefix: &str| set.iter().map(|name| format!("{prefix}{name}")).collect::<Vec<_>>().join(", ");
        // *<> compares the stored bytes: it knows every type, and sees 1.0 and 1.00 as different
        let differs = |theirs: &str| format!("row({})::record *<> row({})::record", tuple("t."), tuple(theirs));
        if table.key_deferrable {
            let mut statements = Vec::new();
            if !set.is_empty() {
                let assignments: Vec<String> = set.iter().map(|name| format!("{name} = s.{name}")).collect();
                statements.push(format!(
                    "update {} t set {} from {rows} where {} and {}",
                    table.target(),
                    assignments.join(", "),
                    table.same_key("t.", "s."),
                    differs("s.")
                ));
            }
            let missing = format!("not exists (select from {} t where {})", table.target(), table.same_key("t.", "s."));
            statements.push(format!("{} where {missing}", self.insert_from(&rows, "")));
            return statements;
        }
        let keys = column_list(table.key_columns().map(|column| column.name.as_str()));
        let conflict = if set.is_empty() {
            format!("on conflict ({keys}) do nothing")
        } else {
            let delta = if self.shape.amounts { amounts::columns(order, table) } else { Vec::new() };
            let values: Vec<String> = set
                .iter()
                .map(|name| {
                    let amount = delta.iter().find(|column| quote_identifier(column) == *name);
                    match amount.and_then(|column| table.column(column)) {
                        Some(column) => amounts::added_on_conflict(self, &column.name, &column.type_name),
                        None => format!("excluded.{name}"),
                    }
                })
                .collect();
            let assignments: Vec<String> =
                set.iter().zip(&values).map(|(name, value)| format!("{name} = {value}")).collect();
            // compared with what would be written: equal values that both sides reached by adding still add up
            format!(
                "on conflict ({keys}) do update set {} where row({})::record *<> row({})::record",
                assignments.join(", "),
                tuple("t."),
                values.join(", ")
            )
        };
        vec![self.insert_from(&rows, &conflict)]
    }

    async fn update(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        part: &Part,
        singly: bool,
        condition: &str,
    ) -> Result<Vec<String>, tokio_postgres::Error> {
        let table = &self.shape.table;
        let keys = column_list(table.key_columns().map(|column| column.name.as_str()));
        // several updates of one row happen one after the other
        let counted = if self.all_there() { "" } else { &format!("group by {keys}") };
        let most = if self.all_there() { "least(count(*), 1)" } else { "count(*)" };
        let row = transaction
            .query_one(
                &format!(
                    "select coalesce(max(most), 0), bit_or(has)::text, bit_and(every)::text
                     from (select {most} as most, bit_or(sync$has) as has, bit_and(sync$has) as every from {} where {} {counted}) x",
                    self.name(),
                    part.condition()
                ),
                &[],
            )
            .await?;
        let rounds: i64 = if singly { 1 } else { row.get(0) };
        let used = row.get::<_, Option<String>>(1).unwrap_or_default().into_bytes();
        let always = row.get::<_, Option<String>>(2).unwrap_or_default().into_bytes();
        // conflicts have been settled: what the guards would keep out is not among the columns any more
        let guarded = self.shape.kind == ShapeKind::GuardedUpdate && Contest::of(order, self).is_none();
        let delta = if self.shape.amounts { amounts::columns(order, table) } else { Vec::new() };
        let mut assignments = Vec::new();
        let mut new = Vec::new();
        let mut old = Vec::new();
        let mut guards = String::new();
        for (index, name) in self.others().iter().enumerate() {
            let quoted = quote_identifier(name);
            if guarded {
                guards += &format!(
                    " and (get_bit(s.sync$guarded, {index}) = 0 or not row(t.{quoted})::record *<> row(s.sync$guard_{index})::record)"
                );
            }
            let settable = table.column(name).is_some_and(|column| !column.always_identity);
            if used.get(index) == Some(&b'1') && settable {
                let amount = delta.contains(&name.as_str()).then(|| table.column(name)).flatten();
                let theirs = if always.get(index) == Some(&b'1') {
                    format!("s.{quoted}")
                } else {
                    format!("case when get_bit(s.sync$has, {index}) = 1 then s.{quoted} else t.{quoted} end")
                };
                let value = match amount {
                    Some(column) => amounts::added(name, &column.type_name, &theirs),
                    None => theirs,
                };
                assignments.push(format!("{quoted} = {value}"));
                new.push(value);
                old.push(format!("t.{quoted}"));
            }
        }
        if assignments.is_empty() {
            return Ok(Vec::new());
        }
        let mut statements = Vec::new();
        for round in 1..=rounds {
            let rows = if rounds == 1 {
                format!("(select * from {} where {condition}) s", self.name())
            } else {
                format!(
                    "(select * from (select *, row_number() over (partition by {keys} order by ctid) as sync$round from {} where {condition}) r where sync$round = {round}) s",
                    self.name()
                )
            };
            statements.push(format!(
                "update {} t set {} from {rows} where {} and row({})::record *<> row({})::record{guards}",
                table.target(),
                assignments.join(", "),
                table.same_key("t.", "s."),
                new.join(", "),
                old.join(", ")
            ));
        }
        Ok(statements)
    }
}

pub(super) fn is_clash(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION)
}

fn quoted(names: &[String]) -> Vec<String> {
    names.iter().map(|name| quote_identifier(name)).collect()
}

fn with(first: &str, columns: Vec<String>) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(columns).collect()
}

/// Runs statements on a table as the apply role, in one round trip; returns the rows that each changed.
pub(super) async fn run(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    table: &Table,
    statements: &[String],
) -> Result<Vec<i64>, tokio_postgres::Error> {
    let fires = order.policy.get(&table.name).is_some_and(|policy| policy.triggers == protocol::policy::Triggers::Fire);
    // triggers of the application run with the rights they always have
    let role = order.rights.role.as_ref().filter(|_| !fires);
    if statements.is_empty() {
        return Ok(Vec::new());
    }
    let mut sql = String::new();
    if fires && order.rights.quiet {
        // the application's triggers see the world as they do for the application
        sql += "set local session_replication_role = origin; set local search_path to default; ";
    }
    if let Some(role) = role {
        sql += &format!("set local role {}; ", quote_identifier(role));
    }
    // as many commands as there are semicolons come before the first statement
    let before = sql.matches(';').count();
    sql += &statements.join("; ");
    if role.is_some() {
        sql += "; reset role";
    }
    if fires && order.rights.quiet {
        sql += "; set local session_replication_role = replica; set local search_path = pg_catalog";
    }
    let messages = transaction.simple_query(&sql).await?;
    let counts: Vec<i64> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(i64::try_from(*rows).unwrap_or(i64::MAX)),
            _ => None,
        })
        .collect();
    Ok(counts.into_iter().skip(before).take(statements.len()).collect())
}
