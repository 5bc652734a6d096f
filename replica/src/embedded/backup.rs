//! A private cluster as one file, taken while it works, and put back.
//!
//! `pg_basebackup` takes it, with the log that makes it whole; so it is a state that the database once had, to the
//! transaction. Put back, it is an earlier state than the peers know: whoever calls renews the incarnation.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::layout::{LockFile, PORT};
use super::server::Site;
use super::{Cluster, EmbeddedError, Options, SUPERUSER};

/// The directory into which a backup is unpacked before it takes the place of the database.
const UNPACKED: &str = "data.restored";

impl Cluster {
    /// Writes the whole cluster into a new file, gzipped tar, while it works. The file is for its owner alone, and is there
    /// whole or not at all.
    ///
    /// # Errors
    /// If there is such a file, there is no `pg_basebackup`, or it fails.
    pub async fn backup(&self, file: &Path) -> Result<u64, EmbeddedError> {
        let (site, file) = (self.site.clone(), file.to_owned());
        tokio::task::spawn_blocking(move || take(&site, &file)).await.map_err(|error| EmbeddedError::Io {
            what: "the backup was interrupted".into(),
            source: io::Error::other(error),
        })?
    }
}

fn take(site: &Site, file: &Path) -> Result<u64, EmbeddedError> {
    let program = site.binaries.program("pg_basebackup");
    let failed = || EmbeddedError::io(format!("cannot write {}", file.display()));
    if file.exists() {
        return Err(failed()(io::Error::new(io::ErrorKind::AlreadyExists, "it is there already")));
    }
    if !program.exists() {
        return Err(EmbeddedError::Directory {
            dir: program,
            reason: "is missing: install the client programs of PostgreSQL (postgresql-client), or name their directory with --pg-bindir".into(),
        });
    }
    let unfinished = PathBuf::from(format!("{}.unfinished", file.display()));
    let _ = fs::remove_file(&unfinished);
    let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(failed())?;
    let pipe = out.try_clone().map_err(failed())?;
    let output = site
        .account
        .command(&program, &site.layout.dir)
        .arg("--host")
        .arg(&site.layout.socket_dir)
        .arg(format!("--port={PORT}"))
        .arg(format!("--username={SUPERUSER}"))
        .args(["--pgdata=-", "--format=tar", "--gzip", "--wal-method=fetch", "--checkpoint=fast", "--no-password"])
        .stdout(Stdio::from(pipe))
        .stderr(Stdio::piped())
        .output()
        .map_err(EmbeddedError::io(format!("cannot run {}", program.display())))?;
    if !output.status.success() {
        let _ = fs::remove_file(&unfinished);
        return Err(EmbeddedError::Program {
            what: format!("pg_basebackup ended with {}", output.status),
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    out.sync_all().map_err(failed())?;
    fs::rename(&unfinished, file).map_err(failed())?;
    Ok(out.metadata().map_err(failed())?.len())
}

/// Puts a backup in the place of the cluster in `options.dir`, or where there is none. What was there is kept beside it, and
/// its path returned. Needs nobody to use the cluster.
///
/// # Errors
/// If there is a database and it is not to be replaced, if it is in use, or the file is no backup of this version.
pub fn restore(options: Options, file: &Path, replace: bool) -> Result<Option<PathBuf>, EmbeddedError> {
    let site = Site::survey(options)?;
    let dir = site.layout.dir.clone();
    let refuse = |reason: String| EmbeddedError::Directory { dir: dir.clone(), reason };
    let mut lock = LockFile::open(site.layout.owner_lock(), &site.account)?;
    if !lock.try_exclusive()? {
        return Err(refuse("the database is in use: stop the program that uses it first".into()));
    }
    site.clear_remains(lock.noted())?;
    let (data, unpacked) = (site.layout.data(), dir.join(UNPACKED));
    if data.exists() && !replace {
        return Err(refuse("holds a database: it is put aside and kept when the restore is forced (--force)".into()));
    }
    unpack(&site, file, &unpacked)?;
    let found = fs::read_to_string(unpacked.join("PG_VERSION")).ok().and_then(|text| text.trim().parse::<u32>().ok());
    if found != Some(site.binaries.major) {
        let _ = fs::remove_dir_all(&unpacked);
        let found = found
            .map_or_else(|| "no backup of a private database".to_owned(), |major| format!("of PostgreSQL {major}"));
        return Err(refuse(format!(
            "{} is {found}, and the programs here are of version {}: name others with --pg-bindir",
            file.display(),
            site.binaries.major
        )));
    }
    let failed = |what: &Path| EmbeddedError::io(format!("cannot put {} into its place", what.display()));
    if !data.exists() {
        fs::rename(&unpacked, &data).map_err(failed(&unpacked))?;
        return Ok(None);
    }
    // in one step: never is there a moment without a database, in which a start would make an empty one
    renameat_with(CWD, &unpacked, CWD, &data, RenameFlags::EXCHANGE)
        .map_err(|error| failed(&unpacked)(error.into()))?;
    let aside = (1..).map(|number| dir.join(format!("data.before-restore-{number}"))).find(|path| !path.exists());
    let aside = aside.unwrap_or_else(|| unpacked.clone());
    fs::rename(&unpacked, &aside).map_err(failed(&aside))?;
    File::open(&dir).and_then(|dir| dir.sync_all()).map_err(failed(&dir))?;
    Ok(Some(aside))
}

/// Unpacks the file as the cluster's user, so that nothing in it can be written anywhere else.
fn unpack(site: &Site, file: &Path, into: &Path) -> Result<(), EmbeddedError> {
    let archive = File::open(file).map_err(EmbeddedError::io(format!("cannot read {}", file.display())))?;
    if into.exists() {
        fs::remove_dir_all(into).map_err(EmbeddedError::io(format!("cannot remove {}", into.display())))?;
    }
    site.account.make_private(into)?;
    fs::set_permissions(into, fs::Permissions::from_mode(0o700))
        .map_err(EmbeddedError::io(format!("cannot prepare {}", into.display())))?;
    let output = site
        .account
        .command(Path::new("tar"), &site.layout.dir)
        .args(["--extract", "--gzip", "--file=-", "--directory"])
        .arg(into)
        .stdin(Stdio::from(archive))
        .output()
        .map_err(EmbeddedError::io("cannot run tar"))?;
    if output.status.success() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(into);
    Err(EmbeddedError::Program {
        what: format!("{} is no whole backup: tar ended with {}", file.display(), output.status),
        output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
