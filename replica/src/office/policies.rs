//! Policies, stored under their names.

use protocol::policy::{Policy, ResolvedPolicy};

use super::Office;
use crate::ReplicaError;
use crate::catalogue::Catalogue;
use crate::error::classify;
use crate::ids;

impl Office {
    /// Stores a policy under its name (replacing one of that name) and adapts the capture to it.
    pub async fn import_policy(&self, policy: &Policy) -> Result<(), ReplicaError> {
        let (_, findings) = self.check_policy(policy).await?;
        let wrong: Vec<String> = findings.into_iter().filter_map(Result::err).collect();
        if !wrong.is_empty() {
            return Err(ReplicaError::Schema(format!(
                "policy {:?} cannot work here: {}",
                policy.name(),
                wrong.join("; ")
            )));
        }
        let client = self.inner.pool.get().await?;
        client
            .execute(
                "insert into sync.policy(name, source, digest) values ($1, $2, $3)
                 on conflict (name) do update set source = excluded.source, digest = excluded.digest, imported_at = clock_timestamp()
                 where policy.digest <> excluded.digest or policy.source <> excluded.source",
                &[&policy.name(), &policy.source(), &policy.digest()],
            )
            .await
            .map_err(|error| classify("store the policy", error))?;
        drop(client);
        self.state().await?;
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
        let row = client
            .query_opt("select source from sync.policy where name = $1", &[&name])
            .await
            .map_err(|error| classify("read the policy", error))?;
        let Some(row) = row else {
            return Err(ReplicaError::Invalid(format!(
                "there is no policy {name:?}; import one with 'office-client policy import FILE'"
            )));
        };
        Policy::parse(row.get(0)).map_err(|error| ReplicaError::Schema(format!("stored policy {name:?}: {error}")))
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
            for column in rules.delta.iter().chain(&rules.history_column) {
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
