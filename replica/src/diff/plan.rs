//! Which tables of a window have changes, and the queries that read them.

use std::collections::BTreeMap;

use protocol::dialect::{Shape, ShapeColumn};
use protocol::names::{TableName, quote_identifier};
use tokio_postgres::GenericClient;

use crate::ReplicaError;
use crate::capture::{CapturedTable, Depth, numbered};
use crate::catalogue::{ForeignKey, Table, quote_literal};
use crate::error::classify;
use crate::subset;
use crate::watermark::Snapshot;

/// A table that takes part in a diff.
#[derive(Debug, Clone)]
pub struct TablePlan {
    /// The table.
    pub table: Table,
    /// Its capture.
    pub captured: CapturedTable,
    /// Whether deletes are sent.
    pub deletes: bool,
    /// Condition on alias `x` for the rows that the receiver gets; the others are deletes to it.
    pub subset: Option<String>,
    /// Columns whose totals travel beside the rows (tables with old values only).
    pub delta: Vec<String>,
    /// Changes of these tables may move rows of this one in or out of the subset: nearest parent first.
    pub follows: Vec<Followed>,
    /// The receiver has the rows as they were when the window began, so of an update the changed columns are enough.
    /// Rows of tables that flow one way travel whole otherwise.
    pub known: bool,
    /// Where the window begins: what this snapshot sees the receiver has.
    pub since: Snapshot,
}

/// A parent that decides about rows of its children (`rows = "via parent"`).
#[derive(Debug, Clone)]
pub struct Followed {
    /// The parent's key columns.
    pub parent: Table,
    /// The parent's capture.
    pub captured: CapturedTable,
    /// The foreign key to it, from the table before it in the list.
    pub key: ForeignKey,
}

/// Log entries of a table in a window: about how many keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowCount {
    /// The table.
    pub table: TableName,
    /// Keys in the log (a row changed twice counts twice).
    pub keys: i64,
}

/// Counts the log entries per table that the snapshot beside it does not see and that did not come from `peer`; tables
/// without any are left out. One round trip.
pub async fn count_window<'a>(
    client: &impl GenericClient,
    tables: impl Iterator<Item = (&'a CapturedTable, &'a Snapshot)>,
    peer: i32,
) -> Result<Vec<WindowCount>, ReplicaError> {
    count(client, tables.map(|(table, since)| (table, condition(since, peer)))).await
}

/// Counts the log entries that `since` does not see and that came from nobody: what was changed here.
pub async fn count_local<'a>(
    client: &impl GenericClient,
    tables: impl Iterator<Item = &'a CapturedTable>,
    since: &Snapshot,
) -> Result<i64, ReplicaError> {
    let local = format!("{} and origin is null", since.unseen());
    let counts = count(client, tables.map(|table| (table, local.clone()))).await?;
    Ok(counts.iter().map(|count| count.keys).sum())
}

async fn count<'a>(
    client: &impl GenericClient,
    tables: impl Iterator<Item = (&'a CapturedTable, String)>,
) -> Result<Vec<WindowCount>, ReplicaError> {
    let mut by_number = BTreeMap::new();
    let mut parts = Vec::new();
    for (captured, condition) in tables {
        by_number.insert(captured.number, captured.name.clone());
        parts.push(format!(
            "select {}, coalesce(sum(cardinality(k1)), 0)::bigint from {} where {condition}",
            captured.number,
            captured.log()
        ));
    }
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let rows =
        client.query(&parts.join(" union all "), &[]).await.map_err(|error| classify("count the changes", error))?;
    let mut counts = Vec::new();
    for row in rows {
        let keys: i64 = row.get(1);
        if keys > 0
            && let Some(table) = by_number.get(&row.get::<_, i32>(0))
        {
            counts.push(WindowCount { table: table.clone(), keys });
        }
    }
    Ok(counts)
}

fn condition(since: &Snapshot, peer: i32) -> String {
    format!("{} and {}", since.unseen(), meant_for(peer))
}

/// The condition on log entries that concern a peer: not its own changes, and no repair of another one.
pub(crate) fn meant_for(peer: i32) -> String {
    format!("origin is distinct from {peer} and (target is null or target = {peer})")
}

