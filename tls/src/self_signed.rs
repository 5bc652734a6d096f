//! A certificate of one's own, made once: no authority, no cost, and as good as its fingerprint is compared.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::FileError;

/// Names under which certificate and key are kept.
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// Where the two files of a self-signed certificate are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfSigned {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key, for this user alone.
    pub key: PathBuf,
}

impl SelfSigned {
    /// The files in that directory, whether they are there or not.
    pub fn in_dir(dir: &Path) -> Self {
        Self { certificate: dir.join(CERTIFICATE), key: dir.join(KEY) }
    }

    /// Whether it has been made.
    pub fn exists(&self) -> bool {
        self.certificate.exists() && self.key.exists()
    }
}

/// Makes a certificate for these names where there is none yet; one that is there is never replaced, since its
/// fingerprint has been written down elsewhere. It does not expire: what ends it is a new fingerprint at the office.
///
/// # Errors
/// If it cannot be written, or a name cannot be part of a certificate.
pub fn ensure(dir: &Path, names: &[String]) -> Result<SelfSigned, FileError> {
    let files = SelfSigned::in_dir(dir);
    if files.exists() {
        return Ok(files);
    }
    let wrong = |error: rcgen::Error| FileError::content(&files.certificate, format!("cannot be made: {error}"));
    let mut params = rcgen::CertificateParams::new(names.to_vec()).map_err(wrong)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "shop-agent");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    // "no well-defined expiration date" (RFC 5280, 4.1.2.5)
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let key = rcgen::KeyPair::generate().map_err(wrong)?;
    let certificate = params.self_signed(&key).map_err(wrong)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(FileError::io(dir))?;
    // the key first: a certificate without one would never be completed
    write(&files.key, &key.serialize_pem()).map_err(FileError::io(&files.key))?;
    write(&files.certificate, &certificate.pem()).map_err(FileError::io(&files.certificate))?;
    Ok(files)
}

/// Writes a file for this user alone, whole or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let _ = std::fs::remove_file(&temporary);
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::files::{read_certificates, read_key};

    #[test]
    fn it_is_made_once_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("tls");
        assert!(!SelfSigned::in_dir(&dir).exists());
        let files = ensure(&dir, &["localhost".into(), "127.0.0.1".into()]).unwrap();
        let before = std::fs::read(&files.certificate).unwrap();
        assert_eq!(std::fs::metadata(&files.key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(ensure(&dir, &["other".into()]).unwrap(), files);
        assert_eq!(std::fs::read(&files.certificate).unwrap(), before);
        assert_eq!(read_certificates(&files.certificate).unwrap().len(), 1);
        read_key(&files.key).unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let files = ensure(dir.path(), &["localhost".into()]).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = read_key(&files.key).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        assert!(read_certificates(&files.key).unwrap_err().to_string().contains("no certificate"));
    }
}
