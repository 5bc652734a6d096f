//! Fingerprints of tables: the number of rows, and the sum of a 64-bit hash of each row.
//!
//! The sum does not depend on the order of rows, so collations that sort keys differently do not matter; nor do columns
//! that lie in another order. The first look at whole tables hashes numbers and ids as the server keeps them, which takes
//! half of the time of printing rows. It may find tables different that print alike (should two versions of the server
//! hash a type differently), never the other way round. Where two tables differ, their rows are divided into buckets by a
//! hash of the key, and only buckets that differ are looked into: there the hash is that of the row's text, which has the
//! last word, and is the same on all versions of the server.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures_util::TryStreamExt as _;
use protocol::methods::{ColumnSum, TableDigest};
use protocol::names::{TableName, quote_identifier};
use protocol::policy::{Direction, ResolvedPolicy};
use tokio_postgres::GenericClient;

use crate::ReplicaError;
use crate::binary_copy::BinaryType;
use crate::capture::{CapturedTable, Depth};
use crate::catalogue::{Catalogue, Column, Table, quote_literal};
use crate::error::classify;
use crate::watermark::Snapshot;

/// Most buckets that a table is divided into.
pub const BUCKETS_MAX: i64 = 1 << 14;

/// What a row's fingerprint takes in an answer beside its key.
const LINE_BYTES: usize = 26;

/// A row as a comparison sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowDigest {
    /// Its key: a JSON object of texts.
    pub key: String,
    /// Fingerprint of its contents; none when the change log remembers that it was deleted.
    pub digest: Option<String>,
    /// Whether it was changed after the snapshot that was asked about.
    pub changed: bool,
}

/// Bytes that an answer may still hold: its rows come one after the other, and what is beyond is not kept.
#[derive(Debug)]
pub(crate) struct Room {
    bytes_max: usize,
    left: usize,
}

impl Room {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, left: bytes_max }
    }

    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), ReplicaError> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            let max = self.bytes_max;
            ReplicaError::TooLarge(format!("the answer has more than {max} bytes: ask for less at a time"))
        })?;
        Ok(())
    }
}

/// The hash of a row's text. Values print alike on both ends, for the settings of our sessions are the same.
fn row_hash(table: &Table) -> String {
    let mut columns: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    columns.sort_unstable();
    let values: Vec<String> = columns.iter().map(|name| format!("x.{}", quote_identifier(name))).collect();
    format!("hashtextextended(row({})::text, 0)", values.join(", "))
}

/// Seed of the hash of a value that is not there. No value of an integer type alters a seed so.
const NULL: i64 = 0x5bd1_e995_1b87_3593;

/// The same, equal only where the texts are equal too, from values as the server keeps them wherever its hash of them
/// tells apart whatever prints differently. Each column's hash is the seed of the next one, so that it matters which
/// column and which row has which value.
fn quick_row_hash(table: &Table) -> String {
    let mut columns: Vec<&Column> = table.columns.iter().collect();
    columns.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    columns.into_iter().fold("1".to_owned(), |seed, column| value_hash(column, &seed))
}

fn value_hash(column: &Column, seed: &str) -> String {
    let value = format!("x.{}", quote_identifier(&column.name));
    let or = |value: String, other: &str| if column.not_null { value } else { format!("coalesce({value}, {other})") };
    let seed = if column.not_null {
        seed.to_owned()
    } else {
        format!("case when {value} is null then {NULL} else 0 end # {seed}")
    };
    let text = |text: String| format!("hashtextextended({text} collate \"C\", {seed})");
    match column.binary {
        Some(BinaryType::Bool | BinaryType::Int2 | BinaryType::Int4) => {
            format!("hashint4extended({}, {seed})", or(format!("{value}::int4"), "0"))
        }
        // it hashes the exclusive or of both halves, so the upper one goes into the seed; nothing does where the value fits
        // an int4, and then its hash is that of the int4
        Some(BinaryType::Int8) => {
            let value = or(value, "0");
            format!("hashint8extended({value}, ((({value} >> 31) + 1) >> 1) # {seed})")
        }
        Some(BinaryType::Uuid) => {
            let none = "'00000000-0000-0000-0000-000000000000'::uuid";
            format!("uuid_hash_extended({}, {seed})", or(value, none))
        }
        // of these a cast is what the server prints, and cheaper
        Some(
            BinaryType::Numeric
            | BinaryType::Float4
            | BinaryType::Float8
            | BinaryType::Date
            | BinaryType::Time
            | BinaryType::Timestamp
            | BinaryType::TimestampTz
            | BinaryType::Bytea
            | BinaryType::Jsonb,
        ) => text(or(format!("{value}::text"), "''")),
        Some(BinaryType::Text) if column.type_name == "text" || column.type_name.starts_with("character varying") => {
            text(or(format!("{value}::text"), "''"))
        }
        // a cast drops blanks of bpchar, for one, that are printed; of nothing concat makes an empty text
        Some(BinaryType::Text | BinaryType::Inet) | None => text(format!("concat({value})")),
    }
}

