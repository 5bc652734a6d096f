//! Resolving a conflict: an ordinary change of the office's row, made in one transaction with the note of it.
//!
//! It is made without an origin, so that capture logs it as a change of the office's own and it travels to every shop.
//! A later resolution with the other side takes it back in the same way.

use std::collections::BTreeSet;

use protocol::names::quote_identifier;
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::conflicts::{self, Conflict, Image, Side, Take};
use super::{Office, State};
use crate::ReplicaError;
use crate::apply::refused;
use crate::capture::Depth;
use crate::catalogue::{Column, Table};
use crate::error::{Failure, classify};

/// A conflict and how its row is now.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The conflict.
    pub conflict: Conflict,
    /// The office's row as it is now; none: there is no such row.
    pub row: Option<Image>,
    /// The side that the row agrees with now; none when it agrees with neither.
    pub follows: Option<Side>,
    /// Whether the row is not what the rule or the last resolution made of it.
    pub changed_since: bool,
}

/// What a resolution did.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The conflict and its row before.
    pub before: Standing,
    /// What was taken.
    pub take: Take,
    /// Whether the office's row was changed; when it was as wanted already, or the row that the columns belong to is
    /// gone, only the note was made.
    pub row_changed: bool,
}

impl Office {
    /// A conflict with the row as it is now.
    pub async fn conflict(&self, id: i64) -> Result<Standing, ReplicaError> {
        let state = self.state().await?;
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let conflict = conflicts::find(&transaction, id, false).await?;
        let row = match state.catalogue.get(&conflict.table) {
            Some(table) => find_row(&transaction, table, &conflict, "").await?,
            None => None,
        };
        Ok(standing(conflict, row.map(|row| row.image)))
    }

    /// Resolves a conflict, open or resolved before: the row becomes as that side had it, in the contended columns; or
    /// it is deleted or brought back, where one side had deleted it.
    ///
    /// # Errors
    /// [`ReplicaError::Invalid`] for a value where not exactly one column is contended, or one that its column does not
    /// take; [`ReplicaError::Failed`] when the database refuses the change, or rows refer to the one to be deleted.
    pub async fn resolve_conflict(&self, id: i64, take: Take) -> Result<Resolved, ReplicaError> {
        let state = self.state().await?;
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let conflict = conflicts::find(&transaction, id, true).await?;
        let Some(table) = state.catalogue.get(&conflict.table).filter(|table| !table.key.is_empty()) else {
            return Err(ReplicaError::Schema(format!(
                "conflict {id}: table {} with its primary key is no longer there",
                conflict.table
            )));
        };
        let row = find_row(&transaction, table, &conflict, "for update").await?;
        let wanted = wanted(&transaction, &state, table, &conflict, &take).await?;
        let take = match (take, &wanted) {
            // a value is kept as the column writes it, so that it can be compared later
            (Take::Value(_), Wanted::Columns(columns)) => Take::Value(columns.values().flatten().cloned().collect()),
            (take, _) => take,
        };
        let change = change(table, &conflict, row.as_ref(), wanted);
        if let (Change::Delete, Some(row)) = (&change, &row) {
            unreferenced(&transaction, &state, table, row).await?;
        }
        let taken = take.stored();
        transaction
            .execute(
                "update sync.conflict set resolved_at = clock_timestamp(), resolution = $2 where conflict = $1",
                &[&id, &taken],
            )
            .await
            .map_err(failed)?;
        if !matches!(change, Change::Nothing) {
            ask_for_whole_row(&transaction, &state, table, &conflict, &change).await?;
            // the application's own triggers see the search_path that its programs have
            transaction
                .batch_execute("select set_config('sync.origin', '', true); set local search_path to default")
                .await
                .map_err(failed)?;
            write(&transaction, table, row.as_ref(), &change).await?;
        }
        let row_changed = !matches!(change, Change::Nothing);
        transaction.commit().await.map_err(|error| refused(error, &table.name, None))?;
        Ok(Resolved { before: standing(conflict, row.map(|row| row.image)), take, row_changed })
    }
}

fn failed(error: tokio_postgres::Error) -> ReplicaError {
    classify("resolve the conflict", error)
}

