//! Unique values that move between rows: no row can have its new value before another has let go of it.

use protocol::names::quote_identifier;
use tokio_postgres::Transaction;

use super::ApplyOrder;
use super::conflicts::Contest;
use super::staging::{Part, Staging, is_clash, run};
use super::target::ShapeKind;
use crate::ReplicaError;
use crate::catalogue::column_list;
use crate::error::classify;

impl Staging {
    /// Unique values that move between rows of one script clash row by row, but not as a whole: all rows out, then in.
    pub(super) async fn swap(
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
                let rows = self.last_rows(&Part::All.condition());
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
}
