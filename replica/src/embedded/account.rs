//! The operating system's user that a cluster runs as: PostgreSQL refuses to run as root.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User, geteuid};

use super::EmbeddedError;

/// Users a new cluster runs as when root starts it, in order of preference.
const SERVICE_USERS: [&str; 2] = ["postgres", "nobody"];

/// The user of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: Uid,
    gid: Gid,
    name: String,
    /// Whether we are root and have to become that user.
    switch: bool,
}

impl Account {
    /// Ourselves, or, for root, the owner of the existing data, else of the directory, else a service user.
    pub(super) fn choose(dir: &Path, data: &Path) -> Result<Self, EmbeddedError> {
        let me = geteuid();
        let owner = |path: &Path| fs::metadata(path).ok().map(|meta| Uid::from_raw(meta.uid()));
        let refuse = |reason: String| EmbeddedError::Directory { dir: dir.to_owned(), reason };
        if !me.is_root() {
            if let Some(other) = owner(data).filter(|uid| *uid != me) {
                return Err(refuse(format!(
                    "the cluster belongs to user {}: run as that user or as root",
                    name_of(other)
                )));
            }
            return Ok(Self { uid: me, gid: nix::unistd::getegid(), name: name_of(me), switch: false });
        }
        if owner(data).is_some_and(Uid::is_root) {
            return Err(refuse(
                "its data belongs to root, and PostgreSQL does not run as root: chown -R it to postgres".into(),
            ));
        }
        if let Some(uid) = owner(data).or_else(|| owner(dir)).filter(|uid| !uid.is_root()) {
            let gid = User::from_uid(uid).ok().flatten().map_or(Gid::from_raw(uid.as_raw()), |user| user.gid);
            return Ok(Self { uid, gid, name: name_of(uid), switch: true });
        }
        SERVICE_USERS
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self { uid: user.uid, gid: user.gid, name: user.name, switch: true })
            .ok_or_else(|| {
                refuse(format!(
                    "PostgreSQL does not run as root, and there is no user {}: create one, or run as an ordinary user",
                    SERVICE_USERS.join(" or ")
                ))
            })
    }

    /// A command that will run as this user, with a quiet environment of its own and outside our process group, so that
    /// Ctrl-C in a terminal reaches us and not it.
    pub(super) fn command(&self, program: &Path, cwd: &Path) -> Command {
        let mut command = Command::new(program);
        if self.switch {
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("PG") || name.starts_with("LC_") || name == "LANG" || name == "LANGUAGE"
        }) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").current_dir(cwd).process_group(0).stdin(Stdio::null());
        command
    }

    /// Creates the directory, or takes it over, readable by this user alone.
    pub(super) fn make_private(&self, dir: &Path) -> Result<(), EmbeddedError> {
        let failed = |source| EmbeddedError::Io { what: format!("cannot prepare {}", dir.display()), source };
        match fs::create_dir(dir) {
            Ok(()) => fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        if !self.switch {
            return Ok(());
        }
        lchown(dir, Some(self.uid.as_raw()), Some(self.gid.as_raw())).map_err(EmbeddedError::io(format!(
            "cannot give {} to user {}",
            dir.display(),
            self.name
        )))
    }

    /// Gives an open file to this user. Never by path: that user could put a link to another file in its place.
    pub(super) fn own(&self, file: &File) -> io::Result<()> {
        if self.switch { fchown(file, Some(self.uid.as_raw()), Some(self.gid.as_raw())) } else { Ok(()) }
    }

    /// Proves, by trying it as that user, that the directory can be entered and the server's program run.
    pub(super) fn check_access(&self, dir: &Path, program: &Path) -> Result<(), EmbeddedError> {
        if !self.switch {
            return Ok(());
        }
        // the shell starts in "/", because the directory may be what cannot be entered
        let attempt = |script: &str, path: &Path| {
            self.command(Path::new("/bin/sh"), Path::new("/"))
                .args(["-c", script, "sh"])
                .arg(path)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .map(|status| status.success())
                .map_err(EmbeddedError::io(format!("cannot run a command as user {}", self.name)))
        };
        for (script, path, deed) in [("cd -- \"$1\"", dir, "enter"), ("test -x \"$1\"", program, "run")] {
            if !attempt(script, path)? {
                let culprit = self.first_closed(path).map_or_else(String::new, |closed| {
                    format!(": {} is closed to it (chmod o+x, or choose another place)", closed.display())
                });
                return Err(EmbeddedError::Directory {
                    dir: path.to_owned(),
                    reason: format!("user {}, which the cluster runs as, cannot {deed} it{culprit}", self.name),
                });
            }
        }
        Ok(())
    }

    /// The outermost directory on the way to `path` whose mode keeps this user out.
    fn first_closed(&self, path: &Path) -> Option<PathBuf> {
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        ancestors.reverse();
        ancestors.into_iter().find_map(|dir| {
            let meta = fs::metadata(dir).ok()?;
            let bit = match meta {
                _ if meta.uid() == self.uid.as_raw() => 0o100,
                _ if meta.gid() == self.gid.as_raw() => 0o010,
                _ => 0o001,
            };
            (meta.mode() & bit == 0).then(|| dir.to_owned())
        })
    }
}

fn name_of(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}
