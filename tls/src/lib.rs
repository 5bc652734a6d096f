//! TLS of both ends of the line: certificates and keys in files, fingerprints, and whom a caller trusts.
//!
//! A certificate is trusted because its fingerprint was written down when the branch was added ([`Trust::Fingerprint`]),
//! because an authority of one's own has signed it ([`Trust::Authority`]), or because one of the machine's has
//! ([`Trust::Machine`]). There is no way to trust everybody.

mod caller;
mod files;
mod fingerprint;
mod self_signed;
mod server;
mod validity;

pub use caller::{Caller, ConnectError, Identity, Stream, Trust, identity_refusal};
pub use files::{FileError, read_certificates};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use self_signed::{SelfSigned, ensure as ensure_self_signed};
pub use server::{CertificateFacts, Server, ServerFiles};
pub use validity::Validity;

use std::sync::Arc;

/// The one provider of cryptography, so that no process-wide default has to be agreed on.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
