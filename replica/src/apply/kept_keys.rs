//! Foreign keys that stay while a clone is loaded, those of partitions and of tables that inherit: rows are not held against
//! them when they come. The server is asked afterwards whether they hold, and decides as it would have: it adds each once
//! more, which checks all rows, and takes that back (to drop it would also drop an equal key of a partition, which becomes
//! part of it); one that a clean has left unchecked is validated for good.

use protocol::names::TableName;
use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;

use super::failure;
use super::references::NO_PARENT;
use crate::ReplicaError;
use crate::catalogue::Table;
use crate::error::classify;

/// Checks the foreign keys of a table and of its partitions.
pub(super) async fn check(transaction: &Transaction<'_>, table: &Table) -> Result<(), ReplicaError> {
    let failed = |error| classify("check foreign keys", error);
    for row in transaction.query(KEYS, &[&table.oid]).await.map_err(failed)? {
        let (statement, stays): (String, bool) = (row.get(0), row.get(5));
        transaction.batch_execute("savepoint kept_keys").await.map_err(failed)?;
        let holds = transaction.batch_execute(&statement).await;
        let undo = if stays && holds.is_ok() { "" } else { "rollback to savepoint kept_keys;" };
        transaction.batch_execute(&format!("{undo} release savepoint kept_keys")).await.map_err(failed)?;
        match holds {
            Ok(()) => {}
            Err(error) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION) => {
                let parent = TableName::new(row.get::<_, String>(3), row.get::<_, String>(4));
                let columns: Vec<String> = row.get(2);
                return Err(failure::of_key(&table.name, row.get(1), &columns, &parent, NO_PARENT));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// What checks each of them; its name, columns and parent, and whether that stays. Those that were made with a partitioned
/// table's own are checked with it.
const KEYS: &str = "
select format('alter table %I.%I ', n.nspname, c.relname)
       || case when k.convalidated then 'add constraint sync_holds_for_all_rows ' || pg_get_constraintdef(k.oid)
               else format('validate constraint %I', k.conname) end,
       k.conname::text,
       array(select a.attname::text from unnest(k.conkey) with ordinality u(attnum, place)
             join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.attnum order by place),
       pn.nspname::text, p.relname::text, not k.convalidated
from pg_constraint k join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace
join pg_class p on p.oid = k.confrelid join pg_namespace pn on pn.oid = p.relnamespace
where k.contype = 'f' and k.conparentid = 0
  and k.conrelid in (select $1::oid union all select relid from pg_partition_tree($1::oid::regclass))
order by n.nspname, c.relname, k.conname";
