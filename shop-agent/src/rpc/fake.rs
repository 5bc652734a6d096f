//! A shop without a database, for tests.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use protocol::history::{History, Offer};
use protocol::layout::TableLayout;
use protocol::methods::{BaselineOptions, BaselineReply, DigestRequest, DigestRowsRequest, TableDigest};
use protocol::watermark::Since;
use replica::ReplicaError;
use replica::apply::Applied;
use replica::digest::RowDigest;
use replica::retention::Retention;
use replica::shop::{
    AuditRecord, Backlog, CleanReport, Contact, NewSession, SessionRow, SessionState, ShopFacts, Vitals,
};
use replica::spool::FrozenStream;
use tokio::sync::Notify;

use crate::backend::Backend;

type Result<T> = std::result::Result<T, ReplicaError>;

/// What the next apply does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum NextApply {
    /// Succeeds.
    #[default]
    Succeeds,
    /// Fails as a deadlock does.
    IsBusy,
    /// Fails as a bad statement does.
    IsRefused,
    /// Waits for `go` first.
    Waits,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) sessions: HashMap<i32, SessionRow>,
    pub(super) applied: Vec<(i32, Vec<u8>)>,
    /// What an apply has read that follows a session.
    pub(super) arriving: Vec<u8>,
    pub(super) next: NextApply,
    pub(super) is_down: bool,
    pub(super) id_ranges: Vec<(i64, Option<i64>)>,
    pub(super) diff: Vec<u8>,
    /// What changes were asked for last.
    pub(super) since: Option<Since>,
}

pub(super) struct FakeShop {
    pub(super) inner: Mutex<Inner>,
    pub(super) go: Notify,
    pub(super) applying: Notify,
    pub(super) read: Notify,
    dir: PathBuf,
}

impl FakeShop {
    pub(super) fn new(dir: PathBuf) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), go: Notify::new(), applying: Notify::new(), read: Notify::new(), dir })
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self) -> Result<std::sync::MutexGuard<'_, Inner>> {
        let inner = self.lock();
        if inner.is_down { Err(ReplicaError::Unavailable("secret host name".into())) } else { Ok(inner) }
    }

    fn stream(&self, inner: &Inner) -> FrozenStream {
        FrozenStream {
            id: "d-1".into(),
            bytes: inner.diff.len() as u64,
            rows: u64::from(!inner.diff.is_empty()),
            sha256: "00".into(),
            members: vec![inner.diff.len() as u64],
            watermark: Some("2006-09-22T14:03:11.042317123Z".into()),
            tables: Vec::new(),
            labels: Default::default(),
        }
    }
}

impl Backend for FakeShop {
    async fn facts(&self, _office: &str) -> Result<ShopFacts> {
        drop(self.up()?);
        Ok(ShopFacts {
            incarnation: "i".into(),
            database_version: "15.1".into(),
            schema_digest: "s".into(),
            no_tables: false,
            policy_digest: "p".into(),
            id_range: Some((5, 10)),
            ids_used: Some(1),
            last_watermark: None,
            begins: "10:10:".into(),
            clock: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
            quarantined: Vec::new(),
        })
    }

    async fn contact(&self, _office: &str, offer: &Offer, _contact: Contact) -> Result<(History, i64)> {
        drop(self.up()?);
        Ok((History::Same, offer.number + 1))
    }

    fn policy_name(&self) -> String {
        "shop".to_owned()
    }

