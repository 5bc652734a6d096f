//! Who may be connected: a bounded number in all and of one address, and those who have shown a credential before those
//! who have not.
//!
//! A connection that has not shown a credential yet is a *stranger*. Where there is no room, the stranger who has been
//! there longest gives way. So whoever opens connections and says nothing, or says it slowly, keeps nobody out: the
//! office shows its credential with its first words.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Everybody who is connected.
#[derive(Debug)]
pub(crate) struct House {
    guests_max: usize,
    per_peer_max: usize,
    inside: Mutex<Inside>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    /// Number that the next guest gets: strangers leave in this order.
    next: u64,
    guests: usize,
    per_peer: HashMap<IpAddr, usize>,
    strangers: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

/// Somebody who is connected; leaves when this is dropped.
#[derive(Debug)]
pub(crate) struct Guest {
    house: Arc<House>,
    number: u64,
    peer: IpAddr,
    leave: CancellationToken,
    known: AtomicBool,
}

/// Whether there is room.
enum Room {
    Yes(u64, CancellationToken),
    /// The address has all it may have, and nobody of it can leave.
    NotForThisPeer,
    /// Everybody inside has shown a credential.
    Full,
}

impl House {
    /// An empty house.
    pub(crate) fn new(guests_max: usize, per_peer_max: usize) -> Self {
        Self { guests_max, per_peer_max, inside: Mutex::default(), left: Notify::new() }
    }

    /// Lets somebody in; waits while everybody inside has shown a credential. None when the address has had its share.
    pub(crate) async fn enter(house: &Arc<Self>, peer: IpAddr) -> Option<Guest> {
        loop {
            let left = house.left.notified();
            let room = house.lock().room(peer, house.guests_max, house.per_peer_max);
            match room {
                Room::Yes(number, leave) => {
                    return Some(Guest {
                        house: Arc::clone(house),
                        number,
                        peer,
                        leave,
                        known: AtomicBool::new(false),
                    });
                }
                Room::NotForThisPeer => return None,
                Room::Full => left.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn room(&mut self, peer: IpAddr, guests_max: usize, per_peer_max: usize) -> Room {
        if self.per_peer.get(&peer).is_some_and(|count| *count >= per_peer_max) {
            let oldest = self.strangers.iter().find(|(_, (of, _))| *of == peer).map(|(number, _)| *number);
            let Some(oldest) = oldest else { return Room::NotForThisPeer };
            self.send_away(oldest);
        } else if self.guests >= guests_max {
            let Some(oldest) = self.strangers.keys().next().copied() else { return Room::Full };
            self.send_away(oldest);
        }
        let (number, leave) = (self.next, CancellationToken::new());
        self.next += 1;
        self.guests += 1;
        *self.per_peer.entry(peer).or_default() += 1;
        self.strangers.insert(number, (peer, leave.clone()));
        Room::Yes(number, leave)
    }

    fn send_away(&mut self, number: u64) {
        if let Some((peer, leave)) = self.strangers.remove(&number) {
            leave.cancel();
            self.count_out(peer);
        }
    }

    fn count_out(&mut self, peer: IpAddr) {
        self.guests -= 1;
        if let Some(count) = self.per_peer.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.per_peer.remove(&peer);
            }
        }
    }
}

impl Guest {
    /// Where the guest calls from.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// The guest has shown a credential and need not give way any more.
    pub(crate) fn is_known(&self) {
        // with each call: the house is for all connections, and asked once
        if !self.known.swap(true, Ordering::Relaxed) {
            self.house.lock().strangers.remove(&self.number);
        }
    }

    /// Resolves when the guest has to give way.
    pub(crate) async fn asked_to_leave(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut inside = self.house.lock();
        inside.strangers.remove(&self.number);
        // who was sent away has been counted out
        if !self.leave.is_cancelled() {
            inside.count_out(self.peer);
            drop(inside);
            self.house.left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Enters at once, or not: none while it would have to wait.
    fn enter(house: &Arc<House>, last: u8) -> Option<Option<Guest>> {
        House::enter(house, address(last)).now_or_never()
    }

    fn is_sent_away(guest: &Guest) -> bool {
        guest.asked_to_leave().now_or_never().is_some()
    }

    #[test]
    fn boundary_of_connections_max() {
        let house = Arc::new(House::new(3, 9));
        let guests: Vec<Guest> = (1..=3).filter_map(|n| enter(&house, n)?).collect();
        assert_eq!((guests.len(), house.lock().guests), (3, 3));
        assert!(guests.iter().all(|guest| !is_sent_away(guest)), "three of three");
        let fourth = enter(&house, 4).flatten();
        assert!(fourth.is_some() && is_sent_away(&guests[0]), "the fourth takes the place of the first");
        assert!(!is_sent_away(&guests[1]) && house.lock().guests == 3);
    }

    #[test]
    fn who_has_shown_a_credential_stays_and_newcomers_wait() {
        let house = Arc::new(House::new(2, 9));
        let known = enter(&house, 1).flatten().unwrap();
        known.is_known();
        let stranger = enter(&house, 2).flatten().unwrap();
        let newcomer = enter(&house, 3).flatten().unwrap();
        assert!(!is_sent_away(&known) && is_sent_away(&stranger));
        newcomer.is_known();
        assert!(enter(&house, 4).is_none(), "it has to wait");
        drop(stranger);
        assert!(enter(&house, 4).is_none(), "who was sent away makes no more room by leaving");
        drop(known);
        assert!(enter(&house, 4).flatten().is_some());
    }

    #[test]
    fn boundary_of_connections_per_peer_max() {
        let house = Arc::new(House::new(9, 2));
        let first = enter(&house, 1).flatten().unwrap();
        let second = enter(&house, 1).flatten().unwrap();
        assert!(!is_sent_away(&first));
        let third = enter(&house, 1).flatten().unwrap();
        assert!(is_sent_away(&first) && !is_sent_away(&second), "one more makes the oldest of the address give way");
        let other = enter(&house, 2).flatten();
        assert!(other.is_some() && !is_sent_away(&second), "other addresses have nothing to do with it");
        second.is_known();
        third.is_known();
        assert!(enter(&house, 1).is_some_and(|guest| guest.is_none()), "nobody of this address can give way");
    }

    #[tokio::test]
    async fn whoever_waits_comes_in_when_somebody_leaves() {
        let house = Arc::new(House::new(1, 9));
        let known = enter(&house, 1).flatten().unwrap();
        known.is_known();
        let waiting = tokio::spawn({
            let house = Arc::clone(&house);
            async move { House::enter(&house, address(2)).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(known);
        assert!(waiting.await.unwrap());
        assert_eq!(house.lock().guests, 0);
    }
}
