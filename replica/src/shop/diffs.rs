//! Frozen diffs of a shop.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::chunk::level_for;
use protocol::policy::Deletes;
use protocol::watermark::select::{Renewal, renewal};
use protocol::watermark::{Since, Watermark};
use tokio_postgres::{GenericClient, IsolationLevel};

use super::Shop;
use super::state::State;
use crate::ReplicaError;
use crate::diff::{Extraction, TablePlan, any_notes, count_window, extract_changes};
use crate::drift;
use crate::error::classify;
use crate::node;
use crate::retention;
use crate::spool::FrozenStream;
use crate::watermark::{self, Selected};

/// Label of a frozen diff: which sessions had been applied before it.
const TAKEN_IN: &str = "taken_in";

/// Label of a stream that is only a preview: the snapshot at which it ends.
const PREVIEW: &str = "preview";

/// What a diff is frozen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To be read over the line, as often as it takes.
    Line,
    /// To be copied into a file, and removed.
    File,
    /// To be counted and tried: nothing is issued, acknowledged or re-pointed.
    Preview,
}

impl Shop {
    /// The changes since a watermark that are not from that office, frozen. The same watermark gives the same stream
    /// while it lives; a later one ends it. `rows` is 0, and `id` empty, when nothing changed.
    pub async fn open_diff(&self, office: &str, since: Since) -> Result<FrozenStream, ReplicaError> {
        self.open_diff_for(office, since, None).await
    }

    /// The same for a line that carries so many bytes per second: what is frozen for a slow one is compressed harder.
    pub async fn open_diff_for(
        &self,
        office: &str,
        since: Since,
        rate: Option<u64>,
    ) -> Result<FrozenStream, ReplicaError> {
        let _turn = self.inner.freezing.lock().await;
        let state = self.state().await?;
        let mut client = self.inner.pool.get().await?;
        let peer = node::peer(&*client, office).await?;
        if since.watermark().is_none() {
            watermark::forget_acknowledged(&*client, peer, since).await?;
        }
        let selected = match self.refuse_other_history(office).await {
            Ok(()) => watermark::select(&*client, peer, since, self.inner.skew, &state.incarnation).await,
            Err(error) => Err(error),
        };
        let selected = match selected {
            Ok(selected) => selected,
            Err(error) => {
                // nothing can be told, but what the office has lost must not be thrown away here by a clean
                watermark::forget_acknowledged(&*client, peer, since).await?;
                return Err(error);
            }
        };
        if let Some(exact) = &selected.exact {
            watermark::acknowledge(&*client, peer, exact).await?;
            if let Some(stream) = self.living(office, exact)? {
                // the office merges by what it has sent before: a stream from before a push that came in since, which a late
                // call has left, would pass for what was changed after it
                if stream.labels.get(TAKEN_IN) == Some(&taken_in(&*client, office).await?) {
                    return Ok(stream);
                }
            }
        }
        self.begin_amounts(&mut client, &state, &selected.snapshot, peer).await?;
        drop(client);
        for stream in self.inner.spool.list()? {
            if stream.labels.get("office").map(String::as_str) == Some(office) {
                self.inner.spool.remove(&stream.id)?;
            }
        }
        // nor is anything needed of a diff that died with its process or its database
        self.inner.spool.sweep()?;
        crate::killpoint::reach("shop.diff.selected");
        self.freeze(&state, office, peer, selected, Purpose::Line, level_for(rate)).await
    }

    /// The changes since a watermark for a file: frozen anew, whatever the line is reading. Whoever calls removes it.
    pub(super) async fn freeze_for_file(
        &self,
        office: &str,
        since: Option<&str>,
    ) -> Result<FrozenStream, ReplicaError> {
        let _turn = self.inner.freezing.lock().await;
        let state = self.state().await?;
        let mut client = self.inner.pool.get().await?;
        let peer = node::peer(&*client, office).await?;
        let since =
            since.map_or(Ok(Since::Zero), Since::parse).map_err(|error| ReplicaError::Invalid(error.to_string()))?;
        let selected = watermark::select(&*client, peer, since, self.inner.skew, &state.incarnation).await?;
        self.begin_amounts(&mut client, &state, &selected.snapshot, peer).await?;
        drop(client);
        self.freeze(&state, office, peer, selected, Purpose::File, level_for(None)).await
    }