/// A row of the office, and where it lies.
struct Found {
    image: Image,
    /// `tableoid` and `ctid`: they stand as long as the row is locked.
    relation: i64,
    place: String,
}

/// What the row should become.
enum Wanted {
    /// With these values in the contended columns.
    Columns(Image),
    /// There, as it is or else like this.
    Present(Image),
    /// Not there.
    Absent,
}

/// What has to be done for it.
enum Change {
    Nothing,
    Set(Image),
    Insert(Image),
    Delete,
}

async fn find_row(
    transaction: &Transaction<'_>,
    table: &Table,
    conflict: &Conflict,
    lock: &str,
) -> Result<Option<Found>, ReplicaError> {
    let names: Vec<&Column> = table.written_columns().collect();
    let texts: Vec<String> = names.iter().map(|column| format!("t.{}::text", quote_identifier(&column.name))).collect();
    let condition: Vec<String> = table
        .key_columns()
        .enumerate()
        .map(|(index, column)| {
            format!("t.{} = ($1::text[])[{}]::{}", quote_identifier(&column.name), index + 1, column.type_name)
        })
        .collect();
    let key: Vec<Option<String>> =
        table.key_columns().map(|column| conflict.key.get(&column.name).cloned().flatten()).collect();
    if condition.is_empty() {
        return Ok(None);
    }
    let row = transaction
        .query_opt(
            &format!(
                "select t.tableoid::bigint, t.ctid::text, {} from {} t where {} {lock}",
                texts.join(", "),
                table.target(),
                condition.join(" and ")
            ),
            &[&key],
        )
        .await
        .map_err(failed)?;
    Ok(row.map(|row| Found {
        relation: row.get(0),
        place: row.get(1),
        image: names.iter().enumerate().map(|(index, column)| (column.name.clone(), row.get(index + 2))).collect(),
    }))
}

/// How the row stands to the two sides.
fn standing(conflict: Conflict, row: Option<Image>) -> Standing {
    let like = |image: Option<&Image>| {
        if conflict.kind.is_about_existence() {
            return image.is_some() == row.is_some();
        }
        match (&row, image) {
            (Some(row), Some(image)) => conflict.columns.iter().all(|name| row.get(name) == image.get(name)),
            _ => false,
        }
    };
    let follows = [Side::Office, Side::Shop].into_iter().find(|side| like(conflict.image(*side)));
    let changed_since = match conflict.expected() {
        Take::Side(side) => follows != Some(side),
        Take::Value(value) => {
            let stored = conflict.columns.first().and_then(|name| row.as_ref()?.get(name)?.as_ref());
            stored != Some(&value)
        }
    };
    Standing { conflict, row, follows, changed_since }
}

async fn wanted(
    transaction: &Transaction<'_>,
    state: &State,
    table: &Table,
    conflict: &Conflict,
    take: &Take,
) -> Result<Wanted, ReplicaError> {
    if conflict.kind.is_about_existence() {
        let Take::Side(side) = take else {
            return Err(ReplicaError::Invalid(format!(
                "conflict {} is about a row that one side deleted: take 'office' or 'shop', a value decides nothing",
                conflict.id
            )));
        };
        let Some(image) = conflict.image(*side) else { return Ok(Wanted::Absent) };
        // a shop's update carries the columns it set; the rest is what the office had deleted
        let mut whole = if *side == Side::Shop { conflict.base.clone().unwrap_or_default() } else { Image::new() };
        whole.extend(image.clone());
        whole.extend(conflict.key.clone());
        return Ok(Wanted::Present(whole));
    }
    let contended = settable(state, table, conflict);
    match take {
        Take::Side(side) => {
            let image = conflict.image(*side);
            let columns: Image = contended
                .iter()
                .filter_map(|column| Some((column.name.clone(), image?.get(&column.name)?.clone())))
                .collect();
            Ok(Wanted::Columns(columns))
        }
        Take::Value(value) => {
            let [column] = contended[..] else {
                return Err(ReplicaError::Invalid(format!(
                    "conflict {}: a value can be given where one column is contended, here it is {}; take 'office' or 'shop', and change the row afterwards",
                    conflict.id,
                    if contended.is_empty() { "none".to_owned() } else { conflict.columns.join(", ") }
                )));
            };
            let text = as_stored(transaction, table, column, value).await?;
            Ok(Wanted::Columns(Image::from([(column.name.clone(), Some(text))])))
        }
    }
}

