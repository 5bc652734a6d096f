//! One run per branch at a time (I15): a lease that lives with a connection, so that a holder that dies lets go.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::{Branch, Office};
use crate::ReplicaError;
use crate::database::{ENGINE, application_name};
use crate::error::classify;

/// Class of the advisory locks that are leases ("sync" in ASCII).
const LEASE_CLASS: i32 = 0x7379_6e63;

/// How long a lease is waited for. The server notices the end of a holder, its own or that of its process, a moment
/// later than the holder's successor may ask.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// One run's hold on a branch; it ends with [`Lease::release`], with the process, or when it is dropped.
pub struct Lease {
    office: Office,
    connection: Client,
    slot: i32,
}

impl Lease {
    /// Gives the branch back before anybody goes on: who drops a lease closes a connection, and the server takes its
    /// time to notice.
    pub async fn release(self) {
        let sql = "select pg_advisory_unlock($1, $2), set_config('application_name', $3, false)";
        let name = application_name(ENGINE);
        match self.connection.query_one(sql, &[&LEASE_CLASS, &self.slot, &name]).await {
            // a hundred branches later the same connection still serves
            Ok(row) if row.get(0) => self.office.inner.pool.give_back(self.connection),
            Ok(_) => {}
            Err(error) => tracing::debug!(error = %error, "the lease ends with its connection"),
        }
    }
}

impl Office {
    /// Numbers of the branches that somebody holds at the moment: runs of this and of other processes.
    pub async fn held_branches(&self) -> Result<BTreeSet<i64>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query(
                "select l.objid::bigint from pg_locks l where l.locktype = 'advisory' and l.classid = $1::int4::oid
                   and l.granted and l.database = (select oid from pg_database where datname = current_database())",
                &[&LEASE_CLASS],
            )
            .await
            .map_err(|error| classify("look which branches are held", error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Takes the branch for one run.
    ///
    /// # Errors
    /// `Busy`, with who and since when, while another run has it.
    pub async fn lease(&self, branch: &Branch) -> Result<Lease, ReplicaError> {
        let failed = |error| classify("take the branch", error);
        let connection = self.inner.pool.take().await?;
        let name = application_name(&format!("lease of branch {}", branch.name));
        let slot = i32::try_from(branch.id).unwrap_or(i32::MAX);
        let until = Instant::now() + PATIENCE;
        loop {
            let taken = connection
                .query_one(
                    "select pg_try_advisory_lock($1, $2), set_config('application_name', $3, false)",
                    &[&LEASE_CLASS, &slot, &name],
                )
                .await
                .map_err(failed)?;
            if taken.get(0) {
                return Ok(Lease { office: self.clone(), connection, slot });
            }
            if Instant::now() >= until {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        // the lock was the last that the holder's connection was asked for
        let holder = connection
            .query_opt(
                "select a.pid, to_char(a.query_start, 'HH24:MI:SS') from pg_locks l join pg_stat_activity a using (pid)
                 where l.locktype = 'advisory' and l.classid = $1::int4::oid and l.objid = $2::int4::oid and l.granted
                   and l.database = (select oid from pg_database where datname = current_database())",
                &[&LEASE_CLASS, &slot],
            )
            .await
            .map_err(failed)?;
        let who = holder.map_or_else(String::new, |row| {
            format!(" since {} UTC (database process {})", row.get::<_, String>(1), row.get::<_, i32>(0))
        });
        Err(ReplicaError::Busy(format!("branch {:?} is being synchronised by another run{who}", branch.name)))
    }
}
