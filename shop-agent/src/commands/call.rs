//! `shop-agent call`: one XML-RPC call by hand.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use installation::said;
use protocol::address::Address;
use protocol::by_hand;
use protocol::fault::Outlook;
use protocol::xmlrpc::{Blob, Limits, Value, parse_response, write_call};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::CommandError;
use crate::cli::CallArgs;
use crate::exit::{self, Ended};
use crate::rpc::chain;

/// Largest answer that is taken.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Longest wait for somebody to be there.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3600);

pub(super) async fn call(args: CallArgs) -> Result<ExitCode, CommandError> {
    let usage = |error: &dyn std::error::Error| Ended::with(exit::USAGE, chain(error));
    let address: Address = args.url.parse().map_err(|error| usage(&error))?;
    let params = args.args.iter().map(|text| by_hand::argument(text, |path| std::fs::read(path)));
    let params = params.collect::<Result<Vec<_>, _>>().map_err(|error| usage(&error))?;
    let body = write_call(&args.method, &params)?;
    let authorization = match &args.user {
        None => None,
        Some(user) => {
            let password = super::password::existing(args.password_file.as_deref()).map_err(|error| usage(&error))?;
            Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
        }
    };
    let caller = caller(&args, &address)?;
    let answer = match tokio::time::timeout(PATIENCE, post(&address, caller, body, authorization)).await {
        Ok(answer) => answer?,
        Err(_) => return Err(lost(&address, &format!("no answer within {} s", PATIENCE.as_secs())).into()),
    };
    match parse_response(&answer, &Limits::default())? {
        Ok(Value::Base64(Blob::Inline(bytes))) if args.output.is_some() => {
            std::fs::write(args.output.as_deref().unwrap_or(Path::new("-")), bytes)?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(value) => {
            said::line(format_args!("{:#}", by_hand::answer(&value)));
            Ok(ExitCode::SUCCESS)
        }
        Err(fault) => {
            let name = fault.known().map(|code| format!(" ({})", code.name())).unwrap_or_default();
            let code = match fault.outlook() {
                Outlook::Final => exit::FAILED,
                Outlook::Protected => exit::PROTECTED,
                Outlook::Passing => exit::UNREACHABLE,
            };
            Err(Ended::with(code, format!("fault {}{name}: {}", fault.code, fault.message)).into())
        }
    }
}

/// The call may work later.
fn lost(address: &Address, why: &str) -> Ended {
    Ended::with(exit::UNREACHABLE, format!("cannot reach {address}: {why}"))
}

async fn post(
    address: &Address,
    caller: Option<tls::Caller>,
    body: Vec<u8>,
    authorization: Option<String>,
) -> Result<Bytes, CommandError> {
    let dialled = tokio::time::timeout(DIAL_PATIENCE, TcpStream::connect((address.host.as_str(), address.port))).await;
    let stream = match dialled {
        Ok(stream) => stream.map_err(|error| lost(address, &error.to_string()))?,
        Err(_) => return Err(lost(address, &format!("no answer within {} s", DIAL_PATIENCE.as_secs())).into()),
    };
    match caller {
        None => exchange(stream, address, body, authorization).await,
        Some(caller) => {
            let stream = caller.connect(&address.host, stream).await.map_err(|error| match error {
                tls::ConnectError::Io(_) => lost(address, &chain(&error)),
                // nothing was sent to it
                other => Ended::with(exit::PROTECTED, format!("{address} is not trusted: {}", chain(&other))),
            })?;
            exchange(stream, address, body, authorization).await
        }
    }
}

/// Whom this call trusts, and as whom it is made; none where the line is not encrypted.
fn caller(args: &CallArgs, address: &Address) -> Result<Option<tls::Caller>, Ended> {
    if !address.secure {
        return match args.fingerprint.is_some() || args.ca.is_some() || args.client_cert.is_some() {
            true => Err(Ended::with(
                exit::USAGE,
                "http:// is not encrypted, so no certificate can be checked; write https://",
            )),
            false => Ok(None),
        };
    }
    let trust = match (args.fingerprint, &args.ca) {
        (Some(fingerprint), _) => tls::Trust::Fingerprint(fingerprint),
        (None, Some(ca)) => tls::Trust::Authority(ca.clone()),
        (None, None) => tls::Trust::Machine,
    };
    let identity = match (&args.client_cert, &args.client_key) {
        (Some(certificate), Some(key)) => Some(tls::Identity { certificate: certificate.clone(), key: key.clone() }),
        _ => None,
    };
    tls::Caller::new(&trust, identity.as_ref()).map(Some).map_err(|error| Ended::with(exit::USAGE, chain(&error)))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: &Address,
    body: Vec<u8>,
    authorization: Option<String>,
) -> Result<Bytes, CommandError> {
    let broken = |error: hyper::Error| match tls::identity_refusal(&error) {
        // with TLS 1.3 the server says so only now
        Some(reason) => Ended::with(exit::PROTECTED, tls::ConnectError::IdentityRefused(reason).to_string()),
        None => lost(address, &chain(&error)),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driving = tokio::spawn(connection);
    let mut request = http::Request::post(address.path.as_str())
        .header(http::header::HOST, address.to_string())
        .header(http::header::USER_AGENT, concat!("shop-agent/", env!("CARGO_PKG_VERSION")))
        .header(http::header::CONTENT_TYPE, "text/xml; charset=utf-8");
    if let Some(authorization) = authorization {
        request = request.header(http::header::AUTHORIZATION, authorization);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await.map_err(broken)?;
    let status = response.status();
    let answer = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let answer = answer.map_err(|error| lost(address, &error.to_string()))?.to_bytes();
    drop(sender);
    driving.abort();
    if status == http::StatusCode::OK {
        return Ok(answer);
    }
    // a server that is busy or failing may answer later; what it refuses it will refuse again
    let is_passing = status.is_server_error() || status == http::StatusCode::TOO_MANY_REQUESTS;
    let code = if is_passing { exit::UNREACHABLE } else { exit::FAILED };
    let said = String::from_utf8_lossy(&answer);
    Err(Ended::with(code, format!("{address} answered {status}: {}", said.trim())).into())
}
