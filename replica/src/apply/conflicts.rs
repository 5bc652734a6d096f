//! Conflicts: what both sides changed since they last agreed, in tables with direction `both`.
//!
//! A row is contended when our change log holds a change of it that the peer has not seen. Uncontended rows are merged
//! in bulk and never come here. Of a contended row, a column that only one side changed goes its own way; for a column
//! that both changed, the table's rule decides. The loser is kept in `sync.conflict` with both images.

use protocol::names::quote_identifier;
use protocol::policy::{ConflictRule, Direction};
use tokio_postgres::Transaction;

use super::ApplyOrder;
use super::amounts;
use super::staging::Staging;
use super::target::Incoming;
use crate::ReplicaError;
use crate::catalogue::{Table, quote_literal};
use crate::error::classify;

/// How conflicts of one table are decided, for one apply.
pub(super) struct Contest {
    rule: ConflictRule,
    ours_wins: bool,
    peer: i32,
    /// Keys k1, k2, ... of rows that we changed since we last agreed.
    window: String,
    log: String,
}

impl Contest {
    /// For a table that both sides change; none for the others, or when there is nothing to compare with.
    pub(super) fn of(order: &ApplyOrder, table: &Table) -> Option<Self> {
        let rules = order.policy.get(&table.name)?;
        let captured = order.captured.get(&table.name)?;
        let agreed = order.agreed.as_ref()?;
        if rules.direction != Direction::Both {
            return None;
        }
        let keys: Vec<String> = (1..=table.key.len()).map(|index| format!("k{index}")).collect();
        let window = format!(
            "select distinct {} from {} where {} and origin is distinct from {}",
            keys.join(", "),
            captured.log(),
            agreed.unseen(),
            order.origin
        );
        // "manual" keeps the office's value on both sides until somebody decides; clocks do not travel with changes of
        // base-method peers, so "newest-wins" falls back to the office as well
        let ours_wins = match order.incoming {
            Incoming::FromShop => rules.conflict != ConflictRule::ShopWins,
            Incoming::FromOffice { .. } => rules.conflict == ConflictRule::ShopWins,
        };
        Some(Self { rule: rules.conflict, ours_wins, peer: order.origin, window, log: captured.log() })
    }

