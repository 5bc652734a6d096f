//! Who may come in: on this machine alone everybody, beyond it those who log in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use credentials::{Bounds, Throttle};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

use super::ConsoleOptions;
use super::users::{Role, User, Users, users_path};
use crate::error::CommandError;
use crate::limits::{CONSOLE_LOGIN_IDLE_MAX, CONSOLE_LOGINS_MAX};

/// How long a program's credential counts as proven: a new password is asked for by then.
const PROVEN_MAX: Duration = Duration::from_secs(60);
/// Hashes computed at one time: each takes 19 MiB.
const HASHES_MAX: usize = 2;

/// What guessing costs.
const GUESSES: Bounds = Bounds { free: 5, free_per_peer: 30, guessers_max: 4096 };

/// Somebody who has come in.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    /// Their name; none where no login is needed.
    pub(super) name: Option<String>,
    /// What they may do.
    pub(super) role: Role,
    /// What every form of theirs carries.
    pub(super) token: Arc<str>,
}

impl Visitor {
    /// Whether a form came from a page that was made for them.
    pub(super) fn owns(&self, token: &str) -> bool {
        self.token.as_bytes().ct_eq(token.as_bytes()).into()
    }

    /// What they are called in records.
    pub(super) fn called(&self) -> &str {
        self.name.as_deref().unwrap_or("this machine")
    }
}

/// Somebody who has logged in.
#[derive(Debug)]
struct Login {
    name: String,
    /// Hash of the password that was proven: another one ends the session.
    hash: String,
    token: Arc<str>,
    used: Instant,
}

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Name and password do not belong together.
    Wrong,
    /// Too many wrong ones: so long until the next try.
    Later(Duration),
}

/// The door.
#[derive(Debug)]
pub(super) struct Door {
    /// Whether people have to log in.
    login: bool,
    /// Whether the console speaks TLS.
    encrypted: bool,
    /// What forms carry where nobody logs in.
    token: Arc<str>,
    path: PathBuf,
    known: Mutex<Known>,
    logins: Mutex<HashMap<[u8; 32], Login>>,
    /// Credentials of programs that were proven, by their digest: a hash for every call would cost too much.
    proven: Mutex<HashMap<[u8; 32], Instant>>,
    throttle: Throttle,
    hashing: Semaphore,
}

/// The users as the file had them.
#[derive(Debug, Default)]
struct Known {
    changed: Option<SystemTime>,
    users: Users,
}

impl Door {
    /// A door for an address: beyond this machine it needs users, and something better than plain HTTP unless that is
    /// wanted. Where there are users, everybody logs in, on this machine too.
    pub(super) fn new(options: &ConsoleOptions, state_dir: &Path) -> Result<Self, CommandError> {
        let path = users_path(state_dir);
        let users = Users::load(&path)?;
        let beyond = !options.listen.ip().is_loopback();
        if beyond && users.users.is_empty() {
            return Err(CommandError::usage(format!(
                "the console would be open to everybody who reaches {}",
                options.listen
            ))
            .with_hint("add somebody who may log in: `office-client console user add NAME --role decide`"));
        }
        if options.insecure_http && options.certificate.is_some() {
            return Err(CommandError::usage("--insecure-http and TLS exclude each other: leave one of them out"));
        }
        if beyond && !options.insecure_http && options.certificate.is_none() {
            return Err(CommandError::usage(format!(
                "passwords would cross the network in plain text at {}",
                options.listen
            ))
            .with_hint("use --tls-self-signed, or --tls-cert and --tls-key; or insist with --insecure-http"));
        }
        Ok(Self {
            login: beyond || !users.users.is_empty(),
            encrypted: options.certificate.is_some(),
            token: random_token(),
            path,
            known: Mutex::default(),
            logins: Mutex::default(),
            proven: Mutex::default(),
            throttle: Throttle::new(GUESSES),
            hashing: Semaphore::new(HASHES_MAX),
        })
    }

    /// Whether people have to log in.
    pub(super) fn needs_login(&self) -> bool {
        self.login
    }

    /// Whether the console speaks TLS: then cookies travel over nothing else.
    pub(super) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Whoever comes in where nobody has to log in.
    pub(super) fn anybody(&self) -> Visitor {
        Visitor { name: None, role: Role::Decide, token: Arc::clone(&self.token) }
    }

    /// The user of that name, as the file has it now.
    fn user(&self, name: &str) -> Option<User> {
        let changed = std::fs::metadata(&self.path).and_then(|file| file.modified()).ok();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.changed != changed || changed.is_none() {
            match Users::load(&self.path) {
                Ok(users) => *known = Known { changed, users },
                Err(error) => tracing::error!(error = %error.chain(), "the users of the console cannot be read"),
            }
        }
        known.users.find(name).cloned()
    }

