//! Sessions by which an office writes to the shop: opened, applied exactly once, remembered.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use protocol::methods::SessionKind;
use protocol::policy::GROUP_FIRST;
use protocol::session::ledger::{self, Recorded, Verdict};
use protocol::watermark::Since;
use tokio_postgres::Row;

use super::audit::hashing;
use super::{NewSession, SessionRow, SessionState, Shop};
use crate::ReplicaError;
use crate::apply::{self, Applied, ApplyOrder, Incoming};
use crate::error::classify;
use crate::watermark::{self, Snapshot};
use crate::{capture, node};

/// What an apply that fails for good means for its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    EndsTheSession,
    LeavesItOpen,
}

/// Most bytes that a session may have when inflated.
pub(super) const INFLATED_BYTES_MAX: u64 = 1 << 40;

const COLUMNS: &str = "sid, key, office, kind, state, quarantine, dry_run, rows, quarantined, fault_code, fault, opened_at, ended_at, conflicts";

impl Shop {
    /// Opens a session, or finds the one with the same key.
    pub async fn open_session(&self, new: NewSession) -> Result<SessionRow, ReplicaError> {
        let failed = |error| classify("open a session", error);
        if new.kind != Some(SessionKind::Clone) {
            self.refuse_other_history(&new.office).await?;
        }
        let client = self.inner.pool.get().await?;
        if let Some(key) = &new.key {
            let sql = format!("select {COLUMNS} from sync.session where office = $1 and key = $2");
            if let Some(row) = client.query_opt(&sql, &[&new.office, key]).await.map_err(failed)? {
                return Ok(session(&row));
            }
        }
        let open: i64 = client
            .query_one("select count(*) from sync.session where office = $1 and state = 'open'", &[&new.office])
            .await
            .map_err(failed)?
            .get(0);
        if open >= self.inner.open_sessions_max {
            return Err(ReplicaError::TooManySessions(format!(
                "office {:?} has {open} sessions open: finish or abort one first",
                new.office
            )));
        }
        let key = new.key.clone().unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
        let kind = new.kind.map(kind_text);
        loop {
            // a random number of 31 bits, never 0
            let sid = i32::try_from(rand::random_range(1..=0x7fff_ffff_u32)).unwrap_or(i32::MAX);
            let sql = format!(
                "insert into sync.session(sid, office, key, kind, base, quarantine, dry_run, peer, caller)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing returning {COLUMNS}"
            );
            let row = client
                .query_opt(
                    &sql,
                    &[&sid, &new.office, &key, &kind, &new.base, &new.quarantine, &new.dry_run, &new.peer, &new.caller],
                )
                .await
                .map_err(failed)?;
            if let Some(row) = row {
                return Ok(session(&row));
            }
            // taken: the number by an old session, or the key by a call that ran at the same time
            let sql = format!("select {COLUMNS} from sync.session where office = $1 and key = $2");
            if let Some(row) = client.query_opt(&sql, &[&new.office, &key]).await.map_err(failed)? {
                return Ok(session(&row));
            }
        }
    }

