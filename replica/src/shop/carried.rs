//! The way by file instead of by line: the shop's end.

use std::path::Path;

use protocol::carried::{CarriedHeader, CarriedKind, FORMAT, SessionKey};
use protocol::methods::SessionKind;
use protocol::watermark::{Since, Watermark};

use super::{NewSession, SessionState, Shop};
use crate::ReplicaError;
use crate::apply::Applied;
use crate::carried::{self, CarriedFile};
use crate::error::classify;
use crate::{node, watermark};

/// How many applied sessions a file tells the office of: more files than that are never on their way at one time.
const APPLIED_TOLD: i64 = 50;

/// A file that was written for an office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShopExport {
    /// Rows in it.
    pub rows: u64,
    /// Its length, without the header.
    pub bytes: u64,
    /// The watermark at its end.
    pub watermark: String,
}

/// An office's file that was taken in.
#[derive(Debug, Clone)]
pub struct ShopImport {
    /// What it was.
    pub kind: CarriedKind,
    /// What it changed; `repeated` when it had been applied before, by file or by line.
    pub applied: Applied,
}

impl Shop {
    /// Writes a file with everything that this office is not known to have.
    ///
    /// # Errors
    /// When the changes are no longer kept, or the file cannot be written.
    pub async fn export_file(&self, office: &str, path: &Path) -> Result<ShopExport, ReplicaError> {
        let failed = |error| classify("make a file for the office", error);
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        let peer = node::peer(&*client, office).await?;
        let acknowledged: Option<i64> = client
            .query_one(
                "select (extract(epoch from max(issued)) * 1000000)::bigint from sync.watermark
                 where peer = $1 and incarnation = $2 and acknowledged_at is not null",
                &[&peer, &state.incarnation.number],
            )
            .await
            .map_err(failed)?
            .get(0);
        let since = acknowledged.map(|micros| Watermark::new(micros, Some(state.incarnation.tag)).to_string());
        let rows = client
            .query(
                "select key from sync.session where office = $1 and state = 'applied' and not dry_run order by ended_at desc limit $2",
                &[&office, &APPLIED_TOLD],
            )
            .await
            .map_err(failed)?;
        drop(client);
        let stream = self.freeze_for_file(office, since.as_deref()).await?;
        let watermark = stream.watermark.clone().unwrap_or_default();
        let header = CarriedHeader {
            format: FORMAT.to_owned(),
            kind: CarriedKind::Diff,
            branch: self.inner.branch.clone(),
            policy: self.policy().name().to_owned(),
            policy_digest: self.policy().digest(),
            shop_incarnation: Some(state.incarnation.id.clone()),
            key: None,
            acknowledges: None,
            id_range: None,
            since,
            watermark: Some(watermark.clone()),
            applied: rows.iter().map(|row| row.get(0)).collect(),
            rows: stream.rows,
            bytes: stream.bytes,
            sha256: stream.sha256.clone(),
        };
        let data = (!stream.id.is_empty()).then(|| self.inner.spool.data_path(&stream.id));
        let path = path.to_owned();
        let written = tokio::task::spawn_blocking(move || carried::write(&path, &header, data.as_deref())).await;
        self.inner.spool.remove(&stream.id)?;
        written.map_err(|_| ReplicaError::Stopped)??;
        Ok(ShopExport { rows: stream.rows, bytes: stream.bytes, watermark })
    }

