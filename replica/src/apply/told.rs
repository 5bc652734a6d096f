//! What structured comments tell beside the rows: who changed a row and when, and conflicts that the sender found.
//!
//! They come from the other end, so they are taken in only as far as they are what they should be.

use protocol::merge::{ConflictKind, Image, Side};
use protocol::names::{TableName, quote_identifier};
use protocol::policy::Direction;
use serde::{Deserialize, Serialize};
use tokio_postgres::Transaction;

use super::ApplyOrder;
use super::failure::ROW_MISSING;
use crate::ReplicaError;
use crate::capture::request;
use crate::catalogue::quote_literal;
use crate::error::classify;
use crate::watermark::Snapshot;

/// The end of the year 9999, in microseconds: a later "when" is nonsense.
const MOMENT_MAX: i64 = 253_402_300_800_000_000;

/// Who changed a row, and when by its own clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ToldStamp {
    at: i64,
    by: String,
    application: String,
}

impl ToldStamp {
    fn is_sound(&self) -> bool {
        (0..MOMENT_MAX).contains(&self.at) && !self.by.contains('\0') && !self.application.contains('\0')
    }
}

/// The note `stamp`, as a field of COPY text; none when it is not one.
pub(super) fn stamp(json: &str) -> Option<Vec<u8>> {
    let stamp: ToldStamp = serde_json::from_str(json).ok().filter(ToldStamp::is_sound)?;
    Some(super::feed::copy_escape(serde_json::to_string(&stamp).ok()?.as_bytes()))
}

/// The query of the notes `conflict`: what this shop has decided about changes of that office since a snapshot.
pub(crate) fn conflicts(since: &Snapshot, peer: i32) -> String {
    format!(
        "select jsonb_build_object('identity', identity, 'schema', schema_name, 'table', table_name, 'key', key, 'kind', kind,
             'rule', rule, 'columns', columns, 'base', base, 'office', theirs, 'shop', ours, 'winner', winner,
             'office_stamp', theirs_stamp, 'shop_stamp', ours_stamp,
             'noticed_at', (extract(epoch from noticed_at) * 1000000)::bigint)::text
         from sync.conflict where {} and peer = {peer} order by conflict",
        since.unseen()
    )
}

/// The query of the notes `missing`: rows of that peer of which an update has come since a snapshot, and which are not here.
/// They wait in quarantine until the peer has sent them whole.
pub(crate) fn missing(since: &Snapshot, peer: i32) -> String {
    format!(
        "select jsonb_build_object('schema', schema_name, 'table', table_name, 'key', key)::text
         from sync.quarantine where {} and peer = {peer} and state = '{ROW_MISSING}' order by entry",
        since.unseen()
    )
}

/// A row that the other end needs whole, as the note `missing` carries it.
#[derive(Debug, Deserialize)]
pub(super) struct ToldMissing {
    schema: String,
    table: String,
    key: Image,
}

impl ToldMissing {
    /// Reads the note; what is none asks for nothing.
    pub(super) fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// Logs the row as changed, so that it travels whole; where there is none of that key, nothing.
    pub(super) async fn request(&self, transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<(), ReplicaError> {
        let failed = |error| classify("look for a row that the other end misses", error);
        let name = TableName::new(self.schema.clone(), self.table.clone());
        let (Some(table), Some(captured)) = (order.catalogue.get(&name), order.captured.get(&name)) else {
            return Ok(());
        };
        let mut conditions = Vec::new();
        for column in table.key_columns() {
            let Some(Some(value)) = self.key.get(&column.name) else { return Ok(()) };
            conditions.push(format!(
                "x.{} = {}::{}",
                quote_identifier(&column.name),
                quote_literal(value),
                column.type_name
            ));
        }
        transaction.batch_execute("savepoint asked").await.map_err(failed)?;
        // a value that the key cannot have names no row
        let end = match request(transaction, table, captured, &conditions.join(" and ")).await {
            Ok(()) => "release savepoint asked",
            Err(_) => "rollback to savepoint asked; release savepoint asked",
        };
        transaction.batch_execute(end).await.map_err(failed)
    }
}

/// A conflict that a shop found and decided, as the note `conflict` carries it.
#[derive(Debug, Deserialize)]
pub(super) struct ToldConflict {
    identity: String,
    schema: String,
    table: String,
    key: Image,
    kind: String,
    rule: String,
    columns: Vec<String>,
    base: Option<Image>,
    office: Option<Image>,
    shop: Option<Image>,
    winner: String,
    office_stamp: Option<ToldStamp>,
    shop_stamp: Option<ToldStamp>,
    noticed_at: i64,
}

impl ToldConflict {
    /// Reads the note.
    pub(super) fn parse(json: &str) -> Result<Self, &'static str> {
        let told: Self = serde_json::from_str(json).map_err(|_| "it is not what a note of a conflict is")?;
        let stamps = [&told.office_stamp, &told.shop_stamp];
        if !(0..MOMENT_MAX).contains(&told.noticed_at) || !stamps.into_iter().flatten().all(ToldStamp::is_sound) {
            return Err("it has a time that cannot be");
        }
        if ConflictKind::parse(&told.kind).is_none() || Side::parse(&told.winner).is_none() {
            return Err("its kind or its winner is unknown");
        }
        let hexadecimal = |c: char| c.is_ascii_hexdigit() || c == '-';
        if told.identity.len() != 36 || !told.identity.chars().all(hexadecimal) {
            return Err("its identity is not a UUID");
        }
        Ok(told)
    }

    /// Lists it here too, once; returns whether it was new.
    pub(super) async fn record(&self, transaction: &Transaction<'_>, order: &ApplyOrder) -> Result<bool, ReplicaError> {
        let name = TableName::new(self.schema.clone(), self.table.clone());
        if order.policy.get(&name).is_none_or(|rules| rules.direction != Direction::Both) {
            return Err(ReplicaError::Invalid(format!(
                "a conflict is told of table {name}, which does not have direction both here"
            )));
        }
        let text = |image: &Option<Image>| image.as_ref().map(|image| serde_json::json!(image).to_string());
        let stamp = |stamp: &Option<ToldStamp>| stamp.as_ref().and_then(|stamp| serde_json::to_string(stamp).ok());
        let overruled = if self.winner == Side::Office.as_str() { &self.shop_stamp } else { &self.office_stamp };
        let recorded = transaction
            .execute(
                "insert into sync.conflict(identity, schema_name, table_name, key, kind, rule, columns, base, ours, theirs,
                     winner, peer, ours_stamp, theirs_stamp, changed_by, application, changed_at, noticed_at)
                 values ($1::text::uuid, $2, $3, $4::text::jsonb, $5, $6, $7, $8::text::jsonb, $9::text::jsonb, $10::text::jsonb,
                     $11, $12, $13::text::jsonb, $14::text::jsonb, $15::text::jsonb ->> 'by', $15::text::jsonb ->> 'application',
                     sync.moment($15::text::jsonb), sync.moment(jsonb_build_object('at', $16::bigint)))
                 on conflict (identity) do nothing",
                &[
                    &self.identity,
                    &self.schema,
                    &self.table,
                    &serde_json::json!(self.key).to_string(),
                    &self.kind,
                    &self.rule,
                    &self.columns,
                    &text(&self.base),
                    &text(&self.office),
                    &text(&self.shop),
                    &self.winner,
                    &order.origin,
                    &stamp(&self.office_stamp),
                    &stamp(&self.shop_stamp),
                    &stamp(overruled),
                    &self.noticed_at,
                ],
            )
            .await
            .map_err(|error| classify("record a conflict of a shop", error))?;
        Ok(recorded == 1)
    }
}
