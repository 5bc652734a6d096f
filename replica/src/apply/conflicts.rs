//! Conflicts: what both sides changed since they last agreed, in tables with direction `both`.
//!
//! A row is contended when our change log holds a change of it that the peer has not seen. Uncontended rows are merged
//! in bulk by SQL and never come here. The contended ones are few: they are handed in batches to `protocol::merge`, which
//! decides; what it decided is written back into the staging table, so that the merge that follows takes of every row
//! what should be taken. The loser is kept in `sync.conflict` with both images.

use std::collections::BTreeSet;

use protocol::merge::{self, Changed, Contender, Image, Side, Stamp, Verdict, Version};
use protocol::names::quote_identifier;
use protocol::policy::{ConflictRule, Direction};
use serde_json::Value as Json;
use tokio_postgres::{Row, Transaction};

use super::ApplyOrder;
use super::amounts;
use super::staging::Staging;
use super::target::{Incoming, ShapeKind};
use crate::ReplicaError;
use crate::capture::{CapturedTable, numbered};
use crate::catalogue::{Table, quote_literal};
use crate::error::classify;

/// Contended rows that are decided at a time, and the bytes that they may have.
const BATCH_ROWS_MAX: i64 = 1000;
const BATCH_BYTES: i64 = 4 << 20;

/// How conflicts of one table are decided, for one apply.
pub(super) struct Contest<'a> {
    order: &'a ApplyOrder,
    staging: &'a Staging,
    rule: ConflictRule,
    us: Side,
    /// The entries of our log that the peer has not seen.
    unseen: String,
    captured: &'a CapturedTable,
}

impl<'a> Contest<'a> {
    /// For a table that both sides change; none for the others, or when there is nothing to compare with.
    pub(super) fn of(order: &'a ApplyOrder, staging: &'a Staging) -> Option<Self> {
        let table = &staging.shape.table;
        if !Self::is_held(order, table) {
            return None;
        }
        let rules = order.policy.get(&table.name)?;
        let captured = order.captured.get(&table.name)?;
        let agreed = order.agreed.as_ref()?;
        let us = match order.incoming {
            Incoming::FromShop => Side::Office,
            Incoming::FromOffice { .. } => Side::Shop,
        };
        let unseen = format!("{} and {}", agreed.unseen(), crate::diff::meant_for(order.origin));
        Some(Self { order, staging, rule: rules.conflict, us, unseen, captured })
    }

    /// Whether rows that arrive for the table are compared with what was changed here.
    pub(super) fn is_held(order: &ApplyOrder, table: &Table) -> bool {
        order.policy.get(&table.name).is_some_and(|rules| rules.direction == Direction::Both)
            && order.captured.contains_key(&table.name)
            && order.agreed.is_some()
    }

    /// Locks the rows that are about to be merged: what somebody was just changing is in the change log afterwards, so it
    /// is seen as contended. Returns whether every staged row is one of its own that is there.
    pub(super) async fn lock(&self, transaction: &Transaction<'_>) -> Result<bool, ReplicaError> {
        let table = &self.staging.shape.table;
        let name = self.staging.name();
        let sql = format!(
            "select count(*) = (select count(*) from {name})
             from (select 1 from {} t where exists (select from {name} s where {}) order by {} for no key update of t) locked",
            table.target(),
            table.same_key("t.", "s."),
            table.key_list("t.")
        );
        Ok(transaction.query_one(&sql, &[]).await.map_err(|error| classify("lock rows", error))?.get(0))
    }

    /// Decides the contended rows of the staging table; returns how many conflicts there were.
    pub(super) async fn settle(&self, transaction: &Transaction<'_>) -> Result<i64, ReplicaError> {
        let failed = |error| classify("settle conflicts", error);
        if matches!(self.staging.shape.kind, ShapeKind::Insert | ShapeKind::InsertIgnore) {
            return Ok(0);
        }
        let contended = self.contended();
        let rows = transaction
            .execute(&format!("create temp table {contended} on commit drop as {}", self.gather()), &[])
            .await
            .map_err(failed)?;
        let mut conflicts = 0;
        if rows > 0 {
            transaction.batch_execute(&format!("analyze {contended}; {CREATE_DECIDED}")).await.map_err(failed)?;
            self.decide(transaction).await?;
            conflicts = self.record(transaction).await?;
            self.write_back(transaction).await?;
            transaction.batch_execute("drop table pg_temp.decided").await.map_err(failed)?;
        }
        transaction.batch_execute(&format!("drop table {contended}")).await.map_err(failed)?;
        Ok(conflicts)
    }

