//! Where an agent listens, as people write it. Every command that takes such an address reads it here.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Port of an address that names none.
pub const PORT_DEFAULT: u16 = 9000;

/// An address that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{address}` is no address of an agent: {reason}")]
pub struct AddressError {
    /// What was written, without a password.
    address: String,
    /// What is wrong with it.
    reason: String,
}

/// An address as `http://host:port/path` or `https://host:port/path` means it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether TLS is spoken.
    pub secure: bool,
    /// Name or number of the host, without the brackets of IPv6.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path of the requests; `/RPC2` where none was written.
    pub path: String,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str| AddressError { address: without_user(text), reason: why.to_owned() };
        let uri: http::Uri = text.trim().parse().map_err(|error| wrong(&format!("{error}")))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("write https://host:port, or http://host:port")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("user and password do not belong into it; use --user and --password-file"));
        }
        if uri.query().is_some() {
            return Err(wrong("it has a query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let path = match uri.path() {
            "" | "/" => "/RPC2".to_owned(),
            path => path.to_owned(),
        };
        Ok(Self { secure, host, port: authority.port_u16().unwrap_or(PORT_DEFAULT), path })
    }
}

/// What is shown of an address: never a user and a password, also where they do not belong.
fn without_user(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    let scheme = before.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
    format!("{}(hidden)@{host}", scheme.unwrap_or_default())
}

impl Address {
    /// Whether what is sent there can be read on the way: no TLS, and not this machine.
    pub fn is_exposed(&self) -> bool {
        let is_loopback = self.host.parse::<core::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        !self.secure && !is_loopback && !self.host.eq_ignore_ascii_case("localhost")
    }
}

impl fmt::Display for Address {
    /// As the `Host` header wants it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_only_a_host() {
        let address: Address = "http://shop".parse().unwrap();
        assert_eq!((address.host.as_str(), address.port, address.path.as_str()), ("shop", 9000, "/RPC2"));
        let address: Address = "http://[::1]:81/XMLRPC".parse().unwrap();
        assert_eq!((address.to_string().as_str(), address.path.as_str()), ("[::1]:81", "/XMLRPC"));
    }

    #[test]
    fn only_plain_http_beyond_this_machine_is_exposed() {
        let exposed = |text: &str| text.parse::<Address>().unwrap().is_exposed();
        assert!(exposed("http://shop") && exposed("http://10.0.0.1"));
        for text in ["https://shop", "http://127.0.0.1", "http://[::1]:9000", "http://localhost"] {
            assert!(!exposed(text), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let why = |text: &str| text.parse::<Address>().unwrap_err().to_string();
        assert!(why("shop:9000").contains("http://host:port"));
        assert!(why("http://u:secret@shop").contains("--password-file"));
        for text in ["http://u:secret@shop", "u:secret@shop", "http://u:secret@@shop/ x", "ftp://u:secret@shop"] {
            assert!(!why(text).contains("secret"), "{}", why(text));
        }
    }
}
