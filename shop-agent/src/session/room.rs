//! Room on the disk of the state directory: what peers send must never take the last of it from the shop's database.

use std::io;
use std::path::Path;

/// Fails with [`io::ErrorKind::StorageFull`] where so many more bytes would leave less than the reserve.
///
/// # Errors
/// If there is no room, or the disk cannot be asked.
pub(crate) fn ensure(dir: &Path, bytes: u64, reserve: u64) -> io::Result<()> {
    if is_enough(free(dir)?, bytes, reserve) { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
}

fn is_enough(free: u64, bytes: u64, reserve: u64) -> bool {
    free >= bytes.saturating_add(reserve)
}

/// Bytes that this user may still write in the file system of a directory.
///
/// # Errors
/// If the disk cannot be asked.
pub(crate) fn free(dir: &Path) -> io::Result<u64> {
    let facts = nix::sys::statvfs::statvfs(dir)?;
    Ok(facts.blocks_available().saturating_mul(facts.fragment_size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundary_of_disk_reserve() {
        for (free, enough) in [(109, false), (110, true), (111, true)] {
            assert_eq!(is_enough(free, 10, 100), enough, "{free}");
        }
        assert!(!is_enough(u64::MAX - 1, 1, u64::MAX));
    }

    #[test]
    fn a_disk_is_asked_and_an_unreasonable_reserve_is_never_met() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free(dir.path()).unwrap() > 0);
        assert_eq!(ensure(dir.path(), 1, u64::MAX).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(free(Path::new("/does/not/exist")).is_err());
    }
}
