//! The record of conflicts: what both sides changed, with both images.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

pub use protocol::merge::{ConflictKind, Image, Side, Stamp};
use protocol::names::TableName;
use tokio_postgres::Row;

use super::Office;
use crate::ReplicaError;
use crate::error::classify;

/// Prefix of a stored resolution that is a value of its own.
const VALUE: &str = "value:";

/// What a conflict is resolved with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Take {
    /// What that side had.
    Side(Side),
    /// A value of its own for the one contended column.
    Value(String),
}

impl Take {
    pub(super) fn stored(&self) -> String {
        match self {
            Self::Side(side) => side.as_str().to_owned(),
            Self::Value(value) => format!("{VALUE}{value}"),
        }
    }

    fn parse(text: &str) -> Self {
        match text.strip_prefix(VALUE) {
            Some(value) => Self::Value(value.to_owned()),
            None => Self::Side(Side::parse(text).unwrap_or(Side::Office)),
        }
    }
}

/// A conflict that was recorded at the office.
#[derive(Debug, Clone)]
pub struct Conflict {
    /// Its number.
    pub id: i64,
    /// The branch whose changes met the office's; none when it has been removed.
    pub branch: Option<String>,
    /// The table.
    pub table: TableName,
    /// The row's key.
    pub key: Image,
    /// What the two sides had done.
    pub kind: ConflictKind,
    /// The rule that decided at first, as the policy names it; `sales first` for revived rows.
    pub rule: String,
    /// The columns that both sides gave different values; empty where it is about the row as a whole.
    pub columns: Vec<String>,
    /// What both last agreed on, as far as it is known.
    pub base: Option<Image>,
    /// What the office had; none: it had deleted the row.
    pub office: Option<Image>,
    /// What the shop had, or the columns that it had set; none: it had deleted the row.
    pub shop: Option<Image>,
    /// Who made the office's change and when, where that is known.
    pub office_stamp: Option<Stamp>,
    /// The same of the shop's.
    pub shop_stamp: Option<Stamp>,
    /// The side that stands by the rule.
    pub winner: Side,
    /// When it was found.
    pub noticed_at: SystemTime,
    /// When somebody last decided.
    pub resolved_at: Option<SystemTime>,
    /// What was decided.
    pub resolution: Option<Take>,
}

impl Conflict {
    /// What a side had.
    pub fn image(&self, side: Side) -> Option<&Image> {
        match side {
            Side::Office => self.office.as_ref(),
            Side::Shop => self.shop.as_ref(),
        }
    }

    /// What should stand: the resolution, or the winner by the rule.
    pub fn expected(&self) -> Take {
        self.resolution.clone().unwrap_or(Take::Side(self.winner))
    }
}

const COLUMNS: &str =
    "c.conflict, c.schema_name, c.table_name, c.key::text, c.kind, c.rule, c.columns, c.base::text, c.ours::text,
    c.theirs::text, c.winner, b.branch, c.noticed_at, c.resolved_at, c.resolution,
    (c.ours_stamp ->> 'at')::bigint, c.ours_stamp ->> 'by', c.ours_stamp ->> 'application',
    (c.theirs_stamp ->> 'at')::bigint, c.theirs_stamp ->> 'by', c.theirs_stamp ->> 'application'";
const FROM: &str = "sync.conflict c left join sync.branch_synchronization b on b.peer = c.peer";

impl Office {
    /// Conflicts, newest first: the open ones, or all; of one branch, or of all; those with a number below that one, or
    /// from the newest on; at most `limit`.
    pub async fn conflicts(
        &self,
        only_open: bool,
        branch: Option<&str>,
        below: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Conflict>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query(
                &format!(
                    "select {COLUMNS} from {FROM} where (not $1 or c.resolved_at is null) and ($2::text is null or b.branch = $2)
                       and ($3::bigint is null or c.conflict < $3)
                     order by c.conflict desc limit $4"
                ),
                &[&only_open, &branch, &below, &limit],
            )
            .await
            .map_err(|error| classify("list the conflicts", error))?;
        rows.iter().map(conflict).collect()
    }

    /// Takes a resolution for undone: the conflict is open again. The row stays as it is.
    pub async fn reopen_conflict(&self, id: i64) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        client
            .execute("update sync.conflict set resolved_at = null, resolution = null where conflict = $1", &[&id])
            .await
            .map_err(|error| classify("open the conflict again", error))?;
        Ok(())
    }

    /// How many conflicts are open, by branch; branches without any are left out.
    pub async fn open_conflicts(&self) -> Result<BTreeMap<String, i64>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query(
                &format!(
                    "select b.branch, count(*) from {FROM} where c.resolved_at is null and b.branch is not null group by 1"
                ),
                &[],
            )
            .await
            .map_err(|error| classify("count the conflicts", error))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}

/// One conflict by its number, locked where the caller is going to resolve it.
pub(super) async fn find(
    client: &impl tokio_postgres::GenericClient,
    id: i64,
    lock: bool,
) -> Result<Conflict, ReplicaError> {
    let lock = if lock { "for update of c" } else { "" };
    let row = client
        .query_opt(&format!("select {COLUMNS} from {FROM} where c.conflict = $1 {lock}"), &[&id])
        .await
        .map_err(|error| classify("read the conflict", error))?;
    match row {
        Some(row) => conflict(&row),
        None => Err(ReplicaError::Invalid(format!(
            "there is no conflict {id}; 'office-client conflicts list --all' lists those there are"
        ))),
    }
}

fn conflict(row: &Row) -> Result<Conflict, ReplicaError> {
    let id: i64 = row.get(0);
    let image = |index: usize| {
        row.get::<_, Option<String>>(index)
            .map(|text| serde_json::from_str::<Image>(&text))
            .transpose()
            .map_err(|_| ReplicaError::Schema(format!("conflict {id}: its stored images cannot be read")))
    };
    let mut conflict = Conflict {
        id,
        table: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
        key: image(3)?.unwrap_or_default(),
        kind: ConflictKind::parse(row.get(4)).unwrap_or(ConflictKind::Columns),
        rule: row.get(5),
        columns: row.get(6),
        base: image(7)?,
        office: image(8)?,
        shop: image(9)?,
        office_stamp: stamp(row, 15),
        shop_stamp: stamp(row, 18),
        winner: Side::parse(row.get(10)).unwrap_or(Side::Office),
        branch: row.get(11),
        noticed_at: row.get(12),
        resolved_at: row.get(13),
        resolution: row.get::<_, Option<String>>(14).map(|text| Take::parse(&text)),
    };
    if conflict.kind == ConflictKind::InsertInsert && conflict.columns.is_empty() {
        conflict.columns = differing(&conflict);
    }
    Ok(conflict)
}

fn stamp(row: &Row, first: usize) -> Option<Stamp> {
    let text = |index: usize| row.get::<_, Option<String>>(index);
    Some(Stamp { at: row.get::<_, Option<i64>>(first)?, by: text(first + 1)?, application: text(first + 2)? })
}

/// The columns in which the two images differ.
fn differing(conflict: &Conflict) -> Vec<String> {
    let (Some(office), Some(shop)) = (&conflict.office, &conflict.shop) else { return Vec::new() };
    let names: BTreeSet<&String> = office.keys().filter(|name| shop.contains_key(*name)).collect();
    names.into_iter().filter(|name| office[*name] != shop[*name]).cloned().collect()
}