    /// A session by its number. Who applied it may have died before it told the witness: that is made good first.
    pub async fn session(&self, sid: i32) -> Result<Option<SessionRow>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let sql = format!("select {COLUMNS} from sync.session where sid = $1");
        let row = client.query_opt(&sql, &[&sid]).await.map_err(|error| classify("look up a session", error))?;
        let found = row.as_ref().map(session);
        drop(client);
        if found.as_ref().is_some_and(|found| found.state == SessionState::Applied) {
            self.testify().await?;
        }
        Ok(found)
    }

    /// Sessions that are open.
    pub async fn open_sessions(&self) -> Result<Vec<SessionRow>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let sql = format!("select {COLUMNS} from sync.session where state = 'open' order by opened_at");
        let rows = client.query(&sql, &[]).await.map_err(|error| classify("list sessions", error))?;
        Ok(rows.iter().map(session).collect())
    }

    /// Ends a session without applying it; one that has ended already is left as it is.
    pub async fn end_session(
        &self,
        sid: i32,
        state: SessionState,
        fault: Option<(i32, &str)>,
    ) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        client
            .execute(
                "update sync.session set state = $2, fault_code = $3, fault = $4, ended_at = clock_timestamp()
                 where sid = $1 and state = 'open'",
                &[&sid, &state_text(state), &fault.map(|(code, _)| code), &fault.map(|(_, text)| text)],
            )
            .await
            .map_err(|error| classify("end a session", error))?;
        Ok(())
    }

    /// Applies a session in one transaction together with its record: exactly once, however often it is called.
    ///
    /// `input` yields the concatenated payloads of its chunks, as received. It runs to its end even when the future is
    /// dropped; a call that comes meanwhile waits and gets the same result.
    pub async fn apply_session(&self, sid: i32, input: Box<dyn Read + Send>) -> Result<Applied, ReplicaError> {
        self.apply_detached(sid, input, Failure::EndsTheSession).await
    }

    /// The same while the session is still arriving: `input` waits for more, and ends when everything is there. A failure
    /// leaves nothing behind, and the session open.
    pub async fn apply_arriving(&self, sid: i32, input: Box<dyn Read + Send>) -> Result<Applied, ReplicaError> {
        self.apply_detached(sid, input, Failure::LeavesItOpen).await
    }

    async fn apply_detached(
        &self,
        sid: i32,
        input: Box<dyn Read + Send>,
        failure: Failure,
    ) -> Result<Applied, ReplicaError> {
        let shop = self.clone();
        let task = tokio::spawn(async move { shop.apply_in_turn(sid, input, failure).await });
        task.await.map_err(|error| {
            tracing::error!(error = %error, sid, "the apply ended abnormally");
            ReplicaError::Stopped
        })?
    }

    async fn apply_in_turn(
        &self,
        sid: i32,
        input: Box<dyn Read + Send>,
        failure: Failure,
    ) -> Result<Applied, ReplicaError> {
        let _turn = self.inner.applying.lock().await;
        let Some(row) = self.session(sid).await? else {
            return Err(ReplicaError::UnknownSession(format!("there is no session {sid}")));
        };
        if ledger::finish(recorded(row.state)) != Verdict::Apply {
            return already(&row);
        }
        crate::killpoint::reach("shop.apply.started");
        let applied = self.apply_open(&row, input).await;
        if let Err(error) = &applied
            && failure == Failure::EndsTheSession
            && !error.is_passing()
        {
            let fault = (error.fault_code().code(), error.to_string());
            self.end_session(sid, SessionState::Refused, Some((fault.0, &fault.1))).await?;
        }
        applied
    }

    async fn apply_open(&self, row: &SessionRow, input: Box<dyn Read + Send>) -> Result<Applied, ReplicaError> {
        let failed = |error| classify("apply a session", error);
        let state = self.state().await?;
        let mut client = self.inner.pool.get().await?;
        let peer = node::peer(&*client, &row.office).await?;
        let transaction = client.transaction().await.map_err(failed)?;
        // other processes on this database (a file import) take turns too
        transaction.execute("select pg_advisory_xact_lock($1)", &[&APPLY_LOCK]).await.map_err(failed)?;
        // tills come first: a sync that has to wait long for a row lets go of everything and is asked for again
        transaction.batch_execute("set local lock_timeout = '10s'").await.map_err(failed)?;
        // what ended the session meanwhile, in another process or in one that died while its commit was under way, counts
        let sql = format!("select {COLUMNS} from sync.session where sid = $1 for update");
        let now = session(&transaction.query_one(&sql, &[&row.sid]).await.map_err(failed)?);
        if ledger::finish(recorded(now.state)) != Verdict::Apply {
            self.testify().await?;
            return already(&now);
        }
        let facts = transaction
            .query_one("select awaiting_clone, id_low is not null from sync.node", &[])
            .await
            .map_err(failed)?;
        let awaiting: bool = facts.get(0);
        let clone = row.kind == Some(SessionKind::Clone) || (row.kind.is_none() && awaiting);
        let (input, hash) = hashing(input);
        let order = ApplyOrder {
            catalogue: state.catalogue.clone(),
            policy: if row.dry_run { Arc::new(state.policy.quiet()) } else { state.policy.clone() },
            captured: state.captured.clone(),
            rights: state.rights.clone(),
            origin: peer,
            agreed: if clone { None } else { self.agreed(&transaction, &state, peer, row).await? },
            incoming: Incoming::FromOffice { initial: clone, history: row.kind == Some(SessionKind::Clone) },
            bulk: clone,
            keep_sequences: facts.get(1),
            inflated_bytes_max: INFLATED_BYTES_MAX,
            row_bytes_max: self.inner.row_bytes_max,
            // the office sends only what its row filter gives to this branch
            quarantine: (row.quarantine && !clone).then(Arc::default),
        };
        let applied = apply::apply(&transaction, &order, input).await?;
        if clone {
            apply::begin_amounts(&transaction, &order).await?;
            capture::install(&transaction, &state.catalogue, &state.wanted).await?;
        }
        let by_table: serde_json::Map<String, serde_json::Value> =
            applied.tables.iter().map(|(name, rows)| (name.to_string(), (*rows).into())).collect();
        let (tables, digest) = (serde_json::Value::Object(by_table).to_string(), hash.hex());
        if row.dry_run {
            transaction.rollback().await.map_err(failed)?;
            client
                .execute(
                    "update sync.session set state = 'applied', rows = $2, quarantined = $3, tables = $4::text::jsonb,
                     digest = $5, conflicts = $6, ended_at = clock_timestamp() where sid = $1 and state = 'open' and dry_run",
                    &[&row.sid, &applied.rows, &applied.quarantined, &tables, &digest, &applied.conflicts],
                )
                .await
                .map_err(failed)?;
            return Ok(applied);
        }
        transaction
            .execute(
                "update sync.session set state = 'applied', rows = $2, quarantined = $3, tables = $4::text::jsonb,
                 digest = $5, conflicts = $6, ended_at = clock_timestamp() where sid = $1 and state = 'open'",
                &[&row.sid, &applied.rows, &applied.quarantined, &tables, &digest, &applied.conflicts],
            )
            .await
            .map_err(failed)?;
        if clone {
            transaction.batch_execute("update sync.node set awaiting_clone = false").await.map_err(failed)?;
            // whatever the two had in common before, or not: from here on it is this copy
            let sql = "update sync.peer set history = null where name = $1";
            transaction.execute(sql, &[&row.office]).await.map_err(failed)?;
        }
        let arrived = applied.tables.iter().filter_map(|(name, _)| Some(state.policy.get(name)?.group));
        let mut groups: BTreeSet<u8> = if clone { state.policy.groups() } else { arrived.collect() };
        if groups.is_empty() {
            groups.insert(GROUP_FIRST);
        }
        self.note_freshness(&transaction, &state, &groups).await?;
        // what the office will rely on is in this transaction: a database that comes back without it was restored
        let mark: i64 = transaction
            .query_one("update sync.node set mark = mark + 1 returning mark", &[])
            .await
            .map_err(failed)?
            .get(0);
        crate::killpoint::reach("shop.apply.before-commit");
        transaction.commit().await.map_err(failed)?;
        crate::killpoint::reach("shop.apply.after-commit");
        self.inner.witness.remember_contact(&state.incarnation, mark)?;
        if clone {
            self.inner.state.forget().await;
        }
        Ok(applied)
    }
}

