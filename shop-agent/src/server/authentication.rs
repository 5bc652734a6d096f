//! HTTP Basic: which office calls.
//!
//! A password is verified the expensive way once; after that a keyed hash of the credential is compared, in constant
//! time. The key lives in memory only. An unknown user costs the same as a known one with a wrong password.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use credentials::{CredentialsError, Throttle, hash_password, network, verify_password};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::Caller;
use super::throttle::throttle;
use super::users::{User, Users, users_path};
use crate::limits::{CREDENTIAL_BYTES_MAX, GUESSES_WAITING_MAX, GUESSES_WAITING_PER_PEER_MAX};

/// Office of all callers where there is no authentication.
pub(crate) const DEFAULT_OFFICE: &str = "default";

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No credential, or not a right one: 401.
    Unauthorized,
    /// Too many failures: 429.
    TooManyTries(Duration),
    /// Too many callers at a time, or the credentials cannot be read: 503.
    Unavailable,
}

/// Decides who calls.
pub(crate) enum Authentication {
    /// Everybody is the office `default`; on loopback only.
    Off,
    /// By the file of users.
    Basic(Box<Basic>),
}

/// HTTP Basic.
pub(crate) struct Basic {
    path: PathBuf,
    key: [u8; 32],
    known: Mutex<Known>,
    throttle: Throttle,
    /// One at a time: each takes 19 MiB and a core.
    hashing: Arc<Semaphore>,
    queue: Queue,
    decoy: String,
    /// Expensive verifications so far.
    verified: AtomicU64,
}

/// Callers that wait for an expensive verification: few of one address, so that it does not keep others out.
#[derive(Default)]
struct Queue {
    waiting: Mutex<HashMap<IpAddr, usize>>,
}

/// A place in the queue.
struct Place<'a> {
    queue: &'a Queue,
    peer: IpAddr,
}

impl Queue {
    fn enter(&self, peer: IpAddr) -> Option<Place<'_>> {
        let peer = network(peer);
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let own = waiting.get(&peer).copied().unwrap_or_default();
        if own >= GUESSES_WAITING_PER_PEER_MAX || waiting.values().sum::<usize>() >= GUESSES_WAITING_MAX {
            return None;
        }
        waiting.insert(peer, own + 1);
        Some(Place { queue: self, peer })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get_mut(&self.peer) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(waiting.remove(&self.peer)),
        }
    }
}

/// What tells one version of the file of users from another: replaced as a whole, it is another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: meta.ino(),
            length: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

#[derive(Default)]
struct Known {
    stamp: Option<Stamp>,
    users: Users,
    proven: HashMap<String, [u8; 32]>,
}

impl Authentication {
    /// By the users of a state directory.
    pub(crate) fn basic(state_dir: &Path) -> Result<Self, CredentialsError> {
        let path = users_path(state_dir);
        Users::load(&path)?;
        let decoy = hash_password(&format!("{:032x}", rand::random::<u128>())).map_err(CredentialsError::Hash)?;
        Ok(Self::Basic(Box::new(Basic {
            path,
            key: rand::random(),
            known: Mutex::default(),
            throttle: throttle(),
            hashing: Arc::new(Semaphore::new(1)),
            queue: Queue::default(),
            decoy,
            verified: AtomicU64::new(0),
        })))
    }

    /// Who calls with that `Authorization` header.
    pub(crate) async fn caller(&self, header: Option<&[u8]>, peer: IpAddr) -> Result<Caller, Refusal> {
        match self {
            Self::Off => Ok(Caller { office: DEFAULT_OFFICE.to_owned(), user: None, no_nil: false, peer }),
            Self::Basic(basic) => {
                let (name, password) = header.and_then(parse_basic).ok_or(Refusal::Unauthorized)?;
                let user = basic.verify(&name, password, peer).await?;
                Ok(Caller { office: user.office, user: Some(user.name), no_nil: user.no_nil, peer })
            }
        }
    }
}

