//! A disk of its own, that can be filled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::not_run;
use tests::process::run;

/// A file system of its own, as small as wanted.
pub(crate) struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// None where this machine does not let us mount anything.
    pub(crate) fn new(name: &str, mebibytes: u32) -> Option<Self> {
        let dir = std::env::temp_dir().join(format!("sync-disk-{}-{name}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m,mode=0755"), "tmpfs"]).arg(&dir);
        let mounted = nix::unistd::geteuid().is_root() && run(&mut mount).is_success();
        if !mounted {
            let _ = fs::remove_dir(&dir);
            not_run::because_out_of_reach("disks that run full (mounting a small file system is not permitted here)");
            return None;
        }
        Some(Self { dir })
    }

    fn free(&self) -> u64 {
        let facts = nix::sys::statvfs::statvfs(&self.dir).expect("the disk");
        facts.blocks_available() * facts.fragment_size()
    }

    /// Fills it but for so many bytes.
    pub(crate) fn fill(&self, but: u64) {
        let mut filler = fs::File::options().append(true).create(true).open(self.filler()).expect("a file");
        let block = vec![0_u8; 64 << 10];
        while self.free() > but {
            let bytes = usize::try_from((self.free() - but).min(block.len() as u64)).expect("a small number");
            if std::io::Write::write_all(&mut filler, &block[..bytes]).is_err() {
                return;
            }
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn filler(&self) -> PathBuf {
        self.dir.join("filler")
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.filler()).expect("removed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.dir).status();
        let _ = fs::remove_dir(&self.dir);
    }
}