    /// Whose session that is. A user who was removed, or whose password was changed, is out at once.
    pub(super) fn session(&self, secret: &str) -> Option<Visitor> {
        self.session_at(secret, Instant::now())
    }

    fn session_at(&self, secret: &str, now: Instant) -> Option<Visitor> {
        let (name, hash, token) = {
            let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
            let key = digest(secret);
            if logins.get(&key).is_some_and(|login| now.duration_since(login.used) > CONSOLE_LOGIN_IDLE_MAX) {
                logins.remove(&key);
            }
            let login = logins.get_mut(&key)?;
            login.used = now;
            (login.name.clone(), login.hash.clone(), Arc::clone(&login.token))
        };
        let user = self.user(&name).filter(|user| user.hash() == hash)?;
        Some(Visitor { name: Some(name), role: user.role, token })
    }

    /// Lets somebody in; returns the secret of the session.
    pub(super) async fn log_in(&self, name: &str, password: &str, peer: IpAddr) -> Result<String, Refusal> {
        let user = self.prove(name, password, peer).await?;
        Ok(self.open_session(&user))
    }

    /// A session for somebody who has proven who they are; where there are too many, the one that lay idle longest ends.
    fn open_session(&self, user: &User) -> String {
        let secret = random_token().to_string();
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        if logins.len() >= CONSOLE_LOGINS_MAX
            && let Some(oldest) = logins.iter().min_by_key(|(_, login)| login.used).map(|(key, _)| *key)
        {
            logins.remove(&oldest);
        }
        let (name, hash) = (user.name.clone(), user.hash().to_owned());
        let login = Login { name, hash, token: random_token(), used: Instant::now() };
        logins.insert(digest(&secret), login);
        secret
    }

    /// Ends a session.
    pub(super) fn log_out(&self, secret: &str) {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner).remove(&digest(secret));
    }

    /// A program that sends name and password with every call.
    pub(super) async fn program(&self, name: &str, password: &str, peer: IpAddr) -> Result<Visitor, Refusal> {
        // with the hash in it: a password that was changed is not known any more
        let hash = self.user(name).map(|user| user.hash().to_owned()).unwrap_or_default();
        let key = digest(&format!("{}:{name}{hash}{password}", name.len()));
        let known = {
            let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
            proven.retain(|_, at| at.elapsed() < PROVEN_MAX);
            proven.contains_key(&key)
        };
        if !known {
            self.prove(name, password, peer).await?;
            let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
            if proven.len() < CONSOLE_LOGINS_MAX {
                proven.insert(key, Instant::now());
            }
        }
        let user = self.user(name).ok_or(Refusal::Wrong)?;
        Ok(Visitor { name: Some(user.name), role: user.role, token: random_token() })
    }

    /// The user whose password that is.
    async fn prove(&self, name: &str, password: &str, peer: IpAddr) -> Result<User, Refusal> {
        let now = Instant::now();
        if let Some(left) = self.throttle.wait(name, peer, now) {
            return Err(Refusal::Later(left));
        }
        let user = self.user(name);
        let password = password.to_owned();
        let Ok(_seat) = self.hashing.acquire().await else { return Err(Refusal::Wrong) };
        let proven = tokio::task::spawn_blocking(move || match user {
            Some(user) => user.fits(&password).then_some(user),
            None => {
                User::nobody().map(|nobody| nobody.fits(&password));
                None
            }
        });
        if let Ok(Some(user)) = proven.await {
            self.throttle.succeeded(name, peer);
            return Ok(user);
        }
        self.throttle.failed(name, peer, now);
        tracing::warn!(user = name, %peer, "a login was refused");
        Err(Refusal::Wrong)
    }
}

