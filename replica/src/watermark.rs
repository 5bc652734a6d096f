//! Watermarks: timestamps that stand for stored snapshots.
//!
//! A timestamp is only a key. When one is issued, the snapshot it stands for is stored with it, durably, before anybody
//! is told; a later look-up by exactly this timestamp selects exactly this snapshot. Clocks decide nothing else.

use std::time::Duration;

use protocol::snapshot::NoSnapshot;
use protocol::watermark::select::{self, InForce, Meaning};
use protocol::watermark::{Since, Watermark};
use tokio_postgres::{Client, GenericClient};

use crate::ReplicaError;
use crate::error::classify;
use crate::node::Incarnation;

/// Peer number of watermarks issued for nobody in particular.
pub const TICK: i32 = 0;

/// A snapshot, as `pg_snapshot` prints it, and as the literals of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    text: String,
    pub(crate) bounds: protocol::snapshot::Snapshot,
}

impl Snapshot {
    /// Parses `xmin:xmax:xip,xip`.
    pub fn parse(text: &str) -> Result<Self, ReplicaError> {
        let bounds = text.parse().map_err(|error: NoSnapshot| ReplicaError::Invalid(error.to_string()))?;
        Ok(Self { text: text.to_owned(), bounds })
    }

    /// As `pg_snapshot` prints it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// First transaction id not yet given out when the snapshot was taken.
    pub fn xmax(&self) -> u64 {
        self.bounds.xmax()
    }

    /// The condition on a log's `xid` that selects what this snapshot does not see, as literals: the planner then uses
    /// the index on `xid` for what a sub-select would make it scan. It is [`protocol::snapshot::Snapshot::sees`], negated.
    pub fn unseen(&self) -> String {
        let list = self.bounds.in_progress().iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        if list.is_empty() {
            format!("xid >= '{}'::xid8", self.xmax())
        } else {
            format!("(xid >= '{}'::xid8 or xid = any('{{{list}}}'::xid8[]))", self.xmax())
        }
    }
}

/// The snapshot of the running transaction.
pub async fn current_snapshot(client: &impl GenericClient) -> Result<Snapshot, ReplicaError> {
    let row = client
        .query_one("select pg_current_snapshot()::text", &[])
        .await
        .map_err(|error| classify("take a snapshot", error))?;
    Snapshot::parse(row.get(0))
}

/// Issues a watermark for a snapshot that has been taken before; it is durable when this returns.
///
/// Strictly increasing over all peers, whatever the clock does.
pub async fn issue(
    client: &mut Client,
    peer: i32,
    snapshot: &Snapshot,
    incarnation: &Incarnation,
) -> Result<Watermark, ReplicaError> {
    let failed = |error| classify("issue a watermark", error);
    let transaction = client.transaction().await.map_err(failed)?;
    // two issues at once take turns; a statement of its own, so that the next one sees the maximum of the turn before
    transaction.execute("select pg_advisory_xact_lock(7952399)", &[]).await.map_err(failed)?;
    let row = transaction
        .query_one(
            "insert into sync.watermark(peer, issued, snapshot, incarnation)
             select $1, greatest(clock_timestamp(), (select max(issued) + interval '1 microsecond' from sync.watermark)),
                 $2::text::pg_snapshot, $3
             returning (extract(epoch from issued) * 1000000)::bigint",
            &[&peer, &snapshot.as_str(), &incarnation.number],
        )
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    Ok(Watermark::new(row.get(0), Some(incarnation.tag)))
}

/// Lets a watermark stand for a newer snapshot between which nothing changed.
pub async fn repoint(
    client: &impl GenericClient,
    peer: i32,
    watermark: &Watermark,
    snapshot: &Snapshot,
) -> Result<(), ReplicaError> {
    client
        .execute(
            "update sync.watermark set snapshot = $3::text::pg_snapshot
             where peer = $1 and issued = timestamptz 'epoch' + $2 * interval '1 microsecond'",
            &[&peer, &(watermark.micros as f64), &snapshot.as_str()],
        )
        .await
        .map_err(|error| classify("re-point a watermark", error))?;
    Ok(())
}

/// What a `since` stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// Changes that this snapshot does not see are sent.
    pub snapshot: Snapshot,
    /// The watermark, when `since` named exactly one issued to this peer: it acknowledges.
    pub exact: Option<Watermark>,
}

