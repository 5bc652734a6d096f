//! Foreign keys and row filters, where rows that break them wait: which ones are these, and which depend on them?

use protocol::names::quote_identifier;
use tokio_postgres::Transaction;

use super::conflicts::Contest;
use super::failure::{ROW_FILTER, ROW_MISSING, STILL_REFERRED_TO};
use super::quarantine::culprits;
use super::references::{
    self, References, analyze, by_primary_key, check_all, gone, key_names, lock_parents, pairs, written,
};
use super::staging::Staging;
use super::target::{Incoming, ShapeKind};
use super::{ApplyOrder, revive};
use crate::ReplicaError;
use crate::catalogue::{ForeignKey, Table, column_list, quote_literal};
use crate::error::classify;
use crate::subset;

/// What a look at the foreign keys found.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Found {
    /// Keys of rows that must wait.
    pub(super) culprits: u64,
    /// Deleted parents that were brought back.
    pub(super) revived: i64,
}

/// Notes the keys of staged rows whose present row in the table is another branch's: it may neither be changed nor deleted.
pub(super) async fn of_another_branch(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    staging: &Staging,
) -> Result<u64, ReplicaError> {
    let table = &staging.shape.table;
    let Some(condition) = order.quarantine.as_ref().and_then(|rules| rules.rows.get(&table.name)) else {
        return Ok(0);
    };
    let found = transaction
        .execute(
            &format!(
                "insert into {} select distinct {}, '{ROW_FILTER}', null, null, null from {} s join {} t on {}
                 where not exists (select from {} x where {})",
                culprits(table),
                table.key_list("s."),
                staging.name(),
                table.target(),
                table.same_key("t.", "s."),
                subset::source(table, Some(condition)),
                table.same_key("x.", "s.")
            ),
            &[],
        )
        .await
        .map_err(|error| classify("check the row filter", error))?;
    Ok(found)
}

/// Notes the keys of staged updates whose rows are not here. Nothing would happen to them, and the change would be lost:
/// they wait, and the peer is asked for the whole rows. (Where both sides change a table, that is a conflict.)
pub(super) async fn of_missing_rows(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    staging: &Staging,
) -> Result<u64, ReplicaError> {
    let table = &staging.shape.table;
    if staging.shape.kind != ShapeKind::Update || table.key.is_empty() || Contest::of(order, staging).is_some() {
        return Ok(0);
    }
    transaction
        .execute(
            &format!(
                "insert into {} select distinct {}, '{ROW_MISSING}', null, null, null from {} s
                 where not exists (select from {} t where {})",
                culprits(table),
                table.key_list("s."),
                staging.name(),
                table.target(),
                table.same_key("t.", "s.")
            ),
            &[],
        )
        .await
        .map_err(|error| classify("look for rows that are not here", error))
}

/// Remembers which rows that are about to be merged are there already: the others go again when they lack a parent.
pub(super) async fn note_kept(transaction: &Transaction<'_>, staging: &Staging) -> Result<(), ReplicaError> {
    let table = &staging.shape.table;
    if staging.shape.kind == ShapeKind::Delete {
        return Ok(());
    }
    let keys = column_list(table.key_columns().map(|column| column.name.as_str()));
    transaction
        .batch_execute(&format!(
            "create temp table if not exists kept_{} on commit drop as select {keys} from {} with no data;
             insert into {} select distinct {} from {} t join {} s on {}",
            table.oid,
            table.name.quoted(),
            kept(table),
            table.key_list("t."),
            table.target(),
            staging.name(),
            table.same_key("t.", "s.")
        ))
        .await
        .map_err(|error| classify("note present rows", error))
}

fn kept(table: &Table) -> String {
    format!("pg_temp.kept_{}", table.oid)
}

/// Notes every row that lacks a parent, every delete of a row that is still referred to, every row of another branch.
///
/// `thorough`: rows that lack a parent and were not there before are taken out again (the pass is thrown away in any
/// case), until nothing that refers to them is left unnoticed.
pub(super) async fn find(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    noted: &References,
    thorough: bool,
) -> Result<Found, ReplicaError> {
    let mut found = Found::default();
    for name in &noted.gone {
        let Some(table) = order.catalogue.get(name).filter(|_| order.rights.quiet) else { continue };
        analyze(transaction, &gone(table)).await?;
        for key in order.catalogue.keys_to(name).filter(|key| by_primary_key(table, key)) {
            found.culprits += still_referred_to(transaction, order, table, key).await?;
        }
    }
    let mut written_tables: Vec<_> = noted.written.iter().cloned().collect();
    loop {
        let mut round = 0;
        let mut index = 0;
        while let Some(name) = written_tables.get(index).cloned() {
            index += 1;
            let Some(table) = order.catalogue.get(&name) else { continue };
            create_culprits_if_missing(transaction, order, table).await?;
            analyze(transaction, &written(table)).await?;
            for key in order.catalogue.keys_of(&name).filter(|_| order.rights.quiet) {
                if order.incoming == Incoming::FromShop {
                    let revived = revive::parents(transaction, order, table, key).await?;
                    found.revived += revived;
                    if revived > 0 && !written_tables.contains(&key.parent) {
                        // what came back may itself refer to something that is gone
                        written_tables.push(key.parent.clone());
                    }
                }
                lock_parents(transaction, order, table, key).await?;
                round += without_parent(transaction, order, table, key, noted).await?;
            }
            round += twice(transaction, table).await?;
            round += outside_of_the_filter(transaction, order, table).await?;
            if thorough {
                take_out(transaction, table, noted.written.contains(&name)).await?;
            }
        }
        found.culprits += round;
        if round == 0 || !thorough {
            break;
        }
    }
    if found.culprits == 0 && order.rights.quiet {
        // foreign keys to other unique values than the primary key: of these no single row can be told to be at fault
        for name in noted.written.iter().chain(&noted.gone) {
            let Some(table) = order.catalogue.get(name) else { continue };
            for key in order.catalogue.keys_to(name).filter(|key| !by_primary_key(table, key)) {
                check_all(transaction, order, key).await?;
            }
        }
    }
    Ok(found)
}