impl Basic {
    async fn verify(&self, name: &str, password: Vec<u8>, peer: IpAddr) -> Result<User, Refusal> {
        let user = self.user(name)?;
        let hash = user.as_ref().map_or(self.decoy.as_str(), |user| user.hash.as_str()).to_owned();
        let proof = self.proof(name, &password, &hash);
        if let Some(user) = &user
            && self.is_proven(name, &proof)
        {
            return Ok(user.clone());
        }
        if let Some(left) = self.throttle.wait(name, peer, Instant::now()) {
            return Err(Refusal::TooManyTries(left));
        }
        let _place = self.queue.enter(peer).ok_or(Refusal::Unavailable)?;
        let permit = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| Refusal::Unavailable)?;
        // those who queued up behind a guess are put off by it, too
        if let Some(left) = self.throttle.wait(name, peer, Instant::now()) {
            return Err(Refusal::TooManyTries(left));
        }
        self.verified.fetch_add(1, Ordering::Relaxed);
        let fits = tokio::task::spawn_blocking(move || {
            let fits = verify_password(&password, &hash);
            drop(permit);
            fits
        });
        match (fits.await, user) {
            (Ok(true), Some(user)) => {
                self.throttle.succeeded(name, peer);
                self.lock().proven.insert(name.to_owned(), proof);
                Ok(user)
            }
            (Err(_), _) => Err(Refusal::Unavailable),
            _ => {
                self.throttle.failed(name, peer, Instant::now());
                tracing::warn!(%peer, "a credential was refused");
                Err(Refusal::Unauthorized)
            }
        }
    }

    /// The user of that name; the file is read again when it has changed.
    fn user(&self, name: &str) -> Result<Option<User>, Refusal> {
        let stamp = Stamp::of(&self.path);
        let mut known = self.lock();
        if stamp != known.stamp {
            let users = Users::load(&self.path).map_err(|error| {
                tracing::error!(error = crate::rpc::fault::chain(&error), "the credentials cannot be read");
                Refusal::Unavailable
            })?;
            // whose password is still the same need not prove it again: a new user must not put the others off
            let mut proven = std::mem::take(&mut known.proven);
            let hash = |users: &Users, name: &str| users.find(name).map(|user| user.hash.clone());
            proven
                .retain(|name, _| hash(&known.users, name).is_some() && hash(&known.users, name) == hash(&users, name));
            *known = Known { stamp, users, proven };
        }
        Ok(known.users.find(name).cloned())
    }

    fn is_proven(&self, name: &str, proof: &[u8; 32]) -> bool {
        let known = self.lock();
        known.proven.get(name).is_some_and(|proven| bool::from(proven.ct_eq(proof)))
    }

    /// Keyed hash of a credential; the hash in the file is part of it, so a new password makes the old proof void.
    fn proof(&self, name: &str, password: &[u8], hash: &str) -> [u8; 32] {
        let mut inner = Sha256::new();
        inner.update(self.key);
        for part in [name.as_bytes(), password, hash.as_bytes()] {
            inner.update((part.len() as u64).to_le_bytes());
            inner.update(part);
        }
        // hashed once more, so that the first hash cannot be extended
        Sha256::new().chain_update(self.key).chain_update(inner.finalize()).finalize().into()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Name and password of a `Basic` header.
fn parse_basic(header: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") || header.len() > CREDENTIAL_BYTES_MAX {
        return None;
    }
    let mut pair = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = pair.iter().position(|&byte| byte == b':')?;
    let password = pair.split_off(colon + 1);
    pair.pop();
    Some((String::from_utf8(pair).ok()?, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcome = Result<(), Box<dyn std::error::Error>>;

    fn header(name: &str, password: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))).into_bytes()
    }

    fn here() -> IpAddr {
        IpAddr::from([127, 0, 0, 1])
    }

    fn with_user(dir: &Path, password: &str) -> Result<(), Box<dyn std::error::Error>> {
        let path = users_path(dir);
        let mut users = Users::load(&path)?;
        let hash = hash_password(password).map_err(|error| error.to_string())?;
        users.put(User { name: "ana".into(), office: "centre".into(), hash, no_nil: false });
        Ok(users.save(&path)?)
    }

    #[test]
    fn a_password_may_hold_a_colon_and_the_scheme_any_case() {
        assert_eq!(parse_basic(&header("ana", "a:b")), Some(("ana".into(), b"a:b".to_vec())));
        assert_eq!(parse_basic(b"bAsIc YTpi"), Some(("a".into(), b"b".to_vec())));
        for bad in [&b"Bearer YTpi"[..], b"Basic", b"Basic !!", b"Basic YWI="] {
            assert_eq!(parse_basic(bad), None);
        }
    }

    #[tokio::test]
    async fn the_credential_names_the_office_and_is_then_cheap() -> Outcome {
        let dir = tempfile::tempdir()?;
        with_user(dir.path(), "secret")?;
        let authentication = Authentication::basic(dir.path())?;
        let good = header("ana", "secret");
        let caller = authentication.caller(Some(&good), here()).await.map_err(|e| format!("{e:?}"))?;
        assert_eq!(caller.office, "centre");
        let Authentication::Basic(basic) = &authentication else { return Err("basic".into()) };
        // with the hashing closed, only the proven credential passes
        basic.hashing.close();
        assert!(authentication.caller(Some(&good), here()).await.is_ok());
        let bad = authentication.caller(Some(&header("ana", "wrong")), here()).await;
        assert_eq!(bad.err(), Some(Refusal::Unavailable));
        Ok(())
    }

    #[tokio::test]
    async fn failures_put_off_the_guesser_and_not_who_was_proven() -> Outcome {
        let dir = tempfile::tempdir()?;
        with_user(dir.path(), "secret")?;
        let authentication = Authentication::basic(dir.path())?;
        let good = header("ana", "secret");
        assert!(authentication.caller(Some(&good), here()).await.is_ok());
        let mut last = None;
        for _ in 0..6 {
            last = authentication.caller(Some(&header("ana", "wrong")), here()).await.err();
        }
        assert!(matches!(last, Some(Refusal::TooManyTries(_))));
        assert!(authentication.caller(Some(&good), here()).await.is_ok());
        Ok(())
    }

    #[tokio::test]
    async fn unknown_users_missing_headers_and_changed_passwords_are_refused() -> Outcome {
        let dir = tempfile::tempdir()?;
        with_user(dir.path(), "secret")?;
        let authentication = Authentication::basic(dir.path())?;
        assert_eq!(authentication.caller(None, here()).await.err(), Some(Refusal::Unauthorized));
        let nobody = authentication.caller(Some(&header("bob", "secret")), here()).await;
        assert_eq!(nobody.err(), Some(Refusal::Unauthorized));
        assert!(authentication.caller(Some(&header("ana", "secret")), here()).await.is_ok());
        with_user(dir.path(), "changed, and longer")?;
        let old = authentication.caller(Some(&header("ana", "secret")), here()).await;
        assert_eq!(old.err(), Some(Refusal::Unauthorized));
        assert!(authentication.caller(Some(&header("ana", "changed, and longer")), here()).await.is_ok());
        Ok(())
    }

    #[test]
    fn boundary_of_guesses_waiting_per_peer_max() {
        let queue = Queue::default();
        let mut places: Vec<_> = (0..GUESSES_WAITING_PER_PEER_MAX).filter_map(|_| queue.enter(here())).collect();
        assert_eq!(places.len(), GUESSES_WAITING_PER_PEER_MAX);
        assert!(queue.enter(here()).is_none());
        assert!(queue.enter(IpAddr::from([10, 0, 0, 1])).is_some(), "another address is not kept out");
        places.pop();
        assert!(queue.enter(here()).is_some());
    }

    #[test]
    fn boundary_of_guesses_waiting_max() {
        let queue = Queue::default();
        let peer = |n: usize| IpAddr::from([10, 0, 0, u8::try_from(n).unwrap_or_default()]);
        let mut places: Vec<_> = (0..GUESSES_WAITING_MAX).filter_map(|n| queue.enter(peer(n))).collect();
        assert_eq!(places.len(), GUESSES_WAITING_MAX);
        assert!(queue.enter(peer(200)).is_none());
        places.pop();
        assert!(queue.enter(peer(200)).is_some());
    }

    #[test]
    fn boundary_of_credential_bytes_max() {
        for (length, taken) in [(CREDENTIAL_BYTES_MAX - 2, true), (CREDENTIAL_BYTES_MAX + 2, false)] {
            // base64 has a length of whole quarters, "Basic " has six
            let pair = format!("a:{}", "p".repeat((length - 6) / 4 * 3 - 2));
            let header = format!("Basic {}", STANDARD.encode(pair));
            assert_eq!(header.len(), length);
            assert_eq!(parse_basic(header.as_bytes()).is_some(), taken, "{length}");
        }
    }

    /// Whoever guesses by the ten thousand neither gets in, nor costs more than a few hashes, nor keeps out the office.
    #[tokio::test]
    async fn ten_thousand_wrong_passwords_cost_a_few_hashes_and_the_office_keeps_working() -> Outcome {
        let dir = tempfile::tempdir()?;
        with_user(dir.path(), "secret")?;
        let authentication = Authentication::basic(dir.path())?;
        let Authentication::Basic(basic) = &authentication else { return Err("basic".into()) };
        let good = header("ana", "secret");
        let office = IpAddr::from([10, 0, 0, 9]);
        assert!(authentication.caller(Some(&good), office).await.is_ok());
        for n in 0..10_000_u32 {
            // half of them guess the password of the office's user, half try names; all over one address
            let name = if n % 2 == 0 { "ana".to_owned() } else { format!("user{n}") };
            let refused = authentication.caller(Some(&header(&name, &n.to_string())), here()).await;
            assert!(refused.is_err());
            if n % 100 == 0 {
                assert!(authentication.caller(Some(&good), office).await.is_ok(), "after {n} guesses");
                assert!(authentication.caller(Some(&good), here()).await.is_ok(), "even beside the guesser");
            }
        }
        let verified = basic.verified.load(Ordering::Relaxed);
        assert!(verified < 100, "{verified} expensive verifications");
        // and an office that has not been here since the start, at another address, is let in
        let other = Authentication::basic(dir.path())?;
        for n in 0..50 {
            let _ = other.caller(Some(&header("ana", &n.to_string())), here()).await;
        }
        assert!(other.caller(Some(&good), office).await.is_ok());
        Ok(())
    }

    #[tokio::test]
    async fn another_user_that_comes_puts_nobody_off() -> Outcome {
        let dir = tempfile::tempdir()?;
        with_user(dir.path(), "secret")?;
        let authentication = Authentication::basic(dir.path())?;
        let Authentication::Basic(basic) = &authentication else { return Err("basic".into()) };
        let good = header("ana", "secret");
        assert!(authentication.caller(Some(&good), here()).await.is_ok());
        let path = users_path(dir.path());
        let mut users = Users::load(&path)?;
        users.put(User { name: "eve".into(), office: "elsewhere".into(), hash: "x".into(), no_nil: false });
        users.save(&path)?;
        basic.hashing.close();
        assert!(authentication.caller(Some(&good), here()).await.is_ok(), "proven, and not asked again");
        Ok(())
    }

    #[tokio::test]
    async fn a_user_that_is_removed_is_out_at_once() -> Outcome {
        let dir = tempfile::tempdir()?;
        with_user(dir.path(), "secret")?;
        let authentication = Authentication::basic(dir.path())?;
        let good = header("ana", "secret");
        assert!(authentication.caller(Some(&good), here()).await.is_ok());
        Users::default().save(&users_path(dir.path()))?;
        assert_eq!(authentication.caller(Some(&good), here()).await.err(), Some(Refusal::Unauthorized));
        Ok(())
    }

    #[tokio::test]
    async fn an_unknown_user_costs_as_many_hashes_as_a_known_one() -> Outcome {
        let dir = tempfile::tempdir()?;
        with_user(dir.path(), "secret")?;
        let mut outcomes = Vec::new();
        for name in ["ana", "nobody"] {
            let authentication = Authentication::basic(dir.path())?;
            let Authentication::Basic(basic) = &authentication else { return Err("basic".into()) };
            let mut refusals = Vec::new();
            for n in 0..7_u32 {
                let refused = authentication.caller(Some(&header(name, &n.to_string())), here()).await.err();
                refusals.push(refused.map(|refusal| std::mem::discriminant(&refusal)));
            }
            outcomes.push((refusals, basic.verified.load(Ordering::Relaxed)));
        }
        assert_eq!(outcomes[0], outcomes[1]);
        Ok(())
    }
}
