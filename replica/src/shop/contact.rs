//! Contacts with an office: whether both ends still share one history.

use protocol::history::{Chain, History, Offer, judge};

use super::Shop;
use crate::ReplicaError;
use crate::error::classify;
use crate::node;

/// What a caller wants of a contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// To know how the histories lie; nothing is stored.
    Look,
    /// To agree on its token where the histories are the same.
    Agree,
    /// To begin a common history anew: both ends have been brought together by a clone or a repair.
    Renew,
}

impl Shop {
    /// Judges an office's token, and stores what was agreed before anybody is told. Gives the number of the last contact.
    pub async fn contact(&self, office: &str, offer: &Offer, contact: Contact) -> Result<(History, i64), ReplicaError> {
        let failed = |error| classify("compare histories", error);
        let mut state = self.state().await?;
        let mut client = self.inner.pool.get().await?;
        if !node::is_as_established(&*client, &self.inner.witness, &state.incarnation).await? {
            // the database was exchanged below the running agent
            self.inner.state.forget().await;
            state = self.state().await?;
        }
        let peer = node::peer(&*client, office).await?;
        let transaction = client.transaction().await.map_err(failed)?;
        let row = transaction
            .query_one("select contact, token, token_before from sync.peer where peer = $1 for update", &[&peer])
            .await
            .map_err(failed)?;
        let chain = Chain { number: row.get(0), token: row.get(1), before: row.get(2) };
        let (history, agreed) = judge(&chain, offer);
        let next = match contact {
            Contact::Look => return Ok((history, chain.number)),
            Contact::Agree => agreed,
            Contact::Renew => Some(chain.followed_by(offer)),
        };
        let same = history == History::Same || contact == Contact::Renew;
        let number = next.as_ref().map_or(chain.number, |next| next.number);
        let next = next.unwrap_or(chain);
        let told = (!same).then(|| history.as_str());
        transaction
            .execute(
                "update sync.peer set contact = $2, token = $3, token_before = $4, history = $5 where peer = $1",
                &[&peer, &next.number, &next.token, &next.before, &told],
            )
            .await
            .map_err(failed)?;
        let mark: i64 = transaction
            .query_one("update sync.node set mark = mark + 1 returning mark", &[])
            .await
            .map_err(failed)?
            .get(0);
        transaction.commit().await.map_err(failed)?;
        self.inner.witness.remember_contact(&state.incarnation, mark)?;
        if !same {
            tracing::warn!(
                office,
                history = history.as_str(),
                "this office and this shop do not share one history: one of them was restored from a backup, or is used from two places; the office has to verify with --repair"
            );
        }
        Ok((history, number))
    }

    /// Refuses to go on with an office whose history is not ours: changes would be lost or come twice.
    pub(super) async fn refuse_other_history(&self, office: &str) -> Result<(), ReplicaError> {
        let client = self.inner.pool.get().await?;
        let row = client
            .query_opt("select history from sync.peer where name = $1 and history is not null", &[&office])
            .await
            .map_err(|error| classify("compare histories", error))?;
        match row {
            None => Ok(()),
            Some(_) => Err(ReplicaError::Restored(
                "office and shop do not share one history any more: one of the two databases was restored from a backup, \
                 or is used from two places; 'office-client verify NAME --repair' brings them together"
                    .into(),
            )),
        }
    }
}
