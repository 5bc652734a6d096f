//! Comparing with the office, and what a repair asks of the shop.

use std::collections::BTreeSet;

use protocol::methods::{BaselineOptions, BaselineReply, DigestRequest, DigestRowsRequest, TableDigest};
use protocol::names::TableName;
use protocol::watermark::Since;
use tokio_postgres::{Client, IsolationLevel, Transaction};

use super::Shop;
use super::state::State;
use crate::ReplicaError;
use crate::catalogue::Table;
use crate::digest::{self, Room, RowDigest};
use crate::error::classify;
use crate::watermark::Snapshot;
use crate::{control_totals, drift, node, watermark};

impl Shop {
    /// Counts and fingerprints of tables (all synchronised ones but initial when none is named), from one snapshot; or the
    /// control totals of those with money, as of a watermark of that office.
    pub async fn digests(
        &self,
        office: &str,
        request: &DigestRequest,
        bytes_max: usize,
    ) -> Result<Vec<TableDigest>, ReplicaError> {
        let state = self.state().await?;
        let mut gaps = self.inner.gaps.open();
        let mut client = self.inner.pool.get().await?;
        let since = match &request.since {
            Some(since) => Some(self.selected(&client, &state, office, since).await?),
            None => None,
        };
        let transaction = reading(&mut client).await?;
        let own = own_rows(&transaction, &state, request.low, request.high).await?;
        let left_out = drift::left_out(&transaction, None, &state.catalogue).await?;
        let wanted: Vec<_> = request.tables.iter().map(|text| digest::table_name(text)).collect();
        let (mut room, mut digests) = (Room::new(bytes_max), Vec::new());
        let mut compared = BTreeSet::new();
        for (name, rules) in &state.policy.tables {
            let moves = rules.direction.flows_to_shop() || rules.direction.flows_to_office();
            let asked = if wanted.is_empty() { moves } else { wanted.contains(name) && rules.direction.synchronised() };
            let Some(table) = state.catalogue.get(name).filter(|_| asked) else { continue };
            let table = drift::reduced(table, &left_out);
            let condition = own.get(name).map(String::as_str);
            compared.insert(name);
            digests.push(match (&since, request.buckets) {
                (Some((peer, snapshot)), _) => {
                    let captured = state.captured.get(name);
                    let since = captured.map(|captured| control_totals::Since { captured, snapshot, peer: *peer });
                    control_totals::count(&transaction, &table, condition, &rules.money, since).await?
                }
                (None, None) => digest::digest(&transaction, &table, condition, &digest::summed(rules)).await?,
                (None, Some(buckets)) => {
                    let digest = digest::buckets(&transaction, &table, condition, buckets).await?;
                    room.take(digest.buckets.len())?;
                    digest
                }
            });
        }
        if since.is_none() {
            // what the capture has missed shows there, and it is the office's to say so
            gaps.retain(|gap| compared.contains(&gap.table));
            self.inner.gaps.settle(&gaps)?;
        }
        Ok(digests)
    }

    /// The rows of some buckets, and those remembered as deleted there.
    pub async fn digest_rows(
        &self,
        office: &str,
        request: &DigestRowsRequest,
        bytes_max: usize,
    ) -> Result<Vec<RowDigest>, ReplicaError> {
        let state = self.state().await?;
        let table = moving(&state, &request.table)?;
        let mut client = self.inner.pool.get().await?;
        let since = match &request.since {
            Some(since) => Some(self.selected(&client, &state, office, since).await?.1),
            None => None,
        };
        let transaction = reading(&mut client).await?;
        let own = own_rows(&transaction, &state, request.low, request.high).await?;
        let table = drift::reduced(table, &drift::left_out(&transaction, None, &state.catalogue).await?);
        let captured = state.captured.get(&table.name);
        let condition = own.get(&table.name).map(String::as_str);
        let DigestRowsRequest { buckets, wanted, .. } = request;
        digest::rows(&transaction, &table, condition, captured, *buckets, wanted, since.as_ref(), bytes_max).await
    }

