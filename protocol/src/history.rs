//! Whether two databases still share one history.
//!
//! At every contact the office proposes a fresh token and both ends store it, numbered. A database that was restored
//! from a backup has an older number than its peer; one that was copied and is used from two places has the peer's
//! number with another token. The witness beside a database finds most of this alone; this finds it also where the
//! witness was restored, or copied, with the database.

use serde::{Deserialize, Serialize};

/// What one end has stored of the contacts with the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Number of the last contact; 0 when there was none.
    pub number: i64,
    /// Token that was agreed at it.
    pub token: Option<String>,
    /// Token that was agreed at the contact before.
    pub before: Option<String>,
}

/// What a caller says of its contacts so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// Number of its last contact; 0 when there was none.
    pub number: i64,
    /// Token that was agreed at it.
    pub token: Option<String>,
    /// Token it proposes now; the same again as long as it does not know whether a proposal arrived.
    pub next: String,
}

/// How the two histories lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// Both ends remember the same last contact.
    Same,
    /// The caller knows less than it has told the agent: its database was restored, or is one of two copies.
    CallerOlder,
    /// The agent knows less than it has told the caller.
    AgentOlder,
    /// As many contacts, but not the same: a copy of one of the two has been in contact as well.
    Forked,
}

impl History {
    /// The word for it on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::CallerOlder => "caller-older",
            Self::AgentOlder => "agent-older",
            Self::Forked => "forked",
        }
    }

    /// The history of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Same, Self::CallerOlder, Self::AgentOlder, Self::Forked].into_iter().find(|one| one.as_str() == text)
    }
}

/// Judges a caller's offer; gives the chain to store where a new contact is agreed.
pub fn judge(chain: &Chain, offer: &Offer) -> (History, Option<Chain>) {
    if offer.number == chain.number {
        if offer.number > 0 && offer.token != chain.token {
            return (History::Forked, None);
        }
        return (History::Same, Some(chain.followed_by(offer)));
    }
    // the answer to the last proposal was lost, and it comes again
    let repeated = offer.number.checked_add(1) == Some(chain.number)
        && chain.token.as_deref() == Some(&offer.next)
        && chain.before == offer.token;
    match () {
        () if repeated => (History::Same, None),
        () if offer.number > chain.number => (History::AgentOlder, None),
        () => (History::CallerOlder, None),
    }
}

impl Chain {
    /// The chain after a contact at which the caller's proposal is taken, whatever the histories were. A proposal that was
    /// taken already comes from a request that arrived twice, and changes nothing.
    pub fn followed_by(&self, offer: &Offer) -> Self {
        if self.token.as_ref() == Some(&offer.next) {
            return self.clone();
        }
        Self {
            number: self.number.max(offer.number).saturating_add(1),
            token: Some(offer.next.clone()),
            before: self.token.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller as it remembers: the last contact, and what it proposes next.
    fn offer(number: i64, token: Option<&str>, next: &str) -> Offer {
        Offer { number, token: token.map(str::to_owned), next: next.to_owned() }
    }

    fn agree(chain: &Chain, offer: &Offer) -> Chain {
        let (history, next) = judge(chain, offer);
        assert_eq!(history, History::Same);
        next.expect("a new contact")
    }

    #[test]
    fn a_history_begun_anew_by_a_request_that_came_twice_is_one() {
        let began = Chain::default().followed_by(&offer(7, Some("old"), "new"));
        assert_eq!(began.followed_by(&offer(7, Some("old"), "new")), began);
        assert_eq!(began.followed_by(&offer(8, Some("new"), "newer")).number, 9);
    }

    #[test]
    fn two_ends_that_keep_step_share_one_history() {
        let mut chain = Chain::default();
        let mut last: Option<String> = None;
        for number in 0..5 {
            let next = format!("token {number}");
            chain = agree(&chain, &offer(number, last.as_deref(), &next));
            assert_eq!((chain.number, chain.token.as_deref()), (number + 1, Some(next.as_str())));
            last = Some(next);
        }
    }

    #[test]
    fn a_proposal_whose_answer_was_lost_is_taken_once() {
        let first = agree(&Chain::default(), &offer(0, None, "a"));
        let second = agree(&first, &offer(1, Some("a"), "b"));
        assert_eq!(judge(&second, &offer(1, Some("a"), "b")), (History::Same, None));
        assert_eq!(agree(&second, &offer(2, Some("b"), "c")).number, 3);
    }

    #[test]
    fn who_knows_less_was_restored_and_who_knows_otherwise_was_copied() {
        let first = agree(&Chain::default(), &offer(0, None, "a"));
        let second = agree(&first, &offer(1, Some("a"), "b"));
        // the caller went back before the second contact, and proposes another token than it did then
        assert_eq!(judge(&second, &offer(1, Some("a"), "x")), (History::CallerOlder, None));
        assert_eq!(judge(&second, &offer(0, None, "x")), (History::CallerOlder, None));
        // the agent went back
        assert_eq!(judge(&first, &offer(2, Some("b"), "c")), (History::AgentOlder, None));
        assert_eq!(judge(&Chain::default(), &offer(2, Some("b"), "c")), (History::AgentOlder, None));
        // the agent's disk was copied, and the copy met the caller's twin
        let twin = agree(&first, &offer(1, Some("a"), "y"));
        assert_eq!(judge(&twin, &offer(2, Some("b"), "c")), (History::Forked, None));
        assert_eq!(twin.followed_by(&offer(2, Some("b"), "c")).number, 3);
    }

    #[test]
    fn every_history_is_found_by_its_word() {
        for one in [History::Same, History::CallerOlder, History::AgentOlder, History::Forked] {
            assert_eq!(History::parse(one.as_str()), Some(one));
        }
        assert_eq!(History::parse("better"), None);
    }
}