    fn diff_path(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    async fn clean(&self, _office: &str, force: bool, _begins: Option<&str>) -> Result<CleanReport> {
        if force { Ok(CleanReport::default()) } else { Err(ReplicaError::CleanRefused("3 changes".into())) }
    }

    async fn restore_before_clean(&self) -> Result<i64> {
        Ok(7)
    }

    async fn set_id_start(&self, low: i64, high: Option<i64>) -> Result<()> {
        self.up()?.id_ranges.push((low, high));
        Ok(())
    }

    async fn open_diff(&self, _office: &str, since: Since, _rate: Option<u64>) -> Result<FrozenStream> {
        let mut inner = self.up()?;
        inner.since = Some(since);
        let stream = self.stream(&inner);
        let write = || std::fs::File::create(self.diff_path(&stream.id))?.write_all(&inner.diff);
        write().map_err(|source| ReplicaError::Spool { what: "fake".into(), source })?;
        Ok(stream)
    }

    async fn preview_diff(&self, _office: &str, _since: Since, _rate: Option<u64>) -> Result<FrozenStream> {
        Ok(self.stream(&*self.up()?))
    }

    async fn frozen_diff(&self, office: &str, id: &str) -> Result<Option<FrozenStream>> {
        let inner = self.up()?;
        Ok((id == "d-1" && office == "centre").then(|| self.stream(&inner)))
    }

    async fn open_session(&self, new: NewSession) -> Result<SessionRow> {
        let mut inner = self.up()?;
        let known = inner.sessions.values().find(|row| Some(&row.key) == new.key.as_ref() && row.office == new.office);
        if let Some(row) = known {
            return Ok(row.clone());
        }
        let sid = i32::try_from(inner.sessions.len()).unwrap_or(0) + 1;
        let row = SessionRow {
            sid,
            key: new.key.unwrap_or_else(|| sid.to_string()),
            office: new.office,
            kind: new.kind,
            state: SessionState::Open,
            quarantine: new.quarantine,
            dry_run: new.dry_run,
            rows: 0,
            quarantined: 0,
            conflicts: 0,
            fault: None,
            opened_at: SystemTime::now(),
            ended_at: None,
        };
        inner.sessions.insert(sid, row.clone());
        Ok(row)
    }

    async fn session(&self, sid: i32) -> Result<Option<SessionRow>> {
        Ok(self.up()?.sessions.get(&sid).cloned())
    }

    async fn open_sessions(&self) -> Result<Vec<SessionRow>> {
        Ok(self.up()?.sessions.values().filter(|row| row.state == SessionState::Open).cloned().collect())
    }

    async fn end_session(&self, sid: i32, state: SessionState, fault: Option<(i32, &str)>) -> Result<()> {
        if let Some(row) = self.up()?.sessions.get_mut(&sid).filter(|row| row.state == SessionState::Open) {
            row.state = state;
            row.fault = fault.map(|(code, text)| (code, text.to_owned()));
        }
        Ok(())
    }

    async fn apply_session(&self, sid: i32, mut input: Box<dyn Read + Send>) -> Result<Applied> {
        let next = self.lock().next;
        match next {
            NextApply::IsBusy => return Err(ReplicaError::Busy("deadlock".into())),
            NextApply::IsRefused => {
                return Err(ReplicaError::Refused { statement: 3, message: "DROP is not accepted".into() });
            }
            NextApply::Waits => {
                self.applying.notify_one();
                self.go.notified().await;
            }
            NextApply::Succeeds => {}
        }
        let mut script = Vec::new();
        input.read_to_end(&mut script).map_err(|error| ReplicaError::Damaged(error.to_string()))?;
        let mut inner = self.lock();
        inner.applied.push((sid, script));
        if let Some(row) = inner.sessions.get_mut(&sid) {
            row.state = SessionState::Applied;
            row.rows = 2;
        }
        Ok(Applied::default())
    }

    async fn apply_arriving(&self, sid: i32, mut input: Box<dyn Read + Send>) -> Result<Applied> {
        let (sender, mut pieces) = tokio::sync::mpsc::unbounded_channel();
        let reading = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 64];
            loop {
                match input.read(&mut buffer)? {
                    0 => return Ok(()),
                    count => drop(sender.send(buffer[..count].to_vec())),
                }
            }
        });
        while let Some(piece) = pieces.recv().await {
            self.lock().arriving.extend(piece);
            self.read.notify_one();
        }
        let ended: std::io::Result<()> = reading.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let script = std::mem::take(&mut self.lock().arriving);
        ended.map_err(|error| ReplicaError::Damaged(error.to_string()))?;
        self.apply_session(sid, Box::new(std::io::Cursor::new(script))).await
    }

    async fn exchange_layout(&self, _office: &str, theirs: Option<Vec<TableLayout>>) -> Result<Vec<TableLayout>> {
        Ok(theirs.unwrap_or_default())
    }

    async fn fresh(&self) -> Result<()> {
        Ok(())
    }

    async fn audit(&self, _records: i64) -> Result<Vec<AuditRecord>> {
        Ok(Vec::new())
    }

    async fn digests(&self, _office: &str, request: &DigestRequest, _bytes_max: usize) -> Result<Vec<TableDigest>> {
        let digest = |table: &String| TableDigest {
            table: table.clone(),
            rows: 1,
            digest: "d".into(),
            ..TableDigest::default()
        };
        Ok(request.tables.iter().map(digest).collect())
    }

    async fn digest_rows(
        &self,
        _office: &str,
        _request: &DigestRowsRequest,
        _bytes_max: usize,
    ) -> Result<Vec<RowDigest>> {
        Ok(vec![RowDigest { key: "{\"id\": \"1\"}".into(), digest: None, changed: false }])
    }

    async fn rows(&self, _table: &str, keys: &[String], _bytes_max: usize) -> Result<Vec<String>> {
        Ok(keys.to_vec())
    }

    async fn mark(&self, _office: &str, _table: &str, _keys: &[String]) -> Result<()> {
        Ok(())
    }

    async fn baseline(&self, _office: &str, _options: BaselineOptions) -> Result<BaselineReply> {
        Ok(BaselineReply::default())
    }

    async fn vitals(&self) -> Result<Vitals> {
        let (offices, capture_gaps) = (Vec::new(), Vec::new());
        Ok(Vitals { change_log_bytes: 0, database_bytes: 0, quarantined_rows: 0, offices, capture_gaps })
    }

    async fn backlog(&self) -> Result<Vec<Backlog>> {
        Ok(Vec::new())
    }

    fn retention(&self) -> Retention {
        Retention::default()
    }

    async fn tick(&self) -> Result<()> {
        Ok(())
    }
}