fn random_token() -> Arc<str> {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Certificate;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn options(listen: &str, insecure_http: bool) -> ConsoleOptions {
        ConsoleOptions { listen: listen.parse().unwrap(), insecure_http, certificate: None }
    }

    fn with_ana(role: Role) -> (tempfile::TempDir, Door) {
        let dir = tempfile::tempdir().unwrap();
        let mut users = Users::default();
        users.put(User::new("ana", role, "horse").unwrap());
        users.save(&users_path(dir.path())).unwrap();
        let door = Door::new(&options("127.0.0.1:0", false), dir.path()).unwrap();
        (dir, door)
    }

    #[test]
    fn beyond_this_machine_it_needs_users_and_no_plain_http_unasked() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Door::new(&options("127.0.0.1:0", false), dir.path()).is_ok_and(|door| !door.needs_login()));
        assert!(Door::new(&options("0.0.0.0:0", true), dir.path()).is_err());
        let mut users = Users::default();
        users.put(User::new("ana", Role::Look, "horse").unwrap());
        users.save(&users_path(dir.path())).unwrap();
        assert!(Door::new(&options("0.0.0.0:0", false), dir.path()).is_err());
        let encrypted = ConsoleOptions { certificate: Some(Certificate::SelfSigned), ..options("0.0.0.0:0", false) };
        assert!(Door::new(&encrypted, dir.path()).is_ok_and(|door| door.needs_login() && door.is_encrypted()));
        assert!(Door::new(&options("0.0.0.0:0", true), dir.path()).is_ok_and(|door| door.needs_login()));
        assert!(Door::new(&options("127.0.0.1:0", false), dir.path()).is_ok_and(|door| door.needs_login()));
    }

    #[tokio::test]
    async fn a_session_is_its_users_until_they_log_out_or_are_removed_or_have_another_password() {
        let (dir, door) = with_ana(Role::Sync);
        assert_eq!(door.log_in("ana", "hors", HERE).await, Err(Refusal::Wrong));
        let (first, second) =
            (door.log_in("ana", "horse", HERE).await.unwrap(), door.log_in("ana", "horse", HERE).await.unwrap());
        let visitor = door.session(&first).unwrap();
        assert_eq!((visitor.called(), visitor.role), ("ana", Role::Sync));
        assert!(
            visitor.owns(&visitor.token) && !visitor.owns("") && !visitor.owns(&door.session(&second).unwrap().token)
        );
        door.log_out(&first);
        assert!(door.session(&first).is_none() && door.session("").is_none());

        let mut users = Users::load(&users_path(dir.path())).unwrap();
        users.put(User::new("ana", Role::Sync, "zebra").unwrap());
        users.save(&users_path(dir.path())).unwrap();
        // a clock of the file system that stands still for a moment must not hide it
        door.known.lock().unwrap().changed = None;
        assert!(door.session(&second).is_none());
        assert_eq!(door.log_in("ana", "horse", HERE).await, Err(Refusal::Wrong));
        let third = door.log_in("ana", "zebra", HERE).await.unwrap();
        assert!(door.session(&third).is_some());
        std::fs::remove_file(users_path(dir.path())).unwrap();
        assert!(door.session(&third).is_none());
    }

    #[test]
    fn boundary_of_console_logins_max() {
        let (_dir, door) = with_ana(Role::Look);
        let secrets: Vec<String> =
            (0..CONSOLE_LOGINS_MAX - 1).map(|_| door.open_session(&door.user("ana").unwrap())).collect();
        let open = |door: &Door| secrets.iter().filter(|secret| door.session(secret).is_some()).count();
        assert_eq!(open(&door), secrets.len());
        let last = door.open_session(&door.user("ana").unwrap());
        assert_eq!(open(&door), secrets.len());
        // the one that was used longest ago makes room: the last one, for all others were just looked at
        let another = door.open_session(&door.user("ana").unwrap());
        assert_eq!(open(&door), secrets.len());
        assert!(door.session(&last).is_none() && door.session(&another).is_some());
    }

    #[test]
    fn boundary_of_console_login_idle_max() {
        let moment = Duration::from_secs(1);
        for (idle, is_open) in [
            (CONSOLE_LOGIN_IDLE_MAX - moment, true),
            (CONSOLE_LOGIN_IDLE_MAX, true),
            (CONSOLE_LOGIN_IDLE_MAX + moment, false),
        ] {
            let (_dir, door) = with_ana(Role::Look);
            let secret = door.open_session(&door.user("ana").unwrap());
            let used = door.logins.lock().unwrap()[&digest(&secret)].used;
            assert_eq!(door.session_at(&secret, used + idle).is_some(), is_open, "{idle:?}");
            // whoever comes back in time has all of it again; whoever does not is out for good
            assert_eq!(door.session_at(&secret, used + idle + CONSOLE_LOGIN_IDLE_MAX).is_some(), is_open, "{idle:?}");
        }
    }

    #[tokio::test]
    async fn guessing_is_put_off() {
        let (_dir, door) = with_ana(Role::Look);
        for _ in 0..5 {
            assert_eq!(door.log_in("ana", "guess", HERE).await, Err(Refusal::Wrong));
        }
        assert!(matches!(door.log_in("ana", "horse", HERE).await, Err(Refusal::Later(_))));
    }
}
