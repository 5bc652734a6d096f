//! What a database is to the product: its role, its incarnation, its peers, the role that applies.

use tokio_postgres::{Client, GenericClient};

use crate::ReplicaError;
use crate::catalogue::Catalogue;
use crate::error::classify;
use crate::transplant;
use crate::witness::{Doubt, Witness};
use protocol::names::{TableName, quote_identifier};

/// Role of a node; "office" is given by configuration, any node can take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Connects and decides.
    Office,
    /// Listens.
    Shop,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Office => "office",
            Self::Shop => "shop",
        }
    }
}

/// Identity of a database's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incarnation {
    /// Its row in `sync.incarnation`.
    pub number: i32,
    /// A UUID.
    pub id: String,
    /// The three digits that issued watermarks carry.
    pub tag: u16,
}

/// What a database turned out to be when it was opened.
#[derive(Debug, Clone)]
pub struct Established {
    /// The incarnation in force.
    pub incarnation: Incarnation,
    /// Why it began just now, when the database is not the one it was.
    pub restored: Option<&'static str>,
}

/// Where a database lies: a copy of it lies elsewhere. The timeline branches when a server is restored to a point in
/// time, and also when a standby takes over.
const PLACE: &str = "(select c.system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int as timeline,
    d.oid as database_oid from pg_control_system() c, pg_database d where d.datname = current_database())";

/// Writes down the role (and branch), gives the database an incarnation, refuses a standby, and notices a database that
/// was restored or copied: on another server, as another database of it, or one that knows less than its witness.
pub async fn establish(
    client: &mut Client,
    role: Role,
    branch: Option<&str>,
    witness: &Witness,
) -> Result<Established, ReplicaError> {
    let failed = |error| classify("establish the node", error);
    let standby: bool = client.query_one("select pg_is_in_recovery()", &[]).await.map_err(failed)?.get(0);
    if standby {
        return Err(ReplicaError::Invalid(
            "this database is a hot standby: watermarks taken there would skip changes; connect to the primary".into(),
        ));
    }
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.execute("select pg_advisory_xact_lock($1)", &[&crate::migrate::LOCK]).await.map_err(failed)?;
    transaction
        .execute(
            "insert into sync.node(role, branch) values ($1, $2)
             on conflict (only_row) do update set role = excluded.role, branch = excluded.branch
             where row(node.role, node.branch) is distinct from row(excluded.role, excluded.branch)",
            &[&role.as_str(), &branch],
        )
        .await
        .map_err(failed)?;
    let known = doubts(&transaction, witness).await?;
    let restored = match known {
        Known::New => {
            begin_incarnation(&transaction, "installed").await?;
            None
        }
        Known::Other(reason) => {
            begin_incarnation(&transaction, reason).await?;
            transplant::bring_to_present(&transaction).await?;
            Some(reason)
        }
        Known::Moved => {
            confirm(&transaction).await?;
            None
        }
        Known::Same => None,
    };
    let incarnation = incarnation(&transaction).await?;
    transaction.commit().await.map_err(failed)?;
    if known == Known::New {
        witness.begin(&incarnation)?;
    }
    Ok(Established { incarnation, restored })
}

/// Whether the database is still what it was when it was established.
pub async fn is_as_established(
    client: &impl GenericClient,
    witness: &Witness,
    known: &Incarnation,
) -> Result<bool, ReplicaError> {
    Ok(doubts(client, witness).await? == Known::Same && incarnation(client).await? == *known)
}

