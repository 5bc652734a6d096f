//! The database of the office, as office-client uses it.

mod adoption;
mod alerts;
mod attempts;
mod branches;
mod carried;
mod compare;
mod conflicts;
mod connections;
mod contact;
mod control_totals;
mod copying;
mod groups;
mod health;
mod history;
mod layout;
mod lease;
mod outgoing;
mod policies;
mod pull;
mod quarantine;
mod repair;
mod resolve;
mod retention;
mod shop_vitals;
mod slots;
mod stop;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use protocol::names::TableName;
use protocol::policy::{Direction, Policy, ResolvedPolicy};

use crate::ReplicaError;
use crate::capture::{self, CapturedTable, Depth};
use crate::catalogue::Catalogue;
use crate::database::{Database, Pool};
use crate::error::classify;
use crate::migrate;
use crate::node::{self, ApplyRights, Incarnation, Role};
use crate::retention::Retention;
use crate::spool::{FrozenStream, Spool};
use crate::witness::Witness;

pub use attempts::Attempt;
pub use carried::{Exported, Imported};
pub use compare::{Compared, Scope};
pub use conflicts::{Conflict, ConflictKind, Image, Side, Stamp, Take};
pub use control_totals::{ControlTotal, OfficeTotals, SumOfBoth};
pub use copying::{CloneCopy, CopyFingerprints, Copying};
pub use history::{PastRun, RunFilter};
pub use layout::OfficeLayout;
pub use lease::Lease;
pub use pull::Rehearsed;
pub use repair::{Loser, RepairBase};
pub use resolve::{Resolved, Standing};
pub use shop_vitals::{IdUse, ShopVitals, ToldVitals};

/// How the office is opened.
pub struct OfficeOptions {
    /// Its database.
    pub database: Database,
    /// Directory for spools and the witness.
    pub state_dir: PathBuf,
    /// Width of an id range.
    pub id_span: i64,
    /// How long changes are kept for branches.
    pub retention: Retention,
    /// For how long tables are taken to be what they were when they were last looked at. Whoever changes them changes them
    /// below a running office in any case; asking before every step costs as much as a small update.
    pub recheck: Duration,
}

/// The database of the office. Cloning it is cheap: all clones are the same office.
#[derive(Clone)]
pub struct Office {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    id_span: i64,
    retention: Retention,
    state_dir: PathBuf,
    spool: Spool,
    witness: Witness,
    recheck: Duration,
    /// What was found, and when it was last looked at.
    state: tokio::sync::Mutex<Option<(Arc<State>, Instant)>>,
}

/// Tables, policies and identity of the office's database at one time.
struct State {
    fingerprint: i64,
    policies_digest: String,
    catalogue: Arc<Catalogue>,
    policies: BTreeMap<String, Arc<ResolvedPolicy>>,
    captured: Arc<BTreeMap<TableName, CapturedTable>>,
    rights: ApplyRights,
    incarnation: Incarnation,
}

/// A branch and its BranchSynchronization.
#[derive(Debug, Clone)]
pub struct Branch {
    /// Its number; decides nothing but its place in lists.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Where its agent listens.
    pub url: String,
    /// Name of its policy.
    pub policy: String,
    /// Value to pass as `since` next time; none before the first clone.
    pub timestamp: Option<String>,
    /// User for HTTP Basic.
    pub user: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Id range `(low, high]`, once it has one.
    pub id_range: Option<(i64, i64)>,
    /// Incarnation of the shop's database, as last seen.
    pub incarnation: Option<String>,
    /// When it was cloned.
    pub cloned_at: Option<SystemTime>,
    /// When changes of the shop were last taken in.
    pub pulled_at: Option<SystemTime>,
    /// When changes of the office last reached the shop.
    pub pushed_at: Option<SystemTime>,
    /// Further settings (rate limit, window, link hooks, fingerprint), by name.
    pub settings: std::collections::BTreeMap<String, String>,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether it was taken out for good.
    pub retired: bool,
    /// Whether changes that it has not got are no longer kept: it was not heard of for too long.
    pub outlived: bool,
}

/// A branch to be added.
#[derive(Debug, Clone, Default)]
pub struct NewBranch {
    /// Its name: letters, digits, dashes, underscores, dots.
    pub name: String,
    /// Its number, or the next free one.
    pub id: Option<i64>,
    /// Where its agent listens.
    pub url: String,
    /// Name of its policy, already imported.
    pub policy: String,
    /// User for HTTP Basic.
    pub user: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Further settings, by name.
    pub settings: std::collections::BTreeMap<String, String>,
}

