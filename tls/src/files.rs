//! Certificates and private keys in PEM files. A key that others can read is refused.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Largest PEM file: a chain of certificates is a few KiB, a bundle of authorities some hundred.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read or written.
    #[error("cannot use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// It holds something else than what it should.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Others can read the key in it.
    #[error("{path} holds a private key and others can read it (mode {mode:o}); run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl FileError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn content(path: &Path, reason: impl Into<String>) -> Self {
        Self::Content { path: path.to_owned(), reason: reason.into() }
    }
}

/// All certificates of a PEM file, in its order.
///
/// # Errors
/// If it cannot be read or holds none.
pub fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = read(path, false)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| FileError::content(path, format!("no PEM certificate: {error}")))?;
    if found.is_empty() {
        return Err(FileError::content(
            path,
            "it holds no certificate (a PEM file begins with -----BEGIN CERTIFICATE-----)",
        ));
    }
    Ok(found)
}

/// The private key of a PEM file that only its owner can read.
pub(crate) fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let text = read(path, true)?;
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| FileError::content(path, "it holds no private key without a passphrase, in PEM"))
}

fn read(path: &Path, secret: bool) -> Result<Vec<u8>, FileError> {
    let file = File::open(path).map_err(FileError::io(path))?;
    let meta = file.metadata().map_err(FileError::io(path))?;
    if !meta.is_file() {
        return Err(FileError::content(path, "it is no file"));
    }
    if secret && meta.mode() & 0o077 != 0 {
        return Err(FileError::Exposed { path: path.to_owned(), mode: meta.mode() & 0o777 });
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(FileError::io(path))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::content(path, format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}
