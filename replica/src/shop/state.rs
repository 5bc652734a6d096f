//! What a shop knows of its tables, refreshed when they change.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::names::TableName;
use protocol::policy::{Direction, Policy, ResolvedPolicy};
use tokio::sync::Mutex;
use tokio_postgres::{Client, GenericClient, Transaction};

use super::gaps::Gaps;
use crate::ReplicaError;
use crate::apply;
use crate::capture::{self, CapturedTable, Depth};
use crate::catalogue::Catalogue;
use crate::error::classify;
use crate::ids;
use crate::migrate;
use crate::node::{self, ApplyRights, Incarnation, Role};
use crate::witness::Witness;

/// Tables, policy and identity of the shop's database at one time.
pub(super) struct State {
    fingerprint: i64,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) policy: Arc<ResolvedPolicy>,
    pub(super) wanted: BTreeMap<TableName, Depth>,
    pub(super) captured: Arc<BTreeMap<TableName, CapturedTable>>,
    pub(super) rights: ApplyRights,
    pub(super) incarnation: Incarnation,
    /// Tables that the policy does not mention: they stay where they are.
    pub(super) unnamed: Vec<TableName>,
}

/// Tables, and the policy held against them: all that can be known of a database in which nothing is installed.
pub(super) struct Tables {
    pub(super) catalogue: Catalogue,
    pub(super) policy: ResolvedPolicy,
    pub(super) wanted: BTreeMap<TableName, Depth>,
    pub(super) unnamed: Vec<TableName>,
}

impl Tables {
    pub(super) async fn discover(client: &impl GenericClient, policy: &Policy) -> Result<Self, ReplicaError> {
        let catalogue = Catalogue::discover(client).await?;
        let names = catalogue.names();
        let (resolved, unnamed) = if names.is_empty() {
            // before the first clean of an empty database
            (ResolvedPolicy { name: policy.name().to_owned(), tables: BTreeMap::new() }, Vec::new())
        } else {
            policy
                .resolve_known(&names)
                .map_err(|errors| ReplicaError::Schema(format!("policy {:?}: {errors}", policy.name())))?
        };
        let wanted = resolved
            .tables
            .iter()
            .filter_map(|(name, table)| match table.direction {
                Direction::FromTarget => Some((name.clone(), Depth::Keys)),
                Direction::Both => Some((name.clone(), Depth::OldValues)),
                Direction::FromSource | Direction::Initial | Direction::Local => None,
            })
            .collect();
        Ok(Self { catalogue, policy: resolved, wanted, unnamed })
    }

    /// The tables that received rows are written into.
    pub(super) fn written(&self) -> Vec<TableName> {
        written(&self.policy)
    }
}

fn written(policy: &ResolvedPolicy) -> Vec<TableName> {
    let synchronised = policy.tables.iter().filter(|(_, table)| table.direction.synchronised());
    synchronised.map(|(name, _)| name.clone()).collect()
}

impl State {
    /// Reads tables and resolves the policy against them; capture and rights are as they are stored.
    pub(super) async fn discover(
        client: &impl GenericClient,
        policy: &Policy,
        incarnation: Incarnation,
    ) -> Result<Self, ReplicaError> {
        let fingerprint = Catalogue::fingerprint(client).await?;
        let tables = Tables::discover(client, policy).await?;
        let captured = capture::captured(client).await?;
        Ok(Self {
            fingerprint,
            catalogue: Arc::new(tables.catalogue),
            policy: Arc::new(tables.policy),
            wanted: tables.wanted,
            captured: Arc::new(captured),
            rights: ApplyRights::default(),
            incarnation,
            unnamed: tables.unnamed,
        })
    }

    /// Fingerprint of the synchronised tables' layout.
    pub(super) fn schema_digest(&self) -> String {
        let synchronised = self.policy.tables.iter().filter(|(_, table)| table.direction.synchronised());
        self.catalogue.layout_digest(synchronised.map(|(name, _)| name))
    }
}

/// The state last read.
#[derive(Default)]
pub(super) struct StateCell {
    current: Mutex<Option<Arc<State>>>,
}

impl StateCell {
    /// Forgets it: the next call reads anew.
    pub(super) async fn forget(&self) {
        *self.current.lock().await = None;
    }