    fn contended(&self) -> String {
        format!("pg_temp.contended_{}", self.staging.shape.id)
    }

    /// The contended rows: our row, what we changed of it, and what arrived.
    fn gather(&self) -> String {
        let shape = &self.staging.shape;
        let table = &shape.table;
        let count = table.key.len();
        let numbers = numbered(count);
        let updates = matches!(shape.kind, ShapeKind::Update | ShapeKind::GuardedUpdate);
        let theirs = match shape.kind {
            ShapeKind::Delete => "null::jsonb".to_owned(),
            ShapeKind::Update | ShapeKind::GuardedUpdate => self.told_columns(),
            _ => image("s.", &shape.columns),
        };
        let was = if matches!(shape.kind, ShapeKind::Upsert(_)) { "null::jsonb" } else { "s.sync$was" };
        let has = if updates { "s.sync$has::text" } else { "null::text" };
        let first_key = table
            .key_columns()
            .next()
            .map_or_else(|| "true".to_owned(), |column| format!("t.{} is not null", quote_identifier(&column.name)));
        let written: Vec<String> = table.written_columns().map(|column| column.name.clone()).collect();
        let told = format!(
            "s.ctid as sync$place, {}, {theirs} as sync$theirs, {was} as sync$was, {has} as sync$has, s.sync$stamp",
            table.key_list("s.")
        );
        // a delete of what is gone is no contest
        let join = if shape.kind == ShapeKind::Delete { "join" } else { "left join" };
        let mut sql = format!(
            // of the old values of a column the first one counts: jsonb_object_agg keeps the last
            "with e as materialized (
                 select seq, op, old, {numbers}, stamp from ({}) l where exists (select from {} s where {})),
             d as (
                 select {numbers}, (array_agg(op order by seq))[1] as first, bool_or(op = 'R') as asked,
                        jsonb_object_agg(j.key, j.value order by seq desc) filter (where j.key is not null) as olds,
                        (array_agg(stamp order by seq desc) filter (where stamp is not null))[1] as stamp
                 from e left join lateral jsonb_each(e.old::jsonb) j on true group by {numbers})
             select row_number() over () as sync$number, {told},
                    case when {first_key} then {} end as sync$ours, d.first <> 'U' or d.asked as sync$whole,
                    case when d.first <> 'I' then d.olds end as sync$olds, d.stamp as sync$our_stamp
             from {} s join d on {} {join} {} t on {}",
            self.captured.rows(count, &self.unseen),
            self.staging.name(),
            table.same_numbered_key("l.", "s."),
            image("t.", &written),
            self.staging.name(),
            table.same_numbered_key("d.", "s."),
            table.target(),
            table.same_key("t.", "s.")
        );
        if updates && !self.staging.all_there() {
            // an update of a row that is gone, also when the peer has been told: it may come back from its tombstone
            sql += &format!(
                " union all
                 select -row_number() over (), {told}, null::jsonb, true, g.old::jsonb, null::text
                 from {} s left join (select distinct on ({numbers}) {numbers}, old from ({}) l order by {numbers}, seq desc) g on {}
                 where not exists (select from {} t where {}) and not exists (select from d where {})",
                self.staging.name(),
                self.captured.rows(count, "op = 'D'"),
                table.same_numbered_key("g.", "s."),
                table.target(),
                table.same_key("t.", "s."),
                table.same_numbered_key("d.", "s.")
            );
        }
        sql
    }

    /// The columns that an update sets, as a JSON object of texts.
    fn told_columns(&self) -> String {
        let pairs: Vec<String> = self
            .staging
            .others()
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let column = quote_identifier(name);
                format!("({}, s.{column}::text, get_bit(s.sync$has, {index}) = 1)", quote_literal(name))
            })
            .collect();
        format!("(select jsonb_object_agg(c, v) filter (where h) from (values {}) as x(c, v, h))", pairs.join(", "))
    }

    /// Streams the contended rows through the one function that decides.
    async fn decide(&self, transaction: &Transaction<'_>) -> Result<(), ReplicaError> {
        let failed = |error| classify("settle conflicts", error);
        let amounts: BTreeSet<String> =
            amounts::columns(self.order, &self.staging.shape.table).into_iter().map(str::to_owned).collect();
        let contended = self.contended();
        let widest: i64 = transaction
            .query_one(
                &format!("select coalesce(max(pg_column_size(sync$ours) + pg_column_size(sync$theirs)), 0)::bigint from {contended}"),
                &[],
            )
            .await
            .map_err(failed)?
            .get(0);
        let batch = (BATCH_BYTES / widest.max(1)).clamp(1, BATCH_ROWS_MAX);
        let sql = format!(
            "declare contended no scroll cursor for select sync$number, sync$ours::text, sync$whole, sync$olds::text,
                 sync$our_stamp, sync$theirs::text, sync$was::text, sync$has, sync$stamp from {contended}"
        );
        transaction.batch_execute(&sql).await.map_err(failed)?;
        let fetch = format!("fetch {batch} from contended");
        loop {
            let rows = transaction.query(&fetch, &[]).await.map_err(failed)?;
            if rows.is_empty() {
                break;
            }
            let mut decisions = Decisions::default();
            for row in &rows {
                let (ours, theirs) = (self.ours(row)?, self.theirs(row)?);
                let (office, shop) = if self.us == Side::Office { (&ours, &theirs) } else { (&theirs, &ours) };
                let verdict = merge::decide(self.rule, &amounts, office, shop);
                decisions.add(row.get(0), self.bits(row, &verdict, &theirs, &amounts), &verdict, self.us, &ours);
            }
            decisions.store(transaction).await.map_err(failed)?;
        }
        transaction.batch_execute("close contended; analyze pg_temp.decided").await.map_err(failed)
    }

    fn ours(&self, row: &Row) -> Result<Contender, ReplicaError> {
        let olds = parsed(row.get(3))?;
        let version = match parsed(row.get(1))? {
            Some(image) if row.get::<_, bool>(2) => Version::Present { row: image, changed: Changed::Whole },
            Some(image) => Version::Present { row: image, changed: Changed::Columns(olds.unwrap_or_default()) },
            None => Version::Deleted { was: olds },
        };
        Ok(Contender { version, stamp: stamp(row.get(4)) })
    }

    fn theirs(&self, row: &Row) -> Result<Contender, ReplicaError> {
        let was = parsed(row.get(6))?;
        let told = parsed(row.get(5))?;
        let version = match self.staging.shape.kind {
            ShapeKind::Delete => Version::Deleted { was },
            ShapeKind::Update | ShapeKind::GuardedUpdate => {
                let told = told.unwrap_or_default();
                // who does not say what the columns were before may have changed any
                let changed = match was.filter(|was| told.keys().all(|name| was.contains_key(name))) {
                    Some(was) => Changed::Columns(was),
                    None => Changed::Whole,
                };
                Version::Present { row: told, changed }
            }
            _ => Version::Present { row: told.unwrap_or_default(), changed: Changed::Whole },
        };
        Ok(Contender { version, stamp: stamp(row.get(8)) })
    }

    /// Which of the arrived columns are to be taken, as the staging table counts them.
    fn bits(&self, row: &Row, verdict: &Verdict, theirs: &Contender, amounts: &BTreeSet<String>) -> Option<String> {
        let Version::Present { row: told, .. } = &theirs.version else { return None };
        let stands = verdict.row.as_ref()?;
        let taken = |name: &String| amounts.contains(name) || stands.get(name) == told.get(name);
        let bits = match row.get::<_, Option<&str>>(7) {
            Some(has) => (self.staging.others().iter().zip(has.chars()))
                .map(|(name, has)| if has == '1' && taken(name) { '1' } else { '0' })
                .collect(),
            None => self.staging.shape.columns.iter().map(|name| if taken(name) { '1' } else { '0' }).collect(),
        };
        Some(bits)
    }

    async fn record(&self, transaction: &Transaction<'_>) -> Result<i64, ReplicaError> {
        let table = &self.staging.shape.table;
        let key: Vec<String> = table.key_columns().map(|column| column.name.clone()).collect();
        let recorded = transaction
            .execute(
                &format!(
                    // who and when: of the change that was overruled
                    "insert into sync.conflict(schema_name, table_name, key, kind, rule, columns, base, ours, theirs, winner,
                         peer, ours_stamp, theirs_stamp, changed_by, application, changed_at)
                     select $1, $2, {}, d.kind, $3, d.columns, nullif(coalesce(c.sync$olds, '{{}}') || coalesce(c.sync$was, '{{}}'), '{{}}'),
                         c.sync$ours, c.sync$theirs, d.winner, $4, c.sync$our_stamp::jsonb, c.sync$stamp::jsonb,
                         l.stamp ->> 'by', l.stamp ->> 'application', sync.moment(l.stamp)
                     from {} c join pg_temp.decided d using (sync$number)
                     cross join lateral (select (case when d.winner = $5 then c.sync$stamp else c.sync$our_stamp end)::jsonb as stamp) l
                     where d.kind is not null order by {}",
                    image("c.", &key),
                    self.contended(),
                    table.key_list("c.")
                ),
                &[
                    &table.name.schema,
                    &table.name.name,
                    &self.rule.as_str(),
                    &self.order.origin,
                    &self.us.as_str(),
                ],
            )
            .await
            .map_err(|error| classify("record conflicts", error))?;
        Ok(i64::try_from(recorded).unwrap_or(i64::MAX))
    }

    /// Makes the staging table say what was decided, and asks for the rows that the peer must get whole.
    async fn write_back(&self, transaction: &Transaction<'_>) -> Result<(), ReplicaError> {
        let shape = &self.staging.shape;
        let table = &shape.table;
        let name = self.staging.name();
        let from = format!("{} c join pg_temp.decided d using (sync$number)", self.contended());
        let numbers = numbered(table.key.len());
        let arrays: Vec<String> = (1..=table.key.len()).map(|index| format!("array_agg(k{index})")).collect();
        let mut sql = format!(
            "insert into {}(op, {numbers}) select 'R', {}
                 from (select distinct {} from {from} where d.whole) x({numbers}) having count(*) > 0;
             delete from {name} s using {from} where s.ctid = c.sync$place and d.dropped;",
            self.captured.log(),
            arrays.join(", "),
            table.key_list("c.")
        );
        match &shape.kind {
            ShapeKind::Update | ShapeKind::GuardedUpdate => {
                sql += &format!(
                    "update {name} s set sync$has = d.bits::varbit from {from} where s.ctid = c.sync$place and d.bits is not null;
                     {}",
                    self.bring_back(&from)
                );
            }
            ShapeKind::Upsert(_) => {
                let values: Vec<String> = (shape.columns.iter().enumerate())
                    .filter(|(_, name)| !table.is_key(name))
                    .map(|(index, name)| {
                        let column = quote_identifier(name);
                        format!("{column} = case when get_bit(d.bits::varbit, {index}) = 1 then s.{column} else t.{column} end")
                    })
                    .collect();
                if !values.is_empty() {
                    sql += &format!(
                        "update {name} s set {} from {from} join {} t on {} where s.ctid = c.sync$place and d.bits is not null",
                        values.join(", "),
                        table.target(),
                        table.same_key("t.", "c.")
                    );
                }
            }
            _ => {}
        }
        transaction.batch_execute(&sql).await.map_err(|error| classify("settle conflicts", error))
    }

    /// Deleted rows that come back from their tombstones.
    fn bring_back(&self, from: &str) -> String {
        let table = &self.staging.shape.table;
        let names: Vec<String> = table.written_columns().map(|column| quote_identifier(&column.name)).collect();
        let values: Vec<String> = table
            .written_columns()
            .map(|column| format!("(d.back ->> {})::{}", quote_literal(&column.name), column.type_name))
            .collect();
        format!(
            "insert into {} ({}) overriding system value select {} from {from} where d.back is not null on conflict do nothing",
            table.name.quoted(),
            names.join(", "),
            values.join(", ")
        )
    }

    /// After a merge: changes that were taken in keep who made them, and when. Where the newest change wins, it is that of
    /// the person, not of the synchronisation that brought it here.
    pub(super) async fn keep_stamps(&self, transaction: &Transaction<'_>) -> Result<(), ReplicaError> {
        if self.rule != ConflictRule::NewestWins {
            return Ok(());
        }
        let table = &self.staging.shape.table;
        let count = table.key.len();
        let columns = numbered(count);
        let arrays: Vec<String> = (1..=count).map(|index| format!("l.k{index}")).collect();
        let stamped = format!(
            "(select distinct on ({0}) {0}, sync$stamp from {1} where sync$stamp is not null order by {0}, ctid desc) s",
            table.key_list(""),
            self.staging.name()
        );
        let same = table.same_numbered_key("u.", "s.");
        let sql = format!(
            "update {} l set stamps = (
                 select array_agg(coalesce(s.sync$stamp, u.stamp) order by u.place)
                 from unnest(l.stamps, {1}) with ordinality as u(stamp, {columns}, place) left join {stamped} on {same})
             where l.xid = pg_current_xact_id() and l.origin = {2}
               and exists (select from unnest({1}) as u({columns}) join {stamped} on {same})",
            self.captured.log(),
            arrays.join(", "),
            self.order.origin,
        );
        transaction.batch_execute(&sql).await.map_err(|error| classify("note who changed rows", error))
    }
}

