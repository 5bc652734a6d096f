//! `shop-agent call`: one XML-RPC call by hand.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use protocol::xmlrpc::{Blob, DateTime, Limits, Value, parse_response, to_value, write_call};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::CommandError;
use crate::cli::CallArgs;

/// Largest answer that is taken.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3600);

pub(super) async fn call(args: CallArgs) -> Result<ExitCode, CommandError> {
    let params = args.args.iter().map(|arg| value_of(arg)).collect::<Result<Vec<_>, _>>()?;
    let body = write_call(&args.method, &params)?;
    let authorization = match &args.user {
        None => None,
        Some(user) => {
            let password = super::password::password(args.password_file.as_deref())?;
            Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
        }
    };
    let answer = tokio::time::timeout(PATIENCE, post(&args, body, authorization)).await??;
    match parse_response(&answer, &Limits::default())? {
        Ok(Value::Base64(Blob::Inline(bytes))) if args.output.is_some() => {
            std::fs::write(args.output.as_deref().unwrap_or(Path::new("-")), bytes)?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(value) => {
            println!("{:#}", json_of(&value));
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => {
            eprintln!("fault {}: {}", fault.code, fault.message);
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn post(args: &CallArgs, body: Vec<u8>, authorization: Option<String>) -> Result<Bytes, CommandError> {
    let url = &args.url;
    let uri: http::Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let host = uri.host().ok_or("the URL names no host")?;
    let bare = host.trim_matches(['[', ']']);
    let dial = async |port| TcpStream::connect((bare, port)).await.map_err(|error| format!("{url}: {error}"));
    match uri.scheme_str() {
        Some("http") if args.fingerprint.is_some() || args.ca.is_some() || args.client_cert.is_some() => {
            Err("http:// is not encrypted, so no certificate can be checked; write https://".into())
        }
        Some("http") => exchange(dial(uri.port_u16().unwrap_or(80)).await?, &uri, host, body, authorization).await,
        Some("https") => {
            let caller = caller(args)?;
            let stream = caller.connect(bare, dial(uri.port_u16().unwrap_or(443)).await?).await?;
            exchange(stream, &uri, host, body, authorization).await
        }
        _ => Err("a URL begins with http:// or https://".into()),
    }
}

/// Whom this call trusts, and as whom it is made.
fn caller(args: &CallArgs) -> Result<tls::Caller, CommandError> {
    let trust = match (args.fingerprint, &args.ca) {
        (Some(fingerprint), _) => tls::Trust::Fingerprint(fingerprint),
        (None, Some(ca)) => tls::Trust::Authority(ca.clone()),
        (None, None) => tls::Trust::Machine,
    };
    let identity = match (&args.client_cert, &args.client_key) {
        (Some(certificate), Some(key)) => Some(tls::Identity { certificate: certificate.clone(), key: key.clone() }),
        _ => None,
    };
    Ok(tls::Caller::new(&trust, identity.as_ref())?)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &http::Uri,
    host: &str,
    body: Vec<u8>,
    authorization: Option<String>,
) -> Result<Bytes, CommandError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut request = http::Request::post(path)
        .header(http::header::HOST, uri.authority().map_or(host, http::uri::Authority::as_str))
        .header(http::header::USER_AGENT, concat!("shop-agent/", env!("CARGO_PKG_VERSION")))
        .header(http::header::CONTENT_TYPE, "text/xml; charset=utf-8");
    if let Some(authorization) = authorization {
        request = request.header(http::header::AUTHORIZATION, authorization);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
    let status = response.status();
    let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
    drop(sender);
    driving.abort();
    if status != http::StatusCode::OK {
        return Err(format!("{uri} answered {status}: {}", String::from_utf8_lossy(&answer).trim()).into());
    }
    Ok(answer)
}

/// A parameter from its spelling on the command line.
fn value_of(arg: &str) -> Result<Value, CommandError> {
    let Some((kind, text)) = arg.split_once(':') else { return Ok(Value::from(arg)) };
    let wrong = |what: &str| -> CommandError { format!("{arg:?} is no {what}").into() };
    Ok(match kind {
        "i" => {
            let number: i64 = text.parse().map_err(|_| wrong("integer"))?;
            i32::try_from(number).map_or(Value::Long(number), Value::Int)
        }
        "d" => Value::Double(text.parse().map_err(|_| wrong("number"))?),
        "b" => Value::Bool(text.parse().map_err(|_| wrong("boolean (true or false)"))?),
        "s" => Value::from(text),
        "t" => {
            let time: jiff::Timestamp = text.parse().map_err(|_| wrong("time (2006-01-02T03:04:05Z)"))?;
            Value::DateTime(DateTime::from_timestamp(time))
        }
        "b64" => {
            let bytes = match text.strip_prefix('@') {
                Some(path) => std::fs::read(path).map_err(|error| format!("{path}: {error}"))?,
                None => text.as_bytes().to_vec(),
            };
            Value::Base64(Blob::Inline(bytes))
        }
        "nil" => Value::Nil,
        "json" => to_value(&serde_json::from_str::<serde_json::Value>(text)?)?,
        _ => Value::from(arg),
    })
}

/// A value as JSON, for people and scripts.
fn json_of(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Value::Nil => Json::Null,
        Value::Int(number) => (*number).into(),
        Value::Long(number) => (*number).into(),
        Value::Bool(flag) => (*flag).into(),
        Value::Double(number) => serde_json::Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::String(text) => text.as_str().into(),
        Value::DateTime(time) => time.to_wire().into(),
        Value::Base64(Blob::Inline(bytes)) => STANDARD.encode(bytes).into(),
        Value::Base64(Blob::Spooled { .. }) => Json::Null,
        Value::Array(values) => values.iter().map(json_of).collect(),
        Value::Struct(members) => members
            .iter()
            .map(|(name, value)| (name.to_owned(), json_of(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_types() -> Result<(), CommandError> {
        assert_eq!(value_of("i:5")?, Value::Int(5));
        assert_eq!(value_of("i:5000000000")?, Value::Long(5_000_000_000));
        assert_eq!(value_of("s:a:b")?, Value::from("a:b"));
        assert_eq!(value_of("2006-09-22T14:03:11Z")?, Value::from("2006-09-22T14:03:11Z"));
        assert_eq!(value_of("b64:abc")?, Value::Base64(Blob::Inline(b"abc".to_vec())));
        assert!(value_of("i:x").is_err());
        Ok(())
    }
}
