//! What every request passes: the name by which the console was called, where a form comes from, who sends it; and the
//! headers that every answer gets.
//!
//! Three things protect against other sites: browsers say where a request comes from (`Sec-Fetch-Site`, `Origin`), each
//! form carries a token that only the console's own pages have, and the cookie is `SameSite=Strict`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, HttpBody as _};
use axum::extract::{ConnectInfo, Form, FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine as _;

use super::Console;
use super::answer::{PageError, for_program, gzipped};
use super::door::{Refusal, Visitor};
use super::users::Role;
use crate::limits::{CONSOLE_BODY_BYTES_MAX, CONSOLE_BODY_DURATION_MAX};

/// Name of the session's cookie.
pub(super) const COOKIE: &str = "office_console";

/// Scripts, styles and images of our own only; nothing inline, nobody frames us, forms go nowhere else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
];

/// Lets a request through, or says why not.
pub(super) async fn guard(
    State(console): State<Arc<Console>>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<SocketAddr>>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers().clone();
    let by_program = request.uri().path().starts_with("/api/");
    let admitted = match admit(&console, request.method(), request.uri().path(), &headers) {
        Err(_) if by_program && console.door.needs_login() && is_our_own(&headers) => {
            program(&console, &headers, peer.ip()).await.map(Some)
        }
        admitted => admitted,
    };
    let answer = match admitted {
        Ok(visitor) => {
            if let Some(visitor) = visitor {
                request.extensions_mut().insert(visitor);
            }
            next.run(request).await
        }
        Err(answer) => *answer,
    };
    let answer = if by_program { for_program(answer).await } else { answer };
    finished(&headers, answer).await
}

/// Who sends it; nobody where none is needed.
fn admit(
    console: &Console,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Option<Visitor>, Box<Response>> {
    if !console.door.needs_login() && !is_this_machine(headers) {
        let message = "the console was called by a name that is not this machine's";
        return Err(PageError::new(StatusCode::MISDIRECTED_REQUEST, message)
            .with_hint("open it as http://127.0.0.1 or http://localhost; to reach it from elsewhere, set up logins")
            .into_response()
            .into());
    }
    let safe = matches!(*method, Method::GET | Method::HEAD);
    if !safe && !is_our_own(headers) {
        let message = "this did not come from a page of the console";
        return Err(PageError::new(StatusCode::FORBIDDEN, message).into_response().into());
    }
    if path.starts_with("/assets/") || path == "/healthz" {
        return Ok(None);
    }
    if !console.door.needs_login() {
        return Ok(Some(console.door.anybody()));
    }
    // a cookie is for pages: a program sends its login with every call
    let secret = cookie(headers).filter(|_| !path.starts_with("/api/"));
    let visitor = secret.and_then(|secret| console.door.session(secret));
    if visitor.is_some() || path == "/login" {
        return Ok(visitor);
    }
    let answer = match *method {
        // a stream of events cannot follow to a page: its page asks again when it is loaded anew
        Method::GET if !path.starts_with("/live/") => Redirect::to("/login").into_response(),
        _ => PageError::new(StatusCode::UNAUTHORIZED, "you are not logged in any more")
            .with_hint("log in and try again")
            .into_response(),
    };
    Err(answer.into())
}

/// A program, which sends name and password with every call.
async fn program(console: &Console, headers: &HeaderMap, peer: IpAddr) -> Result<Visitor, Box<Response>> {
    let refused = |status: StatusCode, error: &str| {
        let body = axum::Json(serde_json::json!({ "error": error, "hint": "send user and password with HTTP Basic" }));
        let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"office-client console\", charset=\"UTF-8\"")];
        Box::new((status, challenge, body).into_response())
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|text| text.strip_prefix("Basic ")).and_then(|text| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()?;
        String::from_utf8(bytes).ok()
    });
    let Some((name, password)) = given.as_deref().and_then(|pair| pair.split_once(':')) else {
        return Err(refused(StatusCode::UNAUTHORIZED, "a login is needed"));
    };
    console.door.program(name, password, peer).await.map_err(|refusal| match refusal {
        Refusal::Wrong => refused(StatusCode::UNAUTHORIZED, "name and password do not belong together"),
        Refusal::Later(_) => refused(StatusCode::TOO_MANY_REQUESTS, "too many wrong passwords: try again later"),
    })
}

/// The secret of the session.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

/// Whether the browser called this machine by a name that only this machine has: a name of elsewhere that was made to
/// point here would let a foreign page read ours.
fn is_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether something that changes anything comes from a page of ours, or from no page at all.
fn is_our_own(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        (Some(_), None) => false,
        (None, _) => true,
    }
}

/// Adds what every answer has, and compresses what is worth it.
async fn finished(request: &HeaderMap, answer: Response) -> Response {
    let is_page =
        answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let mut answer = match answer.body().size_hint().exact() {
        Some(_) if is_page && !answer.headers().contains_key(header::CONTENT_ENCODING) => {
            let (parts, body) = answer.into_parts();
            match axum::body::to_bytes(body, usize::MAX).await {
                Ok(bytes) => gzipped(request, Response::from_parts(parts, Body::from(bytes.clone())), &bytes),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
        _ => answer,
    };
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, value);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    answer
}

/// What a form of ours has sent, by somebody who may: the token is checked before anything is looked at.
#[derive(Debug)]
pub(super) struct Posted {
    /// Who sent it.
    pub(super) visitor: Visitor,
    fields: BTreeMap<String, String>,
}

impl Posted {
    /// Whether they may; the words say who could.
    pub(super) fn needs(&self, role: Role) -> Result<(), PageError> {
        may(&self.visitor, role)
    }

    /// A field; empty where it was not sent.
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.trim())
    }

    /// A field as it is, with blanks: a password.
    pub(super) fn secret(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// Whether a box was ticked.
    pub(super) fn ticked(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }
}

