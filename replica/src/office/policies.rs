//! Policies, stored under their names.

use protocol::policy::{ConflictRule, Policy, ResolvedPolicy};

use tokio_postgres::{GenericClient, Transaction};

use super::Office;
use crate::ReplicaError;
use crate::catalogue::Catalogue;
use crate::error::classify;
use crate::{capture, ids, subset};

impl Office {
    /// Stores a policy under its name (replacing one of that name) and adapts the capture to it.
    pub async fn import_policy(&self, policy: &Policy) -> Result<(), ReplicaError> {
        let (resolved, findings) = self.check_policy(policy).await?;
        let amounts = resolved.tables.iter().map(|(name, rules)| (name, &rules.delta));
        let wrong: Vec<String> = findings.into_iter().filter_map(Result::err).collect();
        if !wrong.is_empty() {
            return Err(ReplicaError::Schema(format!(
                "policy {:?} cannot work here: {}",
                policy.name(),
                wrong.join("; ")
            )));
        }
        let mut client = self.inner.pool.get().await?;
        let failed = |error| classify("store the policy", error);
        let transaction = client.transaction().await.map_err(failed)?;
        let rows = transaction
            .query(
                "select b.branch_id, p.source from sync.branch_synchronization b join sync.policy p on p.name = b.policy where p.name = $1",
                &[&policy.name()],
            )
            .await
            .map_err(failed)?;
        for row in &rows {
            self.adjust_part(&transaction, row.get(0), row.get(1), policy).await?;
        }
        transaction
            .execute(
                "insert into sync.policy(name, source, digest) values ($1, $2, $3)
                 on conflict (name) do update set source = excluded.source, digest = excluded.digest, imported_at = clock_timestamp()
                 where policy.digest <> excluded.digest or policy.source <> excluded.source",
                &[&policy.name(), &policy.source(), &policy.digest()],
            )
            .await
            .map_err(failed)?;
        // an amount that is none any more begins anew should it become one again
        for (name, columns) in amounts {
            transaction
                .execute(
                    "delete from sync.total t using sync.branch_synchronization b
                     where b.policy = $1 and t.peer = b.peer and t.schema_name = $2 and t.table_name = $3 and t.column_name <> all($4)",
                    &[&policy.name(), &name.schema, &name.name, &columns],
                )
                .await
                .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        drop(client);
        self.state().await?;
        Ok(())
    }

    /// Another row filter gives a branch other rows: those that come or go with it are sent at the next update, as
    /// inserts and deletes. Tables that begin to flow are sent whole when their capture is installed.
    pub(super) async fn adjust_part(
        &self,
        transaction: &Transaction<'_>,
        branch_id: i64,
        before: &str,
        after: &Policy,
    ) -> Result<(), ReplicaError> {
        let catalogue = Catalogue::discover(transaction).await?;
        let captured = capture::captured(transaction).await?;
        let names = catalogue.names();
        // a stored policy that no longer fits gave the branch nothing that could be told
        let before = Policy::parse(before).ok().and_then(|policy| policy.resolve_known(&names).ok());
        let (Some((before, _)), Ok((after, _))) = (before, after.resolve_known(&names)) else { return Ok(()) };
        for (name, _) in after.tables.iter().filter(|(_, rules)| rules.direction.flows_to_shop()) {
            let flowed = before.get(name).is_some_and(|before| before.direction.flows_to_shop());
            let (Some(table), Some(captured)) = (catalogue.get(name), captured.get(name)) else { continue };
            let whole = || "true".to_owned();
            let old = if flowed {
                subset::condition(&catalogue, &before, name, branch_id)?.unwrap_or_else(whole)
            } else {
                // sent once, at the clone, or never
                "null::boolean".to_owned()
            };
            let new = subset::condition(&catalogue, &after, name, branch_id)?.unwrap_or_else(whole);
            if old != new {
                capture::request(transaction, table, captured, &format!("({old}) is distinct from ({new})")).await?;
            }
        }
        Ok(())
    }

    /// Names of the stored policies.
    pub async fn policies(&self) -> Result<Vec<String>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query("select name from sync.policy order by name", &[])
            .await
            .map_err(|error| classify("list the policies", error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// A stored policy.
    pub async fn policy(&self, name: &str) -> Result<Policy, ReplicaError> {
        let client = self.inner.pool.get().await?;
        parse(name, &source(&*client, name).await?)
    }

    /// Holds a policy against the database; a line per finding: Ok(remark) or Err(what cannot work and how to mend it).
    pub async fn check_policy(
        &self,
        policy: &Policy,
    ) -> Result<(ResolvedPolicy, Vec<Result<String, String>>), ReplicaError> {
        let client = self.inner.pool.get().await?;
        let catalogue = Catalogue::discover(&*client).await?;
        let resolved = policy.resolve(&catalogue.names()).map_err(|errors| {
            ReplicaError::Schema(format!("policy {:?} does not fit this database: {errors}", policy.name()))
        })?;
        let mut findings = Vec::new();
        for (name, rules) in resolved.tables.iter().filter(|(_, rules)| rules.direction.synchronised()) {
            let Some(table) = catalogue.get(name) else { continue };
            if table.key.is_empty() {
                findings.push(Err(format!(
                    "table {name} has no primary key, so its rows cannot be told apart: add one, or make it \"local\""
                )));
            }
            if rules.conflict == ConflictRule::NewestWins {
                findings.push(Ok(format!(
                    "table {name}: newest-wins goes by the clocks of the machines on which rows are changed, so a clock that is ahead wins; keep them set by a time service"
                )));
            }
            for column in rules.delta.iter().chain(&rules.money).chain(&rules.history_column) {
                if table.column(column).is_none() {
                    findings.push(Err(format!("table {name} has no column {column:?}, which its options name")));
                }
            }
        }
        for key in &catalogue.foreign_keys {
            if let Err(problem) = resolved.check_reference(&key.child, &key.parent) {
                let text = format!("foreign key {}: {problem}", key.name);
                findings.push(if problem.is_fatal() { Err(text) } else { Ok(text) });
            }
        }
        let columns = ids::id_columns(&catalogue, &resolved);
        findings.extend(ids::too_narrow(&columns, self.inner.id_span.saturating_mul(2)).into_iter().map(Err));
        Ok((resolved, findings))
    }
}

/// A policy as it was imported.
pub(super) async fn source(client: &impl GenericClient, name: &str) -> Result<String, ReplicaError> {
    let row = client
        .query_opt("select source from sync.policy where name = $1", &[&name])
        .await
        .map_err(|error| classify("read the policy", error))?;
    row.map(|row| row.get(0)).ok_or_else(|| {
        ReplicaError::Invalid(format!(
            "there is no policy {name:?}; import one with 'office-client policy import FILE'"
        ))
    })
}

/// A stored policy, read.
pub(super) fn parse(name: &str, source: &str) -> Result<Policy, ReplicaError> {
    Policy::parse(source).map_err(|error| ReplicaError::Schema(format!("stored policy {name:?}: {error}")))
}
