//! What `shop-agent check` looks at in the database.

use protocol::names::TableName;

use super::Shop;
use crate::ReplicaError;
use crate::catalogue::Catalogue;
use crate::error::classify;
use crate::rights;

/// What was looked at, and what was found: a remark, or what is wrong and how to mend it.
pub(crate) type Finding = (String, Result<String, String>);

impl Shop {
    /// Looks at database, rights, policy and capture.
    pub async fn check(&self) -> Result<Vec<Finding>, ReplicaError> {
        let failed = |error| classify("check", error);
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        let mut findings = Vec::new();
        let version: String =
            client.query_one("select current_setting('server_version')", &[]).await.map_err(failed)?.get(0);
        findings.push(("database".to_owned(), Ok(format!("PostgreSQL {version}"))));
        let rights = match (&state.rights.role, state.rights.quiet) {
            (Some(role), true) => Ok(format!("rows are written by role {role}, triggers of the application stay quiet")),
            (Some(role), false) => Ok(format!("rows are written by role {role}, triggers of the application fire")),
            (None, _) => Err("the owner may not create roles: received rows are written with the owner's rights; grant CREATEROLE to it".to_owned()),
        };
        findings.push(("rights".to_owned(), rights));
        if let Some(role) = &state.rights.role {
            let written: Vec<TableName> = state
                .policy
                .tables
                .iter()
                .filter(|(_, table)| table.direction.synchronised())
                .map(|(name, _)| name.clone())
                .collect();
            let rights = rights::examine(&*client, role, &state.catalogue, &written).await?;
            findings
                .push(("rights too many".to_owned(), none_of(&rights.too_much, "nothing beyond what its tables need")));
            findings
                .push(("rights missing".to_owned(), none_of(&rights.missing, "it may do all that its tables need")));
        }
        let tables = state.policy.tables.values().filter(|table| table.direction.synchronised()).count();
        let policy = if tables == 0 {
            Err("no synchronised table exists yet: the office's clone creates them from --schema".to_owned())
        } else {
            Ok(format!("{:?}: {tables} synchronised tables", state.policy.name))
        };
        findings.push(("policy".to_owned(), policy));
        for (name, table) in &state.policy.tables {
            let found = state.catalogue.get(name);
            if table.direction.synchronised() && found.is_some_and(|found| found.key.is_empty()) {
                findings.push((
                    format!("table {name}"),
                    Err("has no primary key: add one, or make it \"local\"".to_owned()),
                ));
            }
        }
        for name in &state.unnamed {
            findings.push((
                format!("table {name}"),
                Err("is not in the policy and is taken as local: give it a direction in [tables]".to_owned()),
            ));
        }
        let capture = if state.wanted.keys().all(|name| state.captured.contains_key(name)) {
            Ok(format!("{} tables under capture", state.captured.len()))
        } else {
            Err("some tables are not under capture: restart the agent".to_owned())
        };
        findings.push(("capture".to_owned(), capture));
        let unvalidated = Catalogue::discover(&*client).await?.foreign_keys.iter().filter(|key| !key.validated).count();
        if unvalidated > 0 {
            findings.push((
                "foreign keys".to_owned(),
                Err(format!("{unvalidated} are not validated: a clone is unfinished, or local rows refer to rows the office does not have")),
            ));
        }
        Ok(findings)
    }
}

/// What is fine, or all that is not.
fn none_of(found: &[String], fine: &str) -> Result<String, String> {
    if found.is_empty() { Ok(fine.to_owned()) } else { Err(found.join("; ")) }
}
