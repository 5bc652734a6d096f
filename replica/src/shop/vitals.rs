//! Figures by which a shop's database is watched: what waits for the office, and how much room it takes.

use std::time::SystemTime;

use super::{CaptureGap, Shop};
use crate::ReplicaError;
use crate::error::classify;
use crate::watermark::TICK;

/// How a shop's database is.
#[derive(Debug, Clone, PartialEq)]
pub struct Vitals {
    /// Bytes of all change logs, with their indexes.
    pub change_log_bytes: i64,
    /// Bytes of the whole database.
    pub database_bytes: i64,
    /// Rows of the office that wait in quarantine here.
    pub quarantined_rows: i64,
    /// What each office has had from here.
    pub offices: Vec<OfficeContact>,
    /// Tables of which changes may have been missed, and that no office has compared since.
    pub capture_gaps: Vec<CaptureGap>,
}

/// What one office has had.
#[derive(Debug, Clone, PartialEq)]
pub struct OfficeContact {
    /// Its name.
    pub office: String,
    /// When it last asked for changes; none if it never has.
    pub asked_at: Option<SystemTime>,
    /// Changes made after this have not been acknowledged; none if nothing ever was.
    pub acknowledged_up_to: Option<SystemTime>,
    /// When it last asked for changes, said what it has, or sent something.
    pub last_contact: Option<SystemTime>,
}

impl Shop {
    /// Measures the database. It costs a look into PostgreSQL's own tables, not into those of the shop.
    pub async fn vitals(&self) -> Result<Vitals, ReplicaError> {
        let failed = |error| classify("measure the database", error);
        let client = self.inner.pool.get().await?;
        let row = client
            .query_one(
                "select coalesce((select sum(pg_total_relation_size(c.oid)) from pg_class c join pg_namespace n on n.oid = c.relnamespace
                                  where n.nspname = 'sync' and c.relkind = 'r' and c.relname like 'log\\_%'), 0)::int8,
                        pg_database_size(current_database()), (select count(*) from sync.quarantine)",
                &[],
            )
            .await
            .map_err(failed)?;
        let offices = client
            .query(
                "select p.name, max(w.issued), max(w.issued) filter (where w.acknowledged_at is not null),
                        greatest(max(w.issued), max(w.acknowledged_at), (select max(s.opened_at) from sync.session s where s.office = p.name))
                 from sync.peer p left join sync.watermark w using (peer) where p.peer <> $1 group by p.name order by p.name",
                &[&TICK],
            )
            .await
            .map_err(failed)?;
        Ok(Vitals {
            change_log_bytes: row.get(0),
            database_bytes: row.get(1),
            quarantined_rows: row.get(2),
            offices: offices
                .iter()
                .map(|row| OfficeContact {
                    office: row.get(0),
                    asked_at: row.get(1),
                    acknowledged_up_to: row.get(2),
                    last_contact: row.get(3),
                })
                .collect(),
            capture_gaps: self.inner.gaps.open(),
        })
    }
}
