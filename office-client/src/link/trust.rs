//! Whom the office trusts at the other end of a line: what a branch's settings or a command line say about TLS.

use std::path::PathBuf;
use std::sync::Arc;

use tls::{Caller, Fingerprint, Identity, Trust};

use super::{Address, LinkError};
use crate::cli::TrustArgs;

/// What was said about TLS; empty where nothing was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TrustSettings {
    /// SHA-256 of the agent's certificate.
    pub(crate) fingerprint: Option<String>,
    /// Authorities, PEM.
    pub(crate) ca: Option<PathBuf>,
    /// Certificate to show, PEM.
    pub(crate) client_cert: Option<PathBuf>,
    /// Its key, PEM.
    pub(crate) client_key: Option<PathBuf>,
}

impl From<TrustArgs> for TrustSettings {
    fn from(TrustArgs { fingerprint, ca, client_cert, client_key }: TrustArgs) -> Self {
        Self { fingerprint, ca, client_cert, client_key }
    }
}

impl TrustSettings {
    /// Prepares to call that address; none where it is plain HTTP.
    ///
    /// # Errors
    /// If what was said does not fit the address, contradicts itself, or names a file that cannot be used.
    pub(crate) fn caller(&self, address: &Address) -> Result<Option<Arc<Caller>>, LinkError> {
        if !address.secure {
            // a pin that nothing is held against would be a false comfort
            return match self {
                Self { fingerprint: None, ca: None, client_cert: None, client_key: None } => Ok(None),
                _ => Err(LinkError::Address(format!(
                    "http://{address} is not encrypted, so no certificate can be checked; write https://"
                ))),
            };
        }
        let trust = match (&self.fingerprint, &self.ca) {
            (Some(_), Some(_)) => return Err(LinkError::Address("--fingerprint and --ca exclude each other".into())),
            (Some(text), None) => Trust::Fingerprint(parse_fingerprint(text)?),
            (None, Some(file)) => Trust::Authority(file.clone()),
            (None, None) => Trust::Machine,
        };
        let identity = match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => Some(Identity { certificate: certificate.clone(), key: key.clone() }),
            (None, None) => None,
            _ => return Err(LinkError::Address("--client-cert and --client-key belong together".into())),
        };
        let caller = Caller::new(&trust, identity.as_ref()).map_err(LinkError::Certificate)?;
        Ok(Some(Arc::new(caller)))
    }
}

/// Reads a fingerprint as people write it.
///
/// # Errors
/// If it is none.
pub(crate) fn parse_fingerprint(text: &str) -> Result<Fingerprint, LinkError> {
    text.parse().map_err(|error| LinkError::Address(format!("--fingerprint: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn a_pin_without_encryption_is_refused() {
        let pin = TrustSettings { fingerprint: Some("00".repeat(32)), ..TrustSettings::default() };
        assert!(pin.caller(&address("http://shop")).unwrap_err().to_string().contains("https://"));
        assert!(pin.caller(&address("https://shop")).unwrap().is_some());
        assert!(TrustSettings::default().caller(&address("http://shop")).unwrap().is_none());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let both = TrustSettings {
            fingerprint: Some("00".repeat(32)),
            ca: Some("/does/not/exist".into()),
            ..TrustSettings::default()
        };
        let half = TrustSettings { client_cert: Some("/does/not/exist".into()), ..TrustSettings::default() };
        let missing = TrustSettings { ca: Some("/does/not/exist".into()), ..TrustSettings::default() };
        for wrong in [both, half, missing] {
            assert!(wrong.caller(&address("https://shop")).is_err());
        }
        assert!(parse_fingerprint("00").is_err());
    }
}
