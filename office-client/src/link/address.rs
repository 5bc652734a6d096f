//! Where an agent listens.

use std::fmt;
use std::str::FromStr;

use super::LinkError;

/// Port of an address that names none.
pub(crate) const PORT_DEFAULT: u16 = 9000;

/// An address as `http://host:port/path` means it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Name or number of the host, without the brackets of IPv6.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
    /// Path of the requests; `/RPC2` where none was written.
    pub(crate) path: String,
}

impl FromStr for Address {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: &str| LinkError::Address(format!("`{text}` is no address of an agent: {why}"));
        let uri: http::Uri = text.trim().parse().map_err(|error| wrong(&format!("{error}")))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(wrong("this version does not speak TLS; use http over a tunnel or the loopback"));
            }
            _ => return Err(wrong("write http://host:port")),
        }
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
        Ok(Self { host, port: authority.port_u16().unwrap_or(PORT_DEFAULT), path })
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
    fn what_cannot_be_used_says_why() {
        let why = |text: &str| text.parse::<Address>().unwrap_err().to_string();
        assert!(why("https://shop").contains("TLS"));
        assert!(why("shop:9000").contains("http://host:port"));
        assert!(why("http://u:secret@shop").contains("--password-file"));
    }
}
