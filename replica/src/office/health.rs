//! What `office-client check` looks at in the database.

use std::collections::BTreeSet;

use protocol::names::TableName;

use super::Office;
use crate::ReplicaError;
use crate::capture;
use crate::catalogue::Catalogue;
use crate::error::classify;
use crate::findings::{Finding, of_references, of_rights, of_server};

impl Office {
    /// Looks at server, rights, policies and capture.
    ///
    /// # Errors
    /// If the database does not answer, or a stored policy does not fit its tables at all.
    pub async fn check(&self) -> Result<Vec<Finding>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let mut findings = vec![of_server(&*client).await?];
        // looked at before the state is, which brings capture in line
        let covered: bool =
            client.query_one(capture::COVERED, &[]).await.map_err(|error| classify("check", error))?.get(0);
        drop(client);
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        let written: BTreeSet<TableName> = state
            .policies
            .values()
            .flat_map(|policy| policy.tables.iter())
            .filter(|(_, rules)| rules.direction.flows_to_office())
            .map(|(name, _)| name.clone())
            .collect();
        let written: Vec<TableName> = written.into_iter().collect();
        findings.extend(of_rights(&*client, &state.rights, &state.catalogue, &written).await?);
        for name in self.policies().await? {
            let (resolved, remarks) = match self.check_policy(&self.policy(&name).await?).await {
                Ok(checked) => checked,
                Err(ReplicaError::Schema(reason)) => {
                    findings.push((format!("policy {name}"), Err(reason)));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let tables = resolved.tables.values().filter(|table| table.direction.synchronised()).count();
            findings.push((format!("policy {name}"), Ok(format!("{tables} synchronised tables"))));
            findings.extend(remarks.into_iter().map(|remark| (format!("policy {name}"), remark)));
        }
        let capture = if covered {
            Ok(format!("{} tables under capture", state.captured.len()))
        } else {
            Err("triggers of capture had been changed or switched off; they are in place again, but changes may have been missed: run office-client verify --all".to_owned())
        };
        findings.push(("capture".to_owned(), capture));
        findings.extend(of_references(&state.catalogue));
        Ok(findings)
    }

    /// Creates the application's tables in a database that has none; how many there are then. Where there are some already,
    /// nothing is done.
    ///
    /// # Errors
    /// If the script fails; nothing is left of it then.
    pub async fn create_tables(&self, sql: &str) -> Result<usize, ReplicaError> {
        let failed = |error: tokio_postgres::Error| {
            let reason = error.as_db_error().map_or_else(|| error.to_string(), |db| db.message().to_owned());
            ReplicaError::Schema(format!("the schema cannot be created: {reason}"))
        };
        let mut client = self.inner.pool.get().await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let there = Catalogue::discover(&transaction).await?.tables.len();
        if there > 0 {
            return Ok(there);
        }
        transaction.batch_execute("set local search_path = public").await.map_err(failed)?;
        transaction.batch_execute(sql).await.map_err(failed)?;
        transaction.batch_execute("set local search_path = pg_catalog").await.map_err(failed)?;
        let tables = Catalogue::discover(&transaction).await?.tables.len();
        transaction.commit().await.map_err(failed)?;
        Ok(tables)
    }
}
