//! The end that is called: a certificate from files, taken up again when they change.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use crate::files::{FileError, read_certificates, read_key};
use crate::{Fingerprint, Validity, provider};

/// Where the server's certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// Certificate and the chain above it, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM, readable by its owner only.
    pub key: PathBuf,
    /// Authorities one of which must have signed the certificate of whoever calls; none asks for no certificate.
    pub client_authorities: Option<PathBuf>,
}

/// What there is to say about the certificate in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// When it is good, as far as that can be read.
    pub validity: Option<Validity>,
}

/// What is read of a caller with whom no encryption was agreed on.
const REST_BYTES: u64 = 64 << 10;

/// Content of the files as it was last looked at: time and length of each.
type Stamp = Vec<Option<(SystemTime, u64)>>;

/// Speaks TLS with whoever calls.
pub struct Server {
    files: ServerFiles,
    current: Mutex<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    facts: CertificateFacts,
    stamp: Stamp,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("files", &self.files).finish_non_exhaustive()
    }
}

impl ServerFiles {
    /// Reads the certificate and says what it is; the key must fit it.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn check(&self) -> Result<CertificateFacts, FileError> {
        self.load().map(|(_, facts)| facts)
    }

    fn load(&self) -> Result<(Arc<ServerConfig>, CertificateFacts), FileError> {
        let chain = read_certificates(&self.certificate)?;
        let key = read_key(&self.key)?;
        let facts = chain
            .first()
            .map(|own| CertificateFacts { fingerprint: Fingerprint::of(own), validity: Validity::of(own) });
        let facts = facts.ok_or_else(|| FileError::content(&self.certificate, "it holds no certificate"))?;
        let wrong = |error: rustls::Error| FileError::content(&self.certificate, format!("cannot be served: {error}"));
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(wrong)?;
        let builder = match &self.client_authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in read_certificates(path)? {
                    roots.add(authority).map_err(|error| FileError::content(path, error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                builder.with_client_cert_verifier(
                    verifier.build().map_err(|error| FileError::content(path, error.to_string()))?,
                )
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(wrong)?;
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(wrong)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok((Arc::new(config), facts))
    }

    fn stamp(&self) -> Stamp {
        let files = [Some(&self.certificate), Some(&self.key), self.client_authorities.as_ref()];
        let of =
            |path: &PathBuf| std::fs::metadata(path).ok().and_then(|meta| Some((meta.modified().ok()?, meta.len())));
        files.into_iter().flatten().map(of).collect()
    }
}

impl Server {
    /// Takes up the certificate.
    ///
    /// # Errors
    /// If a file cannot be used.
    pub fn open(files: ServerFiles) -> Result<Self, FileError> {
        let stamp = files.stamp();
        let (config, facts) = files.load()?;
        Ok(Self { files, current: Mutex::new(Current { config, facts, stamp }) })
    }

    /// The certificate in use.
    pub fn facts(&self) -> CertificateFacts {
        self.lock().facts
    }

    /// Takes the files up again where they have changed, or always with `force`; connections that are open stay as they
    /// are. Gives the new certificate, if there is one.
    ///
    /// # Errors
    /// If a file cannot be used; the certificate in use stays.
    pub fn reload(&self, force: bool) -> Result<Option<CertificateFacts>, FileError> {
        let stamp = self.files.stamp();
        if !force && stamp == self.lock().stamp {
            return Ok(None);
        }
        let loaded = self.files.load();
        let mut current = self.lock();
        // files that cannot be used are not read again before they change: they are complained about once
        current.stamp = stamp;
        let (config, facts) = loaded?;
        (current.config, current.facts) = (config, facts);
        Ok(Some(facts))
    }

    /// Shakes hands on a connection. The caller bounds the time.
    ///
    /// # Errors
    /// If the other end speaks no TLS, or a version that is broken, or lacks a certificate it needs.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<tokio_rustls::server::TlsStream<S>> {
        let config = Arc::clone(&self.lock().config);
        match TlsAcceptor::from(config).accept(stream).into_fallible().await {
            Ok(stream) => Ok(stream),
            Err((error, mut stream)) => {
                // closed with something unread, the connection would be reset, and the caller would not hear why
                let _ = stream.shutdown().await;
                let rest = tokio::io::copy(&mut (&mut stream).take(REST_BYTES), &mut tokio::io::sink()).await;
                rest.and(Err(error))
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
