//! From when to when a certificate is good, read out of its DER (RFC 5280, 4.1.2.5).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub not_before: Timestamp,
    /// Last moment.
    pub not_after: Timestamp,
}

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXPLICIT_VERSION: u8 = 0xa0;

impl Validity {
    /// The validity of a certificate in DER; none when it is not one.
    pub fn of(der: &[u8]) -> Option<Self> {
        // Certificate { tbsCertificate { [version] serial algorithm issuer validity ... } ... }
        let (certificate, _) = element(der, SEQUENCE)?;
        let (mut rest, _) = element(certificate, SEQUENCE)?;
        if rest.first() == Some(&EXPLICIT_VERSION) {
            rest = any(rest)?.2;
        }
        for _ in ["serial", "algorithm", "issuer"] {
            rest = any(rest)?.2;
        }
        let (validity, _) = element(rest, SEQUENCE)?;
        let (kind, before, rest) = any(validity)?;
        let not_before = time(kind, before)?;
        let (kind, after, _) = any(rest)?;
        Some(Self { not_before, not_after: time(kind, after)? })
    }

    /// What to say about it at that moment: fine, or why not.
    ///
    /// # Errors
    /// If the certificate is not good yet, or no more.
    pub fn at(&self, now: Timestamp) -> Result<String, String> {
        let day = |time: Timestamp| time.strftime("%Y-%m-%d").to_string();
        if now < self.not_before {
            return Err(format!("not valid before {}: is the clock right?", day(self.not_before)));
        }
        if now > self.not_after {
            return Err(format!("expired on {}", day(self.not_after)));
        }
        if self.not_after == Timestamp::MAX {
            return Ok("does not expire".to_owned());
        }
        let days = self.not_after.duration_since(now).as_secs() / 86_400;
        Ok(format!("valid until {} ({days} days)", day(self.not_after)))
    }
}

/// Tag, content and what follows of the first element.
fn any(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let (bytes, after) = rest.split_at_checked(count)?;
        length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

fn element(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    any(der).filter(|(tag, ..)| *tag == wanted).map(|(_, content, after)| (content, after))
}

fn time(kind: u8, content: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let (year, rest) = match kind {
        UTC_TIME => {
            let short: i16 = text.get(..2)?.parse().ok()?;
            (if short < 50 { 2000 + short } else { 1900 + short }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let time = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    // the last day of the year 9999, which means "never", is past what a timestamp can hold
    Some(time.to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |time| time.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_certificate_is_read_in_both_spellings() {
        for (year, month) in [(2031, 3), (2055, 12)] {
            let mut params = rcgen::CertificateParams::new(vec!["shop".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(2020, 2, 29);
            params.not_after = rcgen::date_time_ymd(year, month, 1);
            let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let validity = Validity::of(der.der()).unwrap();
            assert_eq!(validity.not_before.to_string(), "2020-02-29T00:00:00Z");
            assert_eq!(validity.not_after.to_string(), format!("{year}-{month:02}-01T00:00:00Z"));
            assert!(validity.at("2026-01-01T00:00:00Z".parse().unwrap()).unwrap().contains("valid until"));
            assert!(validity.at("2019-01-01T00:00:00Z".parse().unwrap()).unwrap_err().contains("clock"));
            assert!(validity.at("2099-01-01T00:00:00Z".parse().unwrap()).unwrap_err().contains("expired"));
        }
    }

    #[test]
    fn the_end_of_time_is_no_error() {
        let mut params = rcgen::CertificateParams::new(vec!["shop".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(9999, 12, 31);
        let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let validity = Validity::of(der.der()).unwrap();
        assert_eq!(validity.at("2999-01-01T00:00:00Z".parse().unwrap()), Ok("does not expire".to_owned()));
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        let key = rcgen::KeyPair::generate().unwrap();
        let der = rcgen::CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        assert!(Validity::of(&der).is_some());
        for cut in 0..der.len().min(160) {
            assert_eq!(Validity::of(&der[..cut]), None);
        }
        assert_eq!(Validity::of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
    }
}
