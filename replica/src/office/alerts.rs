//! What somebody was told of, so that of several office processes one tells it, and once.

use super::Office;
use crate::ReplicaError;
use crate::error::classify;

/// How long something may go unseen before it counts as over: it is not told twice because two processes looked at
/// different moments.
const OVER_AFTER: &str = "10 minutes";

impl Office {
    /// Notes what there is to tell (branch, or nothing for the office itself; kind; words), and returns the places of
    /// those that nobody has told yet.
    pub async fn note_alerts(&self, alerts: &[(&str, &str, &str)]) -> Result<Vec<usize>, ReplicaError> {
        let failed = |error| classify("note alerts", error);
        let mut new = Vec::new();
        let client = self.inner.pool.get().await?;
        for (at, (branch, kind, words)) in alerts.iter().enumerate() {
            let row = client
                .query_one(
                    "insert into sync.alert(branch, kind, words) values ($1, $2, $3)
                     on conflict (branch, kind) do update set words = excluded.words, seen_at = clock_timestamp()
                     returning xmax = '0'::xid",
                    &[branch, kind, words],
                )
                .await
                .map_err(failed)?;
            if row.get(0) {
                new.push(at);
            }
        }
        let sql = format!("delete from sync.alert where seen_at < clock_timestamp() - interval '{OVER_AFTER}'");
        client.execute(&sql, &[]).await.map_err(failed)?;
        Ok(new)
    }
}
