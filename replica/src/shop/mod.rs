//! The database of a shop, as its agent uses it.

mod audit;
mod backlog;
mod carried;
mod compare;
mod contact;
mod diffs;
mod gaps;
mod health;
mod layout;
mod purge;
mod quarantine;
mod sessions;
mod state;
mod uninstall;
mod upkeep;
mod vitals;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use protocol::methods::SessionKind;
use protocol::policy::Policy;
use protocol::session::ledger::{self, Verdict};

pub use self::audit::AuditRecord;
pub use self::backlog::Backlog;
use crate::ReplicaError;
use crate::clean;
pub use crate::clean::CleanReport;
use crate::database::{Database, Pool};
use crate::error::classify;
use crate::retention::Retention;
use crate::spool::Spool;
use crate::witness::Witness;
use crate::{capture, ids, node};
pub use carried::{ShopExport, ShopImport};
pub use contact::Contact;
pub use gaps::CaptureGap;
use gaps::Gaps;
pub use health::inspect;
pub use purge::Purgeable;
use state::{State, StateCell};
pub use uninstall::{Removed, uninstall};
pub use vitals::{OfficeContact, Vitals};

/// How a shop is opened.
pub struct ShopOptions {
    /// Its database.
    pub database: Database,
    /// Name of the branch.
    pub branch: String,
    /// Its policy.
    pub policy: Policy,
    /// SQL that creates the basic schema where tables are missing (`--schema`).
    pub schema_sql: Option<String>,
    /// Directory for spools and the witness.
    pub state_dir: PathBuf,
    /// Width of an id range.
    pub id_span: i64,
    /// By how much clocks may differ before a `since` that was never issued could skip changes.
    pub skew: Duration,
    /// How long changes are kept for offices.
    pub retention: Retention,
    /// Sessions that one office may have open at a time.
    pub open_sessions_max: i64,
    /// Bytes that one row of an office may have, as text.
    pub row_bytes_max: usize,
}

/// What a shop says about itself.
#[derive(Debug, Clone)]
pub struct ShopFacts {
    /// Identity of the database's history, a UUID.
    pub incarnation: String,
    /// PostgreSQL's version, as in `15.18`.
    pub database_version: String,
    /// Fingerprint of the synchronised tables' layout.
    pub schema_digest: String,
    /// Whether there are no tables yet: the first clean makes them.
    pub no_tables: bool,
    /// Digest of the policy in force.
    pub policy_digest: String,
    /// Id range `(low, high]`, once it is set.
    pub id_range: Option<(i64, i64)>,
    /// Ids handed out by the sequence that has come furthest in its range.
    pub ids_used: Option<i64>,
    /// Last watermark issued to the office, if any.
    pub last_watermark: Option<String>,
    /// Where its changes begin (the last clean, or the installation of capture); empty as long as they do not.
    pub begins: String,
    /// The database's clock.
    pub clock: SystemTime,
    /// Rows of offices that wait, by table and reason.
    pub quarantined: Vec<WaitingCount>,
}

/// How many rows of a table wait for one reason.
#[derive(Debug, Clone, serde::Serialize)]
pub struct WaitingCount {
    /// The table.
    pub table: String,
    /// Why they wait, in plain words without values.
    pub reason: String,
    /// How many.
    pub rows: i64,
}

/// A session to be opened.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Office whose credential opens it.
    pub office: String,
    /// Idempotency key; the same key of the same office gives the same session.
    pub key: Option<String>,
    /// Kind; none for a session of the base methods.
    pub kind: Option<SessionKind>,
    /// Watermark the sender's view of the shop rests on.
    pub base: Option<String>,
    /// Failing rows wait instead of failing the session.
    pub quarantine: bool,
    /// Applied and rolled back.
    pub dry_run: bool,
    /// Address of the caller, for the audit record.
    pub peer: String,
    /// Name of the caller's credential, for the audit record; none without authentication.
    pub caller: Option<String>,
}

