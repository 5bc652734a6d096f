//! SHA-256 of a certificate: what two people compare over the telephone.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// SHA-256 of a certificate in DER, as `openssl x509 -fingerprint -sha256` shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// A text that is no fingerprint.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a fingerprint is 64 hexadecimal digits, as `shop-agent status` shows them")]
pub struct FingerprintError;

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// In groups of four digits, four groups to a line: as it is read out over the telephone.
    pub fn lines(&self) -> Vec<String> {
        let groups: Vec<String> = self.0.chunks(2).map(|pair| format!("{:02X}{:02X}", pair[0], pair[1])).collect();
        groups.chunks(4).map(|line| line.join(" ")).collect()
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Takes upper and lower case, with colons, spaces or dashes anywhere or without, and `SHA256:` or `sha256 Fingerprint=` before it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let digits = match text.rsplit_once('=') {
            Some((_, digits)) => digits,
            None => text.get(..7).filter(|start| start.eq_ignore_ascii_case("sha256:")).map_or(text, |_| &text[7..]),
        };
        let mut bytes = [0; 32];
        let mut nibbles = digits.chars().filter(|c| !matches!(c, ':' | ' ' | '-')).map(|c| c.to_digit(16));
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (nibbles.next(), nibbles.next()) else {
                return Err(FingerprintError);
            };
            *byte = u8::try_from(high << 4 | low).map_err(|_| FingerprintError)?;
        }
        if nibbles.next().is_some() { Err(FingerprintError) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02X}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_means_the_same() {
        let fingerprint = Fingerprint::of(b"certificate");
        let shown = fingerprint.to_string();
        assert_eq!(shown.len(), 95);
        let bare = shown.replace(':', "").to_lowercase();
        let read_out = fingerprint.lines().join(" ");
        let named = [format!("SHA256:{bare}"), format!("sha256 Fingerprint={shown}\n")];
        for text in [shown.clone(), bare.clone(), read_out.clone(), read_out.replace(' ', "-")].into_iter().chain(named)
        {
            assert_eq!(text.parse(), Ok(fingerprint), "{text}");
        }
    }

    #[test]
    fn a_fingerprint_with_a_digit_too_few_or_too_many_is_none() {
        let bare = Fingerprint::of(b"certificate").to_string().replace(':', "");
        for text in ["", "SHA256:", &bare[1..], &format!("{bare}0"), &format!("g{}", &bare[1..]), "é"] {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError), "{text}");
        }
    }
}
