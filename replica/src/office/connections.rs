//! How many branches the office's database has connections for.

use super::Office;
use crate::ReplicaError;
use crate::error::classify;

impl Office {
    /// How many of `wanted` branches may be updated at one time, so that the server has connections for all of them and some
    /// are left for everybody else.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn updates_at_a_time(&self, wanted: usize) -> Result<usize, ReplicaError> {
        if wanted <= UPDATES_UNASKED {
            return Ok(wanted);
        }
        let client = self.inner.pool.get().await?;
        let failed = |error| classify("look how many connections are left", error);
        let left: i64 = client.query_one(CONNECTIONS_LEFT, &[]).await.map_err(failed)?.get(0);
        let allowed = updates_within(left, wanted);
        if allowed < wanted {
            tracing::warn!(
                "the office's database has room for {left} more connections: {allowed} branches are updated at one time instead of {wanted}; max_connections says how many it takes"
            );
        }
        Ok(allowed)
    }
}

/// So many updates at one time any server has room for.
const UPDATES_UNASKED: usize = 4;

/// Most connections that one update holds at a time.
const CONNECTIONS_OF_UPDATE: i64 = 3;

/// Connections that this role may still open to this database.
const CONNECTIONS_LEFT: &str = "
select least(
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0)
        - (select count(*) from pg_stat_activity where datid is not null),
    (select datconnlimit - (select count(*) from pg_stat_activity a where a.datid = d.oid) from pg_database d
     where datname = current_database() and datconnlimit >= 0 and current_setting('is_superuser') = 'off'),
    (select rolconnlimit - (select count(*) from pg_stat_activity a where a.usesysid = r.oid) from pg_roles r
     where rolname = session_user and rolconnlimit >= 0 and current_setting('is_superuser') = 'off'))";

/// A quarter of what is left stays for others.
fn updates_within(left: i64, wanted: usize) -> usize {
    let room = left.max(0) * 3 / 4 / CONNECTIONS_OF_UPDATE;
    usize::try_from(room).map_or(wanted, |room| room.clamp(1, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_at_a_time_fit_into_the_connections_that_are_left() {
        assert_eq!(updates_within(96, 64), 24);
        assert_eq!(updates_within(96, 16), 16);
        assert_eq!(updates_within(3, 16), 1);
        assert_eq!(updates_within(-2, 16), 1, "whoever is alone tries");
    }
}
