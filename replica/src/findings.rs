//! What `check` finds out about a database in either role: a remark, or what is wrong and how to mend it.

use protocol::names::TableName;
use tokio_postgres::GenericClient;

use crate::ReplicaError;
use crate::catalogue::Catalogue;
use crate::error::classify;
use crate::node::ApplyRights;
use crate::rights;

/// What was looked at, and what was found.
pub type Finding = (String, Result<String, String>);

/// The server.
pub(crate) async fn of_server(client: &impl GenericClient) -> Result<Finding, ReplicaError> {
    let version: String = client
        .query_one("select current_setting('server_version')", &[])
        .await
        .map_err(|error| classify("check", error))?
        .get(0);
    Ok(("database".to_owned(), Ok(format!("PostgreSQL {version}"))))
}

/// The role that writes received rows into these tables.
pub(crate) async fn of_rights(
    client: &impl GenericClient,
    rights: &ApplyRights,
    catalogue: &Catalogue,
    written: &[TableName],
) -> Result<Vec<Finding>, ReplicaError> {
    let found = match (&rights.role, rights.quiet) {
        (Some(role), true) => Ok(format!("rows are written by role {role}, triggers of the application stay quiet")),
        (Some(role), false) => Ok(format!("rows are written by role {role}, triggers of the application fire")),
        (None, _) => Err(
            "the owner may not create roles: received rows are written with the owner's rights; grant CREATEROLE to it"
                .to_owned(),
        ),
    };
    let mut findings = vec![("rights".to_owned(), found)];
    if let Some(role) = &rights.role {
        let rights = rights::examine(client, role, catalogue, written).await?;
        findings.push(("rights too many".to_owned(), none_of(&rights.too_much, "nothing beyond what its tables need")));
        findings.push(("rights missing".to_owned(), none_of(&rights.missing, "it may do all that its tables need")));
    }
    Ok(findings)
}

/// Foreign keys that hold for new rows alone.
pub(crate) fn of_references(catalogue: &Catalogue) -> Option<Finding> {
    match catalogue.foreign_keys.iter().filter(|key| !key.validated).count() {
        0 => None,
        some => Some((
            "foreign keys".to_owned(),
            Err(format!(
                "{some} are not validated: a clone is unfinished, or local rows refer to rows the office does not have"
            )),
        )),
    }
}

/// What is fine, or all that is not.
fn none_of(found: &[String], fine: &str) -> Result<String, String> {
    if found.is_empty() { Ok(fine.to_owned()) } else { Err(found.join("; ")) }
}