impl Shop {
    /// Tells the witness how far the database has come, before a peer is told what is in it.
    async fn testify(&self) -> Result<(), ReplicaError> {
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        let mark = client
            .query_one("select mark from sync.node", &[])
            .await
            .map_err(|error| classify("tell the witness", error))?
            .get(0);
        self.inner.witness.remember_contact(&state.incarnation, mark)
    }

    /// What the office has of the shop's changes: the watermark that the session rests on, or else, where it names none,
    /// the newest one that the office acknowledged. A dry run may rest on a preview, for which no watermark was issued.
    async fn agreed(
        &self,
        transaction: &tokio_postgres::Transaction<'_>,
        state: &super::state::State,
        peer: i32,
        row: &SessionRow,
    ) -> Result<Option<Snapshot>, ReplicaError> {
        let failed = |error| classify("find the watermark of a session", error);
        let base: Option<String> = transaction
            .query_one("select base from sync.session where sid = $1", &[&row.sid])
            .await
            .map_err(failed)?
            .get(0);
        if let Some(base) = base {
            if row.dry_run
                && let Some(snapshot) = self.previewed(&row.office, &base)?
            {
                return Ok(Some(snapshot));
            }
            let since = Since::parse(&base).map_err(|error| ReplicaError::Invalid(error.to_string()))?;
            // one that is no longer known or kept is no reason to take another: conflicts would go unseen
            let selected = watermark::select(transaction, peer, since, self.inner.skew, &state.incarnation).await?;
            return Ok(Some(selected.snapshot));
        }
        let row = transaction
            .query_one(
                "select coalesce((select snapshot from sync.watermark where peer = $1 and acknowledged_at is not null order by issued desc limit 1),
                                 (select base_snapshot from sync.node))::text",
                &[&peer],
            )
            .await
            .map_err(failed)?;
        row.get::<_, Option<String>>(0).map(|text| Snapshot::parse(&text)).transpose()
    }
}