/// The contended columns that the catalogue knows and that can be set. Amounts add up, they are never resolved.
fn settable<'a>(state: &State, table: &'a Table, conflict: &Conflict) -> Vec<&'a Column> {
    let amounts: BTreeSet<&String> = state
        .policies
        .values()
        .filter_map(|policy| policy.get(&table.name))
        .flat_map(|rules| rules.delta.iter())
        .collect();
    conflict
        .columns
        .iter()
        .filter(|name| !amounts.contains(name) && !table.is_key(name))
        .filter_map(|name| table.column(name))
        .filter(|column| !column.generated && !column.always_identity)
        .collect()
}

/// The text form that the column gives a value; an error when it does not take it whole.
async fn as_stored(
    transaction: &Transaction<'_>,
    table: &Table,
    column: &Column,
    value: &str,
) -> Result<String, ReplicaError> {
    let unfit = |why: &str| {
        ReplicaError::Invalid(format!("column {}.{} ({}): {why}", table.name, column.name, column.type_name))
    };
    if value.contains('\0') {
        return Err(unfit("a text has no zero bytes"));
    }
    let row = transaction
        .query_one(
            &format!(
                "select v::text, (select typcategory in ('S', 'V') from pg_type where oid = pg_typeof(v))
                 from (select $1::text::{} as v) x",
                column.type_name
            ),
            &[&value],
        )
        .await
        .map_err(|error| match error.code().map(|state| state.code().starts_with("22")) {
            Some(true) => unfit("the value is none of this type"),
            _ => refused(error, &table.name, None),
        })?;
    let text: String = row.get(0);
    // an explicit cast cuts texts silently
    if row.get::<_, bool>(1) && text.trim_end_matches(' ') != value.trim_end_matches(' ') {
        return Err(unfit("the value is too long"));
    }
    Ok(text)
}

fn change(table: &Table, conflict: &Conflict, row: Option<&Found>, wanted: Wanted) -> Change {
    match (wanted, row) {
        (Wanted::Columns(columns), Some(row)) => {
            let set: Image = columns.into_iter().filter(|(name, value)| row.image.get(name) != Some(value)).collect();
            if set.is_empty() { Change::Nothing } else { Change::Set(set) }
        }
        (Wanted::Present(image), None) => {
            let known = |name: &String| table.column(name).is_some_and(|column| !column.generated);
            Change::Insert(
                image.into_iter().filter(|(name, _)| known(name) || conflict.key.contains_key(name)).collect(),
            )
        }
        (Wanted::Absent, Some(_)) => Change::Delete,
        // what was decided about its columns is of no use to a row that somebody has deleted since
        (Wanted::Columns(_), None) | (Wanted::Present(_), Some(_)) | (Wanted::Absent, None) => Change::Nothing,
    }
}

/// A row is deleted only when nothing refers to it: neither an error of the database nor a cascade is waited for.
async fn unreferenced(
    transaction: &Transaction<'_>,
    state: &State,
    table: &Table,
    row: &Found,
) -> Result<(), ReplicaError> {
    for key in state.catalogue.keys_to(&table.name) {
        let child = state.catalogue.get(&key.child).map_or_else(|| key.child.quoted(), Table::target);
        let on: Vec<String> = key
            .columns
            .iter()
            .zip(&key.parent_columns)
            .map(|(column, parent)| format!("c.{} = t.{}", quote_identifier(column), quote_identifier(parent)))
            .collect();
        let other =
            if key.child == table.name { "and (c.tableoid, c.ctid) is distinct from (t.tableoid, t.ctid)" } else { "" };
        let count: i64 = transaction
            .query_one(
                &format!(
                    "select count(*) from {child} c join {} t on {} where {PLACE} {other}",
                    table.target(),
                    on.join(" and ")
                ),
                &[&row.relation, &row.place],
            )
            .await
            .map_err(failed)?
            .get(0);
        if count > 0 {
            let rows = if count == 1 { "1 row refers".to_owned() } else { format!("{count} rows refer") };
            return Err(ReplicaError::Failed(Box::new(Failure {
                statement: None,
                table: Some(key.child.clone()),
                column: Some(key.columns.join(", ")),
                constraint: Some(key.name.clone()),
                state: "23503".into(),
                reason: format!(
                    "{rows} to the row of {} that would be deleted; change or delete them first, or let the row stay",
                    table.name
                ),
                redacted: None,
            })));
        }
    }
    Ok(())
}