/// The bucket of a key, given as a list of expressions.
fn bucket(keys: &str, buckets: i64) -> String {
    format!("(hashtextextended(row({keys})::text, 1) & {})", buckets - 1)
}

/// A key as a JSON object of texts.
fn key_json(table: &Table, value: impl Fn(usize, &str) -> String) -> String {
    let pairs: Vec<String> = table
        .key_columns()
        .enumerate()
        .map(|(index, column)| format!("{}, {}::text", quote_literal(&column.name), value(index, &column.name)))
        .collect();
    format!("jsonb_build_object({})", pairs.join(", "))
}

/// Refuses what is no number of buckets.
pub fn check_buckets(buckets: i64) -> Result<(), ReplicaError> {
    if (1..=BUCKETS_MAX).contains(&buckets) && buckets.count_ones() == 1 {
        return Ok(());
    }
    Err(ReplicaError::Invalid(format!("the number of buckets is a power of two up to {BUCKETS_MAX}")))
}

/// Fingerprints a table, or those of its rows that fulfil a condition on alias `x`, with the sums of some columns.
pub async fn digest(
    client: &impl GenericClient,
    table: &Table,
    condition: Option<&str>,
    sums: &[String],
) -> Result<TableDigest, ReplicaError> {
    let columns: Vec<&String> = sums.iter().filter(|name| table.column(name).is_some()).collect();
    let totals: String =
        columns.iter().map(|name| format!(", coalesce(sum(x.{}::numeric), 0)::text", quote_identifier(name))).collect();
    // a sum of bigint is exact, and cheaper than one of numeric
    let sql = format!(
        "select count(*), coalesce(sum({}), 0)::text{totals} from {} x where {}",
        quick_row_hash(table),
        table.target(),
        condition.unwrap_or("true")
    );
    let row = client.query_one(&sql, &[]).await.map_err(|error| classify("fingerprint a table", error))?;
    let sums = columns
        .iter()
        .enumerate()
        .map(|(index, name)| ColumnSum { column: (*name).clone(), sum: row.get(index + 2) })
        .collect();
    Ok(TableDigest {
        table: table.name.to_string(),
        rows: row.get(0),
        digest: row.get(1),
        sums,
        ..TableDigest::default()
    })
}

