//! Logging in and out.

use std::net::SocketAddr;
use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::{ConnectInfo, Form, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{Frame, span};
use crate::console::Console;
use crate::console::answer::{self, Answer};
use crate::console::door::{Refusal, Visitor};
use crate::console::guard::{COOKIE, Posted, cookie};

#[derive(Template)]
#[template(path = "login.html")]
struct Page {
    frame: Frame,
    user: String,
    problem: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Credentials {
    user: String,
    password: String,
}

/// `GET /login`
pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    visitor: Option<Extension<Visitor>>,
) -> Response {
    if visitor.is_some() || !console.door.needs_login() {
        return answer::see("/");
    }
    answer::render(&Page { frame: Frame::bare("Log in"), user: String::new(), problem: None })
}

/// `POST /login`
pub(in crate::console) async fn log_in(
    State(console): State<Arc<Console>>,
    Extension(ConnectInfo(peer)): Extension<ConnectInfo<SocketAddr>>,
    Form(given): Form<Credentials>,
) -> Response {
    let problem = match console.door.log_in(&given.user, &given.password, peer.ip()).await {
        Ok(secret) => {
            let secure = if console.door.is_encrypted() { "; Secure" } else { "" };
            let cookie = format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict{secure}");
            return with_cookie(answer::see("/"), &cookie);
        }
        Err(Refusal::Wrong) => "Name and password do not belong together.".to_owned(),
        Err(Refusal::Later(left)) => {
            format!("Too many wrong passwords. Try again in {}.", span(left.as_secs_f64().ceil().max(1.0)))
        }
    };
    let page = Page { frame: Frame::bare("Log in"), user: given.user, problem: Some(problem) };
    (StatusCode::UNAUTHORIZED, answer::render(&page)).into_response()
}

/// `POST /logout`
pub(in crate::console) async fn log_out(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    _posted: Posted,
) -> Answer {
    if let Some(secret) = cookie(&headers) {
        console.door.log_out(secret);
    }
    Ok(with_cookie(answer::see("/login"), &format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")))
}

fn with_cookie(mut answer: Response, cookie: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        answer.headers_mut().append(header::SET_COOKIE, value);
    }
    answer
}