/// States of a session, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// Takes chunks.
    Open,
    /// Was applied.
    Applied,
    /// Ended with a fault.
    Refused,
    /// Dropped by its office.
    Aborted,
    /// Was idle too long.
    Expired,
}

/// A session as the database remembers it.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Random number on the wire.
    pub sid: i32,
    /// Unique name of the session (the caller's key, or one made for it).
    pub key: String,
    /// Office that owns it.
    pub office: String,
    /// Kind; none for a session of the base methods.
    pub kind: Option<SessionKind>,
    /// Where it stands.
    pub state: SessionState,
    /// Failing rows wait instead of failing the session.
    pub quarantine: bool,
    /// Applied and rolled back.
    pub dry_run: bool,
    /// Rows applied, once it was applied.
    pub rows: i64,
    /// Rows waiting in quarantine because of it.
    pub quarantined: i64,
    /// Conflicts that it met.
    pub conflicts: i64,
    /// Fault code and text it ended with.
    pub fault: Option<(i32, String)>,
    /// When it was opened.
    pub opened_at: SystemTime,
    /// When it ended.
    pub ended_at: Option<SystemTime>,
}

/// The database of a shop. Cloning it is cheap: all clones are the same shop.
#[derive(Clone)]
pub struct Shop {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    branch: String,
    policy: RwLock<Arc<Policy>>,
    schema_sql: Option<String>,
    id_span: i64,
    skew: Duration,
    retention: Retention,
    open_sessions_max: i64,
    row_bytes_max: usize,
    spool: Spool,
    witness: Witness,
    gaps: Gaps,
    state: StateCell,
    /// One apply at a time; a repeated finish waits here for the running one.
    applying: tokio::sync::Mutex<()>,
    /// One diff at a time, so that a repeated call finds the stream of the first.
    freezing: tokio::sync::Mutex<()>,
}

impl Shop {
    /// Opens the database: own schema migrated, tables discovered, policy resolved against them, capture installed.
    pub async fn open(options: ShopOptions) -> Result<Self, ReplicaError> {
        let spool = Spool::open(options.state_dir.join("spool"))?;
        let inner = Inner {
            pool: Pool::new(options.database),
            branch: options.branch,
            policy: RwLock::new(Arc::new(options.policy)),
            schema_sql: options.schema_sql,
            id_span: options.id_span,
            skew: options.skew,
            retention: options.retention,
            open_sessions_max: options.open_sessions_max,
            row_bytes_max: options.row_bytes_max,
            spool,
            witness: Witness::new(&options.state_dir),
            gaps: Gaps::of(&options.state_dir),
            state: StateCell::default(),
            applying: tokio::sync::Mutex::new(()),
            freezing: tokio::sync::Mutex::new(()),
        };
        let shop = Self { inner: Arc::new(inner) };
        shop.state().await?;
        Ok(shop)
    }