    fn winner(&self, order: &ApplyOrder) -> &'static str {
        match (order.incoming, self.ours_wins) {
            (Incoming::FromShop, true) | (Incoming::FromOffice { .. }, false) => "office",
            _ => "shop",
        }
    }

    /// Locks the rows that are about to be merged: what somebody was just changing is in the change log afterwards, so it
    /// is seen as contended.
    pub(super) async fn lock(&self, transaction: &Transaction<'_>, staging: &Staging) -> Result<(), ReplicaError> {
        let table = &staging.shape.table;
        let sql = format!(
            "select count(*) from (select 1 from {} t where exists (select from {} s where {}) order by {} for no key update of t) locked",
            table.target(),
            staging.name(),
            table.same_key("t.", "s."),
            table.key_list("t.")
        );
        transaction.query_one(&sql, &[]).await.map_err(|error| classify("lock rows", error))?;
        Ok(())
    }

    /// Rows that arrive whole: those that we changed too, differently.
    pub(super) async fn settle_upserts(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        staging: &Staging,
    ) -> Result<i64, ReplicaError> {
        let table = &staging.shape.table;
        let delta = amounts::columns(order, table);
        let differs: Vec<String> = staging
            .shape
            .columns
            .iter()
            .filter(|name| !delta.contains(&name.as_str()))
            .map(|name| format!("t.{0}::text is distinct from s.{0}::text", quote_identifier(name)))
            .collect();
        let theirs = image("s.", &staging.shape.columns);
        self.settle_whole(transaction, order, staging, &differs.join(" or "), "insert-insert", &theirs, table).await
    }

    /// Deletes of rows that we changed meanwhile.
    pub(super) async fn settle_deletes(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        staging: &Staging,
    ) -> Result<i64, ReplicaError> {
        let table = &staging.shape.table;
        let ours = image("t.", &written(table));
        let differs = format!("s.sync$was is null or s.sync$was is distinct from {ours}");
        self.settle_whole(transaction, order, staging, &differs, "update-delete", "null::jsonb", table).await
    }

    #[allow(clippy::too_many_arguments, reason = "one statement with its parts")]
    async fn settle_whole(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        staging: &Staging,
        differs: &str,
        kind: &str,
        theirs: &str,
        table: &Table,
    ) -> Result<i64, ReplicaError> {
        let failed = |error| classify("settle conflicts", error);
        let delta = if staging.shape.amounts { amounts::columns(order, table) } else { Vec::new() };
        let contended = format!("pg_temp.contended_{}", staging.shape.id);
        let base = if kind == "update-delete" { "s.sync$was" } else { "null::jsonb" };
        let found = transaction
            .execute(
                &format!(
                    "create temp table {contended} on commit drop as
                     select {}, {} as sync$ours, {theirs} as sync$theirs, {base} as sync$base, {} as sync$key
                     from {} s join ({}) w on {} join {} t on {} where {differs}",
                    table.key_list("s."),
                    image("t.", &written(table)),
                    key_image("s.", table),
                    staging.name(),
                    self.window,
                    table.same_numbered_key("w.", "s."),
                    table.target(),
                    table.same_key("t.", "s.")
                ),
                &[],
            )
            .await
            .map_err(failed)?;
        if found > 0 {
            self.record(transaction, order, table, kind, "'{}'::text[]", &format!("{contended} c")).await?;
            if self.ours_wins {
                for column in delta.iter().filter_map(|name| table.column(name)) {
                    // what the peer added counts, whoever wins the rest
                    let quoted = quote_identifier(&column.name);
                    let sql = format!(
                        "update {} t set {quoted} = {} from {} s join {contended} c on {} where {} and s.sync$totals ? {}",
                        table.target(),
                        amounts::added(&column.name, &column.type_name, &format!("t.{quoted}")),
                        staging.name(),
                        table.same_key("t.", "s.").replace("t.", "c."),
                        table.same_key("t.", "s."),
                        quote_literal(&column.name)
                    );
                    transaction.batch_execute(&sql).await.map_err(failed)?;
                }
                // the peer gets our row whole
                let numbered: Vec<String> = (1..=table.key.len()).map(|index| format!("k{index}")).collect();
                transaction
                    .batch_execute(&format!(
                        "delete from {} s using {contended} t where {};
                         insert into {}(op, {}) select 'R', {} from {contended} t",
                        staging.name(),
                        table.same_key("t.", "s."),
                        self.log,
                        numbered.join(", "),
                        table.key_list("t.")
                    ))
                    .await
                    .map_err(failed)?;
            }
        }
        transaction.batch_execute(&format!("drop table {contended}")).await.map_err(failed)?;
        Ok(i64::try_from(found).unwrap_or(i64::MAX))
    }

    async fn record(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        table: &Table,
        kind: &str,
        columns: &str,
        from: &str,
    ) -> Result<u64, ReplicaError> {
        transaction
            .execute(
                &format!(
                    "insert into sync.conflict(schema_name, table_name, key, kind, rule, columns, base, ours, theirs, winner, peer)
                     select $1, $2, c.sync$key, $3, $4, {columns}, c.sync$base, c.sync$ours, c.sync$theirs, $5, $6 from {from}"
                ),
                &[
                    &table.name.schema,
                    &table.name.name,
                    &kind,
                    &self.rule.as_str(),
                    &self.winner(order),
                    &self.peer,
                ],
            )
            .await
            .map_err(|error| classify("record conflicts", error))
    }

    /// The staged updates with `w`: whether the row is contended. [`Contest::settle_updates`] has made the table of keys.
    pub(super) fn updates(&self, rows: &str, table: &Table) -> String {
        format!(
            "(select s.*, w.k1 is not null as sync$w from {rows} left join {} w on {}) s",
            window_table(table),
            table.same_numbered_key("w.", "s.")
        )
    }

    /// The value that a set column gets. Of an uncontended row it is the peer's, whatever is there: the peer has seen all
    /// that we changed, and has decided.
    pub(super) fn value(&self, index: usize, column: &str) -> String {
        let quoted = quote_identifier(column);
        let name = quote_literal(column);
        let theirs_when_both = if self.ours_wins { "false" } else { "s.sync$w" };
        format!(
            "case when get_bit(s.sync$has, {index}) = 1 and (not s.sync$w or
                 case when s.sync$was ? {name} then t.{quoted}::text is not distinct from s.sync$was ->> {name} or {theirs_when_both}
                      else {theirs_when_both} end) then s.{quoted} else t.{quoted} end"
        )
    }

    /// Whether both sides changed a column, to different values.
    fn both_changed(index: usize, column: &str) -> String {
        let quoted = quote_identifier(column);
        let name = quote_literal(column);
        format!(
            "(get_bit(s.sync$has, {index}) = 1 and t.{quoted}::text is distinct from s.{quoted}::text
              and (not s.sync$was ? {name} or s.sync$was is null or t.{quoted}::text is distinct from s.sync$was ->> {name}))"
        )
    }

    /// Records the contended columns of staged updates, and what became of updates whose row is gone.
    pub(super) async fn settle_updates(
        &self,
        transaction: &Transaction<'_>,
        order: &ApplyOrder,
        staging: &Staging,
        used: &[(usize, &str)],
    ) -> Result<i64, ReplicaError> {
        let table = &staging.shape.table;
        let failed = |error| classify("settle conflicts", error);
        let window = window_table(table);
        let mut sql = format!(
            "drop table if exists {window}; create temp table {window} on commit drop as {}; analyze {window};",
            self.window
        );
        if let Some(role) = &order.rights.role {
            // the merge itself runs as the apply role, which may not read the change log
            sql += &format!("grant select on {window} to {}", quote_identifier(role));
        }
        transaction.batch_execute(&sql).await.map_err(failed)?;
        let rows = self.updates(&format!("{} s", staging.name()), table);
        let contended: Vec<String> = used.iter().map(|(index, name)| Self::both_changed(*index, name)).collect();
        if contended.is_empty() {
            return Ok(0);
        }
        let names: Vec<String> = used
            .iter()
            .zip(&contended)
            .map(|((_, name), condition)| format!("case when {condition} then {} end", quote_literal(name)))
            .collect();
        let columns = format!("array_remove(array[{}]::text[], null)", names.join(", "));
        let set = set_image(used);
        let from = format!(
            "(select {}, {} as sync$key, s.sync$was as sync$base, {} as sync$ours, {set} as sync$theirs, {columns} as sync$columns
              from {rows} join {} t on {} where s.sync$w and ({})) c",
            table.key_list("s."),
            key_image("s.", table),
            image("t.", &written(table)),
            table.target(),
            table.same_key("t.", "s."),
            contended.join(" or ")
        );
        let mut found = self.record(transaction, order, table, "columns", "c.sync$columns", &from).await?;
        if self.ours_wins && found > 0 {
            // the peer may hold a value that we never changed: it gets our row whole
            let numbered: Vec<String> = (1..=table.key.len()).map(|index| format!("k{index}")).collect();
            transaction
                .batch_execute(&format!(
                    "insert into {}(op, {}) select 'R', {} from {from}",
                    self.log,
                    numbered.join(", "),
                    table.key_list("c.")
                ))
                .await
                .map_err(failed)?;
        }
        // of a deleted row, what it was when we deleted it, so that the whole of it can be brought back later
        let gone = format!(
            "(select {} as sync$key, coalesce(d.old, '{{}}') || coalesce(s.sync$was, '{{}}') as sync$base, null::jsonb as sync$ours, {set} as sync$theirs, {}
              from {rows} left join lateral (
                  select l.old from {} l where l.op = 'D' and {} order by l.seq desc limit 1) d on true
              where not exists (select from {} t where {})) c",
            key_image("s.", table),
            table.key_list("s."),
            self.log,
            table.same_numbered_key("l.", "s."),
            table.target(),
            table.same_key("t.", "s.")
        );
        found += self.record(transaction, order, table, "update-delete", "'{}'::text[]", &gone).await?;
        if !self.ours_wins {
            self.revive(transaction, table, &gone).await.map_err(failed)?;
        }
        Ok(i64::try_from(found).unwrap_or(i64::MAX))
    }

    /// Brings deleted rows back from their tombstones, with the columns that the peer set.
    async fn revive(
        &self,
        transaction: &Transaction<'_>,
        table: &Table,
        gone: &str,
    ) -> Result<(), tokio_postgres::Error> {
        let columns = written(table);
        let values: Vec<String> = table
            .written_columns()
            .map(|column| format!("(i.image ->> {})::{}", quote_literal(&column.name), column.type_name))
            .collect();
        let names: Vec<String> = columns.iter().map(|name| quote_identifier(name)).collect();
        transaction
            .batch_execute(&format!(
                "insert into {} ({}) overriding system value select {} from (
                     select d.old || c.sync$theirs as image from {gone} join lateral (
                         select l.old from {} l where l.op = 'D' and {} order by l.seq desc limit 1) d on true) i",
                table.name.quoted(),
                names.join(", "),
                values.join(", "),
                self.log,
                table.same_numbered_key("l.", "c.")
            ))
            .await
    }
}

