//! What `shop-agent check` looks at in the database.

use protocol::names::TableName;

use super::Shop;
use crate::ReplicaError;
use crate::catalogue::Catalogue;
use crate::error::classify;
use crate::findings::{Finding, of_references, of_rights, of_server};

impl Shop {
    /// Looks at database, rights, policy and capture.
    pub async fn check(&self) -> Result<Vec<Finding>, ReplicaError> {
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        let mut findings = vec![of_server(&*client).await?];
        let synchronised = |table: &&TableName| state.policy.tables[*table].direction.synchronised();
        let written: Vec<TableName> = state.policy.tables.keys().filter(synchronised).cloned().collect();
        findings.extend(of_rights(&*client, &state.rights, &state.catalogue, &written).await?);
        let tables = state.policy.tables.values().filter(|table| table.direction.synchronised()).count();
        let policy = match tables {
            0 => self.try_schema().await,
            _ => Ok(format!("{:?}: {tables} synchronised tables", state.policy.name)),
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
        findings.extend(of_references(&Catalogue::discover(&*client).await?));
        Ok(findings)
    }
}

impl Shop {
    /// Where no table exists yet, the first clone makes them: tries that, holds the policy against them, and takes it back.
    async fn try_schema(&self) -> Result<String, String> {
        if self.inner.schema_sql.is_none() {
            return Err("no synchronised table exists, and no basic schema is configured that the first clone could create them from: name one with --schema".to_owned());
        }
        let tried = async {
            let failed = |error| classify("try the basic schema", error);
            let mut client = self.inner.pool.get().await?;
            let transaction = client.transaction().await.map_err(failed)?;
            self.create_schema(&transaction).await?;
            let catalogue = Catalogue::discover(&transaction).await?;
            let (resolved, unnamed) = self.policy().resolve_known(&catalogue.names()).map_err(|errors| {
                ReplicaError::Schema(format!(
                    "policy {:?} does not fit the basic schema: {errors}",
                    self.policy().name()
                ))
            })?;
            transaction.rollback().await.map_err(failed)?;
            let tables = resolved.tables.values().filter(|table| table.direction.synchronised()).count();
            Ok::<_, ReplicaError>((tables, unnamed.len()))
        };
        match tried.await {
            Ok((0, _)) => Err("the basic schema has no table that the policy synchronises".to_owned()),
            Ok((_, unnamed)) if unnamed > 0 => Err(format!(
                "{unnamed} tables of the basic schema are not in the policy: give them a direction in [tables]"
            )),
            Ok((tables, _)) => Ok(format!(
                "{:?}: {tables} synchronised tables, which the first clone creates from the basic schema",
                self.policy().name()
            )),
            Err(error) => Err(error.to_string()),
        }
    }
}
