//! The first words: is it the right shop, does it mean the same by its policy, is it still the database we know?

use protocol::history::History;
use protocol::methods::{HelloReply, HelloRequest};
use protocol::session::office::{Event, Task};
use replica::ReplicaError;
use replica::office::{Branch, Office, ToldVitals};

use super::{Drive, DriveError, drift};
use crate::link::Peer;

/// Version of the extensions that this program speaks.
const PROTOCOL_VERSION: i32 = 1;

impl Drive<'_> {
    pub(super) async fn greet(&mut self, task: Task) -> Result<Event, DriveError> {
        self.job.progress.phase("calling");
        // a clone begins a common history when it is recorded; until then nothing is agreed
        let contact = if task == Task::Update { Contact::Agree } else { Contact::Look };
        self.facts = greet(&mut self.peer, self.job.office, &self.job.branch, contact, true).await?;
        if let Some(facts) = &self.facts {
            if task == Task::Update {
                check_incarnation(&self.job.branch, facts)?;
                check_history(facts)?;
            }
            self.job.office.note_shop_quarantine(&self.job.branch, facts.quarantined).await?;
            let chunk_bytes_max = facts.chunk_bytes_max;
            self.limit_pieces(chunk_bytes_max);
        }
        Ok(Event::Greeted(self.peer.abilities()))
    }

    /// Pieces in both directions are no larger than the peer takes.
    pub(super) fn limit_pieces(&mut self, chunk_bytes_max: i64) {
        if chunk_bytes_max > 0 {
            self.sending.limit(chunk_bytes_max.unsigned_abs());
            self.receiving.limit(chunk_bytes_max.unsigned_abs());
        }
    }
}

/// What to do about the two histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contact {
    /// Only look.
    Look,
    /// Go on with the common one.
    Agree,
    /// Begin a common one: both ends have just been brought together.
    Renew,
}

impl Contact {
    fn as_str(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Agree => "agree",
            Self::Renew => "renew",
        }
    }
}

/// Refuses to go on where one end knows less than it has told the other.
pub(super) fn check_history(facts: &HelloReply) -> Result<(), DriveError> {
    match facts.history.as_deref().and_then(History::parse) {
        None | Some(History::Same) => Ok(()),
        Some(history) => Err(DriveError::Histories(history)),
    }
}

/// Says hello and refuses the wrong shop, or one whose tables do not fit. None from a peer with the base methods alone.
///
/// With `remember`, what the shop tells is learnt: its tables, and which ids it draws from. Who looks without it changes
/// nothing at either end.
pub(super) async fn greet(
    peer: &mut Peer,
    office: &Office,
    branch: &Branch,
    contact: Contact,
    remember: bool,
) -> Result<Option<HelloReply>, DriveError> {
    let offer = match contact {
        Contact::Look => office.last_contact(branch).await?,
        Contact::Agree | Contact::Renew => office.propose_contact(branch).await?,
    };
    let policy = office.policy(&branch.policy).await?;
    let digest = policy.digest();
    let request = HelloRequest {
        protocol: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        office: office.incarnation().await?,
        policy: branch.policy.clone(),
        policy_digest: digest.clone(),
        clock: jiff::Timestamp::now().to_string(),
        branch: branch.name.clone(),
        contact: Some(offer.number),
        token: offer.token.clone(),
        next_token: Some(offer.next.clone()),
        intent: Some(contact.as_str().to_owned()),
    };
    let facts = peer.greet(request).await?;
    if let Some(facts) = &facts {
        check_peer(branch, &digest, facts)?;
        let history = facts.history.as_deref().and_then(History::parse);
        if let Some(history) = history.filter(|_| contact != Contact::Look) {
            let agreed = match (contact, history) {
                (Contact::Renew, _) | (Contact::Agree, History::Same) => facts.contact,
                _ => None,
            };
            let history = if contact == Contact::Renew { History::Same } else { history };
            office.record_contact(branch, &offer, history, agreed).await?;
        }
        let learns = remember && contact != Contact::Renew;
        if let (Some(low), Some(high), true) = (facts.id_low, facts.id_high, learns) {
            match office.learn_range(branch, low, high).await {
                // a verify, a repair or a clone mends it
                Err(ReplicaError::IdRange(why)) if contact == Contact::Look => tracing::warn!("{why}"),
                learnt => learnt?,
            }
        }
        if learns {
            let told = ToldVitals {
                id_range: facts.id_low.zip(facts.id_high),
                ids_used: facts.ids_used,
                disk_free: facts.disk_free,
            };
            office.note_vitals(branch, told).await?;
        }
        drift::check(peer, office, branch, facts, remember).await?;
    }
    Ok(facts)
}

fn check_peer(branch: &Branch, policy_digest: &str, facts: &HelloReply) -> Result<(), DriveError> {
    check_protocol(facts.protocol)?;
    if !facts.branch.is_empty() && facts.branch != branch.name {
        return Err(DriveError::WrongShop { theirs: facts.branch.clone() });
    }
    if !facts.policy_digest.is_empty() && facts.policy_digest != policy_digest {
        return Err(DriveError::PolicyDiffers { ours: branch.policy.clone(), theirs: facts.policy.clone() });
    }
    Ok(())
}

/// An agent answers with the highest version that both speak (I22); 0 is one that does not say.
fn check_protocol(theirs: i32) -> Result<(), DriveError> {
    match theirs {
        0 | PROTOCOL_VERSION => Ok(()),
        theirs => Err(DriveError::ProtocolDiffers { ours: PROTOCOL_VERSION, theirs }),
    }
}

/// An update rests on what the shop had when it was cloned; another history makes it meaningless.
pub(super) fn check_incarnation(branch: &Branch, facts: &HelloReply) -> Result<(), DriveError> {
    match &branch.incarnation {
        Some(known) if !facts.incarnation.is_empty() && *known != facts.incarnation => {
            Err(DriveError::OtherIncarnation)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I22: old and new agree or refuse politely.
    #[test]
    fn an_agent_of_another_protocol_is_refused_with_who_has_to_be_upgraded() {
        assert!(check_protocol(PROTOCOL_VERSION).is_ok() && check_protocol(0).is_ok());
        let hint = |theirs| check_protocol(theirs).err().and_then(|error| error.hint("north")).unwrap_or_default();
        assert!(hint(PROTOCOL_VERSION + 1).ends_with("at the office"), "{}", hint(PROTOCOL_VERSION + 1));
        assert!(hint(-1).ends_with("at the shop"), "{}", hint(-1));
    }
}
