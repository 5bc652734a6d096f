//! Contacts with a branch: whether both ends still share one history, and which ids the shop draws from.

use protocol::history::{History, Offer};

use super::{Branch, Office};
use crate::ReplicaError;
use crate::error::classify;

impl Office {
    /// What to say of the contacts with a branch, with a fresh token: durable before it is sent, and the same one again
    /// until it is known to have arrived.
    pub async fn propose_contact(&self, branch: &Branch) -> Result<Offer, ReplicaError> {
        let failed = |error| classify("propose a token", error);
        let state = self.state().await?;
        let client = self.inner.pool.get().await?;
        let token = format!("{:032x}", rand::random::<u128>());
        let row = client
            .query_one(
                "with node as (update sync.node set mark = mark + 1 returning mark)
                 update sync.branch_synchronization b set next_token = coalesce(next_token, $2) from node
                 where branch_id = $1 returning contact, token, next_token, node.mark",
                &[&branch.id, &token],
            )
            .await
            .map_err(failed)?;
        self.inner.witness.remember_contact(&state.incarnation, row.get(3))?;
        Ok(Offer { number: row.get(0), token: row.get(1), next: row.get(2) })
    }

    /// What to say of the contacts with a branch by one who only looks: nothing is stored.
    pub async fn last_contact(&self, branch: &Branch) -> Result<Offer, ReplicaError> {
        let client = self.inner.pool.get().await?;
        let token = format!("{:032x}", rand::random::<u128>());
        let row = client
            .query_one(
                "select contact, token, coalesce(next_token, $2) from sync.branch_synchronization where branch_id = $1",
                &[&branch.id, &token],
            )
            .await
            .map_err(|error| classify("read the last contact", error))?;
        Ok(Offer { number: row.get(0), token: row.get(1), next: row.get(2) })
    }

    /// Stores how a contact came out. `number` is the peer's, and none where nothing was agreed.
    pub async fn record_contact(
        &self,
        branch: &Branch,
        offer: &Offer,
        history: History,
        number: Option<i64>,
    ) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        let told = (history != History::Same).then(|| history.as_str());
        client
            .execute(
                "update sync.branch_synchronization set history = $3,
                     contact = coalesce($4, contact),
                     token = case when $4 is null then token else $2 end,
                     next_token = case when $4 is null then next_token end
                 where branch_id = $1 and next_token = $2",
                &[&branch.id, &offer.next, &told, &number],
            )
            .await
            .map_err(|error| classify("record the contact", error))?;
        Ok(())
    }

    /// Learns the range that a shop says it draws from, when a restored database no longer knows that it was given out.
    ///
    /// # Errors
    /// `IdRange` when the office has given those ids to somebody else.
    pub async fn learn_range(&self, branch: &Branch, low: i64, high: i64) -> Result<(), ReplicaError> {
        let failed = |error| classify("learn an id range", error);
        let mut client = self.inner.pool.get().await?;
        let known = "select 1 from sync.id_slot where branch_id = $1 and low = $2 and high = $3 and not removed";
        if low < 0
            || high <= low
            || client.query_opt(known, &[&branch.id, &low, &high]).await.map_err(failed)?.is_some()
        {
            return Ok(());
        }
        let transaction = client.transaction().await.map_err(failed)?;
        transaction.batch_execute("lock table sync.id_slot in exclusive mode").await.map_err(failed)?;
        let other = transaction
            .query_opt(
                "select coalesce(b.branch, 'a branch that was removed') from sync.id_slot s
                 left join sync.branch_synchronization b on b.branch_id = s.branch_id and not s.removed
                 where s.low < $2 and s.high > $1 and (s.branch_id <> $3 or s.removed) limit 1",
                &[&low, &high, &branch.id],
            )
            .await
            .map_err(failed)?;
        if let Some(row) = other {
            return Err(ReplicaError::IdRange(format!(
                "the shop of branch {:?} draws ids from ({low}, {high}], which the office has given to {}: \
                 run 'office-client verify {} --repair', which gives it a fresh range",
                branch.name,
                row.get::<_, String>(0),
                branch.name
            )));
        }
        transaction
            .execute(
                "insert into sync.id_slot(slot, branch_id, low, high, incarnation)
                 select coalesce(max(slot), 0) + 1, $1, $2, $3, (select max(number) from sync.incarnation) from sync.id_slot",
                &[&branch.id, &low, &high],
            )
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        tracing::warn!(branch = %branch.name, low, high, "the shop draws ids from a range that this database did not know to be given out");
        Ok(())
    }
}
