//! Holds a server against the vectors, one after the other, each exchange on a connection of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use protocol::xmlrpc::{Value, spelled_call, write_call};
use tls::Caller;

use super::expect::{Judgement, Said, judge_http, judge_value, said};
use super::vector::{Level, Step, Vector};
use crate::link::{Address, Credentials, Heard, LinkError, TrustSettings, exchange};

/// Methods that give their parameters back, and how.
const ECHO: &str = "sync.echo";
const ECHO_STRUCT: &str = "validator1.echoStructTest";
/// A method that nobody has.
const NOBODYS: &str = "conformance.no_such_method";
/// How long a server may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What came of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it must be.
    Pass,
    /// Not as it must be.
    Fail,
    /// The server does not offer what it is about.
    Unsupported,
    /// It changes what the server holds, and that was not asked for.
    Skipped,
}

impl Verdict {
    /// The word for people and scripts.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unsupported => "unsupported",
            Self::Skipped => "skipped",
        }
    }
}

/// A vector and what came of it.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    /// The rule of the checklist.
    pub(crate) rule: String,
    /// What it is about.
    pub(crate) name: String,
    /// What it means to fail.
    pub(crate) level: Level,
    /// What came of it.
    pub(crate) verdict: Verdict,
    /// Why, or how the server differs from the product where that is allowed.
    pub(crate) note: Option<String>,
}

/// How a server answers in general.
struct Server<'a> {
    address: &'a Address,
    caller: Option<Arc<Caller>>,
    authorization: String,
    /// Empty where it does not tell.
    methods: BTreeSet<String>,
    /// The code with which it answers a method that it has not.
    unknown: i32,
    kept: BTreeMap<String, Value>,
}

/// Runs the vectors against a server; `tell` hears of each at once.
///
/// # Errors
/// When there is no server of XML-RPC at the address, or it lets nobody in.
pub(crate) async fn run(
    vectors: &[Vector],
    address: &Address,
    trust: &TrustSettings,
    credentials: Option<&Credentials>,
    destructive: bool,
    mut tell: impl FnMut(&Finding),
) -> Result<Vec<Finding>, LinkError> {
    let mut server = Server::greet(address, trust.caller(address)?, credentials).await?;
    let mut findings = Vec::new();
    for vector in vectors {
        let (verdict, note) = if vector.destructive && !destructive {
            (Verdict::Skipped, Some("changes what the server holds; --destructive runs it".to_owned()))
        } else {
            server.try_vector(vector).await?
        };
        let Vector { rule, name, level, .. } = vector.clone();
        let finding = Finding { rule, name, level, verdict, note };
        tell(&finding);
        findings.push(finding);
    }
    Ok(findings)
}

impl<'a> Server<'a> {
    async fn greet(
        address: &'a Address,
        caller: Option<Arc<Caller>>,
        credentials: Option<&Credentials>,
    ) -> Result<Self, LinkError> {
        let authorization =
            credentials.map(|known| format!("Authorization: {}\r\n", known.header())).unwrap_or_default();
        let mut server =
            Self { address, caller, authorization, methods: BTreeSet::new(), unknown: 0, kept: BTreeMap::new() };
        let step = |method: &str| Step { method: Some(method.to_owned()), ..Step::default() };
        let heard = server.exchange(&step(NOBODYS)).await?;
        let status = heard.last().status;
        server.unknown = match said(&heard.last()) {
            Ok(Err(fault)) => fault.code,
            Ok(Ok(_)) => return Err(LinkError::unknown(NOBODYS, "the server answers a method that nobody has")),
            Err(_) if status == 401 => {
                return Err(LinkError::Http { status, meaning: "user or password are missing or wrong" });
            }
            Err(how) => return Err(LinkError::unknown(NOBODYS, how)),
        };
        if let Ok(Ok(Value::Array(names))) = said(&server.exchange(&step("system.listMethods")).await?.last()) {
            server.methods = names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        Ok(server)
    }

    async fn try_vector(&mut self, vector: &Vector) -> Result<(Verdict, Option<String>), LinkError> {
        if let Some(method) = &vector.needs
            && !self.methods.is_empty()
            && !self.methods.contains(method)
        {
            return Ok((Verdict::Unsupported, Some(format!("there is no {method}"))));
        }
        let (mut against, mut notes) = (None, Vec::new());
        // the steps after a failed one are taken all the same: they may end what was begun
        for (number, step) in std::iter::once(&vector.first).chain(&vector.then).enumerate() {
            let heard = self.exchange(step).await?;
            let answer = said(&heard.last());
            let is_untold = vector.needs.is_some() && self.methods.is_empty() && number == 0;
            if is_untold && matches!(&answer, Ok(Err(fault)) if fault.code == self.unknown) {
                return Ok((Verdict::Unsupported, vector.needs.as_ref().map(|method| format!("there is no {method}"))));
            }
            let Judgement { against: found, note } = self.judge(step, &heard, &answer);
            let place = if vector.then.is_empty() { String::new() } else { format!("step {}: ", number + 1) };
            against = against.or(found.map(|found| format!("{place}{found}")));
            notes.extend(note.map(|note| format!("{place}{note}")));
            if let (Some(name), Ok(Ok(value))) = (&step.keep, answer) {
                self.kept.insert(name.clone(), value);
            }
        }
        Ok(match against {
            Some(against) => (Verdict::Fail, Some(against)),
            None => (Verdict::Pass, (!notes.is_empty()).then(|| notes.join("; "))),
        })
    }

    fn judge(&self, step: &Step, heard: &Heard, answer: &Said) -> Judgement {
        let http = judge_http(step, heard);
        if http.against.is_some() {
            return http;
        }
        // what an echo gives back comes in a wrapping of its own
        let unwrapped = match (&step.value, answer) {
            (Some(_), Ok(Ok(Value::Array(items)))) if self.echo() == Some(ECHO) => items.first().cloned(),
            (Some(_), Ok(Ok(Value::Struct(members)))) if self.echo().is_some() => members.get("v").cloned(),
            _ => None,
        };
        let kept = step.same.as_ref().and_then(|name| self.kept.get(name));
        match unwrapped {
            Some(value) => judge_value(step, &Ok(Ok(value)), kept, self.unknown, true),
            None => judge_value(step, answer, kept, self.unknown, self.echo().is_some()),
        }
    }

    /// The method that gives values back.
    fn echo(&self) -> Option<&'static str> {
        [ECHO, ECHO_STRUCT].into_iter().find(|name| self.methods.contains(*name))
    }

