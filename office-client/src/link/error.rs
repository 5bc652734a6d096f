//! How a call can end without its answer: *refused*, *failed* and *unknown* are three different things.

use std::error::Error as StdError;
use std::path::PathBuf;

use protocol::address::AddressError;
use protocol::fault::{Fault, FaultCode};
use protocol::xmlrpc::WriteError;

type Source = Box<dyn StdError + Send + Sync>;

/// A call did not bring its answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The peer answered no: repeating the call brings the same answer.
    #[error("the shop refused: {}", told(.0))]
    Refused(Fault),
    /// The HTTP server answered no.
    #[error("the shop's server answered {status} ({meaning})")]
    Http {
        /// HTTP status code.
        status: u16,
        /// What it means here.
        meaning: &'static str,
    },
    /// The call certainly had no effect: it may be repeated.
    #[error("cannot {what}")]
    Failed {
        /// What was tried.
        what: String,
        /// Why it did not work.
        #[source]
        source: Source,
    },
    /// The call was sent and no whole answer came: nobody knows yet whether it had an effect.
    #[error("{what} was sent, and no answer came back")]
    Unknown {
        /// What was tried.
        what: String,
        /// What came instead of the answer.
        #[source]
        source: Source,
    },
    /// The address cannot be used.
    #[error("{0}")]
    Address(String),
    /// The password cannot be had.
    #[error("password file {}: {reason}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file with certificates or a key cannot be used.
    #[error(transparent)]
    Certificate(tls::FileError),
    /// What answers there must not be talked to: nothing was sent.
    #[error("{address} is not trusted")]
    Untrusted {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: Box<tls::ConnectError>,
    },
    /// A value of the call has no spelling in XML-RPC: an error in this program or in what was typed.
    #[error("the call cannot be written")]
    Unwritable(#[source] WriteError),
    /// The command that brings the line up has failed.
    #[error("the command `{command}` did not bring the line up: {reason}")]
    Hook {
        /// The command.
        command: String,
        /// How it ended.
        reason: String,
    },
    /// The user asked to stop.
    #[error("stopped")]
    Stopped,
}

/// A fault as people read it: the name of its code where the code is known.
fn told(fault: &Fault) -> String {
    match fault.known() {
        Some(code) if fault.message.is_empty() => code.name().to_owned(),
        Some(code) if fault.message.contains(code.name()) => fault.message.clone(),
        Some(code) => format!("{}: {}", code.name(), fault.message),
        None => format!("{} (fault {})", fault.message, fault.code),
    }
}

impl From<AddressError> for LinkError {
    fn from(error: AddressError) -> Self {
        Self::Address(error.to_string())
    }
}

impl LinkError {
    /// The call certainly had no effect.
    pub(crate) fn failed(what: impl Into<String>, source: impl Into<Source>) -> Self {
        Self::Failed { what: what.into(), source: source.into() }
    }

    /// Nobody knows whether the call had an effect.
    pub(crate) fn unknown(what: impl Into<String>, source: impl Into<Source>) -> Self {
        Self::Unknown { what: what.into(), source: source.into() }
    }

    /// Whether another try may bring the answer, as long as the call may be repeated.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Unknown { .. } | Self::Hook { .. })
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Refused(fault) => match fault.known()? {
                FaultCode::CleanRefused => {
                    "run `office-client update` first, so that the office has these changes; `clone --force` puts them aside"
                        .to_owned()
                }
                FaultCode::Restored | FaultCode::UnknownWatermark | FaultCode::SinceTooOld => {
                    "compare both ends with `office-client verify`; `office-client clone` makes the shop anew".to_owned()
                }
                FaultCode::StatementFailed | FaultCode::StatementRefused => {
                    "nothing of this push was applied; mend the row or the policy and update again".to_owned()
                }
                _ => return None,
            },
            Self::Http { status: 401, .. } => {
                "check `--user` and `--password-file` of the branch (`office-client branch set`); at the shop: `shop-agent user list`"
                    .to_owned()
            }
            Self::Http { status: 404, .. } => "the URL names the agent's host and port alone, as in http://host:9000".to_owned(),
            Self::Failed { .. } | Self::Unknown { .. } | Self::Hook { .. } => {
                "nothing is lost: run the same command again when the line is back".to_owned()
            }
            Self::Untrusted { source, .. } => match **source {
                tls::ConnectError::OtherFingerprint { .. } => {
                    "either the agent has a new certificate, or somebody else answers in its place: ask at the shop what \
                     `shop-agent status` shows, and only if it is the new fingerprint, pin it with `office-client branch set NAME --fingerprint SHA256`"
                        .to_owned()
                }
                tls::ConnectError::Untrusted { .. } => {
                    "pin what `shop-agent status` shows at the shop with --fingerprint, or name the authority that has signed it with --ca"
                        .to_owned()
                }
                tls::ConnectError::IdentityRefused(_) => {
                    "give the certificate that the agent's authority has signed, with --client-cert and --client-key".to_owned()
                }
                _ => return None,
            },
            Self::Password { .. } => "a password file belongs to you alone: chmod 600 FILE".to_owned(),
            _ => return None,
        })
    }
}