    /// Amounts that the policy has gained begin where the office's `since` stands, before anything is told of them.
    async fn begin_amounts(
        &self,
        client: &mut tokio_postgres::Client,
        state: &State,
        since: &watermark::Snapshot,
        peer: i32,
    ) -> Result<(), ReplicaError> {
        let failed = |error| classify("begin amounts", error);
        let transaction = client.transaction().await.map_err(failed)?;
        let (catalogue, policy) = (&state.catalogue, &state.policy);
        crate::apply::begin_new_amounts(&transaction, catalogue, policy, &state.captured, since, peer).await?;
        transaction.commit().await.map_err(failed)
    }

    /// What [`Shop::open_diff_for`] would freeze, to be counted and tried: nothing is noted in the database. It can be read
    /// until the office asks for changes again.
    pub async fn preview_diff(
        &self,
        office: &str,
        since: Since,
        rate: Option<u64>,
    ) -> Result<FrozenStream, ReplicaError> {
        let _turn = self.inner.freezing.lock().await;
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        let peer = node::peer(&*client, office).await?;
        let selected = watermark::select(&*client, peer, since, self.inner.skew, &state.incarnation).await?;
        drop(client);
        for stream in self.inner.spool.list()? {
            let of_office = stream.labels.get("office").map(String::as_str) == Some(office);
            if of_office && stream.labels.contains_key(PREVIEW) {
                self.inner.spool.remove(&stream.id)?;
            }
        }
        self.freeze(&state, office, peer, selected, Purpose::Preview, level_for(rate)).await
    }

    /// A frozen diff of that office by its id; none when it has expired.
    pub async fn frozen_diff(&self, office: &str, id: &str) -> Result<Option<FrozenStream>, ReplicaError> {
        let stream = self.inner.spool.find(id)?;
        Ok(stream.filter(|stream| stream.labels.get("office").map(String::as_str) == Some(office)))
    }

    /// Where an office's preview of that id ends; none when there is none.
    pub(super) fn previewed(&self, office: &str, id: &str) -> Result<Option<watermark::Snapshot>, ReplicaError> {
        let stream =
            self.inner.spool.find(id)?.filter(|stream| stream.labels.get("office").map(String::as_str) == Some(office));
        let ends = stream.and_then(|stream| stream.labels.get(PREVIEW).cloned());
        ends.map(|text| watermark::Snapshot::parse(&text)).transpose()
    }

    fn living(&self, office: &str, since: &Watermark) -> Result<Option<FrozenStream>, ReplicaError> {
        let since = since.to_string();
        Ok(self.inner.spool.list()?.into_iter().find(|stream| {
            stream.labels.get("office").map(String::as_str) == Some(office)
                && stream.labels.get("since") == Some(&since)
        }))
    }