    /// The office's number, and what a watermark that it was given stands for.
    async fn selected(
        &self,
        client: &Client,
        state: &State,
        office: &str,
        since: &str,
    ) -> Result<(i32, Snapshot), ReplicaError> {
        let peer = node::peer(client, office).await?;
        let since = Since::parse(since).map_err(|error| ReplicaError::Invalid(error.to_string()))?;
        let selected = watermark::select(client, peer, since, self.inner.skew, &state.incarnation).await?;
        Ok((peer, selected.snapshot))
    }

    /// Whole rows, as JSON objects of texts.
    pub async fn rows(&self, table: &str, keys: &[String], bytes_max: usize) -> Result<Vec<String>, ReplicaError> {
        let state = self.state().await?;
        let table = moving(&state, table)?;
        let client = self.inner.pool.get().await?;
        digest::images(&*client, table, keys, bytes_max).await
    }

    /// Makes rows travel to that office with its next diff.
    pub async fn mark(&self, office: &str, table: &str, keys: &[String]) -> Result<(), ReplicaError> {
        let state = self.state().await?;
        let table = moving(&state, table)?;
        let captured = state
            .captured
            .get(&table.name)
            .ok_or_else(|| ReplicaError::Invalid(format!("table {} does not flow to the office", table.name)))?;
        let client = self.inner.pool.get().await?;
        let peer = node::peer(&*client, office).await?;
        digest::mark(&*client, table, captured, peer, keys).await
    }

    /// A watermark of this moment for a repair or an adoption, durable when this returns.
    pub async fn baseline(&self, office: &str, options: BaselineOptions) -> Result<BaselineReply, ReplicaError> {
        let _turn = self.inner.freezing.lock().await;
        if options.restored {
            let client = self.inner.pool.get().await?;
            node::begin_incarnation(&*client, "the office has found that this database knows less than it had told")
                .await?;
            drop(client);
            self.inner.state.forget().await;
        }
        let state = self.state().await?;
        let mut client = self.inner.pool.get().await?;
        let peer = node::peer(&*client, office).await?;
        if options.adopted {
            // what an earlier life has left: amounts begin where the office's first `since` stands
            for from in ["sync.amount", "sync.total"] {
                let forgotten = client.execute(&format!("delete from {from} where peer = $1"), &[&peer]).await;
                forgotten.map_err(|error| classify("begin amounts anew", error))?;
            }
        }
        let snapshot = watermark::current_snapshot(&*client).await?;
        let issued = watermark::issue(&mut client, peer, &snapshot, &state.incarnation).await?;
        self.inner.witness.remember(&state.incarnation, &snapshot, Some(&issued))?;
        Ok(BaselineReply { watermark: issued.to_string(), incarnation: state.incarnation.id.clone() })
    }
}

async fn reading(client: &mut Client) -> Result<Transaction<'_>, ReplicaError> {
    client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await
        .map_err(|error| classify("fingerprint the tables", error))
}

/// Conditions for the shop's own rows. What a clone gave back of an earlier life is the office's to tell: the shop answers
/// for the ids that are asked for, or else for its own range.
async fn own_rows(
    transaction: &Transaction<'_>,
    state: &State,
    low: Option<i64>,
    high: Option<i64>,
) -> Result<std::collections::BTreeMap<TableName, String>, ReplicaError> {
    let row = transaction
        .query_one("select id_low, id_high from sync.node", &[])
        .await
        .map_err(|error| classify("fingerprint the tables", error))?;
    let range = match (low, high) {
        (None, None) => row.get::<_, Option<i64>>(0).zip(row.get::<_, Option<i64>>(1)),
        (low, high) => Some((low.unwrap_or(i64::MIN), high.unwrap_or(i64::MAX))),
    };
    Ok(range.map(|range| digest::own_rows(&state.catalogue, &state.policy, &[range])).unwrap_or_default())
}

/// A table that flows one way or the other; a till's own tables are nobody else's business.
fn moving<'a>(state: &'a State, name: &str) -> Result<&'a Table, ReplicaError> {
    let name = digest::table_name(name);
    state
        .policy
        .get(&name)
        .filter(|rules| rules.direction.flows_to_shop() || rules.direction.flows_to_office())
        .and_then(|_| state.catalogue.get(&name))
        .ok_or_else(|| ReplicaError::Invalid(format!("table {name} is not synchronised here")))
}