/// Where the old values are kept, a diff leaves out what has come back to its value of before: the shop that had changed it
/// would never learn. Then it gets the row whole, as it does when a row comes back.
async fn ask_for_whole_row(
    transaction: &Transaction<'_>,
    state: &State,
    table: &Table,
    conflict: &Conflict,
    change: &Change,
) -> Result<(), ReplicaError> {
    let Some(captured) = state.captured.get(&table.name).filter(|captured| captured.depth == Depth::OldValues) else {
        return Ok(());
    };
    let needed = match change {
        Change::Insert(_) => true,
        Change::Set(columns) => {
            let before = |name: &String| conflict.base.as_ref().and_then(|base| base.get(name));
            columns.iter().any(|(name, value)| before(name) == Some(value))
        }
        Change::Nothing | Change::Delete => false,
    };
    if !needed {
        return Ok(());
    }
    let numbers: Vec<String> = (1..=table.key.len()).map(|index| format!("k{index}")).collect();
    let values: Vec<String> = table
        .key_columns()
        .enumerate()
        .map(|(index, column)| format!("array[($1::text[])[{}]::{}]", index + 1, column.type_name))
        .collect();
    let key: Vec<Option<String>> =
        table.key_columns().map(|column| conflict.key.get(&column.name).cloned().flatten()).collect();
    transaction
        .execute(
            &format!("insert into {}(op, {}) values ('R', {})", captured.log(), numbers.join(", "), values.join(", ")),
            &[&key],
        )
        .await
        .map_err(failed)?;
    Ok(())
}

/// The row of [`Found`], by parameters 1 and 2.
const PLACE: &str = "t.tableoid = $1::bigint::oid and t.ctid = $2::text::tid";

async fn write(
    transaction: &Transaction<'_>,
    table: &Table,
    row: Option<&Found>,
    change: &Change,
) -> Result<(), ReplicaError> {
    let cast = |name: &String, index: usize| {
        table.column(name).map(|column| format!("($3::text[])[{index}]::{}", column.type_name))
    };
    let nowhere = Found { image: Image::new(), relation: 0, place: "(0,0)".into() };
    let row = row.unwrap_or(&nowhere);
    let (sql, values): (String, Vec<Option<String>>) = match change {
        Change::Nothing => return Ok(()),
        Change::Set(columns) => {
            let set: Vec<String> = columns
                .keys()
                .enumerate()
                .filter_map(|(index, name)| Some(format!("{} = {}", quote_identifier(name), cast(name, index + 1)?)))
                .collect();
            let sql = format!("update {} t set {} where {PLACE}", table.target(), set.join(", "));
            (sql, columns.values().cloned().collect())
        }
        Change::Insert(image) => {
            let (names, values): (Vec<String>, Vec<String>) = image
                .keys()
                .enumerate()
                .filter_map(|(index, name)| Some((quote_identifier(name), cast(name, index + 1)?)))
                .unzip();
            let sql = format!(
                "insert into {} ({}) overriding system value select {} where $1::bigint is not null and $2::text is not null",
                table.name.quoted(),
                names.join(", "),
                values.join(", ")
            );
            (sql, image.values().cloned().collect())
        }
        Change::Delete => {
            (format!("delete from {} t where {PLACE} and $3::text[] is not null", table.target()), Vec::new())
        }
    };
    let parameters: [&(dyn ToSql + Sync); 3] = [&row.relation, &row.place, &values];
    let written = transaction.execute(&sql, &parameters).await.map_err(|error| refused(error, &table.name, None))?;
    if written == 1 {
        return Ok(());
    }
    Err(ReplicaError::Failed(Box::new(Failure {
        statement: None,
        table: Some(table.name.clone()),
        column: None,
        constraint: None,
        state: "P0001".into(),
        reason: "a trigger of the application has kept the row as it was".into(),
        redacted: None,
    })))
}