    /// Takes in an office's file, exactly once: a file that was applied before, by file or by line, changes nothing.
    /// `force` lets a clone throw away changes that no office has acknowledged; they are kept aside.
    ///
    /// # Errors
    /// [`ReplicaError::FileRefused`] when it is of another branch, policy or history, or older than what was applied.
    pub async fn import_file(&self, office: &str, file: &CarriedFile, force: bool) -> Result<ShopImport, ReplicaError> {
        let header = &file.header;
        let refused = |why: String| Err(ReplicaError::FileRefused(why));
        if header.kind == CarriedKind::Diff {
            return refused(format!(
                "the file comes from shop {:?}: take it in at the office with 'office-client import'",
                header.branch
            ));
        }
        if header.branch != self.inner.branch {
            return refused(format!("the file is for branch {:?}, this is {:?}", header.branch, self.inner.branch));
        }
        if header.policy_digest != self.policy().digest() {
            return refused(format!(
                "the office works under another policy: {:?} there, {:?} here, and they do not mean the same; give both the same file",
                header.policy,
                self.policy().name()
            ));
        }
        let (kind, clone) = (header.kind, header.kind == CarriedKind::Clone);
        let repeated = Applied { repeated: true, ..Applied::default() };
        if let Some(key) = &header.key {
            match self.place_of(office, key).await? {
                Place::Applied => return Ok(ShopImport { kind, applied: repeated }),
                Place::Superseded => {
                    return refused(
                        "a newer file of the office has been applied, which contains what is in this one: nothing is to be done".into(),
                    );
                }
                Place::Next => {}
            }
        }
        let state = self.state().await?;
        if !clone && header.shop_incarnation.as_ref().is_some_and(|known| *known != state.incarnation.id) {
            return refused(
                "the file was made for a database with another history than this one, which was restored or replaced: \
                 let the office clone this shop again, or verify it with --repair"
                    .into(),
            );
        }
        if let Some(have) = header.acknowledges.as_deref() {
            self.acknowledge(office, have).await?;
        }
        let Some(key) = &header.key else { return Ok(ShopImport { kind, applied: Applied::default() }) };
        if clone {
            let Some((low, high)) = header.id_range else {
                return refused("the clone carries no id range: export it again".into());
            };
            self.clean(office, force, None).await?;
            let applied = self.apply_file(office, key, file).await;
            self.set_id_start(low, Some(high)).await?;
            return Ok(ShopImport { kind, applied: applied? });
        }
        if self.awaits_clone().await? {
            return refused("this shop was cleaned for a clone that has not arrived yet: take that in first".into());
        }
        Ok(ShopImport { kind, applied: self.apply_file(office, key, file).await? })
    }

    async fn apply_file(&self, office: &str, key: &SessionKey, file: &CarriedFile) -> Result<Applied, ReplicaError> {
        let client = self.inner.pool.get().await?;
        // an attempt that failed, or that a clean has ended, may be made again: the file is still the same
        client
            .execute(
                "update sync.session set state = 'open', ended_at = null, fault_code = null, fault = null
                 where office = $1 and key = $2 and state not in ('open', 'applied')",
                &[&office, &key.as_str()],
            )
            .await
            .map_err(|error| classify("open a session", error))?;
        drop(client);
        let kind = if file.header.kind == CarriedKind::Clone { SessionKind::Clone } else { SessionKind::Update };
        let new = NewSession {
            office: office.to_owned(),
            key: Some(key.as_str().to_owned()),
            kind: Some(kind),
            base: file.header.acknowledges.clone().filter(|_| kind == SessionKind::Update),
            quarantine: false,
            dry_run: false,
            peer: "file".to_owned(),
            caller: None,
        };
        let row = self.open_session(new).await?;
        if row.state == SessionState::Applied {
            return Ok(Applied { rows: row.rows, repeated: true, ..Applied::default() });
        }
        self.apply_session(row.sid, file.stream()?).await
    }

    /// Notes what the office says it has; a watermark that this database never issued says nothing.
    async fn acknowledge(&self, office: &str, have: &str) -> Result<(), ReplicaError> {
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        let peer = node::peer(&*client, office).await?;
        let Ok(since) = Since::parse(have) else { return Ok(()) };
        match watermark::select(&*client, peer, since, self.inner.skew, &state.incarnation).await {
            Ok(selected) => match &selected.exact {
                Some(exact) => watermark::acknowledge(&*client, peer, exact).await,
                None => Ok(()),
            },
            Err(ReplicaError::Restored(_) | ReplicaError::UnknownWatermark(_) | ReplicaError::SinceTooOld(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn awaits_clone(&self) -> Result<bool, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let row = client
            .query_one("select awaiting_clone from sync.node", &[])
            .await
            .map_err(|error| classify("look at the shop", error))?;
        Ok(row.get(0))
    }

    /// Where a session stands beside those that were applied.
    async fn place_of(&self, office: &str, key: &SessionKey) -> Result<Place, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query(
                "select key from sync.session where office = $1 and state = 'applied' and not dry_run and (key = $2 or key ~ '^n[0-9]{10}-')
                 order by (key = $2) desc, ended_at desc limit $3",
                &[&office, &key.as_str(), &APPLIED_TOLD],
            )
            .await
            .map_err(|error| classify("look up the sessions", error))?;
        let applied: Vec<SessionKey> = rows.iter().map(|row| SessionKey::from(row.get::<_, String>(0))).collect();
        if applied.contains(key) {
            return Ok(Place::Applied);
        }
        Ok(if applied.iter().any(|other| key.is_before(other)) { Place::Superseded } else { Place::Next })
    }
}

enum Place {
    /// It was applied.
    Applied,
    /// A later one was applied, which contains it.
    Superseded,
    /// It may be applied.
    Next,
}