/// Finds the snapshot that `since` stands for. Never skips a change: what was not issued selects one safely before it.
pub async fn select(
    client: &impl GenericClient,
    peer: i32,
    since: Since,
    skew: Duration,
    incarnation: &Incarnation,
) -> Result<Selected, ReplicaError> {
    let failed = |error| classify("look up a watermark", error);
    let row =
        client.query_one("select base_snapshot::text, pruned_below::text from sync.node", &[]).await.map_err(failed)?;
    let base: Option<String> = row.get(0);
    let pruned_below: u64 = row.get::<_, String>(1).parse().unwrap_or(0);
    let base = match base {
        Some(text) => Snapshot::parse(&text)?,
        None => {
            return Err(ReplicaError::Schema("nothing is under capture yet: the shop needs a clone first".into()));
        }
    };
    let mut found = None;
    if let Some(watermark) = since.watermark() {
        found = client
            .query_opt(
                "select snapshot::text, incarnation from sync.watermark
                 where peer = $1 and issued = timestamptz 'epoch' + $2 * interval '1 microsecond'",
                &[&peer, &(watermark.micros as f64)],
            )
            .await
            .map_err(failed)?
            .map(|row| (row.get::<_, String>(0), row.get::<_, i32>(1)));
    }
    let in_force = InForce { number: incarnation.number, tag: incarnation.tag };
    let meaning = select::meaning(since, found.as_ref().map(|(_, number)| *number), in_force, skew);
    let selected = match (meaning, found) {
        (Meaning::Everything, _) => Selected { snapshot: base, exact: None },
        (Meaning::Stored { acknowledges }, Some((snapshot, _))) => {
            Selected { snapshot: Snapshot::parse(&snapshot)?, exact: acknowledges }
        }
        (Meaning::UpTo { micros }, _) => {
            let row = client
                .query_opt(
                    "select snapshot::text from sync.watermark
                     where peer in ($1, 0) and incarnation = $3
                       and issued <= timestamptz 'epoch' + $2 * interval '1 microsecond'
                     order by issued desc limit 1",
                    &[&peer, &(micros as f64), &incarnation.number],
                )
                .await
                .map_err(failed)?;
            let snapshot = row.map(|row| Snapshot::parse(row.get(0))).transpose()?.unwrap_or(base);
            Selected { snapshot, exact: None }
        }
        (Meaning::OtherIncarnation, _) => {
            return Err(ReplicaError::Restored(format!(
                "watermark {since} belongs to another incarnation of this database (it was restored or replaced): \
                 verify with repair, or clone the shop again"
            )));
        }
        (Meaning::Unknown | Meaning::Stored { .. }, _) => {
            return Err(ReplicaError::UnknownWatermark(format!(
                "watermark {since} was never issued to this office, or has been pruned: verify with repair, or clone the shop again"
            )));
        }
    };
    if !select::is_kept(&selected.snapshot.bounds, pruned_below) {
        return Err(ReplicaError::SinceTooOld(
            "the changes since then are no longer kept: verify with repair, or clone the shop again".into(),
        ));
    }
    Ok(selected)
}

/// Notes that the peer has durably stored everything up to this watermark, and no more: one that names an older watermark
/// than before was restored from a backup, and a clean must not rest on what it had acknowledged in the life it lost.
pub async fn acknowledge(client: &impl GenericClient, peer: i32, watermark: &Watermark) -> Result<(), ReplicaError> {
    client
        .execute(
            "update sync.watermark set acknowledged_at =
                 case when issued = timestamptz 'epoch' + $2 * interval '1 microsecond' then clock_timestamp() end
             where peer = $1 and case when issued = timestamptz 'epoch' + $2 * interval '1 microsecond' then acknowledged_at is null
                 else issued > timestamptz 'epoch' + $2 * interval '1 microsecond' and acknowledged_at is not null end",
            &[&peer, &(watermark.micros as f64)],
        )
        .await
        .map_err(|error| classify("acknowledge a watermark", error))?;
    Ok(())
}

/// Notes that the peer has stored nothing that it was told after the watermark it names, though that one leads nowhere any
/// more (it is from before a clean, or too old, or of another history): whoever names it was put back to a backup. One that
/// is newer than all we have told says nothing of the kind: then it was we who were put back.
pub async fn forget_acknowledged(client: &impl GenericClient, peer: i32, since: Since) -> Result<(), ReplicaError> {
    // who asks from the beginning has nothing
    let after = since.watermark().map_or(0.0, |watermark| watermark.micros as f64);
    client
        .execute(
            "update sync.watermark set acknowledged_at = null
             where peer = $1 and issued > timestamptz 'epoch' + $2 * interval '1 microsecond' and acknowledged_at is not null",
            &[&peer, &after],
        )
        .await
        .map_err(|error| classify("acknowledge a watermark", error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_selects_what_it_does_not_see_by_literals() {
        let snapshot = Snapshot::parse("10:20:12,15").unwrap();
        assert_eq!(snapshot.unseen(), "(xid >= '20'::xid8 or xid = any('{12,15}'::xid8[]))");
        assert_eq!(Snapshot::parse("10:10:").unwrap().unseen(), "xid >= '10'::xid8");
        assert!(Snapshot::parse("10:x:").is_err());
    }
}