/// A frozen push or clone that waits to be sent, or is being sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Idempotency key of its session at the shop.
    pub key: String,
    /// The stream.
    pub stream: FrozenStream,
    /// The shop's watermark that the stream rests on: what the office had taken in when it was frozen.
    pub base: Option<String>,
    /// Whether an earlier run has started to send it.
    pub resumed: bool,
    /// The group of tables that it is of; a clone, and a file, is of all of them.
    pub group: u8,
    /// From which group on there may be more to push once it is recorded. What an earlier run had frozen is not all that
    /// waits now of its group.
    pub next_group: u8,
}

/// One finished run of `clone` or `update`, for the history.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// `clone`, `update`, `verify`...
    pub kind: String,
    /// `done`, `failed`, `refused`, `unreachable`, `postponed`, `interrupted`.
    pub result: String,
    /// Rows taken in.
    pub pulled_rows: i64,
    /// Rows sent.
    pub pushed_rows: i64,
    /// Bytes sent on the wire.
    pub sent_bytes: i64,
    /// Bytes received on the wire.
    pub received_bytes: i64,
    /// Rows that it put into quarantine, on both sides.
    pub quarantined: i64,
    /// When it began.
    pub started_at: SystemTime,
    /// Duration in seconds.
    pub seconds: f64,
    /// Error text, without secrets or row values.
    pub error: Option<String>,
    /// How often the line was lost and came back.
    pub redials: i32,
    /// Size of the chunks at the end; none when no chunk moved.
    pub chunk_bytes: Option<i64>,
    /// Bytes per second that the line carried to the shop; none when too few moved.
    pub send_rate: Option<i64>,
    /// The same from the shop.
    pub receive_rate: Option<i64>,
    /// Who started it; none for runs of versions that did not keep it.
    pub started_by: Option<String>,
    /// SHA-256 of what was taken in from the shop, as it was received; none when nothing was.
    pub pulled_digest: Option<String>,
    /// Control totals of the tables with money; empty when nothing was counted.
    pub totals: Vec<ControlTotal>,
}

/// What is waiting for a branch.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    /// Log rows not yet sent to it (an estimate of rows).
    pub rows: i64,
}

impl Office {
    /// Opens the database, without installing anything; fails when [`Office::init`] was never run on it.
    pub async fn open(options: OfficeOptions) -> Result<Self, ReplicaError> {
        let office = Self::with(options)?;
        let mut client = office.inner.pool.get().await?;
        match migrate::version(&client).await? {
            0 => {
                return Err(ReplicaError::Invalid(
                    "this database is not an office yet: run 'office-client init' first".into(),
                ));
            }
            version if version != migrate::VERSION => migrate::migrate(&mut client).await?,
            _ => {}
        }
        drop(client);
        Ok(office)
    }

    /// Installs or migrates the product's schema; repeatable.
    pub async fn init(options: OfficeOptions) -> Result<Self, ReplicaError> {
        let office = Self::with(options)?;
        let mut client = office.inner.pool.get().await?;
        migrate::migrate(&mut client).await?;
        node::establish(&mut client, Role::Office, None, &office.inner.witness).await?;
        drop(client);
        office.state().await?;
        Ok(office)
    }

