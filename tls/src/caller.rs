//! The end that calls: whom it trusts, and who it says it is.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::files::{FileError, read_certificates, read_key};
use crate::{Fingerprint, provider};

/// A stream that is encrypted.
pub type Stream<S> = tokio_rustls::client::TlsStream<S>;

/// Whose certificate is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The one with this fingerprint, whatever name or date it bears.
    Fingerprint(Fingerprint),
    /// One that an authority in this file has signed for the name that is called.
    Authority(PathBuf),
    /// One that an authority which this machine trusts has signed for the name that is called.
    Machine,
}

/// The certificate that the caller shows when it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Certificate and the chain above it, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM, readable by its owner only.
    pub key: PathBuf,
}

/// A connection is not encrypted with whom it should be.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The certificate is not the pinned one.
    #[error("its certificate is not the one that was pinned: its fingerprint is {found}, and {expected} was expected")]
    OtherFingerprint {
        /// The pinned one.
        expected: Fingerprint,
        /// The one that was shown.
        found: Fingerprint,
    },
    /// The certificate is not trusted; the fingerprint is that of the certificate that was shown.
    #[error("its certificate is not trusted: {reason}{}", shown(.fingerprint.as_ref()))]
    Untrusted {
        /// Why not.
        reason: String,
        /// What could be pinned, where one was seen.
        fingerprint: Option<Fingerprint>,
    },
    /// What answers does not speak TLS.
    #[error("what answers there does not speak TLS; is it http:// instead of https://?")]
    NotTls,
    /// It wants a certificate of the caller, or does not take the one that was shown.
    #[error("it refused the certificate of this program, or wants one: {0}")]
    IdentityRefused(String),
    /// The two ends have no version or cipher in common, or one of them is wrong.
    #[error("no encryption could be agreed on: {0}")]
    Disagreed(String),
    /// The line.
    #[error(
        "the line failed while the encryption was agreed on; if it always does, the other end may speak http:// only"
    )]
    Io(#[source] io::Error),
}

fn shown(fingerprint: Option<&Fingerprint>) -> String {
    fingerprint.map_or_else(String::new, |fingerprint| format!(" (its fingerprint is {fingerprint})"))
}

/// Calls servers.
pub struct Caller {
    config: Arc<ClientConfig>,
    seen: Arc<Seen>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

impl Caller {
    /// Whoever calls with this trust, and as whom.
    ///
    /// # Errors
    /// If a file cannot be used, or this machine trusts no authority at all.
    pub fn new(trust: &Trust, identity: Option<&Identity>) -> Result<Self, FileError> {
        let seen = Arc::new(Seen { inner: verifier(trust)?, last: Mutex::default() });
        let broken = |error: rustls::Error| FileError::content(std::path::Path::new("TLS"), error.to_string());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(broken)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(read_certificates(&identity.certificate)?, read_key(&identity.key)?)
                .map_err(|error| FileError::content(&identity.certificate, error.to_string()))?,
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), seen })
    }

    /// Shakes hands on a connection to that host. The caller bounds the time.
    ///
    /// # Errors
    /// If the other end cannot be trusted, or the line fails.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        host: &str,
        stream: S,
    ) -> Result<Stream<S>, ConnectError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| ConnectError::Disagreed(format!("{host:?} is no name of a host")))?;
        let connecting = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream);
        connecting.await.map_err(|error| self.why(error))
    }

    fn why(&self, error: io::Error) -> ConnectError {
        use rustls::{Error, InvalidMessage};
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
            return ConnectError::Io(error);
        };
        match tls {
            Error::InvalidCertificate(reason) => match (reason, other_fingerprint(reason)) {
                (_, Some(other)) => ConnectError::OtherFingerprint { expected: other.expected, found: other.found },
                (reason, None) => ConnectError::Untrusted {
                    reason: in_words(reason),
                    fingerprint: *self.seen.last.lock().unwrap_or_else(PoisonError::into_inner),
                },
            },
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => ConnectError::NotTls,
            Error::AlertReceived(alert) => identity_alert(*alert)
                .map_or_else(|| ConnectError::Disagreed(tls.to_string()), ConnectError::IdentityRefused),
            other => ConnectError::Disagreed(other.to_string()),
        }
    }
}

/// What an alert says about the caller's certificate, if it does.
fn identity_alert(alert: rustls::AlertDescription) -> Option<String> {
    use rustls::AlertDescription as Alert;
    let about_us = matches!(
        alert,
        Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
    );
    about_us.then(|| format!("{alert:?}"))
}

/// Whether reading from an encrypted stream failed because the other end did not take the caller's certificate: with
/// TLS 1.3 it says so only after the caller believes that the handshake is over.
pub fn identity_refusal(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = error
            .downcast_ref::<rustls::Error>()
            .or_else(|| inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()));
        if let Some(rustls::Error::AlertReceived(alert)) = tls {
            return identity_alert(*alert);
        }
        cause = error.source();
    }
    None
}

fn in_words(reason: &CertificateError) -> String {
    match reason {
        CertificateError::UnknownIssuer => "no authority that is trusted here has signed it".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; is the clock right?".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it was made for another name".to_owned()
        }
        other => other.to_string(),
    }
}

fn verifier(trust: &Trust) -> Result<Arc<dyn ServerCertVerifier>, FileError> {
    let mut roots = RootCertStore::empty();
    let path = match trust {
        Trust::Fingerprint(expected) => return Ok(Arc::new(Pinned { expected: *expected, provider: provider() })),
        Trust::Authority(path) => {
            for authority in read_certificates(path)? {
                roots.add(authority).map_err(|error| FileError::content(path, error.to_string()))?;
            }
            path.clone()
        }
        Trust::Machine => {
            // a single bad certificate in the machine's store is not our business
            let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let reason =
                    "no certificate authorities; pin the agent's certificate with --fingerprint, or name one with --ca";
                return Err(FileError::content(std::path::Path::new("this machine"), reason));
            }
            PathBuf::from("this machine")
        }
    };
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
    Ok(built.map_err(|error| FileError::content(&path, error.to_string()))?)
}

/// Remembers what was shown, so that a refusal can name it.
#[derive(Debug)]
struct Seen {
    inner: Arc<dyn ServerCertVerifier>,
    last: Mutex<Option<Fingerprint>>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Fingerprint::of(end_entity));
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Takes one certificate and no other. That the other end has its key is proven by the handshake's signature as always.
#[derive(Debug)]
struct Pinned {
    expected: Fingerprint,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug, thiserror::Error)]
#[error("the fingerprint is {found} and not {expected}")]
struct OtherFingerprint {
    expected: Fingerprint,
    found: Fingerprint,
}

fn other_fingerprint(reason: &CertificateError) -> Option<&OtherFingerprint> {
    match reason {
        CertificateError::Other(OtherError(inner)) => inner.downcast_ref(),
        _ => None,
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Fingerprint::of(end_entity);
        if found == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        let other = OtherFingerprint { expected: self.expected, found };
        Err(CertificateError::Other(OtherError(Arc::new(other))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
