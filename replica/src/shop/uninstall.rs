//! Takes the product out of a shop's database: triggers, schema `sync` and the role that wrote received rows. Without an
//! agent, nobody would ever empty the change logs.

use std::time::{Duration, Instant};

use protocol::names::quote_identifier;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use super::backlog;
use super::sessions::APPLY_LOCK;
use crate::ReplicaError;
use crate::capture::{self, CapturedTable};
use crate::database::{Database, ENGINE, application_name};
use crate::error::classify;
use crate::{migrate, node};

/// The server notices a little late that a program has let go of its connections.
const LET_GO_MAX: Duration = Duration::from_secs(3);

/// What was taken out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Tables that had triggers of capture.
    pub tables: i64,
    /// The role that wrote received rows, if there was one and it went.
    pub role: Option<String>,
    /// The role that could not go, and why.
    pub role_left: Option<(String, String)>,
    /// Changes that some office had not acknowledged; only by force.
    pub changes: i64,
    /// Rows that the last clean had put aside; only by force.
    pub rows_aside: i64,
}

/// Takes it out, in one transaction; none if it was not there. Rows and sequences of the application stay as they are.
///
/// # Errors
/// `Protected` while an office lacks changes, sends some, or has not confirmed its last clone (`force` goes on all the
/// same); also, force or not, of an office's database, and where something of the application's rests on schema `sync`.
/// `Busy` while another program works on the database.
pub async fn uninstall(database: &Database, force: bool) -> Result<Option<Removed>, ReplicaError> {
    let mut client = database.connect("uninstall").await?;
    if migrate::version(&client).await? == 0 {
        return Ok(None);
    }
    // what earlier versions have left is looked at like the present one
    migrate::migrate(&mut client).await?;
    refuse_others(&client).await?;
    let failed = |error| classify("uninstall", error);
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.execute("select pg_advisory_xact_lock($1)", &[&migrate::LOCK]).await.map_err(failed)?;
    let alone: bool =
        transaction.query_one("select pg_try_advisory_xact_lock($1)", &[&APPLY_LOCK]).await.map_err(failed)?.get(0);
    if !alone {
        return Err(ReplicaError::Busy(
            "a session or a file of the office is being applied to this database: wait until that has ended".into(),
        ));
    }
    let role = role_of_shop(&transaction).await?;
    // a till in a long transaction must not make everybody wait behind us
    transaction.batch_execute("set local lock_timeout = '10s'").await.map_err(failed)?;
    let tables = lock(&transaction).await?;
    let mut removed = look(&transaction, force).await?;
    removed.tables = tables;
    remove_triggers(&transaction).await?;
    for schema in ["sync_aside", "sync"] {
        remove_schema(&transaction, schema).await?;
    }
    if let Some(role) = role {
        match remove_role(&transaction, &role).await? {
            None => removed.role = Some(role),
            Some(reason) => removed.role_left = Some((role, reason)),
        }
    }
    transaction.commit().await.map_err(failed)?;
    Ok(Some(removed))
}