/// Advisory lock of the one apply at a time.
pub(super) const APPLY_LOCK: i64 = 0x7379_6e63_0001;

/// The answer of a session that has ended.
fn already(row: &SessionRow) -> Result<Applied, ReplicaError> {
    if ledger::finish(recorded(row.state)) == Verdict::Repeated {
        let (rows, quarantined, conflicts) = (row.rows, row.quarantined, row.conflicts);
        return Ok(Applied { rows, quarantined, conflicts, repeated: true, ..Applied::default() });
    }
    Err(ReplicaError::UnknownSession(format!("session {} has ended without being applied", row.sid)))
}

/// What the record says, as far as it decides about a finish.
fn recorded(state: SessionState) -> Recorded {
    match state {
        SessionState::Open => Recorded::Open,
        SessionState::Applied => Recorded::Applied,
        SessionState::Refused | SessionState::Aborted | SessionState::Expired => Recorded::Ended,
    }
}

fn kind_text(kind: SessionKind) -> &'static str {
    match kind {
        SessionKind::Clone => "clone",
        SessionKind::Update => "update",
        SessionKind::Table => "table",
    }
}

fn state_text(state: SessionState) -> &'static str {
    match state {
        SessionState::Open => "open",
        SessionState::Applied => "applied",
        SessionState::Refused => "refused",
        SessionState::Aborted => "aborted",
        SessionState::Expired => "expired",
    }
}

fn session(row: &Row) -> SessionRow {
    let kind = match row.get::<_, Option<&str>>(3) {
        Some("clone") => Some(SessionKind::Clone),
        Some("update") => Some(SessionKind::Update),
        Some("table") => Some(SessionKind::Table),
        _ => None,
    };
    let state = match row.get::<_, &str>(4) {
        "applied" => SessionState::Applied,
        "refused" => SessionState::Refused,
        "aborted" => SessionState::Aborted,
        "expired" => SessionState::Expired,
        _ => SessionState::Open,
    };
    let fault = match (row.get::<_, Option<i32>>(9), row.get::<_, Option<String>>(10)) {
        (Some(code), text) => Some((code, text.unwrap_or_default())),
        _ => None,
    };
    SessionRow {
        sid: row.get(0),
        key: row.get(1),
        office: row.get(2),
        kind,
        state,
        quarantine: row.get(5),
        dry_run: row.get(6),
        rows: row.get(7),
        quarantined: row.get(8),
        conflicts: row.get(13),
        fault,
        opened_at: row.get(11),
        ended_at: row.get(12),
    }
}
