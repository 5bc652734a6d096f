//! HTTP Basic: which office calls.
//!
//! A password is verified the expensive way once; after that a keyed hash of the credential is compared, in constant
//! time. The key lives in memory only. An unknown user costs the same as a known one with a wrong password.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::Caller;
use super::throttle::Throttle;
use super::users::{User, Users, UsersError, hash_password, users_path, verify_password};

/// Office of all callers where there is no authentication.
pub(crate) const DEFAULT_OFFICE: &str = "default";

/// Callers that may wait for an expensive verification at a time.
const WAITING_MAX: usize = 16;

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
    /// One at a time: each takes 19 MiB.
    hashing: Arc<Semaphore>,
    waiting: Semaphore,
    decoy: String,
}

#[derive(Default)]
struct Known {
    stamp: Option<(SystemTime, u64)>,
    users: Users,
    proven: HashMap<String, [u8; 32]>,
}

impl Authentication {
    /// By the users of a state directory.
    pub(crate) fn basic(state_dir: &Path) -> Result<Self, UsersError> {
        let path = users_path(state_dir);
        Users::load(&path)?;
        let decoy = hash_password(&format!("{:032x}", rand::random::<u128>())).unwrap_or_default();
        Ok(Self::Basic(Box::new(Basic {
            path,
            key: rand::random(),
            known: Mutex::default(),
            throttle: Throttle::default(),
            hashing: Arc::new(Semaphore::new(1)),
            waiting: Semaphore::new(WAITING_MAX),
            decoy,
        })))
    }

    /// Who calls with that `Authorization` header.
    pub(crate) async fn caller(&self, header: Option<&[u8]>, peer: IpAddr) -> Result<Caller, Refusal> {
        match self {
            Self::Off => Ok(Caller { office: DEFAULT_OFFICE.to_owned(), no_nil: false, peer }),
            Self::Basic(basic) => {
                let (name, password) = header.and_then(parse_basic).ok_or(Refusal::Unauthorized)?;
                let user = basic.verify(&name, password, peer).await?;
                Ok(Caller { office: user.office, no_nil: user.no_nil, peer })
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
        let _waiting = self.waiting.try_acquire().map_err(|_| Refusal::Unavailable)?;
        let permit = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| Refusal::Unavailable)?;
        // those who queued up behind a guess are put off by it, too
        if let Some(left) = self.throttle.wait(name, peer, Instant::now()) {
            return Err(Refusal::TooManyTries(left));
        }
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
        let stamp = std::fs::metadata(&self.path).ok().and_then(|meta| Some((meta.modified().ok()?, meta.len())));
        let mut known = self.lock();
        if stamp != known.stamp {
            let users = Users::load(&self.path).map_err(|error| {
                tracing::error!(error = crate::rpc::fault::chain(&error), "the credentials cannot be read");
                Refusal::Unavailable
            })?;
            *known = Known { stamp, users, proven: HashMap::new() };
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
    if !scheme.eq_ignore_ascii_case(b"basic ") || rest.len() > 1024 {
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
}
