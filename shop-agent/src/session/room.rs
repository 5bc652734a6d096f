//! Room on the disk of the state directory: what peers send must never take the last of it from the shop's database.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
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

/// Bytes that this user may still write there.
fn free(dir: &Path) -> io::Result<u64> {
    let path = CString::new(dir.as_os_str().as_bytes())?;
    let mut facts = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero, and statvfs fills the structure when it returns 0
    let facts = unsafe {
        if libc::statvfs(path.as_ptr(), facts.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        facts.assume_init()
    };
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
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
