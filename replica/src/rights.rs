//! What the role that writes received rows may do beyond what its tables need: the second line of defence, looked at by
//! `shop-agent check`. The first is the reader of the dialect.

use protocol::names::{TableName, quote_identifier};
use tokio_postgres::GenericClient;

use crate::ReplicaError;
use crate::catalogue::Catalogue;
use crate::error::classify;

/// What is too much, and what is missing; each with the statement that mends it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// Rights that its tables do not need.
    pub too_much: Vec<String>,
    /// Rights that they need.
    pub missing: Vec<String>,
}

/// Compares what the role may do, by grants to it and to everybody, with what these tables need.
///
/// # Errors
/// If the catalogue cannot be read.
pub async fn examine(
    client: &impl GenericClient,
    role: &str,
    catalogue: &Catalogue,
    tables: &[TableName],
) -> Result<Rights, ReplicaError> {
    let failed = |error| classify("look at the rights of the apply role", error);
    let quoted = quote_identifier(role);
    let oids: Vec<u32> = tables.iter().filter_map(|name| catalogue.get(name)).map(|table| table.oid).collect();
    let mut rights = Rights::default();

    let row = client
        .query_opt(
            "select rolsuper, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls from pg_roles where rolname = $1",
            &[&role],
        )
        .await
        .map_err(failed)?;
    let Some(row) = row else {
        rights.missing.push(format!("the role {role} does not exist: restart the agent, which makes it"));
        return Ok(rights);
    };
    let attributes = ["superuser", "createrole", "createdb", "login", "replication", "bypassrls"];
    // where row-level security hides rows, the engine has to see them all the same
    let hides: bool = client
        .query_one("select exists (select from pg_class where oid = any($1) and relrowsecurity)", &[&oids])
        .await
        .map_err(failed)?
        .get(0);
    for (at, attribute) in attributes.iter().enumerate() {
        if row.get::<_, bool>(at) && !(*attribute == "bypassrls" && hides) {
            rights.too_much.push(format!("{attribute}: alter role {quoted} no{attribute}"));
        }
    }

    let memberships = client
        .query(
            "select quote_ident(g.rolname) from pg_auth_members m join pg_roles g on g.oid = m.roleid
             where m.member = (select oid from pg_roles where rolname = $1)",
            &[&role],
        )
        .await
        .map_err(failed)?;
    for group in memberships.iter().map(|row| row.get::<_, String>(0)) {
        rights.too_much.push(format!("member of {group}: revoke {group} from {quoted}"));
    }

    let owned = client
        .query(
            "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relowner = (select oid from pg_roles where rolname = $1) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')",
            &[&role],
        )
        .await
        .map_err(failed)?;
    for table in owned.iter().map(|row| row.get::<_, String>(0)) {
        rights.too_much.push(format!("owner of {table}: alter table {table} owner to current_user"));
    }

    let schemas = client
        .query(
            "select quote_ident(nspname) from pg_namespace
             where nspname !~ '^pg_' and nspname <> 'information_schema' and has_schema_privilege($1, oid, 'create')",
            &[&role],
        )
        .await
        .map_err(failed)?;
    for schema in schemas.iter().map(|row| row.get::<_, String>(0)) {
        rights
            .too_much
            .push(format!("create in schema {schema}: revoke create on schema {schema} from public, {quoted}"));
    }

    // sync.freshness is there for everybody to read
    let tables = client
        .query(
            "select format('%I.%I', n.nspname, c.relname),
               array_to_string(array(select p from unnest(array['SELECT','INSERT','UPDATE','DELETE','TRUNCATE','REFERENCES','TRIGGER']) p
                 where has_table_privilege($1, c.oid, p)
                   and not (c.oid = any($2) and p in ('SELECT','INSERT','UPDATE','DELETE'))
                   and not (n.nspname = 'sync' and c.relname = 'freshness' and p = 'SELECT')), ', '),
               array_to_string(array(select p from unnest(array['SELECT','INSERT','UPDATE','DELETE']) p
                 where c.oid = any($2) and not has_table_privilege($1, c.oid, p)), ', ')
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
             order by 1",
            &[&role, &oids],
        )
        .await
        .map_err(failed)?;
    for row in tables {
        let (table, surplus, missing): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        if !surplus.is_empty() {
            let mend = format!("revoke {} on {table} from public, {quoted}", surplus.to_lowercase());
            rights.too_much.push(format!("{surplus} on {table}: {mend}"));
        }
        if !missing.is_empty() {
            rights.missing.push(format!("{missing} on {table}: restart the agent, which grants it"));
        }
    }
    Ok(rights)
}
