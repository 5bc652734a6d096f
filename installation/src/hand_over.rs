//! What root leaves in a state directory belongs to its owner afterwards: else `sudo shop-agent user add` would be the last
//! thing that a service could read.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid, fchownat, geteuid};

/// How deep state directories are.
const DEPTH_MAX: u32 = 8;

/// Gives what is root's in a state directory to the owner of the directory, when this is dropped: at the end of a command.
/// Does nothing unless this is root and the directory somebody else's.
#[derive(Debug)]
pub struct HandOver {
    state_dir: PathBuf,
}

impl HandOver {
    /// Of that state directory.
    pub fn of(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned() }
    }
}

impl Drop for HandOver {
    fn drop(&mut self) {
        if geteuid().is_root() {
            // what cannot be given away is said by the service, with the name of the file
            let _ = hand_over(&self.state_dir);
        }
    }
}

fn hand_over(state_dir: &Path) -> nix::Result<()> {
    let path = CString::new(state_dir.as_os_str().as_bytes()).map_err(|_| nix::errno::Errno::EINVAL)?;
    let mut dir = Dir::open(path.as_c_str(), OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let owner = fstat(dir.as_fd())?;
    if owner.st_uid == 0 {
        return Ok(());
    }
    give(&mut dir, &owner, DEPTH_MAX)
}

/// By descriptors, never by a path: the owner could put a link to another directory in the place of one that was looked at.
fn give(dir: &mut Dir, owner: &FileStat, depth: u32) -> nix::Result<()> {
    let names: Vec<CString> = dir.iter().flatten().map(|entry| entry.file_name().to_owned()).collect();
    // a database is run as its owner from the start, and has many files
    if depth == 0 || names.iter().any(|name| name.as_c_str() == c"PG_VERSION") {
        return Ok(());
    }
    for name in names.iter().map(CString::as_c_str).filter(|name| ![c".", c".."].contains(name)) {
        // one that has just gone, or is not to be had: the others still are
        let _ = give_entry(dir, name, owner, depth);
    }
    Ok(())
}

fn give_entry(dir: &Dir, name: &CStr, owner: &FileStat, depth: u32) -> nix::Result<()> {
    let flag = AtFlags::AT_SYMLINK_NOFOLLOW;
    let facts = fstatat(dir.as_fd(), name, flag)?;
    let kind = SFlag::from_bits_truncate(facts.st_mode & SFlag::S_IFMT.bits());
    if kind == SFlag::S_IFDIR {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        give(&mut Dir::openat(dir.as_fd(), name, flags, Mode::empty())?, owner, depth - 1)?;
    } else if kind != SFlag::S_IFREG || facts.st_nlink != 1 {
        // a second name of a file of root's that is somewhere else would give that away
        return Ok(());
    }
    if facts.st_uid == 0 {
        fchownat(dir.as_fd(), name, Some(Uid::from_raw(owner.st_uid)), Some(Gid::from_raw(owner.st_gid)), flag)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, chown, symlink};

    use super::*;

    #[test]
    fn what_root_leaves_in_a_services_directory_becomes_the_services_and_nothing_else_does() {
        if !geteuid().is_root() {
            // only root can leave anything
            HandOver::of(Path::new("/nonexistent"));
            return;
        }
        let (state, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| state.path().join(name);
        fs::create_dir_all(at("spool/deep")).unwrap();
        for name in ["users.json", "spool/deep/stream", "of-another"] {
            fs::write(at(name), "x").unwrap();
        }
        chown(at("of-another"), Some(4712), None).unwrap();
        let secret = elsewhere.path().join("secret");
        fs::write(&secret, "root's").unwrap();
        symlink(&secret, at("link")).unwrap();
        symlink(elsewhere.path(), at("linked-dir")).unwrap();
        let twice = elsewhere.path().join("twice");
        fs::write(&twice, "root's").unwrap();
        let has_link = fs::hard_link(&twice, at("second-name")).is_ok();
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();

        drop(HandOver::of(state.path()));
        assert_eq!(owner(&at("users.json")), 0, "root's own directory stays root's");
        chown(state.path(), Some(4711), Some(4711)).unwrap();
        drop(HandOver::of(state.path()));
        for name in ["users.json", "spool", "spool/deep", "spool/deep/stream"] {
            assert_eq!(owner(&at(name)), 4711, "{name}");
        }
        assert_eq!(owner(&at("of-another")), 4712);
        assert_eq!((owner(&secret), owner(elsewhere.path()), owner(&at("link"))), (0, 0, 0));
        assert!(!has_link || owner(&twice) == 0, "not what has a name elsewhere");
    }
}