    async fn exchange(&self, step: &Step) -> Result<Heard, LinkError> {
        exchange(self.address, self.caller.as_deref(), &self.request(step), step.ends, SILENCE_MAX).await
    }

    /// The bytes of a step.
    fn request(&self, step: &Step) -> Vec<u8> {
        if let Some(raw) = &step.raw {
            return self.filled(raw).into_bytes();
        }
        let params: Vec<String> = step.params.iter().map(|param| self.filled(param)).collect();
        let document = match (&step.value, &step.method, &step.body) {
            (Some(value), _, _) => self.carrying(&self.filled(value)),
            (_, Some(method), _) => spelled_call(method, &params),
            (_, _, body) => self.filled(body.as_deref().unwrap_or_default()),
        };
        let mut body = encoded(&document, step.encode.as_deref());
        let mut headers = String::new();
        if step.gzip {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            if packer.write_all(&body).is_ok()
                && let Ok(packed) = packer.finish()
            {
                body = packed;
            }
            headers.push_str("Content-Encoding: gzip\r\n");
        }
        match step.content_type.as_deref() {
            None => headers.push_str("Content-Type: text/xml\r\n"),
            Some("") => {}
            Some(kind) => headers.push_str(&format!("Content-Type: {kind}\r\n")),
        }
        for line in &step.headers {
            headers.push_str(&format!("{line}\r\n"));
        }
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: office-client/{}\r\n{}{headers}Connection: close\r\n\
             Content-Length: {}\r\n\r\n",
            self.address.path,
            self.address,
            env!("CARGO_PKG_VERSION"),
            self.authorization,
            body.len(),
        );
        [head.into_bytes(), body].concat()
    }

    /// A call that carries one value, to a method that gives it back where there is one.
    fn carrying(&self, value: &str) -> String {
        match self.echo() {
            Some(ECHO_STRUCT) => spelled_call(ECHO_STRUCT, &[protocol::xmlrpc::spelled_struct("v", value)]),
            Some(echo) => spelled_call(echo, &[value]),
            None => spelled_call(NOBODYS, &[value]),
        }
    }

    /// Puts in what is known only now, and what is too long to be written out.
    fn filled(&self, text: &str) -> String {
        let text = repeated(text);
        let call = write_call("system.listMethods", &[]).unwrap_or_default();
        let mut filled = text
            .replace("{path}", &self.address.path)
            .replace("{host}", &self.address.to_string())
            .replace("{auth}", &self.authorization)
            .replace("{length}", &call.len().to_string())
            .replace("{call}", &String::from_utf8_lossy(&call));
        for (name, value) in &self.kept {
            let spelled = value.as_long().map(|long| long.to_string());
            let spelled = spelled.or_else(|| value.as_str().map(str::to_owned)).unwrap_or_default();
            filled = filled.replace(&format!("{{{name}}}"), &spelled);
        }
        filled
    }
}

/// Replaces `{times 3 abc}` by `abcabcabc`.
pub(super) fn repeated(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{times ") {
        out.push_str(before);
        let Some((inner, behind)) = after.split_once('}') else { break };
        let (count, piece) = inner.split_once(' ').unwrap_or_default();
        out.push_str(&piece.repeat(count.parse().unwrap_or_default()));
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// A document in another encoding than UTF-8.
fn encoded(document: &str, encoding: Option<&str>) -> Vec<u8> {
    match encoding {
        Some("utf-16le") => document.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        Some("utf-16be") => document.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        // one byte for each character of the first 256; others are no part of such vectors
        Some("latin-1") => {
            document.chars().map(|character| u8::try_from(u32::from(character)).unwrap_or(b'?')).collect()
        }
        _ => document.as_bytes().to_vec(),
    }
}