    async fn freeze(
        &self,
        state: &Arc<State>,
        office: &str,
        peer: i32,
        selected: Selected,
        purpose: Purpose,
        level: u32,
    ) -> Result<FrozenStream, ReplicaError> {
        let failed = |error| classify("freeze a diff", error);
        let mut client = self.inner.pool.get().await?;
        let transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await
            .map_err(failed)?;
        let snapshot = watermark::current_snapshot(&transaction).await?;
        retention::refuse_gap(&transaction, &selected.snapshot).await?;
        let counts =
            count_window(&transaction, state.captured.values().map(|table| (table, &selected.snapshot)), peer).await?;
        let notes = vec![
            ("conflict", crate::apply::told_conflicts(&selected.snapshot, peer)),
            ("missing", crate::apply::told_missing(&selected.snapshot, peer)),
        ];
        let nothing = counts.is_empty() && !any_notes(&transaction, &notes).await?;
        let issued = if purpose == Purpose::Preview {
            // ends a stream that nobody reads
            Watermark::new(0, Some(state.incarnation.tag))
        } else {
            let mut teller = self.inner.pool.get().await?;
            if let Renewal::Repoint(exact) = renewal(selected.exact, nothing) {
                transaction.commit().await.map_err(failed)?;
                watermark::repoint(&*teller, peer, &exact, &snapshot).await?;
                return Ok(empty(&exact));
            }
            // durable before anybody is told; an unfinished diff leaves a watermark that nobody knows
            let issued = watermark::issue(&mut teller, peer, &snapshot, &state.incarnation).await?;
            self.inner.witness.remember(&state.incarnation, &snapshot, Some(&issued))?;
            crate::killpoint::reach("shop.diff.issued");
            issued
        };
        if nothing {
            transaction.commit().await.map_err(failed)?;
            return Ok(empty(&issued));
        }
        let left_out = drift::left_out(&transaction, Some(peer), &state.catalogue).await?;
        let tables = counts.iter().map(|count| count.table.clone()).collect();
        let plans: Vec<TablePlan> = state
            .catalogue
            .parents_first(&tables)
            .into_iter()
            .filter_map(|name| {
                let rules = state.policy.get(&name)?;
                Some(TablePlan {
                    table: drift::reduced(state.catalogue.get(&name)?, &left_out),
                    captured: state.captured.get(&name)?.clone(),
                    deletes: rules.deletes == Deletes::Send,
                    delta: rules.delta.clone(),
                    subset: None,
                    follows: Vec::new(),
                    // who names another time may have had the rows, or may not
                    known: selected.exact.is_some(),
                    since: selected.snapshot.clone(),
                })
            })
            .collect();
        let mut labels = BTreeMap::new();
        if purpose == Purpose::Line {
            labels.insert("office".to_owned(), office.to_owned());
            labels.insert(TAKEN_IN.to_owned(), taken_in(&transaction, office).await?);
        }
        if purpose == Purpose::Preview {
            // without a beginning it is never taken for a diff that was issued
            labels.insert("office".to_owned(), office.to_owned());
            labels.insert(PREVIEW.to_owned(), snapshot.as_str().to_owned());
        }
        if let Some(exact) = selected.exact.as_ref().filter(|_| purpose == Purpose::Line) {
            labels.insert("since".to_owned(), exact.to_string());
        }
        let id = format!("diff-{:016x}", rand::random::<u64>());
        let writer = self.inner.spool.create(&id, level)?;
        let extraction = Extraction { writer, watermark: Some(issued.to_string()), labels, notes };
        let stream = extract_changes(&transaction, plans, &counts, peer, extraction).await?;
        transaction.commit().await.map_err(failed)?;
        crate::killpoint::reach("shop.diff.frozen");
        if stream.rows == 0 {
            // changes that cancelled each other out
            self.inner.spool.remove(&stream.id)?;
            return Ok(empty(&issued));
        }
        Ok(stream)
    }
}

/// Which sessions of an office have been applied, as one word: another one each time that one more is.
async fn taken_in(client: &impl GenericClient, office: &str) -> Result<String, ReplicaError> {
    let sql = "select md5(coalesce(string_agg(sid::text, ',' order by sid), '')) from sync.session
               where office = $1 and state = 'applied' and not dry_run";
    let row = client.query_one(sql, &[&office]).await.map_err(|error| classify("look up sessions", error))?;
    Ok(row.get(0))
}

/// Nothing changed: a stream without bytes, whose watermark still counts.
fn empty(watermark: &Watermark) -> FrozenStream {
    FrozenStream {
        id: String::new(),
        bytes: 0,
        rows: 0,
        sha256: String::new(),
        members: Vec::new(),
        watermark: Some(watermark.to_string()),
        tables: Vec::new(),
        labels: BTreeMap::new(),
    }
}
