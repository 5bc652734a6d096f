//! Staging tables, and the statements that merge them into their targets.

use std::sync::Arc;

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
    /// Put aside because a unique value is still taken by a row that the script changes or deletes further on: merged
    /// again after it.
    aside: Option<usize>,
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
    ) -> Result<Self, ReplicaError> {
        let failed = |error| classify("create a staging table", error);
        let staging = Self { shape, filled: false, aside: None };
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
        match self.aside {
            Some(number) => format!("pg_temp.stage_{}_held_{number}", self.shape.id),
            None => format!("pg_temp.stage_{}", self.shape.id),
        }
    }

    /// Puts held rows aside under another name: rows that come later get a staging table of their own.
    pub(super) async fn put_aside(&mut self, transaction: &Transaction<'_>, number: usize) -> Result<(), ReplicaError> {
        let sql = format!("alter table {} rename to stage_{}_held_{number}", self.name(), self.shape.id);
        transaction.batch_execute(&sql).await.map_err(|error| classify("put rows aside", error))?;
        self.aside = Some(number);
        Ok(())
    }

    pub(super) fn copy_statement(&self) -> String {
        format!("copy {} from stdin", self.name())
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
        let failed = |error| classify("merge rows", error);
        let name = self.name();
        transaction.batch_execute(&format!("analyze {name}; savepoint merge")).await.map_err(failed)?;
        let rows = match self.try_merge(transaction, order, None).await {
            Ok(rows) => rows,
            Err(error) => {
                transaction.batch_execute("rollback to savepoint merge").await.map_err(failed)?;
                match self.swap(transaction, order, &error).await? {
                    Some(rows) => rows,
                    None if may_hold && order.rights.quiet && is_clash(&error) => {
                        transaction.batch_execute("release savepoint merge").await.map_err(failed)?;
                        return Ok(Merged::Held);
                    }
                    None => {
                        let statement = self.failing_statement(transaction, order).await?;
                        return Err(failure::of_statement(error, &self.shape.table.name, statement));
                    }
                }
            }
        };
        if let Some(contest) = Contest::of(order, self) {
            contest.keep_stamps(transaction).await?;
        }
        transaction.batch_execute(&format!("release savepoint merge; truncate {name}")).await.map_err(failed)?;
        self.filled = false;
        Ok(Merged::Rows(rows))
    }

    /// Settles the conflicts of rows that both sides changed, before they are merged; returns how many there were.
    pub(super) async fn settle(&self, transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<i64, ReplicaError> {
        let contest = Contest::of(order, self);
        if let Some(contest) = &contest {
            contest.lock(transaction).await?;
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

    /// Unique values that move between rows of one script clash row by row, but not as a whole: all rows out, then in.
    async fn swap(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        error: &tokio_postgres::Error,
    ) -> Result<Option<i64>, ReplicaError> {
        // whole rows would be written, and what was added to an amount meanwhile with them
        if !is_clash(error) || !order.rights.quiet || self.shape.amounts {
            return Ok(None);
        }
        let table = &self.shape.table;
        let statements = match self.shape.kind {
            ShapeKind::Upsert(_) if table.written_columns().all(|column| self.shape.columns.contains(&column.name)) => {
                let rows = self.last_rows(None);
                vec![
                    format!("delete from {} t using {rows} where {}", table.target(), table.same_key("t.", "s.")),
                    self.insert_from(&rows, ""),
                ]
            }
            ShapeKind::Update | ShapeKind::GuardedUpdate => match self.exchange(transaction, order).await? {
                Some(statement) => vec![statement],
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        match run(transaction, order, &self.shape.table, &statements).await {
            Ok(counts) => Ok(counts.last().copied()),
            Err(_) => {
                transaction
                    .batch_execute("rollback to savepoint merge")
                    .await
                    .map_err(|error| classify("merge rows", error))?;
                Ok(None)
            }
        }
    }

    /// All rows of an update out and, changed, in again, as one statement; none where a row is updated more than once.
    async fn exchange(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
    ) -> Result<Option<String>, ReplicaError> {
        let table = &self.shape.table;
        let guarded = self.shape.kind == ShapeKind::GuardedUpdate && Contest::of(order, self).is_none();
        let keys = column_list(table.key_columns().map(|column| column.name.as_str()));
        let once: bool = transaction
            .query_one(
                &format!("select not exists (select from {} group by {keys} having count(*) > 1)", self.name()),
                &[],
            )
            .await
            .map_err(|error| classify("merge rows", error))?
            .get(0);
        if !once {
            return Ok(None);
        }
        let mut guards = String::new();
        // the new value of a column, where the row as it was is called `row`
        let value = |row: &str, index: usize, quoted: &str| {
            format!("case when get_bit(s.sync$has, {index}) = 1 then s.{quoted} else {row}.{quoted} end")
        };
        let mut new = Vec::new();
        let mut old = Vec::new();
        for (index, name) in self.others().iter().enumerate() {
            let quoted = quote_identifier(name);
            if guarded {
                guards += &format!(
                    " and (get_bit(s.sync$guarded, {index}) = 0 or not row(t.{quoted})::record *<> row(s.sync$guard_{index})::record)"
                );
            }
            new.push(value("t", index, &quoted));
            old.push(format!("t.{quoted}"));
        }
        let columns: Vec<&str> = table.written_columns().map(|column| column.name.as_str()).collect();
        let back: Vec<String> = columns
            .iter()
            .map(|name| {
                let quoted = quote_identifier(name);
                let fixed = table.column(name).is_none_or(|column| column.always_identity);
                match self.others().iter().position(|other| other == name).filter(|_| !fixed) {
                    Some(index) => value("g", index, &quoted),
                    None => format!("g.{quoted}"),
                }
            })
            .collect();
        let same_key: Vec<String> =
            table.key_columns().map(|column| format!("g.{0} = s.{0}", quote_identifier(&column.name))).collect();
        Ok(Some(format!(
            // sorting reads all of what was deleted before the first row comes back
            "with gone as (delete from {} t using {} s where {} and row({})::record *<> row({})::record{guards} returning t.*)
             insert into {} ({}) overriding system value
             select {} from (select * from gone order by {keys}) g join {} s on {}",
            table.target(),
            self.name(),
            table.same_key("t.", "s."),
            new.join(", "),
            old.join(", "),
            table.name.quoted(),
            column_list(columns.iter().copied()),
            back.join(", "),
            self.name(),
            same_key.join(" and ")
        )))
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
        let (mut good, mut bad) = (0, numbers.len());
        // numbers[..good] merge, numbers[..bad] do not
        while bad - good > 1 {
            let middle = usize::midpoint(good, bad);
            let merged = self.try_merge(transaction, order, Some(numbers[middle - 1])).await.is_ok();
            transaction.batch_execute("rollback to savepoint merge").await.map_err(failed)?;
            if merged {
                good = middle;
            } else {
                bad = middle;
            }
        }
        Ok(bad.checked_sub(1).and_then(|index| numbers.get(index)).map(|number| number.unsigned_abs()))
    }

    async fn try_merge(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        up_to: Option<i64>,
    ) -> Result<i64, tokio_postgres::Error> {
        let table = &self.shape.table;
        match &self.shape.kind {
            ShapeKind::Insert => {
                let rows = format!("(select * from {} where {} order by ctid) s", self.name(), limit(up_to));
                one(run(transaction, order, table, &[self.insert_from(&rows, "")]).await?)
            }
            ShapeKind::InsertIgnore => {
                let rows = format!("(select * from {} where {} order by ctid) s", self.name(), limit(up_to));
                one(run(transaction, order, table, &[self.insert_from(&rows, "on conflict do nothing")]).await?)
            }
            ShapeKind::Upsert(updates) => self.upsert(transaction, order, updates, up_to).await,
            ShapeKind::Delete => {
                let keys = column_list(self.shape.columns.iter().map(String::as_str));
                let sql = format!(
                    "delete from {} t using (select distinct {keys} from {} where {}) s where {}",
                    table.target(),
                    self.name(),
                    limit(up_to),
                    table.same_key("t.", "s.")
                );
                one(run(transaction, order, table, &[sql]).await?)
            }
            ShapeKind::Update | ShapeKind::GuardedUpdate => self.update(transaction, order, up_to).await,
        }
    }

    /// The last row of every key (a later row of a script replaces an earlier one).
    fn last_rows(&self, up_to: Option<i64>) -> String {
        let keys = column_list(self.shape.table.key_columns().map(|column| column.name.as_str()));
        format!(
            "(select distinct on ({keys}) * from {} where {} order by {keys}, ctid desc) s",
            self.name(),
            limit(up_to)
        )
    }

    fn insert_from(&self, rows: &str, conflict: &str) -> String {
        let columns = column_list(self.shape.columns.iter().map(String::as_str));
        let values: Vec<String> = quoted(&self.shape.columns).iter().map(|column| format!("s.{column}")).collect();
        format!(
            "insert into {} as t ({columns}) overriding system value select {} from {rows} {conflict}",
            self.shape.table.name.quoted(),
            values.join(", ")
        )
    }

    async fn upsert(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        updates: &[String],
        up_to: Option<i64>,
    ) -> Result<i64, tokio_postgres::Error> {
        let table = &self.shape.table;
        let set: Vec<String> = updates
            .iter()
            .filter(|name| !table.is_key(name))
            .filter(|name| table.column(name).is_some_and(|column| !column.always_identity && !column.generated))
            .map(|name| quote_identifier(name))
            .collect();
        let rows = self.last_rows(up_to);
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
            return Ok(run(transaction, order, table, &statements).await?.iter().sum());
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
        one(run(transaction, order, table, &[self.insert_from(&rows, &conflict)]).await?)
    }

    async fn update(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        up_to: Option<i64>,
    ) -> Result<i64, tokio_postgres::Error> {
        let table = &self.shape.table;
        let keys = column_list(table.key_columns().map(|column| column.name.as_str()));
        // several updates of one row happen one after the other
        let row = transaction
            .query_one(
                &format!(
                    "select coalesce(max(c), 0), (select bit_or(sync$has)::text from {0} where {1}) from (select count(*) as c from {0} where {1} group by {keys}) x",
                    self.name(),
                    limit(up_to)
                ),
                &[],
            )
            .await?;
        let rounds: i64 = row.get(0);
        let used = row.get::<_, Option<String>>(1).unwrap_or_default().into_bytes();
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
                let theirs = format!("case when get_bit(s.sync$has, {index}) = 1 then s.{quoted} else t.{quoted} end");
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
            return Ok(0);
        }
        let mut changed = 0;
        for round in 1..=rounds {
            let rows = if rounds == 1 {
                format!("(select * from {} where {}) s", self.name(), limit(up_to))
            } else {
                format!(
                    "(select * from (select *, row_number() over (partition by {keys} order by ctid) as sync$round from {} where {}) r where sync$round = {round}) s",
                    self.name(),
                    limit(up_to)
                )
            };
            let sql = format!(
                "update {} t set {} from {rows} where {} and row({})::record *<> row({})::record{guards}",
                table.target(),
                assignments.join(", "),
                table.same_key("t.", "s."),
                new.join(", "),
                old.join(", ")
            );
            changed += one(run(transaction, order, table, &[sql]).await?)?;
        }
        Ok(changed)
    }
}

fn is_clash(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION)
}

fn limit(up_to: Option<i64>) -> String {
    up_to.map_or_else(|| "true".to_owned(), |number| format!("sync$n <= {number}"))
}

fn quoted(names: &[String]) -> Vec<String> {
    names.iter().map(|name| quote_identifier(name)).collect()
}

fn with(first: &str, columns: Vec<String>) -> Vec<String> {
    std::iter::once(first.to_owned()).chain(columns).collect()
}

fn one(counts: Vec<i64>) -> Result<i64, tokio_postgres::Error> {
    Ok(counts.into_iter().sum())
}

/// Runs statements on a table as the apply role, in one round trip; returns the rows that each changed.
async fn run(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    table: &Table,
    statements: &[String],
) -> Result<Vec<i64>, tokio_postgres::Error> {
    let fires = order.policy.get(&table.name).is_some_and(|policy| policy.triggers == protocol::policy::Triggers::Fire);
    // triggers of the application run with the rights they always have
    let role = order.rights.role.as_ref().filter(|_| !fires);
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