/// A fingerprint per bucket: 16 hexadecimal digits each.
pub async fn buckets(
    client: &impl GenericClient,
    table: &Table,
    condition: Option<&str>,
    buckets: i64,
) -> Result<TableDigest, ReplicaError> {
    check_buckets(buckets)?;
    let sql = format!(
        "select b::int8, count(*), sum(h)::text from (select {} as b, {} as h from {} x where {}) s group by b",
        bucket(&table.key_list("x."), buckets),
        row_hash(table),
        table.target(),
        condition.unwrap_or("true")
    );
    let rows = client.query(&sql, &[]).await.map_err(|error| classify("fingerprint a table", error))?;
    let mut sums = vec![0_u64; usize::try_from(buckets).unwrap_or(0)];
    let mut count = 0_i64;
    for row in &rows {
        let place = usize::try_from(row.get::<_, i64>(0)).unwrap_or(0);
        let rows: i64 = row.get(1);
        count += rows;
        // the lower 64 bits of the sum; the number of rows goes in too, or two rows of hash 0 would weigh nothing
        let sum: i128 = row.get::<_, String>(2).parse().unwrap_or(0);
        let low = (sum as u64).wrapping_add((rows as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if let Some(slot) = sums.get_mut(place) {
            *slot = low;
        }
    }
    Ok(TableDigest {
        table: table.name.to_string(),
        rows: count,
        buckets: sums.iter().map(|sum| format!("{sum:016x}")).collect(),
        ..TableDigest::default()
    })
}

/// The rows of some buckets, and those that the change log remembers as deleted there; an error if their keys have more
/// than so many bytes.
#[expect(clippy::too_many_arguments, reason = "each is one part of one question")]
pub async fn rows(
    client: &impl GenericClient,
    table: &Table,
    condition: Option<&str>,
    captured: Option<&CapturedTable>,
    buckets: i64,
    wanted: &[i64],
    since: Option<&Snapshot>,
    bytes_max: usize,
) -> Result<Vec<RowDigest>, ReplicaError> {
    check_buckets(buckets)?;
    let mut sql = format!(
        "select {}::text, lpad(to_hex({}), 16, '0') from {} x where {} and {} = any($1)",
        key_json(table, |_, name| format!("x.{}", quote_identifier(name))),
        row_hash(table),
        table.target(),
        condition.unwrap_or("true"),
        bucket(&table.key_list("x."), buckets)
    );
    if let Some(captured) = captured {
        let deleted = if captured.depth == Depth::OldValues { "op = 'D'" } else { "true" };
        let keys = captured.keys(table.key.len(), "", deleted);
        sql += &format!(
            " union all select distinct {}::text, null from ({keys}) k where {} = any($1)
              and not exists (select from {} t where {})",
            key_json(table, |index, _| format!("k.k{}", index + 1)),
            bucket(&(1..=table.key.len()).map(|index| format!("k.k{index}")).collect::<Vec<_>>().join(", "), buckets),
            table.target(),
            table.same_numbered_key("k.", "t.")
        );
    }
    let changed = match (captured, since) {
        (Some(captured), Some(since)) => {
            let keys = captured.keys(table.key.len(), "", &since.unseen());
            sql = format!(
                "with changed as materialized (select distinct {}::text as key from ({keys}) k)
                 select f.key, f.digest, f.key in (select key from changed) from ({sql}) f(key, digest)",
                key_json(table, |index, _| format!("k.k{}", index + 1))
            );
            true
        }
        _ => false,
    };
    let failed = |error| classify("fingerprint rows", error);
    let mut rows = pin!(client.query_raw(&sql, [&wanted]).await.map_err(failed)?);
    let (mut room, mut digests) = (Room::new(bytes_max), Vec::new());
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let key: String = row.get(0);
        room.take(key.len() + LINE_BYTES)?;
        digests.push(RowDigest { key, digest: row.get(1), changed: changed && row.get(2) });
    }
    Ok(digests)
}

/// The keys behind a parameter of JSON texts, as a FROM item `k` with columns k1, k2, ...
fn key_rows(table: &Table) -> String {
    let columns: Vec<String> = table
        .key_columns()
        .enumerate()
        .map(|(index, column)| {
            format!("(j::jsonb ->> {})::{} as k{}", quote_literal(&column.name), column.type_name, index + 1)
        })
        .collect();
    format!("(select {} from unnest($1::text[]) j) k", columns.join(", "))
}

/// Whole rows by their keys, as JSON objects of texts; an error if they have more than so many bytes.
pub async fn images(
    client: &impl GenericClient,
    table: &Table,
    keys: &[String],
    bytes_max: usize,
) -> Result<Vec<String>, ReplicaError> {
    let pairs: Vec<String> = table
        .written_columns()
        .map(|column| format!("({}, x.{}::text)", quote_literal(&column.name), quote_identifier(&column.name)))
        .collect();
    let sql = format!(
        "select (select jsonb_object_agg(c, v) from (values {}) as i(c, v))::text from {} join {} x on {}",
        pairs.join(", "),
        key_rows(table),
        table.target(),
        table.same_numbered_key("k.", "x.")
    );
    let failed = |error| key_error("read rows", error);
    let mut rows = pin!(client.query_raw(&sql, [&keys]).await.map_err(failed)?);
    let (mut room, mut images) = (Room::new(bytes_max), Vec::new());
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        let image: String = row.get(0);
        room.take(image.len() + 1)?;
        images.push(image);
    }
    Ok(images)
}