/// An agent that works on the database from another state directory would install everything again within a minute.
async fn refuse_others(client: &Client) -> Result<(), ReplicaError> {
    let until = Instant::now() + LET_GO_MAX;
    loop {
        let row = client
            .query_one(
                "select count(*) from pg_stat_activity
                 where datname = current_database() and pid <> pg_backend_pid() and application_name = $1",
                &[&application_name(ENGINE)],
            )
            .await
            .map_err(|error| classify("look who works on the database", error))?;
        if row.get::<_, i64>(0) == 0 {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(ReplicaError::Busy(
                "another program of the product works on this database, perhaps an agent with another state directory: stop it first".into(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The role that writes received rows.
async fn role_of_shop(transaction: &Transaction<'_>) -> Result<Option<String>, ReplicaError> {
    let row = transaction
        .query_opt("select role, apply_role from sync.node", &[])
        .await
        .map_err(|error| classify("look whose database it is", error))?;
    let Some(row) = row else { return Ok(None) };
    if row.get::<_, &str>(0) != "shop" {
        return Err(ReplicaError::Protected(
            "this is the database of an office, not of a shop: branches, policies and what was agreed with every shop are in its schema sync; name the shop's database with --database".into(),
        ));
    }
    // a role of another name is not one that we have made
    Ok(row.get::<_, Option<String>>(1).filter(|role| role.starts_with("sync_apply_")))
}

/// Triggers of ours, by the functions that they call. Those of partitions that came with the parent's go with it.
const OURS: &str = "
    pg_trigger t join pg_proc p on p.oid = t.tgfoid join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'sync' and not t.tgisinternal and t.tgparentid = 0";

/// Locks the tables under capture, all at once: whatever was being written is committed, and counted. How many there are.
async fn lock(transaction: &Transaction<'_>) -> Result<i64, ReplicaError> {
    let failed = |error| classify("uninstall", error);
    let sql = format!("select distinct t.tgrelid::regclass::text from {OURS} order by 1");
    let tables: Vec<String> =
        transaction.query(&sql, &[]).await.map_err(failed)?.iter().map(|row| row.get(0)).collect();
    if !tables.is_empty() {
        let sql = format!("lock table {} in access exclusive mode", tables.join(", "));
        transaction.batch_execute(&sql).await.map_err(failed)?;
    }
    Ok(i64::try_from(tables.len()).unwrap_or(i64::MAX))
}

fn counted(number: i64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// What nobody would know any more afterwards.
async fn look(transaction: &Transaction<'_>, force: bool) -> Result<Removed, ReplicaError> {
    let failed = |error| classify("look what waits", error);
    let row = transaction
        .query_one(
            "select coalesce((select max(number) from sync.incarnation), 0),
                    (select count(*) from sync.session where state = 'open' and not dry_run),
                    coalesce((select sum(rows) from sync.aside), 0)::bigint, (select branch from sync.node)",
            &[],
        )
        .await
        .map_err(failed)?;
    let (incarnation, sessions, rows_aside): (i32, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let branch = row.get::<_, Option<String>>(3).unwrap_or_else(|| "NAME".to_owned());
    let captured: Vec<CapturedTable> = capture::captured(transaction).await?.into_values().collect();
    let backlog = backlog::of_offices(transaction, incarnation, &captured).await?;
    let changes = backlog.iter().map(|office| office.changes).max().unwrap_or(0);
    let mut reasons: Vec<String> = backlog
        .iter()
        .filter(|office| office.changes > 0)
        .map(|office| {
            format!(
                "office {:?} has not acknowledged {} of this shop: run 'office-client update {branch}' twice, for the second run confirms what the first has taken in",
                office.office,
                counted(office.changes, "change")
            )
        })
        .collect();
    if sessions > 0 {
        reasons.push(format!(
            "{} of an office still arriving: let 'office-client update {branch}' finish first",
            counted(sessions, "session")
        ));
    }
    if rows_aside > 0 {
        reasons.push(format!(
            "{} put aside by the last clean and still kept: 'shop-agent restore-before-clean' brings them back, and an update after the clone lets them go",
            counted(rows_aside, "row")
        ));
    }
    if !reasons.is_empty() && !force {
        return Err(ReplicaError::Protected(format!(
            "{}; or say --force, and nobody knows of it any more",
            reasons.join("; ")
        )));
    }
    Ok(Removed { changes, rows_aside, ..Removed::default() })
}

async fn remove_triggers(transaction: &Transaction<'_>) -> Result<(), ReplicaError> {
    let sql = format!("select format('drop trigger %I on %s', t.tgname, t.tgrelid::regclass) from {OURS}");
    carry_out(transaction, &sql, &[]).await
}

/// Drops everything in a schema and the schema itself. Not by CASCADE: what rests on it may be the application's own.
async fn remove_schema(transaction: &Transaction<'_>, schema: &'static str) -> Result<(), ReplicaError> {
    let sql = "
        select 'drop view ' || string_agg(c.oid::regclass::text, ', ')
            from pg_class c where c.relnamespace = to_regnamespace($1) and c.relkind = 'v'
        union all select 'drop table ' || string_agg(c.oid::regclass::text, ', ')
            from pg_class c where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'p')
        union all select 'drop routine ' || string_agg(p.oid::regprocedure::text, ', ')
            from pg_proc p where p.pronamespace = to_regnamespace($1)
        union all select 'drop schema ' || quote_ident(nspname) from pg_namespace where nspname = $1";
    carry_out(transaction, sql, &[&schema]).await
}

/// Runs the statements that a query of the catalogue gives.
async fn carry_out(
    transaction: &Transaction<'_>,
    query: &str,
    parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<(), ReplicaError> {
    let rows = transaction.query(query, parameters).await.map_err(|error| classify("uninstall", error))?;
    for sql in rows.iter().filter_map(|row| row.get::<_, Option<String>>(0)) {
        transaction.batch_execute(&sql).await.map_err(of_dependents)?;
    }
    Ok(())
}

/// Says what rests on schema `sync`, where that is why it cannot go.
fn of_dependents(error: tokio_postgres::Error) -> ReplicaError {
    match error.as_db_error() {
        Some(db) if *db.code() == SqlState::DEPENDENT_OBJECTS_STILL_EXIST => ReplicaError::Protected(format!(
            "something in this database that is not ours rests on schema sync and would go with it: {}; drop or change it first",
            db.detail().unwrap_or(db.message()).replace('\n', ", ")
        )),
        _ => classify("uninstall", error),
    }
}

/// Takes the role's rights in this database away, and the role itself; why it has to stay, if it does.
async fn remove_role(transaction: &Transaction<'_>, role: &str) -> Result<Option<String>, ReplicaError> {
    let failed = |error| classify("remove the apply role", error);
    let row = transaction
        .query_opt(
            "select exists (select from pg_shdepend d where d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid
                            and d.deptype = 'o' and d.dbid in (0, (select oid from pg_database where datname = current_database())))
             from pg_roles r where r.rolname = $1",
            &[&role],
        )
        .await
        .map_err(failed)?;
    let Some(row) = row else { return Ok(None) };
    if row.get(0) {
        // DROP OWNED would drop tables with their rows
        node::revoke_surplus(transaction, role, &[]).await?;
        return Ok(Some("it owns something in this database".to_owned()));
    }
    let quoted = quote_identifier(role);
    let mut reason = None;
    for sql in [format!("drop owned by {quoted}"), format!("drop role {quoted}")] {
        transaction.batch_execute("savepoint role").await.map_err(failed)?;
        match transaction.batch_execute(&sql).await {
            Ok(()) => transaction.batch_execute("release savepoint role").await.map_err(failed)?,
            Err(error) => {
                let Some(db) = error.as_db_error() else { return Err(failed(error)) };
                let detail = db.detail().map(|detail| format!(" ({})", detail.replace('\n', ", ")));
                reason.get_or_insert(format!("{}{}", db.message(), detail.unwrap_or_default()));
                transaction
                    .batch_execute("rollback to savepoint role; release savepoint role")
                    .await
                    .map_err(failed)?;
            }
        }
    }
    Ok(reason)
}