async fn create_culprits_if_missing(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    table: &Table,
) -> Result<(), ReplicaError> {
    transaction
        .batch_execute(&super::quarantine::create_culprits(order, table))
        .await
        .map_err(|error| classify("note rows that must wait", error))
}

async fn note(transaction: &Transaction<'_>, sql: &str) -> Result<u64, ReplicaError> {
    transaction.execute(sql, &[]).await.map_err(|error| classify("check foreign keys", error))
}

fn unnoted(table: &Table, alias: &str) -> String {
    format!("not exists (select from {} q where {})", culprits(table), table.same_key("q.", alias))
}

async fn still_referred_to(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    table: &Table,
    key: &ForeignKey,
) -> Result<u64, ReplicaError> {
    let keys = key_names(table);
    let sql = format!(
        "insert into {} select distinct {}, '{STILL_REFERRED_TO}', {}, null, {} from {} g
         where exists (select from {} c where {}) and not exists (select from {} p where {}) and {}",
        culprits(table),
        table.key_list("g."),
        quote_literal(&key.name),
        quote_literal(&key.child.to_string()),
        gone(table),
        references::target(order, &key.child),
        pairs("c", &key.columns, "g", &key.parent_columns),
        table.target(),
        pairs("p", &keys, "g", &keys),
        unnoted(table, "g.")
    );
    note(transaction, &sql).await
}

async fn without_parent(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    table: &Table,
    key: &ForeignKey,
    noted: &References,
) -> Result<u64, ReplicaError> {
    // a parent that this script deletes stays, because it is still referred to
    let parent = order.catalogue.get(&key.parent).filter(|parent| by_primary_key(parent, key));
    let stays = match parent.filter(|_| noted.gone.contains(&key.parent)) {
        Some(parent) => format!(
            " and not exists (select from {} g where {})",
            gone(parent),
            pairs("g", &key.parent_columns, "c", &key.columns)
        ),
        None => String::new(),
    };
    let sql = format!(
        "insert into {} select distinct {}, '23503', {}, {}, {} {} and {}{stays}",
        culprits(table),
        table.key_list("c."),
        quote_literal(&key.name),
        quote_literal(&key.columns.join(", ")),
        quote_literal(&key.parent.to_string()),
        references::orphans(order, table, key),
        unnoted(table, "c.")
    );
    note(transaction, &sql).await
}

/// Deferrable unique constraints are enforced by triggers, which are off: of rows with the same value the one that was
/// not touched stays, or else the one with the lowest key.
async fn twice(transaction: &Transaction<'_>, table: &Table) -> Result<u64, ReplicaError> {
    let mut found = 0;
    for columns in &table.deferrable_uniques {
        let keys = key_names(table);
        let sql = format!(
            "insert into {} select distinct {}, '23505', null, {}, null from {} c join {} k on {}
             where exists (select from {} o where {} and row({}) <> row({})
                 and (row({}) < row({}) or not exists (select from {} w where {}))) and {}",
            culprits(table),
            table.key_list("c."),
            quote_literal(&columns.join(", ")),
            table.target(),
            written(table),
            pairs("c", &keys, "k", &keys),
            table.target(),
            pairs("o", columns, "c", columns),
            table.key_list("o."),
            table.key_list("c."),
            table.key_list("o."),
            table.key_list("c."),
            written(table),
            pairs("w", &keys, "o", &keys),
            unnoted(table, "c.")
        );
        found += note(transaction, &sql).await?;
    }
    Ok(found)
}

async fn outside_of_the_filter(
    transaction: &Transaction<'_>,
    order: &ApplyOrder,
    table: &Table,
) -> Result<u64, ReplicaError> {
    let Some(condition) = order.quarantine.as_ref().and_then(|rules| rules.rows.get(&table.name)) else {
        return Ok(0);
    };
    let keys = key_names(table);
    let sql = format!(
        "insert into {} select distinct {}, '{ROW_FILTER}', null, null, null from {} t join {} k on {}
         where not exists (select from {} x where {}) and {}",
        culprits(table),
        table.key_list("t."),
        table.target(),
        written(table),
        pairs("t", &keys, "k", &keys),
        subset::source(table, Some(condition)),
        table.same_key("x.", "t."),
        unnoted(table, "t.")
    );
    note(transaction, &sql).await
}

/// Takes the noted rows out of the table, those that were there before excepted.
async fn take_out(transaction: &Transaction<'_>, table: &Table, staged: bool) -> Result<(), ReplicaError> {
    let keep = if staged {
        format!(" and not exists (select from {} b where {})", kept(table), table.same_key("b.", "t."))
    } else {
        String::new()
    };
    let sql = format!(
        "delete from {} t using {} k where {}{keep}",
        table.target(),
        culprits(table),
        table.same_key("t.", "k.")
    );
    note(transaction, &sql).await.map(|_| ())
}

/// The names of a table's key columns in double quotes, as COPY takes them.
pub(super) fn copied_columns(table: &Table) -> String {
    let keys: Vec<String> = table.key_columns().map(|column| quote_identifier(&column.name)).collect();
    format!("{}, sync$state, sync$constraint, sync$column, sync$other", keys.join(", "))
}
