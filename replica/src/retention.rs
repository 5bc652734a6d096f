//! How long changes are kept: as long as somebody needs them and not for ever, so that one dead peer cannot fill the disk.
//!
//! First it is noted durably up to where entries may be gone (`sync.node.pruned_below`), then they are deleted, a bounded
//! number in each transaction. Whoever reads changes looks at the note in the snapshot in which it reads: it finds either
//! the note or all the entries.

use std::time::{Duration, Instant};

use protocol::watermark::select;
use tokio_postgres::{Client, GenericClient};

use crate::ReplicaError;
use crate::capture::CapturedTable;
use crate::error::classify;
use crate::node::Incarnation;
use crate::watermark::{self, Snapshot, TICK};

/// How long changes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// At least so long, also when every peer has them: longer than backups are apart.
    pub min: Duration,
    /// At most so long: a peer that was not heard of for longer needs a new clone.
    pub max: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self { min: Duration::from_secs(14 * DAY), max: Duration::from_secs(90 * DAY) }
    }
}

/// Log entries that are deleted in one transaction; one may hold the keys of a whole statement.
const STEP: i64 = 5_000;

/// How long one round goes on; what is left waits for the next.
const ROUND: Duration = Duration::from_secs(20);

/// Ticks younger than this are all kept, of older ones one an hour: a `since` that was never issued selects an older one,
/// and repeats a little more.
const TICKS_KEPT: &str = "1 day";

/// Issues a tick, and forgets those that nobody can need.
pub(crate) async fn tick(
    client: &mut Client,
    incarnation: &Incarnation,
    retention: &Retention,
) -> Result<(), ReplicaError> {
    let snapshot = watermark::current_snapshot(&*client).await?;
    watermark::issue(client, TICK, &snapshot, incarnation).await?;
    client
        .execute(
            &format!(
                "delete from sync.watermark w where peer = 0 and (
                     issued < (select max(issued) from sync.watermark where peer = 0 and issued < clock_timestamp() - $1 * interval '1 second')
                     or issued < clock_timestamp() - interval '{TICKS_KEPT}' and exists (
                         select from sync.watermark o where o.peer = 0 and o.issued < w.issued and o.issued >= date_trunc('hour', w.issued)))"
            ),
            &[&retention.max.as_secs_f64()],
        )
        .await
        .map_err(|error| classify("forget old watermarks", error))?;
    Ok(())
}

/// Deletes entries of transactions below `bound`; returns how many went. What a bound that was noted earlier has left
/// goes too.
pub(crate) async fn prune(
    client: &Client,
    captured: impl Iterator<Item = &CapturedTable>,
    bound: Option<u64>,
) -> Result<u64, ReplicaError> {
    let failed = |error| classify("prune the change logs", error);
    let bound = bound.unwrap_or(0);
    let row = client
        .query_one(
            &format!(
                "update sync.node set pruned_below = greatest(pruned_below, '{bound}'::xid8) returning pruned_below::text"
            ),
            &[],
        )
        .await
        .map_err(failed)?;
    let bound: String = row.get(0);
    let until = Instant::now() + ROUND;
    let mut gone = 0;
    for captured in captured {
        let log = captured.log();
        let sql = format!(
            "delete from {log} where ctid = any(array(select ctid from {log} where xid < '{bound}'::xid8 limit {STEP}))"
        );
        loop {
            let step = client.execute(&sql, &[]).await.map_err(failed)?;
            gone += step;
            if step == 0 {
                break;
            }
            if Instant::now() >= until {
                return Ok(gone);
            }
        }
    }
    Ok(gone)
}

/// Refuses a window that begins where entries may be gone. Asked for in the transaction that reads the window.
///
/// # Errors
/// `SinceTooOld`.
pub(crate) async fn refuse_gap(client: &impl GenericClient, since: &Snapshot) -> Result<(), ReplicaError> {
    let row = client
        .query_one("select pruned_below::text from sync.node", &[])
        .await
        .map_err(|error| classify("look up what is kept", error))?;
    let pruned_below = row.get::<_, String>(0).parse().unwrap_or(0);
    if select::is_kept(&since.bounds, pruned_below) {
        return Ok(());
    }
    Err(ReplicaError::SinceTooOld(
        "the changes since then are no longer kept: verify with repair, or clone the shop again".into(),
    ))
}