const CREATE_DECIDED: &str =
    "create temp table decided(sync$number bigint primary key, bits text, dropped boolean not null,
    whole boolean not null, back jsonb, kind text, columns text[], winner text) on commit drop";

/// What was decided about a batch of rows, column by column.
#[derive(Default)]
struct Decisions {
    numbers: Vec<i64>,
    bits: Vec<Option<String>>,
    dropped: Vec<bool>,
    whole: Vec<bool>,
    back: Vec<Option<String>>,
    kinds: Vec<Option<&'static str>>,
    columns: Vec<Option<String>>,
    winners: Vec<Option<&'static str>>,
}

impl Decisions {
    fn add(&mut self, number: i64, bits: Option<String>, verdict: &Verdict, us: Side, ours: &Contender) {
        let here = matches!(ours.version, Version::Present { .. });
        let tombstone = matches!(ours.version, Version::Deleted { was: Some(_) });
        let found = verdict.conflict.as_ref();
        self.numbers.push(number);
        // nothing arrives where our row stands against a delete, or stays away against a row
        self.dropped.push(here == verdict.row.is_some() && bits.is_none());
        self.bits.push(bits.filter(|_| here));
        self.whole.push(verdict.travels_whole(us));
        let back = verdict.row.as_ref().filter(|_| tombstone);
        self.back.push(back.map(|image| serde_json::json!(image).to_string()));
        self.kinds.push(found.map(|found| found.kind.as_str()));
        self.columns.push(found.map(|found| serde_json::json!(found.columns).to_string()));
        self.winners.push(found.map(|found| found.winner.as_str()));
    }