fn window_table(table: &Table) -> String {
    format!("pg_temp.window_{}", table.oid)
}

fn written(table: &Table) -> Vec<String> {
    table.written_columns().map(|column| column.name.clone()).collect()
}

/// A row as a JSON object of texts: the same form that the change log keeps.
fn image(prefix: &str, columns: &[String]) -> String {
    let pairs: Vec<String> = columns
        .iter()
        .map(|name| format!("({}, {prefix}{}::text)", quote_literal(name), quote_identifier(name)))
        .collect();
    format!("(select jsonb_object_agg(c, v) from (values {}) as x(c, v))", pairs.join(", "))
}

fn key_image(prefix: &str, table: &Table) -> String {
    image(prefix, &table.key_columns().map(|column| column.name.clone()).collect::<Vec<_>>())
}

/// The columns that an update sets, as a JSON object of texts.
fn set_image(used: &[(usize, &str)]) -> String {
    let pairs: Vec<String> = used
        .iter()
        .map(|(index, name)| {
            format!("({}, s.{}::text, get_bit(s.sync$has, {index}) = 1)", quote_literal(name), quote_identifier(name))
        })
        .collect();
    format!("(select jsonb_object_agg(c, v) filter (where h) from (values {}) as x(c, v, h))", pairs.join(", "))
}