    fn with(options: OfficeOptions) -> Result<Self, ReplicaError> {
        let spool = Spool::open(options.state_dir.join("spool"))?;
        let inner = Inner {
            pool: Pool::new(options.database),
            id_span: options.id_span,
            retention: options.retention,
            witness: Witness::new(&options.state_dir),
            state_dir: options.state_dir,
            recheck: options.recheck,
            spool,
            state: tokio::sync::Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Lets go of the database in an orderly way; a private cluster that nobody else uses stops.
    pub async fn close(self) -> Result<(), ReplicaError> {
        self.inner.pool.close_idle();
        match Arc::into_inner(self.inner) {
            Some(inner) => inner.pool.into_database().close().await,
            None => Ok(()),
        }
    }

    /// The spool of frozen clones and pushes; received slices go to files below [`Office::receive_path`].
    pub fn spool(&self) -> &Spool {
        &self.inner.spool
    }

    /// The file in which the slices of a branch's diff are kept until it is whole.
    pub fn receive_path(&self, branch: &Branch, diff_id: &str) -> PathBuf {
        // the id comes from the peer: only what cannot leave the directory goes into the name
        let id: String = diff_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(64).collect();
        self.inner.state_dir.join("receive").join(format!("{}-{id}.part", branch.id))
    }

    /// Incarnation of the office's database, a UUID.
    pub async fn incarnation(&self) -> Result<String, ReplicaError> {
        let client = self.inner.pool.get().await?;
        Ok(node::incarnation(&*client).await?.id)
    }

    /// Directory with the office's own files.
    pub fn state_dir(&self) -> &Path {
        &self.inner.state_dir
    }

    /// Tables, policies and identity as they are now; capture is brought in line when something has changed.
    async fn state(&self) -> Result<Arc<State>, ReplicaError> {
        let mut client = self.inner.pool.get().await?;
        let mut current = self.inner.state.lock().await;
        let sql = "select coalesce(string_agg(name || ':' || digest, ',' order by name), '') from sync.policy";
        let failed = |error| classify("prepare the office", error);
        let policies_digest: String = client.query_one(sql, &[]).await.map_err(failed)?.get(0);
        if let Some((state, looked)) = &mut *current
            && state.policies_digest == policies_digest
        {
            // to look at all tables costs many times as much as to look at the policies
            if looked.elapsed() < self.inner.recheck {
                return Ok(state.clone());
            }
            if state.fingerprint == Catalogue::fingerprint(&*client).await?
                && client.query_one(capture::COVERED, &[]).await.map_err(failed)?.get::<_, bool>(0)
            {
                *looked = Instant::now();
                return Ok(state.clone());
            }
        }
        *current = None;
        let node::Established { incarnation, restored } =
            node::establish(&mut client, Role::Office, None, &self.inner.witness).await?;
        if let Some(reason) = restored {
            tracing::warn!(incarnation = %incarnation.id, "{reason}: every branch has to be verified with --repair");
        }
        let catalogue = Catalogue::discover(&*client).await?;
        let names = catalogue.names();
        let mut policies = BTreeMap::new();
        let mut wanted: BTreeMap<TableName, Depth> = BTreeMap::new();
        for row in client.query("select name, source from sync.policy", &[]).await.map_err(failed)? {
            let (name, source): (String, String) = (row.get(0), row.get(1));
            let policy = Policy::parse(&source)
                .map_err(|error| ReplicaError::Schema(format!("stored policy {name:?}: {error}")))?;
            let (resolved, unnamed) = policy.resolve_known(&names).map_err(|errors| {
                ReplicaError::Schema(format!("policy {name:?} does not fit this database: {errors}"))
            })?;
            for table in unnamed {
                tracing::warn!(%table, policy = name, "this table is not in the policy: it is taken as local");
            }
            for (table, rules) in &resolved.tables {
                match rules.direction {
                    Direction::Both => {
                        wanted.insert(table.clone(), Depth::OldValues);
                    }
                    Direction::FromSource => {
                        wanted.entry(table.clone()).or_insert(Depth::Tombstones);
                    }
                    Direction::FromTarget | Direction::Initial | Direction::Local => {}
                }
            }
            policies.insert(name, Arc::new(resolved));
        }
        let written: Vec<TableName> = policies
            .values()
            .flat_map(|policy| policy.tables.iter())
            .filter(|(_, rules)| rules.direction.flows_to_office())
            .map(|(name, _)| name.clone())
            .collect();
        let rights = node::ensure_apply_rights(&mut client, &catalogue, &written).await?;
        let transaction = client.transaction().await.map_err(failed)?;
        transaction.execute("select pg_advisory_xact_lock($1)", &[&migrate::LOCK]).await.map_err(failed)?;
        transaction.batch_execute("set local lock_timeout = '5s'").await.map_err(failed)?;
        let coverage = capture::install(&transaction, &catalogue, &wanted).await?;
        for table in &coverage.gaps {
            tracing::warn!(%table, "capture of this table was interrupted or changed: changes may have been missed, verify it");
        }
        transaction.commit().await.map_err(failed)?;
        let state = Arc::new(State {
            fingerprint: Catalogue::fingerprint(&*client).await?,
            policies_digest,
            catalogue: Arc::new(catalogue),
            policies,
            captured: Arc::new(capture::captured(&*client).await?),
            rights,
            incarnation,
        });
        *current = Some((state.clone(), Instant::now()));
        Ok(state)
    }

    /// The resolved policy of a branch.
    fn rules(state: &State, branch: &Branch) -> Result<Arc<ResolvedPolicy>, ReplicaError> {
        state.policies.get(&branch.policy).cloned().ok_or_else(|| {
            ReplicaError::Invalid(format!(
                "branch {:?}: policy {:?} is not stored; import it with 'office-client policy import FILE'",
                branch.name, branch.policy
            ))
        })
    }
}