/// Makes rows travel to one peer with the next stream to it: an entry of the change log that is meant for it alone.
pub async fn mark(
    client: &impl GenericClient,
    table: &Table,
    captured: &CapturedTable,
    peer: i32,
    keys: &[String],
) -> Result<(), ReplicaError> {
    let numbers: Vec<String> = (1..=table.key.len()).map(|index| format!("k{index}")).collect();
    let list = numbers.join(", ");
    let sql = match captured.depth {
        Depth::OldValues => {
            // of a partitioned table, rows that are gone are deletes only where the log says so
            let operation = if table.partitioned {
                let there = format!("select from {} t where {}", table.target(), table.same_numbered_key("k.", "t."));
                format!("case when exists ({there}) then 'R' else 'D' end::\"char\"")
            } else {
                "'R'::\"char\"".to_owned()
            };
            let arrays: Vec<String> = numbers.iter().map(|name| format!("array_agg({name})")).collect();
            format!(
                "insert into {}(op, target, {list}) select op, {peer}, {} from (select {operation} as op, {list} from {}) x group by op",
                captured.log(),
                arrays.join(", "),
                key_rows(table)
            )
        }
        Depth::Keys | Depth::Tombstones => {
            let arrays: Vec<String> = numbers.iter().map(|name| format!("array_agg({name})")).collect();
            let (gone, is_gone) = if table.partitioned { ("gone, ", "true, ") } else { ("", "") };
            format!(
                "insert into {}(target, {gone}{list}) select {peer}, {is_gone}{} from {} having count(*) > 0",
                captured.log(),
                arrays.join(", "),
                key_rows(table)
            )
        }
    };
    client.execute(&sql, &[&keys]).await.map_err(|error| key_error("mark rows", error))?;
    Ok(())
}

/// A key that the peer gave and that is none.
fn key_error(what: &'static str, error: tokio_postgres::Error) -> ReplicaError {
    match error.code() {
        Some(code) if code.code().starts_with("22") || code.code() == "23502" => {
            ReplicaError::Invalid("what was given as a key is none of this table".into())
        }
        _ => classify(what, error),
    }
}

/// Reads a table name of the wire.
pub fn table_name(text: &str) -> TableName {
    text.parse().unwrap_or_else(|never: std::convert::Infallible| match never {})
}

/// The columns whose sums are told with a table: money, and amounts that add up.
pub(crate) fn summed(rules: &protocol::policy::TablePolicy) -> Vec<String> {
    let columns: BTreeSet<&String> = rules.delta.iter().chain(&rules.money).collect();
    columns.into_iter().cloned().collect()
}

/// Conditions on alias `x` that select a branch's own rows: by an id of its ranges, or through a foreign key to a table
/// whose rows are told apart by such an id.
pub(crate) fn own_rows(
    catalogue: &Catalogue,
    rules: &ResolvedPolicy,
    ranges: &[(i64, i64)],
) -> BTreeMap<TableName, String> {
    let tables: BTreeSet<TableName> = rules.in_direction(Direction::FromTarget).map(|(name, _)| name.clone()).collect();
    let within = |column: &str| {
        let column = quote_identifier(column);
        let parts: Vec<String> =
            ranges.iter().map(|(low, high)| format!("x.{column} > {low} and x.{column} <= {high}")).collect();
        if parts.is_empty() { "false".to_owned() } else { format!("({})", parts.join(" or ")) }
    };
    let mut ranged: BTreeMap<TableName, String> = BTreeMap::new();
    for name in &tables {
        let column = catalogue.get(name).and_then(|table| {
            table.key_columns().find(|column| column.sequence.is_some()).map(|column| column.name.clone())
        });
        if let Some(column) = column {
            ranged.insert(name.clone(), column);
        }
    }
    let mut conditions: BTreeMap<TableName, String> =
        ranged.iter().map(|(name, column)| (name.clone(), within(column))).collect();
    for name in &tables {
        if conditions.contains_key(name) {
            continue;
        }
        let through = catalogue.keys_of(name).find_map(|key| {
            let parent = ranged.get(&key.parent)?;
            let place = key.parent_columns.iter().position(|column| column == parent)?;
            key.columns.get(place).filter(|column| {
                catalogue.get(name).and_then(|table| table.column(column)).is_some_and(|column| column.not_null)
            })
        });
        if let Some(column) = through {
            conditions.insert(name.clone(), within(column));
        }
    }
    conditions
}
