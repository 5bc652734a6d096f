//! XML-RPC faults: every code of the wire, its name and its meaning.
//!
//! Negative codes are those of the fault-code interoperability specification (20010516), with one of our own in the
//! range it leaves to implementations; positive codes are the product's and never change their meaning.

use std::fmt;

use thiserror::Error;

/// The longest fault string that is sent, in bytes; longer ones are cut at a character.
pub const MESSAGE_BYTES_MAX: usize = 2_000;

/// An XML-RPC fault as it travels: a code and a sentence.
///
/// The sentence says what happened, to what, and what to do; it never holds a password, a path or a row's value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("fault {code}: {message}")]
pub struct Fault {
    /// `faultCode`; see [`FaultCode`] for those this product sends.
    pub code: i32,
    /// `faultString`.
    pub message: String,
}

impl Fault {
    /// A fault of a known code.
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self { code: code.code(), message: cut(message.into()) }
    }

    /// What the code means, when this product knows it.
    pub fn known(&self) -> Option<FaultCode> {
        FaultCode::from_code(self.code)
    }

    /// Whether the fault has this code.
    pub fn is(&self, code: FaultCode) -> bool {
        self.code == code.code()
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
        message.truncate(end);
    }
    message
}

macro_rules! fault_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $name:literal;)+) => {
        /// Every fault code that this product sends or understands.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum FaultCode {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl FaultCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [FaultCode] = &[$(FaultCode::$variant),+];

            /// The number on the wire.
            pub const fn code(self) -> i32 {
                match self { $(Self::$variant => $code),+ }
            }

            /// The code of a number; `None` for a foreign one.
            pub const fn from_code(code: i32) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            /// Its name in documentation and messages.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it means and what to do, as the documentation has it.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc, "\n"),+).trim_ascii()),+ }
            }
        }
    };
}

fault_codes! {
    /// The request is no well-formed XML.
    NotWellFormed = -32700, "not well formed";
    /// The declared character encoding is not known.
    UnsupportedEncoding = -32701, "unsupported encoding";
    /// A byte sequence is not valid in the document's encoding.
    InvalidCharacter = -32702, "invalid character";
    /// Well-formed XML that is not XML-RPC.
    InvalidRequest = -32600, "invalid request";
    /// No such method; `system.listMethods` names them.
    UnknownMethod = -32601, "unknown method";
    /// Wrong number, type or range of parameters; `system.methodSignature` says which are right.
    WrongParameters = -32602, "wrong parameters";
    /// A defect in the server; its log has the details.
    Internal = -32603, "internal error";
    /// The application refused, for a reason without a code of its own.
    Application = -32500, "application error";
    /// The server's machine failed: disk full, file unreadable.
    System = -32400, "system error";
    /// The request or the reply did not arrive whole; try again.
    Transport = -32300, "transport error";
    /// A limit of the reader (depth, number of values, length of a text) was exceeded.
    LimitExceeded = -32000, "limit exceeded";
    /// No session has this sid: it never existed, or was forgotten; open a new one.
    UnknownSession = 1, "unknown session";
    /// The session was opened by another credential.
    ForeignSession = 2, "session of another credential";
    /// The session was idle for too long; open a new one.
    SessionExpired = 3, "session expired";
    /// A chunk's seq is beyond the next one expected; ask `sql_status` and go on from there.
    ChunkGap = 4, "chunk gap";
    /// A chunk without seq equals the one before it; nobody can know whether it is a repeat. Open a new session.
    UncertainRepeat = 5, "uncertain repeat";
    /// A chunk cannot be decompressed; send it again in a new session.
    DamagedChunk = 6, "damaged chunk";
    /// A chunk, or the session as a whole, is larger than allowed; send smaller chunks.
    ChunkTooLarge = 7, "chunk or session too large";
    /// A statement is outside the dialect, the policy or its direction. Nothing was applied.
    StatementRefused = 8, "statement refused";
    /// The database refused a statement. Nothing was applied.
    StatementFailed = 9, "statement failed";
    /// `clean` would lose changes that no office has acknowledged; pull first.
    CleanRefused = 10, "clean refused";
    /// Changes since then are no longer retained; verify, or make a new clone.
    SinceTooOld = 11, "since too old";
    /// The watermark was never issued by this database.
    UnknownWatermark = 12, "unknown watermark";
    /// The frozen diff is gone; open it again.
    DiffExpired = 13, "diff expired";
    /// The two ends' tables do not match.
    SchemaMismatch = 14, "schema mismatch";
    /// The database does not answer; the session stays open, try again.
    DatabaseUnavailable = 15, "database unavailable";
    /// Another session is being applied, or a lock was not to be had; the session stays open, try again.
    Busy = 16, "busy";
    /// The session was refused or aborted; open a new one.
    SessionEnded = 17, "session ended";
    /// The office has as many sessions open as it may; abort one.
    TooManySessions = 18, "too many sessions";
    /// An id range does not fit: a column too narrow for it, or a range that is already used.
    IdRange = 19, "id range";
    /// The database was restored or cloned: its incarnation is not the one expected. Verify and repair.
    Restored = 20, "restored database";
}

/// What somebody who gets a fault can do about it; the exit codes of both programs say this much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// The same call brings the same answer.
    Final,
    /// It was refused to protect data: somebody has to decide.
    Protected,
    /// The same call may work later.
    Passing,
}

impl Fault {
    /// What can be done about it.
    pub fn outlook(&self) -> Outlook {
        use FaultCode as F;
        match self.known() {
            Some(F::CleanRefused | F::SchemaMismatch | F::Restored | F::UnknownWatermark | F::SinceTooOld) => {
                Outlook::Protected
            }
            Some(F::Busy | F::DatabaseUnavailable) => Outlook::Passing,
            _ => Outlook::Final,
        }
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_found_by_its_number_and_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        for &code in FaultCode::ALL {
            assert_eq!(FaultCode::from_code(code.code()), Some(code));
            assert!(names.insert(code.name()), "{} is used twice", code.name());
            assert!(!code.meaning().is_empty());
        }
        assert_eq!(FaultCode::from_code(12345), None);
    }

    #[test]
    fn the_products_codes_stay_outside_the_reserved_range() {
        for &code in FaultCode::ALL {
            assert!((1..=20).contains(&code.code()) || (-32768..=-32000).contains(&code.code()));
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let fault = Fault::new(FaultCode::Internal, "ä".repeat(MESSAGE_BYTES_MAX));
        assert!(fault.message.len() <= MESSAGE_BYTES_MAX && fault.message.ends_with('ä'));
    }
}