    async fn store(&self, transaction: &Transaction<'_>) -> Result<(), tokio_postgres::Error> {
        transaction
            .execute(
                "insert into pg_temp.decided
                 select n, b, d, w, k::jsonb, i, array(select jsonb_array_elements_text(c::jsonb)), v
                 from unnest($1::bigint[], $2::text[], $3::boolean[], $4::boolean[], $5::text[], $6::text[], $7::text[], $8::text[])
                      as x(n, b, d, w, k, i, c, v)",
                &[
                    &self.numbers,
                    &self.bits,
                    &self.dropped,
                    &self.whole,
                    &self.back,
                    &self.kinds,
                    &self.columns,
                    &self.winners,
                ],
            )
            .await?;
        Ok(())
    }
}

fn parsed(text: Option<&str>) -> Result<Option<Image>, ReplicaError> {
    let Some(text) = text else { return Ok(None) };
    let object: serde_json::Map<String, Json> = serde_json::from_str(text)
        .map_err(|_| ReplicaError::Invalid("the old values of a row are not a JSON object".into()))?;
    let text = |value| match value {
        Json::Null => None,
        Json::String(text) => Some(text),
        // other programs may write numbers and booleans bare
        other => Some(other.to_string()),
    };
    Ok(Some(object.into_iter().map(|(name, value)| (name, text(value))).collect()))
}

/// A stamp; none where it is missing or is not one.
fn stamp(text: Option<&str>) -> Option<Stamp> {
    let json: Json = serde_json::from_str(text?).ok()?;
    Some(Stamp {
        at: json.get("at")?.as_i64()?,
        by: json.get("by")?.as_str()?.to_owned(),
        application: json.get("application")?.as_str()?.to_owned(),
    })
}

/// A row as a JSON object of texts: the same form that the change log keeps.
fn image(prefix: &str, columns: &[String]) -> String {
    let pairs: Vec<String> = columns
        .iter()
        .map(|name| format!("({}, {prefix}{}::text)", quote_literal(name), quote_identifier(name)))
        .collect();
    format!("(select jsonb_object_agg(c, v) from (values {}) as x(c, v))", pairs.join(", "))
}
