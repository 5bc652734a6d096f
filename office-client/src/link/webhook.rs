//! A message to a program at an address: one POST of JSON, certificates checked as the machine does.

use std::time::Duration;

use super::raw::exchange;
use super::{Address, LinkError, TrustSettings};

/// Where messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Webhook {
    address: Address,
    /// What the header `Host` says.
    authority: String,
}

impl std::str::FromStr for Webhook {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // not quoted: such an address is often a secret
        let wrong = |why: &str| format!("it is no address to post to: {why}");
        let uri: http::Uri = text.trim().parse().map_err(|error| wrong(&format!("{error}")))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("write https://host/path")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?.clone();
        if authority.as_str().contains('@') {
            return Err(wrong("user and password do not belong into it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        Ok(Self { address: Address { secure, host, port, path }, authority: authority.to_string() })
    }
}

impl Webhook {
    /// Posts it; the status that was answered.
    ///
    /// # Errors
    /// If nobody is there, or the certificate is not to be trusted, or the answer does not come in time.
    pub(crate) async fn post(&self, json: &str, patience: Duration) -> Result<u16, LinkError> {
        let caller = TrustSettings::default().caller(&self.address)?;
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nUser-Agent: office-client\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{json}",
            self.address.path,
            self.authority,
            json.len()
        );
        let heard = exchange(&self.address, caller.as_deref(), request.as_bytes(), false, patience);
        match tokio::time::timeout(patience, heard).await {
            Ok(heard) => Ok(heard?.last().status),
            Err(_) => Err(LinkError::failed(format!("reach {}", self.address), "no answer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_with_its_query_and_the_usual_ports() {
        let hook: Webhook = "https://chat.example/hook/1?key=a".parse().unwrap();
        assert_eq!((hook.address.port, hook.address.path.as_str()), (443, "/hook/1?key=a"));
        assert_eq!("http://[::1]:8080".parse::<Webhook>().unwrap().address.host, "::1");
        for wrong in ["chat.example", "ftp://a/b", "https://u:p@a/b", "https:///x"] {
            assert!(wrong.parse::<Webhook>().is_err(), "{wrong}");
        }
    }
}
