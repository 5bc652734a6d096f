//! The other direction: what this program makes of the answers of others. The vectors are in
//! `fixtures/vectors/responses.toml`; each is given over a connection, by a server that says nothing else.

use protocol::xmlrpc::spelled_value;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::expect::is_same;
use crate::link::{Client, LinkError, LinkSettings, Patience, TrustSettings};

#[derive(Deserialize)]
struct Vectors {
    response: Vec<Response>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    rule: String,
    name: String,
    #[serde(default = "ok")]
    status: u16,
    document: String,
    is: Option<String>,
    fault: Option<i32>,
    message: Option<String>,
    refused: Option<String>,
}

fn ok() -> u16 {
    200
}

/// Serves one answer, and makes the call that gets it.
async fn heard(vector: &Response) -> Result<protocol::xmlrpc::Value, LinkError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = format!(
        "HTTP/1.1 {} Word\r\nContent-Type: text/xml\r\nLocation: http://127.0.0.1:{port}/other\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        vector.status,
        vector.document.len(),
        vector.document
    );
    let serving = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"</methodCall>") && !request.ends_with(b"</methodCall>\n") {
            if stream.read_buf(&mut request).await.unwrap() == 0 {
                break;
            }
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let mut client = Client::new(LinkSettings {
        address: format!("http://127.0.0.1:{port}/").parse().unwrap(),
        trust: TrustSettings::default(),
        credentials: None,
        silence_max: std::time::Duration::from_secs(20),
        rate_limit: None,
        temporary_dir: std::env::temp_dir(),
    })
    .unwrap();
    tokio::join!(client.call_value("conformance", &[], Patience::Quick), serving).0
}

/// An error with everything that caused it.
fn words(error: &LinkError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn answers_of_others_are_read_as_the_rules_say() {
    let Vectors { response: vectors } =
        toml::from_str(include_str!("../../../fixtures/vectors/responses.toml")).unwrap();
    let mut wrong = Vec::new();
    for vector in &vectors {
        let heard = heard(vector).await;
        let good = match (&heard, &vector.is, vector.fault, &vector.refused) {
            (Ok(value), Some(wanted), None, None) => is_same(&spelled_value(wanted).unwrap(), value),
            (Err(LinkError::Refused(fault)), None, Some(code), None) => {
                fault.code == code && Some(&fault.message) == vector.message.as_ref()
            }
            (Err(LinkError::Refused(_)), _, _, _) => false,
            (Err(error), None, None, Some(text)) => words(error).contains(text.as_str()),
            _ => false,
        };
        if !good {
            wrong.push(format!("{} {}: {heard:?}", vector.rule, vector.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(["S15", "S16", "H17"].iter().all(|rule| vectors.iter().any(|vector| vector.rule == *rule)));
}
