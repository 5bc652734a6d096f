//! How pages and errors become answers.

use std::io::Write as _;

use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use replica::ReplicaError;
use serde_json::json;

use super::pages::Frame;
use crate::error::{self, CommandError};

/// Bodies below this size gain nothing.
const WORTH_BYTES: usize = 1024;
/// Words of the framework about what it could not read.
const WORDS_BYTES_MAX: usize = 16 * 1024;

/// What a handler of a page answers.
pub(super) type Answer = Result<Response, PageError>;

/// A page could not be shown, or what it was asked to do was not done.
#[derive(Debug)]
pub(super) struct PageError {
    status: StatusCode,
    message: String,
    hint: Option<String>,
}

impl PageError {
    /// An error with its status and words for people.
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), hint: None }
    }

    /// There is no such thing.
    pub(super) fn missing(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }

    /// What was typed cannot work.
    pub(super) fn wrong(what: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, what)
    }

    /// What to do about it.
    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// For a part of a page, which is swapped in only where all is well.
    pub(super) fn as_fragment(&self) -> Response {
        render(&ErrorFragment { message: &self.message, hint: self.hint.as_deref() })
    }

    /// The words.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

/// What was looked up by its name or number, which an address may have wrong.
pub(super) fn known<T>(found: Result<T, ReplicaError>) -> Result<T, PageError> {
    found.map_err(|error| match error {
        ReplicaError::Invalid(words) => PageError::missing(words),
        error => error.into(),
    })
}

impl From<ReplicaError> for PageError {
    fn from(error: ReplicaError) -> Self {
        let status = match &error {
            ReplicaError::Invalid(_) => StatusCode::BAD_REQUEST,
            ReplicaError::Busy(_) => StatusCode::CONFLICT,
            ReplicaError::Protected(_) | ReplicaError::Failed(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ReplicaError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(error = %error::chain(&error), "a page could not be shown");
        }
        Self { status, message: error::chain(&error), hint: error::replica_hint(&error) }
    }
}

impl From<CommandError> for PageError {
    fn from(error: CommandError) -> Self {
        let status = match &error {
            CommandError::Usage { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self { status, message: error.chain(), hint: error.hint() }
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    frame: Frame,
    status: u16,
    message: &'a str,
    hint: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "error_part.html")]
struct ErrorFragment<'a> {
    message: &'a str,
    hint: Option<&'a str>,
}

/// What a page about an error says, for programs.
#[derive(Debug, Clone)]
struct Words {
    message: String,
    hint: Option<String>,
}

/// An answer to a program: an error, whoever has made it, as JSON.
pub(super) async fn for_program(answer: Response) -> Response {
    let is_json =
        answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if is_json || !(answer.status().is_client_error() || answer.status().is_server_error()) {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    let words = match parts.extensions.remove::<Words>() {
        Some(words) => words,
        // a path, a query or a body that the framework could not read: its words are plain text
        None => {
            let text = axum::body::to_bytes(body, WORDS_BYTES_MAX).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let message = match (text.is_empty(), parts.status.canonical_reason()) {
                (true, Some(reason)) => reason.to_lowercase(),
                _ => text,
            };
            Words { message, hint: Some("/api/v1/openapi.json says what is asked how".to_owned()) }
        }
    };
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        parts.headers.remove(name);
    }
    let body = Json(json!({ "error": words.message, "hint": words.hint })).into_response();
    let kind = body.headers().get(header::CONTENT_TYPE).cloned();
    parts.headers.extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
    Response::from_parts(parts, body.into_body())
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let frame = Frame::bare("Something is not right");
        let page =
            ErrorPage { frame, status: self.status.as_u16(), message: &self.message, hint: self.hint.as_deref() };
        let mut answer = (self.status, render(&page)).into_response();
        answer.extensions_mut().insert(Words { message: self.message, hint: self.hint });
        answer
    }
}

/// A rendered template; one that cannot be rendered is an error of ours.
pub(super) fn render(template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The text of a fragment.
pub(super) fn fragment(template: &impl Template) -> String {
    template.render().unwrap_or_else(|error| {
        tracing::error!(%error, "a fragment could not be rendered");
        String::new()
    })
}

/// After something was done, the browser asks for a page: a reload repeats nothing.
pub(super) fn see(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// The same answer with its body compressed, where the browser takes that and it is worth it.
pub(super) fn gzipped(request: &HeaderMap, response: Response, body: &[u8]) -> Response {
    let takes = request.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    if body.len() < WORTH_BYTES || !takes.is_some_and(|takes| takes.contains("gzip")) {
        return response;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    let Ok(compressed) = encoder.write_all(body).and_then(|()| encoder.finish()) else { return response };
    let (mut parts, _) = response.into_parts();
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from(compressed))
}
