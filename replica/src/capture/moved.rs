//! Capture after a move of the whole database: a dump gives tables and triggers other numbers, `pg_upgrade` the triggers.

use tokio_postgres::GenericClient;

use crate::ReplicaError;
use crate::error::classify;

/// Takes the triggers that are there now for those that were installed, of tables where they have the same names and are
/// enabled as they were. Where one is missing or was disabled nothing is changed: it is a gap, and will be said.
///
/// Only for a database of which somebody says, and its witness does not deny, that it was moved whole: a table that took
/// the place of another looks the same.
///
/// # Errors
/// When the database does not answer.
pub(crate) async fn recognise(client: &impl GenericClient) -> Result<(), ReplicaError> {
    client.batch_execute(RECOGNISE).await.map_err(|error| classify("recognise the capture triggers", error))
}

/// Names are `number of the table.name of the trigger`, states `number of the transaction, how it is enabled`.
const RECOGNISE: &str = "
with present as (
    select c.number, to_regclass(format('%I.%I', c.schema_name, c.table_name))::oid as relation,
           coalesce(jsonb_object_agg(t.tgrelid || '.' || t.tgname, t.xmin::text || t.tgenabled::text)
                    filter (where t.oid is not null), '{}') as triggers
    from sync.captured_table c left join pg_trigger t on starts_with(t.tgname::text, 'zz_sync_' || c.number || '_')
    where c.active group by c.number
)
update sync.captured_table c set relation = p.relation, triggers = p.triggers
from present p
where p.number = c.number and p.relation is not null
  and (select array_agg(split_part(key, '.', 2) || right(value, 1) order by 1) from jsonb_each_text(c.triggers))
    = (select array_agg(split_part(key, '.', 2) || right(value, 1) order by 1) from jsonb_each_text(p.triggers))";