/// Whether somebody may do what needs a role.
pub(super) fn may(visitor: &Visitor, role: Role) -> Result<(), PageError> {
    if visitor.role >= role {
        return Ok(());
    }
    let message = format!("your login may not do this: it needs the role `{}`", role.as_str());
    Err(PageError::new(StatusCode::FORBIDDEN, message).with_hint("ask somebody who has it"))
}

impl FromRequest<Arc<Console>> for Posted {
    type Rejection = PageError;

    async fn from_request(request: Request, _: &Arc<Console>) -> Result<Self, Self::Rejection> {
        let unknown = || PageError::new(StatusCode::UNAUTHORIZED, "you are not logged in any more");
        let visitor = request.extensions().get::<Visitor>().cloned().ok_or_else(unknown)?;
        let fields = fields(request).await?;
        if !visitor.owns(fields.get("token").map_or("", String::as_str)) {
            return Err(PageError::new(StatusCode::FORBIDDEN, "this form is from an earlier visit")
                .with_hint("go back, load the page anew, and try again"));
        }
        Ok(Self { visitor, fields })
    }
}

/// The fields of a form, once all of it is here.
async fn fields(request: Request) -> Result<BTreeMap<String, String>, PageError> {
    let form = Form::<BTreeMap<String, String>>::from_request(request, &());
    let Form(fields) = tokio::time::timeout(CONSOLE_BODY_DURATION_MAX, form)
        .await
        .map_err(|_| PageError::new(StatusCode::REQUEST_TIMEOUT, "the form did not arrive in time"))?
        .map_err(|error| PageError::new(error.status(), "the form cannot be read"))?;
    Ok(fields)
}

/// Largest body that is read.
pub(super) fn body_limit() -> axum::extract::DefaultBodyLimit {
    axum::extract::DefaultBodyLimit::max(CONSOLE_BODY_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::routing::post;

    use super::*;
    use crate::console::server::test_client::Client;

    fn forms() -> axum::Router {
        let page = |request: Request| async {
            match fields(request).await {
                Ok(fields) => fields.len().to_string().into_response(),
                Err(error) => error.into_response(),
            }
        };
        axum::Router::new().route("/", post(page)).layer(body_limit())
    }

    fn head(length: usize) -> String {
        format!(
            "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n"
        )
    }

    #[tokio::test(start_paused = true)]
    async fn boundary_of_console_body_bytes_max() {
        for (bytes, status) in
            [(CONSOLE_BODY_BYTES_MAX - 1, "200"), (CONSOLE_BODY_BYTES_MAX, "200"), (CONSOLE_BODY_BYTES_MAX + 1, "413")]
        {
            let mut client = Client::connect(forms());
            client.say(&head(bytes)).await;
            client.say(&"a".repeat(bytes)).await;
            assert_eq!(client.status().await, status, "{bytes} bytes");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn boundary_of_console_body_duration_max() {
        let moment = Duration::from_millis(1);
        for (pause, status) in [
            (CONSOLE_BODY_DURATION_MAX - 2 * moment, "200"),
            (CONSOLE_BODY_DURATION_MAX - moment, "200"),
            (CONSOLE_BODY_DURATION_MAX + moment, "408"),
        ] {
            let mut client = Client::connect(forms());
            client.say(&head(3)).await;
            client.say("a=").await;
            tokio::time::sleep(pause).await;
            client.say("b").await;
            assert_eq!(client.status().await, status, "{pause:?}");
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_page_of_another_site_cannot_post() {
        assert!(is_our_own(&headers(&[("sec-fetch-site", "same-origin")])));
        assert!(is_our_own(&headers(&[])), "a program");
        assert!(is_our_own(&headers(&[("origin", "http://127.0.0.1:8900"), ("host", "127.0.0.1:8900")])));
        assert!(!is_our_own(&headers(&[("sec-fetch-site", "cross-site")])));
        assert!(!is_our_own(&headers(&[("sec-fetch-site", "same-site")])));
        assert!(!is_our_own(&headers(&[("origin", "http://evil.example"), ("host", "127.0.0.1:8900")])));
        assert!(!is_our_own(&headers(&[("origin", "null"), ("host", "127.0.0.1:8900")])));
    }

    #[test]
    fn a_foreign_name_that_points_here_is_refused() {
        for host in ["127.0.0.1:8900", "localhost", "LOCALHOST:1", "[::1]:8900", "127.1.2.3"] {
            assert!(is_this_machine(&headers(&[("host", host)])), "{host}");
        }
        for host in ["evil.example:8900", "localhost.evil.example", "10.0.0.1", "[::2]:1", ""] {
            assert!(!is_this_machine(&headers(&[("host", host)])), "{host}");
        }
        assert!(!is_this_machine(&headers(&[])));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let found = headers(&[("cookie", "a=b; office_console=s3cret; c=d")]);
        assert_eq!(cookie(&found), Some("s3cret"));
        assert_eq!(cookie(&headers(&[("cookie", "xoffice_console=1")])), None);
    }
}