impl TablePlan {
    /// The rows' shape for the writer of the dialect.
    pub(super) fn shape(&self) -> Shape {
        shape_of(&self.table)
    }

    /// The query that yields, per changed key: for `Keys` logs `changed, gone, key..., columns...`; for `OldValues` logs
    /// `operation, gone, old, totals, stamp, key..., columns...`. `gone` is t when the row is no longer there;
    /// `changed` has a digit for each of the log's columns, or is null when the row has to travel whole.
    pub(super) fn query(&self, peer: i32) -> String {
        let since = &self.since;
        let count = self.table.key.len();
        let keys = numbered(count);
        let window = condition(since, peer);
        let columns: Vec<String> =
            self.table.written_columns().map(|column| format!("b.{}", quote_identifier(&column.name))).collect();
        let columns = columns.join(", ");
        let on = self.table.same_numbered_key("k.", "b.");
        let gone = self
            .table
            .key_columns()
            .next()
            .map_or_else(String::new, |column| format!("b.{} is null", quote_identifier(&column.name)));
        let k_keys: Vec<String> = (1..=count).map(|index| format!("k.k{index}")).collect();
        let k_keys = k_keys.join(", ");
        let target = subset::source(&self.table, self.subset.as_deref());
        let followed = self.followed(since, peer);
        let housekeeping = self.housekeeping(&gone);
        // an update of what the row filter looks at may bring a row in that the receiver has never seen
        let deciding = self.deciding_columns();
        match self.captured.depth {
            Depth::Keys | Depth::Tombstones => {
                let (deletes, deleted) = if self.table.partitioned {
                    ("gone, ", ", coalesce(bool_or(gone), false) as deleted")
                } else {
                    ("", "")
                };
                let changed = if self.known { "changed, " } else { "null::varbit as changed, " };
                let own = self.captured.keys(count, &format!("{changed}{deletes}"), &window);
                let none = if self.table.partitioned { "null::varbit, false" } else { "null::varbit" };
                let followed: String =
                    followed.iter().map(|query| format!(" union all select {none}, {keys} from ({query}) v")).collect();
                let entered: String =
                    deciding.iter().map(|index| format!(" and get_bit(bit_or(changed), {index}) = 0")).collect();
                // one entry that does not say which columns it changed, and the whole row travels
                format!(
                    "with k as materialized (
                         select {keys}, case when bool_and(changed is not null){entered} then bit_or(changed) end as changed{deleted}
                         from ({own}{followed}) u group by {keys} order by {keys})
                     select k.changed, {gone}, {k_keys}, {columns} from k left join {target} b on {on}{housekeeping}",
                )
            }
            Depth::OldValues => {
                let totals = self.totals(peer);
                let operation = if deciding.is_empty() {
                    "f.op".to_owned()
                } else {
                    let names = deciding.iter().map(|index| quote_literal(&self.captured.columns[*index]));
                    let names: Vec<String> = names.collect();
                    format!(
                        "case when f.op = 'U' and f.old::jsonb ?| array[{}] then 'R' else f.op end",
                        names.join(", ")
                    )
                };
                let followed: String = followed
                    .iter()
                    .map(|query| format!(" union all select 0, 'R'::\"char\", null, null, {keys} from ({query}) v"))
                    .collect();
                let own = self.captured.rows(count, &window);
                format!(
                    // the first entry of a key in the window says what the row was at its start; of the old values of a
                    // column the first one counts (jsonb_object_agg keeps the last, hence the descending order); R asks
                    // for the whole row, and so does an insert behind an update: the receiver itself may have deleted the
                    // row in between, which is no entry of this window
                    // most keys have one entry, which is taken as it is; the others are put together
                    "with e as materialized (
                              select op, old, stamp, seq, {keys}, count(*) over (partition by {keys}) as entries
                              from (select seq, op, old, stamp, {keys} from ({own}) w{followed}) v),
                          f as (select {keys}, op, op = 'D' as deleted, old, stamp
                                from e where entries = 1
                                union all
                                select {keys}, case when (array_agg(op order by seq))[1] = 'I' then 'I' when bool_or(op in ('R', 'I')) then 'R' else (array_agg(op order by seq))[1] end, bool_or(op = 'D'),
                                (jsonb_object_agg(j.key, j.value order by seq desc) filter (where j.key is not null))::text,
                                (array_agg(stamp order by seq desc) filter (where stamp is not null))[1]
                                from e left join lateral jsonb_each(e.old::jsonb) j on true where entries > 1 group by {keys}),
                          k as materialized (select {keys}, {operation} as op, f.deleted, f.old, f.stamp from f order by (f.op <> 'U'), {keys})
                     select k.op, {gone}, k.old, {totals}, k.stamp, {k_keys}, {columns} from k left join {target} b on {on}{housekeeping}",
                )
            }
        }
    }

    /// Leaves out rows that went with their partition (DETACH, DROP): that is housekeeping, not a delete.
    fn housekeeping(&self, gone: &str) -> String {
        if !self.table.partitioned {
            return String::new();
        }
        let same_key = self.table.same_numbered_key("k.", "r.");
        let target = self.table.target();
        format!(" where not ({gone}) or k.deleted or exists (select from {target} r where {same_key})")
    }

    /// The places among the log's columns of those that the row filter may look at.
    fn deciding_columns(&self) -> Vec<usize> {
        let Some(subset) = &self.subset else { return Vec::new() };
        let names = self.captured.columns.iter().enumerate();
        names.filter(|(_, name)| subset.contains(*name)).map(|(index, _)| index).collect()
    }

    /// The totals of the delta columns as a JSON object: the value without what the receiver contributed to it.
    fn totals(&self, peer: i32) -> String {
        if self.delta.is_empty() {
            return "null".to_owned();
        }
        let key: Vec<String> = self
            .table
            .key_columns()
            .map(|column| format!("{}, b.{}::text", quote_literal(&column.name), quote_identifier(&column.name)))
            .collect();
        let totals: Vec<String> = self
            .delta
            .iter()
            .map(|column| {
                format!(
                    "{0}, (b.{1} - coalesce((select r.total from sync.total r where r.peer = {peer} and r.schema_name = {2}
                       and r.table_name = {3} and r.key = jsonb_build_object({4}) and r.column_name = {0}), 0))::text",
                    quote_literal(column),
                    quote_identifier(column),
                    quote_literal(&self.table.name.schema),
                    quote_literal(&self.table.name.name),
                    key.join(", ")
                )
            })
            .collect();
        format!("jsonb_build_object({})", totals.join(", "))
    }

    /// Queries for the keys of rows whose parents changed.
    fn followed(&self, since: &Snapshot, peer: i32) -> Vec<String> {
        let window = condition(since, peer);
        let mut queries = Vec::new();
        for depth in 0..self.follows.len() {
            let mut keys = {
                let last = &self.follows[depth];
                last.captured.keys(last.parent.key.len(), "", &window)
            };
            // from the changed parent down to the table, one foreign key at a time
            for step in (0..=depth).rev() {
                let followed = &self.follows[step];
                let child = if step == 0 { &self.table } else { &self.follows[step - 1].parent };
                let on: Vec<String> = followed
                    .parent
                    .key_columns()
                    .enumerate()
                    .filter_map(|(index, column)| {
                        let place = followed.key.parent_columns.iter().position(|name| *name == column.name)?;
                        Some(format!("c.{} = w.k{}", quote_identifier(followed.key.columns.get(place)?), index + 1))
                    })
                    .collect();
                let selected: Vec<String> = child
                    .key_columns()
                    .enumerate()
                    .map(|(index, column)| format!("c.{} as k{}", quote_identifier(&column.name), index + 1))
                    .collect();
                keys = format!(
                    "select {} from {} c join ({keys}) w on {}",
                    selected.join(", "),
                    child.target(),
                    if on.is_empty() { "false".to_owned() } else { on.join(" and ") }
                );
            }
            queries.push(keys);
        }
        queries
    }
}

/// A table's written columns as the dialect's writer wants them.
pub(super) fn shape_of(table: &Table) -> Shape {
    Shape {
        table: table.name.clone(),
        columns: table
            .written_columns()
            .map(|column| ShapeColumn {
                name: column.name.clone(),
                key: table.is_key(&column.name),
                literal: column.literal,
                always_identity: column.always_identity,
            })
            .collect(),
        deferrable_key: table.key_deferrable,
    }
}
