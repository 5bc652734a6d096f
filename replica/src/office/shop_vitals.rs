//! What shops tell of themselves at each contact, and what follows from it: when their ids will be used up.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{Branch, Office};
use crate::ReplicaError;
use crate::error::classify;

/// Days of use that a forecast rests on.
const DAYS_LOOKED_BACK: i32 = 90;

/// Days that are kept.
const DAYS_KEPT: i32 = 400;

/// Shortest time in which a use says something about those to come.
const USE_DURATION_MIN: Duration = Duration::from_secs(3600);

/// What a shop says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ToldVitals {
    /// Its id range `(low, high]`.
    pub id_range: Option<(i64, i64)>,
    /// Ids handed out by the sequence that has come furthest.
    pub ids_used: Option<i64>,
    /// Bytes left on its disk.
    pub disk_free: Option<i64>,
}

/// How a shop was when it was last heard of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShopVitals {
    /// How far its ids have come.
    pub ids: Option<IdUse>,
    /// Bytes left on its disk.
    pub disk_free: Option<i64>,
}

/// How far the ids of a shop have come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IdUse {
    /// Ids handed out by the sequence that has come furthest.
    pub used: i64,
    /// Ids of the range.
    pub of: i64,
    /// Days until they are used up, if it goes on as in the last quarter of a year; none where nobody can say yet.
    pub days_left: Option<f64>,
}

impl IdUse {
    /// What is used of the range, 0 to 1.
    pub fn share(&self) -> f64 {
        if self.of > 0 { self.used as f64 / self.of as f64 } else { 1.0 }
    }

    fn of(used: i64, of: i64, since: Duration, used_since: i64) -> Self {
        let days = since.as_secs_f64() / 86_400.0;
        let days_left = (since >= USE_DURATION_MIN && used_since > 0)
            .then(|| of.saturating_sub(used).max(0) as f64 * days / used_since as f64);
        Self { used, of, days_left }
    }
}

impl Office {
    /// Keeps what a shop has said; the last of a day counts.
    pub async fn note_vitals(&self, branch: &Branch, told: ToldVitals) -> Result<(), ReplicaError> {
        if told == ToldVitals::default() {
            return Ok(());
        }
        let client = self.inner.pool.get().await?;
        let (low, high) = told.id_range.unzip();
        client
            .execute(
                "with old as (delete from sync.shop_vitals where branch_id = $1 and day < current_date - $6::int)
                 insert into sync.shop_vitals(branch_id, day, seen_at, id_low, id_high, ids_used, disk_free)
                 values ($1, current_date, now(), $2, $3, $4, $5)
                 on conflict (branch_id, day) do update
                     set seen_at = excluded.seen_at, id_low = excluded.id_low, id_high = excluded.id_high,
                         ids_used = excluded.ids_used, disk_free = excluded.disk_free",
                &[&branch.id, &low, &high, &told.ids_used, &told.disk_free, &DAYS_KEPT],
            )
            .await
            .map_err(|error| classify("note what the shop says of itself", error))?;
        Ok(())
    }

    /// How each shop was when it was last heard of, by the number of its branch.
    pub async fn vitals(&self) -> Result<BTreeMap<i64, ShopVitals>, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let rows = client
            .query(
                // the range was empty when it was given; a day of the last quarter says more of how it goes now
                "select distinct on (v.branch_id) v.branch_id, v.disk_free, v.ids_used, v.id_high - v.id_low, v.seen_at,
                        coalesce(f.seen_at, s.assigned_at), coalesce(f.ids_used, 0)
                 from sync.shop_vitals v
                 left join lateral (select seen_at, ids_used from sync.shop_vitals f
                                    where f.branch_id = v.branch_id and f.id_low = v.id_low and f.ids_used <= v.ids_used
                                      and f.day between v.day - $1::int and v.day - 1
                                    order by f.day limit 1) f on true
                 left join sync.id_slot s on s.branch_id = v.branch_id and s.low = v.id_low and not s.removed
                 order by v.branch_id, v.day desc",
                &[&DAYS_LOOKED_BACK],
            )
            .await
            .map_err(|error| classify("look how the shops are", error))?;
        let vitals = rows.iter().map(|row| {
            let (used, of): (Option<i64>, Option<i64>) = (row.get(2), row.get(3));
            let (seen_at, first): (SystemTime, Option<SystemTime>) = (row.get(4), row.get(5));
            let since = first.and_then(|first| seen_at.duration_since(first).ok()).unwrap_or_default();
            let ids = used.zip(of).map(|(used, of)| IdUse::of(used, of, since, used - row.get::<_, i64>(6)));
            (row.get(0), ShopVitals { ids, disk_free: row.get(1) })
        });
        Ok(vitals.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn what_is_left_lasts_as_long_as_it_was_used_up_lately() {
        // 100 in ten days: the other 900 last ninety
        let forecast = IdUse::of(100, 1000, DAY * 10, 100);
        assert_eq!((forecast.days_left, forecast.share()), (Some(90.0), 0.1));
        // of those 100 only 10 lately
        assert_eq!(IdUse::of(100, 1000, DAY * 10, 10).days_left, Some(900.0));
        assert_eq!(IdUse::of(1000, 1000, DAY, 10).days_left, Some(0.0));
    }

    #[test]
    fn nobody_can_say_where_nothing_was_used_or_only_just_now() {
        assert_eq!(IdUse::of(0, 1000, DAY * 10, 0).days_left, None);
        assert_eq!(IdUse::of(5, 1000, Duration::from_secs(10), 5).days_left, None);
    }
}
