//! What `shop-agent check` looks at in the database. It is looked at as it is: nothing is installed, mended or begun by it,
//! or a gap in the capture would be closed before anybody has heard of it.

use protocol::names::TableName;
use protocol::policy::Policy;
use tokio_postgres::Client;

use super::gaps::Gaps;
use super::state::{Tables, refuse_loud_triggers};
use super::{ShopOptions, create_schema};
use crate::catalogue::Catalogue;
use crate::error::classify;
use crate::findings::{Finding, of_clock, of_references, of_rights, of_server};
use crate::node::ApplyRights;
use crate::witness::Witness;
use crate::{ReplicaError, capture, migrate, node};

/// Looks at database, rights, policy and capture of a shop, and changes nothing: what the agent would make is tried and
/// taken back.
///
/// # Errors
/// If the database does not answer, or the policy does not fit its tables at all.
pub async fn inspect(options: &ShopOptions) -> Result<Vec<Finding>, ReplicaError> {
    let mut client = options.database.connect("check").await?;
    let failed = |error| classify("check", error);
    let mut findings = vec![of_server(&client).await?, of_clock(&client).await?];
    let standby: bool = client.query_one("select pg_is_in_recovery()", &[]).await.map_err(failed)?.get(0);
    if standby {
        findings.push((
            "standby".to_owned(),
            Err("this database is a hot standby: watermarks taken there would skip changes; connect to the primary"
                .to_owned()),
        ));
        return Ok(findings);
    }
    let version = migrate::version(&client).await?;
    findings.extend(of_installation(&client, version).await?);
    let tables = Tables::discover(&client, &options.policy).await?;
    findings.extend(of_role(&mut client, &tables).await?);
    let synchronised = tables.written().len();
    let policy = match synchronised {
        0 => try_schema(&mut client, &options.policy, options.schema_sql.as_deref()).await,
        _ => Ok(format!("{:?}: {synchronised} synchronised tables", tables.policy.name)),
    };
    findings.push(("policy".to_owned(), policy));
    for (name, table) in &tables.policy.tables {
        let found = tables.catalogue.get(name);
        if table.direction.synchronised() && found.is_some_and(|found| found.key.is_empty()) {
            findings
                .push((format!("table {name}"), Err("has no primary key: add one, or make it \"local\"".to_owned())));
        }
    }
    for name in &tables.unnamed {
        findings.push((
            format!("table {name}"),
            Err("is not in the policy and is taken as local: give it a direction in [tables]".to_owned()),
        ));
    }
    if version == migrate::VERSION {
        let capture = of_capture(&client, options, &tables).await?;
        findings.push(("capture".to_owned(), capture));
        if let Some(reason) = node::would_be_restored(&client, &Witness::new(&options.state_dir)).await? {
            findings.push((
                "history".to_owned(),
                Err(format!(
                    "{reason}: a new history begins when the agent starts, and the office has to run 'office-client verify {} --repair'; if it was moved whole, say so with 'shop-agent after-upgrade' first",
                    options.branch
                )),
            ));
        }
    }
    findings.extend(of_references(&tables.catalogue));
    Ok(findings)
}

/// Schema `sync`, where it is not as this program has it.
async fn of_installation(client: &Client, version: i32) -> Result<Option<Finding>, ReplicaError> {
    let finding = |found| Some(("schema sync".to_owned(), found));
    if version == migrate::VERSION {
        return Ok(None);
    }
    if version > migrate::VERSION {
        return Ok(finding(Err(format!(
            "it is version {version}, this program knows version {}: install the newer program",
            migrate::VERSION
        ))));
    }
    if version > 0 {
        return Ok(finding(Ok(format!(
            "version {version}, which the agent brings to version {} when it starts",
            migrate::VERSION
        ))));
    }
    let row = client
        .query_one(
            "select has_database_privilege(current_database(), 'create'), quote_ident(current_user), quote_ident(current_database())",
            &[],
        )
        .await
        .map_err(|error| classify("check", error))?;
    if row.get(0) {
        return Ok(finding(Ok(
            "not installed yet: the agent makes it, and installs capture, when it starts".to_owned()
        )));
    }
    let (user, database): (String, String) = (row.get(1), row.get(2));
    Ok(finding(Err(format!(
        "it is not installed, and {user} may not make it: grant create on database {database} to {user}"
    ))))
}

/// The role that writes received rows, as the agent would leave it.
async fn of_role(client: &mut Client, tables: &Tables) -> Result<Vec<Finding>, ReplicaError> {
    let failed = |error| classify("check", error);
    let quiet = node::may_keep_quiet(client).await?;
    let transaction = client.transaction().await.map_err(failed)?;
    let written = tables.written();
    let role = node::grant_rights(&transaction, &tables.catalogue, &written).await?;
    let rights = ApplyRights { role, quiet };
    let mut findings = of_rights(&transaction, &rights, &tables.catalogue, &written).await?;
    transaction.rollback().await.map_err(failed)?;
    if !quiet && let Err(error) = refuse_loud_triggers(&tables.catalogue, &tables.policy) {
        findings.push(("triggers".to_owned(), Err(error.to_string())));
    }
    Ok(findings)
}

/// Whether changes may have been missed.
async fn of_capture(
    client: &Client,
    options: &ShopOptions,
    tables: &Tables,
) -> Result<Result<String, String>, ReplicaError> {
    let listed = |names: &[TableName]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let verify = format!("the office has to run 'office-client verify {} --repair'", options.branch);
    let gaps = capture::gaps(client, &tables.catalogue, &tables.wanted).await?;
    if !gaps.is_empty() {
        return Ok(Err(format!(
            "triggers are missing, switched off or replaced, and changes of these tables may have been missed: {}; the agent puts them in place when it starts, within a minute if it runs, and then {verify}",
            listed(&gaps)
        )));
    }
    let noticed = Gaps::of(&options.state_dir).open();
    if !noticed.is_empty() {
        let told: Vec<String> =
            noticed.iter().map(|gap| format!("{} (noticed at {})", gap.table, gap.noticed_at)).collect();
        return Ok(Err(format!(
            "triggers had been missing, switched off or replaced, and changes of these tables may have been missed: {}; they are in place again, and {verify}",
            told.join(", ")
        )));
    }
    let captured = capture::captured(client).await?;
    let missing: Vec<TableName> = tables.wanted.keys().filter(|name| !captured.contains_key(*name)).cloned().collect();
    Ok(Ok(match missing.as_slice() {
        [] => format!("{} tables under capture", tables.wanted.len()),
        missing => format!(
            "{} tables under capture; these come under it when the agent starts, or within a minute if it runs: {}",
            tables.wanted.len() - missing.len(),
            listed(missing)
        ),
    }))
}

/// Where no table exists yet, the first clone makes them: tries that, holds the policy against them, and takes it back.
async fn try_schema(client: &mut Client, policy: &Policy, sql: Option<&str>) -> Result<String, String> {
    if sql.is_none() {
        return Err("no synchronised table exists, and no basic schema is configured that the first clone could create them from: name one with --schema".to_owned());
    }
    let tried = async {
        let failed = |error| classify("try the basic schema", error);
        let transaction = client.transaction().await.map_err(failed)?;
        create_schema(&transaction, sql).await?;
        let catalogue = Catalogue::discover(&transaction).await?;
        let (resolved, unnamed) = policy.resolve_known(&catalogue.names()).map_err(|errors| {
            ReplicaError::Schema(format!("policy {:?} does not fit the basic schema: {errors}", policy.name()))
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
            policy.name()
        )),
        Err(error) => Err(error.to_string()),
    }
}