/// Why a new history would begin if the database were opened now; none when it is the one it was, or nobody knew it yet.
pub(crate) async fn would_be_restored(
    client: &impl GenericClient,
    witness: &Witness,
) -> Result<Option<&'static str>, ReplicaError> {
    Ok(match doubts(client, witness).await? {
        Known::Other(reason) => Some(reason),
        Known::New | Known::Same | Known::Moved => None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    New,
    Same,
    /// The same, and what is stored of its place has to be brought up to date.
    Moved,
    Other(&'static str),
}

async fn doubts(client: &impl GenericClient, witness: &Witness) -> Result<Known, ReplicaError> {
    let row = client
        .query_opt(
            &format!(
                "select i.system_identifier = p.system_identifier, i.database_oid = p.database_oid, i.timeline = p.timeline
                 from {PLACE} p, (select * from sync.incarnation order by number desc limit 1) i"
            ),
            &[],
        )
        .await
        .map_err(|error| classify("establish the node", error))?;
    let Some(row) = row else { return Ok(Known::New) };
    let (system, database, timeline): (bool, Option<bool>, Option<bool>) = (row.get(0), row.get(1), row.get(2));
    let doubt = witness.question(client, &incarnation(client).await?).await?;
    Ok(match () {
        () if !system => Known::Other("the database is on another server than before"),
        () if database == Some(false) => Known::Other("the database is a copy of the one it was"),
        () if doubt == Doubt::KnowsLess => {
            Known::Other("the database knows less than it had told: it was restored from a backup")
        }
        // a standby that took over and lost nothing goes on; where nobody can say so, it may have lost something
        () if timeline == Some(false) && doubt == Doubt::NoWitness => {
            Known::Other("the server has left its timeline, and no witness says that nothing was lost")
        }
        () if timeline != Some(true) || database.is_none() => Known::Moved,
        () => Known::Same,
    })
}

/// Begins a new incarnation: watermarks issued before are of another history from now on.
pub async fn begin_incarnation(client: &impl GenericClient, reason: &str) -> Result<(), ReplicaError> {
    client
        .execute(
            // a tag no earlier incarnation of this database has, as long as there are free ones
            &format!(
                "insert into sync.incarnation(tag, system_identifier, timeline, database_oid, reason)
                 select t.tag, p.system_identifier, p.timeline, p.database_oid, $1 from {PLACE} p,
                 (select tag from generate_series(1, 999) tag
                  where tag not in (select tag from sync.incarnation order by number desc limit 900)
                  order by random() limit 1) t"
            ),
            &[&reason],
        )
        .await
        .map_err(|error| classify("begin an incarnation", error))?;
    Ok(())
}

/// Takes the place where the database lies now for that of the incarnation in force.
pub async fn confirm(client: &impl GenericClient) -> Result<(), ReplicaError> {
    client
        .execute(
            &format!(
                "update sync.incarnation set system_identifier = p.system_identifier, timeline = p.timeline,
                     database_oid = p.database_oid
                 from {PLACE} p where number = (select max(number) from sync.incarnation)"
            ),
            &[],
        )
        .await
        .map_err(|error| classify("confirm the incarnation", error))?;
    Ok(())
}

/// Undoes what was begun because the database lies elsewhere than before: it was moved there whole (`pg_upgrade`, a move
/// of the data directory), so its history goes on.
///
/// # Errors
/// When the witness does not vouch for the history, or the database does not answer.
pub async fn resume_incarnation(client: &mut Client, witness: &Witness) -> Result<Incarnation, ReplicaError> {
    let failed = |error| classify("resume the incarnation", error);
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.execute("select pg_advisory_xact_lock($1)", &[&crate::migrate::LOCK]).await.map_err(failed)?;
    let rows = transaction
        .query("select number, id::text, tag from sync.incarnation order by number desc", &[])
        .await
        .map_err(failed)?;
    let mut vouched = None;
    for row in &rows {
        let one = Incarnation { number: row.get(0), id: row.get(1), tag: row.get::<_, i16>(2).unsigned_abs() };
        match witness.question(&transaction, &one).await? {
            Doubt::NoWitness => {}
            Doubt::None => {
                vouched = Some(one);
                break;
            }
            Doubt::KnowsLess => {
                return Err(ReplicaError::Restored(
                    "the database knows less than it had told its peers: this is no upgrade, it was restored; run 'after-restore' and let the office verify with --repair".into(),
                ));
            }
        }
    }
    let Some(incarnation) = vouched else {
        return Err(ReplicaError::Restored(
            "the state directory holds no witness of this database, so nobody can say that nothing was lost: run 'after-restore' and let the office verify with --repair".into(),
        ));
    };
    transaction
        .execute("update sync.watermark set incarnation = $1 where incarnation > $1", &[&incarnation.number])
        .await
        .map_err(failed)?;
    transaction
        .execute(
            "update sync.branch_synchronization set pushed_incarnation = $1 where pushed_incarnation > $1",
            &[&incarnation.number],
        )
        .await
        .map_err(failed)?;
    transaction
        .execute("delete from sync.incarnation where number > $1", &[&incarnation.number])
        .await
        .map_err(failed)?;
    confirm(&transaction).await?;
    crate::capture::recognise(&transaction).await?;
    transaction.commit().await.map_err(failed)?;
    Ok(incarnation)
}

/// The incarnation in force.
pub async fn incarnation(client: &impl GenericClient) -> Result<Incarnation, ReplicaError> {
    let row = client
        .query_one("select number, id::text, tag from sync.incarnation order by number desc limit 1", &[])
        .await
        .map_err(|error| classify("read the incarnation", error))?;
    Ok(Incarnation { number: row.get(0), id: row.get(1), tag: row.get::<_, i16>(2).unsigned_abs() })
}

/// The number of a peer, made when it is new.
pub async fn peer(client: &impl GenericClient, name: &str) -> Result<i32, ReplicaError> {
    let failed = |error| classify("look up the peer", error);
    if let Some(row) = client.query_opt("select peer from sync.peer where name = $1", &[&name]).await.map_err(failed)? {
        return Ok(row.get(0));
    }
    let row = client
        .query_one(
            "insert into sync.peer(name) values ($1) on conflict (name) do update set name = excluded.name returning peer",
            &[&name],
        )
        .await
        .map_err(failed)?;
    Ok(row.get(0))
}

/// How received rows are written.
#[derive(Debug, Clone, Default)]
pub struct ApplyRights {
    /// Role to change to while writing rows, if the owner could make one.
    pub role: Option<String>,
    /// Whether `session_replication_role = replica` can be set: triggers stay quiet, the engine checks foreign keys.
    pub quiet: bool,
}

/// Makes the apply role with the rights its tables need and no more, and finds out whether triggers can be kept quiet.
pub async fn ensure_apply_rights(
    client: &mut Client,
    catalogue: &Catalogue,
    tables: &[TableName],
) -> Result<ApplyRights, ReplicaError> {
    let failed = |error| classify("prepare the apply role", error);
    let quiet = may_keep_quiet(client).await?;
    let transaction = client.transaction().await.map_err(failed)?;
    let role = grant_rights(&transaction, catalogue, tables).await?;
    if role.is_some() {
        transaction
            .execute("update sync.node set apply_role = $1 where apply_role is distinct from $1", &[&role])
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(ApplyRights { role, quiet })
}

/// Whether triggers of the application can be kept from firing on received rows.
pub(crate) async fn may_keep_quiet(client: &mut Client) -> Result<bool, ReplicaError> {
    let failed = |error| classify("prepare the apply role", error);
    let transaction = client.transaction().await.map_err(failed)?;
    let set = transaction.batch_execute("set local session_replication_role = replica").await.is_ok();
    transaction.rollback().await.map_err(failed)?;
    Ok(set)
}

/// Makes the role where it is missing, and gives it what its tables need; none where the owner may not create roles.
pub(crate) async fn grant_rights(
    transaction: &tokio_postgres::Transaction<'_>,
    catalogue: &Catalogue,
    tables: &[TableName],
) -> Result<Option<String>, ReplicaError> {
    let failed = |error| classify("prepare the apply role", error);
    let row = transaction
        .query_one(
            "select oid::int8, (select rolcreaterole or rolsuper from pg_roles where rolname = current_user)
             from pg_database where datname = current_database()",
            &[],
        )
        .await
        .map_err(failed)?;
    let (database, may_create): (i64, bool) = (row.get(0), row.get(1));
    if !may_create {
        return Ok(None);
    }
    // roles belong to the cluster, so the name carries the database
    let role = format!("sync_apply_{database}");
    let quoted = quote_identifier(&role);
    transaction.execute("select pg_advisory_xact_lock($1)", &[&crate::migrate::LOCK]).await.map_err(failed)?;
    let there = transaction.query_opt("select from pg_roles where rolname = $1", &[&role]).await.map_err(failed)?;
    if there.is_none() {
        transaction
            .batch_execute(&format!("create role {quoted} nologin noinherit; grant {quoted} to current_user"))
            .await
            .map_err(failed)?;
    }
    let missing: Vec<String> = transaction
        .query(
            "select n.nspname::text from pg_namespace n where n.nspname = any($1) and not has_schema_privilege($2, n.oid, 'usage')",
            &[&tables.iter().map(|table| table.schema.clone()).collect::<Vec<_>>(), &role],
        )
        .await
        .map_err(failed)?
        .iter()
        .map(|row| row.get(0))
        .collect();
    for schema in missing {
        transaction
            .batch_execute(&format!("grant usage on schema {} to {quoted}", quote_identifier(&schema)))
            .await
            .map_err(failed)?;
    }
    let oids: Vec<u32> = tables.iter().filter_map(|name| catalogue.get(name)).map(|table| table.oid).collect();
    let missing: Vec<String> = transaction
        .query(
            "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.oid = any($1) and not (has_table_privilege($2, c.oid, 'select') and has_table_privilege($2, c.oid, 'insert')
               and has_table_privilege($2, c.oid, 'update') and has_table_privilege($2, c.oid, 'delete'))",
            &[&oids, &role],
        )
        .await
        .map_err(failed)?
        .iter()
        .map(|row| row.get(0))
        .collect();
    for table in missing {
        transaction
            .batch_execute(&format!("grant select, insert, update, delete on table {table} to {quoted}"))
            .await
            .map_err(failed)?;
    }
    see_every_row(transaction, &oids, &role).await?;
    revoke_surplus(transaction, &role, &oids).await?;
    Ok(Some(role))
}

/// Row-level security would hide rows from the engine, and hidden rows would look like deleted ones.
async fn see_every_row(
    transaction: &tokio_postgres::Transaction<'_>,
    tables: &[u32],
    role: &str,
) -> Result<(), ReplicaError> {
    let failed = |error| classify("prepare the apply role", error);
    let row = transaction
        .query_one(
            "select (select string_agg(c.oid::regclass::text, ', ') from pg_class c where c.oid = any($1) and c.relrowsecurity),
                    (select rolbypassrls from pg_roles where rolname = $2),
                    (select rolsuper from pg_roles where rolname = current_user),
                    (select rolsuper or rolbypassrls from pg_roles where rolname = current_user), current_user::text",
            &[&tables, &role],
        )
        .await
        .map_err(failed)?;
    let (hidden, role_sees, may_grant, we_see): (Option<String>, bool, bool, bool) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    let Some(hidden) = hidden.filter(|_| !(role_sees && we_see)) else { return Ok(()) };
    let role = quote_identifier(role);
    if !may_grant {
        let login = quote_identifier(row.get(4));
        return Err(ReplicaError::Schema(format!(
            "row-level security would hide rows of {hidden} from the synchronisation: run once as a superuser \
             'alter role {login} bypassrls; alter role {role} bypassrls', or make the tables \"local\" in the policy"
        )));
    }
    transaction.batch_execute(&format!("alter role {role} bypassrls")).await.map_err(failed)
}

/// Takes away what an earlier policy, or a person, has granted to the role beyond what its tables need now.
pub(crate) async fn revoke_surplus(client: &impl GenericClient, role: &str, oids: &[u32]) -> Result<(), ReplicaError> {
    let failed = |error| classify("take surplus rights from the apply role", error);
    let surplus = client
        .query(
            "select distinct format('%I.%I', n.nspname, c.relname), a.privilege_type
             from pg_class c join pg_namespace n on n.oid = c.relnamespace cross join lateral aclexplode(c.relacl) a
             where a.grantee = (select oid from pg_roles where rolname = $1)
               and not (c.oid = any($2) and a.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))",
            &[&role, &oids],
        )
        .await
        .map_err(failed)?;
    for row in surplus {
        let (table, right): (String, String) = (row.get(0), row.get(1));
        // both come from the catalogue, the one quoted by it, the other one of its keywords
        let sql = format!("revoke {right} on table {table} from {}", quote_identifier(role));
        client.batch_execute(&sql).await.map_err(failed)?;
    }
    Ok(())
}