    /// The tables, the policy and the incarnation as they are now.
    async fn state(&self) -> Result<Arc<State>, ReplicaError> {
        let mut client = self.inner.pool.get().await?;
        let Inner { branch, witness, gaps, .. } = &*self.inner;
        self.inner.state.current(&mut client, &self.policy(), branch, witness, gaps).await
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.inner.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on with another policy: capture and rights are brought in line with it. What is being applied or frozen is
    /// finished first; open sessions go on. Where it does not fit the database, the policy that was in force stays.
    ///
    /// # Errors
    /// Why it does not fit, or that the database does not answer.
    pub async fn change_policy(&self, policy: Policy) -> Result<(), ReplicaError> {
        let _turn = self.inner.applying.lock().await;
        let _diff = self.inner.freezing.lock().await;
        let put =
            |policy| std::mem::replace(&mut *self.inner.policy.write().unwrap_or_else(PoisonError::into_inner), policy);
        let before = put(Arc::new(policy));
        self.inner.state.forget().await;
        match self.state().await {
            Ok(_) => Ok(()),
            Err(error) => {
                put(before);
                self.inner.state.forget().await;
                // what it was like before is put back at once, not with the next call
                if let Err(error) = self.state().await {
                    tracing::warn!(%error, "the policy that was in force is looked at again with the next call");
                }
                Err(error)
            }
        }
    }

    /// The spool of frozen diffs.
    pub fn spool(&self) -> &Spool {
        &self.inner.spool
    }

    /// Lets go of the database in an orderly way; a private cluster that nobody else uses stops.
    pub async fn close(self) -> Result<(), ReplicaError> {
        self.inner.pool.close_idle();
        match Arc::into_inner(self.inner) {
            Some(inner) => inner.pool.into_database().close().await,
            None => Ok(()),
        }
    }

    /// What it says about itself.
    pub async fn facts(&self, office: &str) -> Result<ShopFacts, ReplicaError> {
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        let row = client
            .query_one(
                "select current_setting('server_version'), n.id_low, n.id_high, clock_timestamp(),
                        (select (extract(epoch from max(w.issued)) * 1000000)::bigint from sync.watermark w
                         join sync.peer p using (peer) where p.name = $1 and w.incarnation = $2),
                        coalesce(n.base_snapshot::text, '')
                 from sync.node n",
                &[&office, &state.incarnation.number],
            )
            .await
            .map_err(|error| classify("describe the shop", error))?;
        let quarantined = self.quarantine_counts(&client).await?;
        let id_range = match (row.get::<_, Option<i64>>(1), row.get::<_, Option<i64>>(2)) {
            (Some(low), Some(high)) => Some((low, high)),
            _ => None,
        };
        let last_watermark = row
            .get::<_, Option<i64>>(4)
            .map(|micros| protocol::watermark::Watermark::new(micros, Some(state.incarnation.tag)).to_string());
        Ok(ShopFacts {
            incarnation: state.incarnation.id.clone(),
            database_version: row.get(0),
            schema_digest: state.schema_digest(),
            no_tables: state.policy.tables.is_empty(),
            policy_digest: self.policy().digest(),
            id_range,
            ids_used: ids::range_use(&*client, &state.catalogue, &state.policy).await?.map(|range| range.used),
            last_watermark,
            begins: row.get(5),
            clock: row.get(3),
            quarantined,
        })
    }

    /// Empties the synchronised tables and creates missing ones, in one transaction. `begins` is where the shop's changes
    /// began when the caller asked: a call that arrives twice, or late, empties nothing.
    pub async fn clean(&self, office: &str, force: bool, begins: Option<&str>) -> Result<CleanReport, ReplicaError> {
        let _turn = self.inner.applying.lock().await;
        let _diff = self.inner.freezing.lock().await;
        let state = self.state().await?;
        let failed = |error| classify("clean", error);
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        transaction.execute("select pg_advisory_xact_lock($1)", &[&crate::migrate::LOCK]).await.map_err(failed)?;
        let node = transaction
            .query_one("select base_snapshot::text, awaiting_clone from sync.node for update", &[])
            .await
            .map_err(failed)?;
        match ledger::clean(begins, node.get::<_, Option<&str>>(0), node.get(1)) {
            Verdict::Apply => {}
            Verdict::Repeated => return Ok(CleanReport::default()),
            Verdict::Over => {
                return Err(ReplicaError::CleanRefused(
                    "the shop has been cleaned and cloned since this clean was asked for; run the clone again if it is still wanted".into(),
                ));
            }
        }
        clean::lock(&transaction, &state.catalogue, &state.policy).await?;
        let waiting = clean::unacknowledged(&transaction, state.captured.values()).await?;
        if waiting > 0 && !force {
            return Err(ReplicaError::CleanRefused(format!(
                "the shop holds {waiting} changes that no office has acknowledged; update it first, or force the clean and lose them"
            )));
        }
        let mut report = clean::empty(&transaction, &state.catalogue, &state.policy).await?;
        if state.policy.tables.is_empty() {
            report.created = create_schema(&transaction, self.inner.schema_sql.as_deref()).await?;
        }
        let fresh = State::discover(&transaction, &self.policy(), state.incarnation.clone()).await?;
        capture::empty_logs(&transaction).await?;
        capture::install(&transaction, &fresh.catalogue, &fresh.wanted).await?;
        transaction
            .batch_execute(
                // the newest watermark stays, for nobody in particular: what is issued next is later, and the witness
                // sees that this database knows all it has told
                "delete from sync.watermark where (issued, peer) <> (select issued, peer from sync.watermark order by issued desc, peer desc limit 1);
                 update sync.watermark set peer = 0, acknowledged_at = null;
                 delete from sync.total; delete from sync.amount; delete from sync.quarantine;
                 update sync.session set state = 'aborted', ended_at = clock_timestamp() where state = 'open';
                 update sync.node set base_snapshot = pg_current_snapshot(), base_at = clock_timestamp(),
                     pruned_below = '0', awaiting_clone = true",
            )
            .await
            .map_err(failed)?;
        node::peer(&transaction, office).await?;
        transaction.commit().await.map_err(failed)?;
        for stream in self.inner.spool.list()? {
            self.inner.spool.remove(&stream.id)?;
        }
        // whatever was missed is gone with the rows
        self.inner.gaps.settle(&self.inner.gaps.open())?;
        self.inner.state.forget().await;
        Ok(report)
    }

    /// Brings back what the last clean put aside.
    pub async fn restore_before_clean(&self) -> Result<i64, ReplicaError> {
        let _turn = self.inner.applying.lock().await;
        let state = self.state().await?;
        let failed = |error| classify("bring back what was put aside", error);
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let rows = clean::bring_back(&transaction, &state.catalogue).await?;
        transaction.commit().await.map_err(failed)?;
        Ok(rows)
    }

    /// Forgets what the last clean put aside.
    async fn forget_aside(&self) -> Result<(), ReplicaError> {
        let failed = |error| classify("forget what was put aside", error);
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        clean::forget_aside(&transaction).await?;
        transaction.commit().await.map_err(failed)
    }

    /// Starts the id sequences at `low`; the range ends at `high` or after the configured span.
    pub async fn set_id_start(&self, low: i64, high: Option<i64>) -> Result<(), ReplicaError> {
        let state = self.state().await?;
        let high = match high {
            Some(high) => high,
            None => low.checked_add(self.inner.id_span).ok_or_else(|| {
                ReplicaError::IdRange(format!("a range that starts at {low} does not fit into bigint"))
            })?,
        };
        let failed = |error| classify("set the id range", error);
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        ids::set_range(&transaction, &state.catalogue, &state.policy, low, high).await?;
        transaction.commit().await.map_err(failed)?;
        self.inner.state.forget().await;
        Ok(())
    }
}

/// Runs the basic schema in the clean's transaction; the tables of the policy must be there afterwards.
async fn create_schema(
    transaction: &tokio_postgres::Transaction<'_>,
    sql: Option<&str>,
) -> Result<usize, ReplicaError> {
    let Some(sql) = sql else {
        return Err(ReplicaError::Schema(
            "none of the policy's tables exists here, and no basic schema is configured (--schema FILE)".into(),
        ));
    };
    let failed = |error: tokio_postgres::Error| {
        let reason = error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned());
        ReplicaError::Schema(format!("the basic schema cannot be created: {reason}"))
    };
    transaction.batch_execute("set local search_path = public").await.map_err(failed)?;
    transaction.batch_execute(sql).await.map_err(failed)?;
    transaction.batch_execute("set local search_path = pg_catalog").await.map_err(failed)?;
    Ok(crate::catalogue::Catalogue::discover(transaction).await?.tables.len())
}