    /// The state as it is now: read anew when a table has changed, capture brought in line.
    pub(super) async fn current(
        &self,
        client: &mut Client,
        policy: &Policy,
        branch: &str,
        witness: &Witness,
        gaps: &Gaps,
    ) -> Result<Arc<State>, ReplicaError> {
        let mut current = self.current.lock().await;
        if let Some(state) = &*current
            && state.fingerprint == Catalogue::fingerprint(client).await?
            && covered(client).await?
        {
            return Ok(state.clone());
        }
        *current = None;
        let state = Arc::new(read(client, policy, branch, witness, gaps).await?);
        *current = Some(state.clone());
        Ok(state)
    }
}

/// Whether every capture trigger is as it was installed.
async fn covered(client: &impl GenericClient) -> Result<bool, ReplicaError> {
    let row = client.query_one(capture::COVERED, &[]).await.map_err(|error| classify("check capture", error))?;
    Ok(row.get(0))
}

async fn read(
    client: &mut Client,
    policy: &Policy,
    branch: &str,
    witness: &Witness,
    gaps: &Gaps,
) -> Result<State, ReplicaError> {
    let failed = |error| classify("prepare the shop", error);
    migrate::migrate(client).await?;
    let node::Established { incarnation, restored } =
        node::establish(client, Role::Shop, Some(branch), witness).await?;
    if let Some(reason) = restored {
        tracing::warn!(incarnation = %incarnation.id, "{reason}: watermarks issued before are void; the office has to verify with --repair");
    }
    let mut state = State::discover(&*client, policy, incarnation).await?;
    for table in &state.unnamed {
        tracing::warn!(%table, "this table is not in the policy: it is taken as local");
    }
    state.rights = node::ensure_apply_rights(client, &state.catalogue, &written(&state.policy)).await?;
    if !state.rights.quiet {
        refuse_loud_triggers(&state.catalogue, &state.policy)?;
    }
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.execute("select pg_advisory_xact_lock($1)", &[&migrate::LOCK]).await.map_err(failed)?;
    if ids::leave_gap(&transaction, &state.catalogue, &state.policy, &state.incarnation).await? {
        // what this shop had contributed is partly lost: all that is there counts as the office's, increments begin anew
        begin_amounts(&transaction, &state).await?;
    }
    // a till in a long transaction must not make everybody wait behind us
    transaction.batch_execute("set local lock_timeout = '5s'").await.map_err(failed)?;
    let coverage = capture::install(&transaction, &state.catalogue, &state.wanted).await?;
    for table in &coverage.gaps {
        tracing::warn!(%table, "capture of this table was interrupted or changed: changes may have been missed, the office has to verify it with --repair");
    }
    gaps.note(&coverage.gaps)?;
    transaction
        .execute(
            "update sync.node set base_snapshot = pg_current_snapshot(), base_at = clock_timestamp() where base_snapshot is null and $1",
            &[&!state.wanted.is_empty()],
        )
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    state.captured = Arc::new(capture::captured(&*client).await?);
    // installing triggers changes the catalogue
    state.fingerprint = Catalogue::fingerprint(&*client).await?;
    Ok(state)
}

/// Begins the amounts anew towards every office.
async fn begin_amounts(transaction: &Transaction<'_>, state: &State) -> Result<(), ReplicaError> {
    let rows =
        transaction.query("select peer from sync.peer", &[]).await.map_err(|error| classify("begin amounts", error))?;
    for row in rows {
        apply::begin_amounts_of(transaction, &state.catalogue, &state.policy, row.get(0)).await?;
    }
    Ok(())
}

/// Without the right to keep triggers quiet, the application's triggers would fire on received rows a second time.
pub(super) fn refuse_loud_triggers(catalogue: &Catalogue, policy: &ResolvedPolicy) -> Result<(), ReplicaError> {
    for (name, policy) in &policy.tables {
        let Some(table) = catalogue.get(name) else { continue };
        let written = policy.direction.synchronised();
        if written && policy.triggers == protocol::policy::Triggers::Quiet && !table.application_triggers.is_empty() {
            return Err(ReplicaError::Invalid(format!(
                "table {name} has triggers of the application ({}) and this role may not keep them quiet while received rows are written: \
                 run once as a superuser 'grant set on parameter session_replication_role to ROLE' (PostgreSQL 15 and newer), \
                 or write triggers = \"fire\" for the table in the policy",
                table.application_triggers.join(", ")
            )));
        }
    }
    Ok(())
}
