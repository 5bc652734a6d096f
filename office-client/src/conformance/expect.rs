//! Whether an answer is what a step expects.

use protocol::fault::Fault;
use protocol::xmlrpc::{Limits, Value, parse_response, spelled_value};

use super::run::repeated;
use super::vector::Step;
use crate::link::{Heard, RawAnswer};

/// What an answer of XML-RPC says.
pub(super) type Said = Result<Result<Value, Fault>, String>;

/// Takes the XML of an answer apart.
pub(super) fn said(answer: &RawAnswer) -> Said {
    if answer.status != 200 {
        return Err(match answer.status {
            0 => "no answer".to_owned(),
            status => format!("HTTP status {status}"),
        });
    }
    parse_response(&answer.body, &Limits::default()).map_err(|error| format!("an answer that is no XML-RPC: {error}"))
}

/// Whether two values are the same, however long their integers are spelled.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Int(_) | Value::Long(_), Value::Int(_) | Value::Long(_)) => one.as_long() == other.as_long(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Struct(one), Value::Struct(other)) => {
            one.iter().count() == other.iter().count()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|found| is_same(value, found)))
        }
        // a date is written without its zone, in UTC
        (Value::DateTime(one), Value::DateTime(other)) => {
            Value::DateTime(*one) == Value::DateTime(*other) || spelled(*one) == spelled(*other)
        }
        (one, other) => one == other,
    }
}

fn spelled(date: protocol::xmlrpc::DateTime) -> Option<Vec<u8>> {
    protocol::xmlrpc::write_response(&Value::DateTime(date)).ok()
}

/// What speaks against a step, and what only differs from the product's own ways.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    pub(super) against: Option<String>,
    pub(super) note: Option<String>,
}

impl Judgement {
    fn against(what: impl Into<String>) -> Self {
        Self { against: Some(what.into()), note: None }
    }
}

/// The expectations that concern HTTP.
pub(super) fn judge_http(step: &Step, heard: &Heard) -> Judgement {
    let answer = heard.last();
    if !step.status.is_empty() && !step.status.contains(&answer.status) {
        return Judgement::against(format!("status {} instead of {}", answer.status, list(&step.status)));
    }
    if let Some(line) = step.head.iter().find(|line| !answer.head.contains(line.as_str())) {
        return Judgement::against(format!("no `{line}` in the head"));
    }
    let count = heard.answers.iter().filter(|answer| answer.status != 100).count();
    if let Some(wanted) = step.answers.filter(|wanted| *wanted != count) {
        return Judgement::against(format!("{count} answers instead of {wanted}"));
    }
    if let Some(closes) = step.closes.filter(|closes| *closes != heard.closed) {
        return Judgement::against(if closes { "the connection stays open" } else { "the connection is closed" });
    }
    let body = String::from_utf8_lossy(&answer.body);
    if let Some(text) = step.text.iter().find(|text| !body.contains(text.as_str())) {
        return Judgement::against(format!("no `{text}` in the body"));
    }
    Judgement::default()
}

/// The expectations that concern values and faults. `unknown` is the code with which this server answers a method that it
/// has not; `echoes` says whether values come back.
pub(super) fn judge_value(step: &Step, said: &Said, kept: Option<&Value>, unknown: i32, echoes: bool) -> Judgement {
    if let Some(codes) = &step.refused {
        return match said {
            Err(_) if codes.is_empty() => Judgement::default(),
            Err(how) if how.starts_with("HTTP status") => Judgement { note: Some(how.clone()), against: None },
            Err(how) => Judgement::against(how.clone()),
            Ok(Ok(value)) => Judgement::against(format!("accepted, as {}", value.type_name())),
            Ok(Err(fault)) if codes.contains(&fault.code) => Judgement::default(),
            Ok(Err(fault)) if fault.code == unknown => Judgement::against("accepted"),
            Ok(Err(fault)) => Judgement { note: Some(differing(fault.code, codes)), against: None },
        };
    }
    if let Some(codes) = &step.fault {
        return match said {
            Err(how) => Judgement::against(how.clone()),
            Ok(Ok(value)) => Judgement::against(format!("no fault, but {}", value.type_name())),
            Ok(Err(fault)) if fault.message.is_empty() => Judgement::against("a fault without a word"),
            Ok(Err(fault)) if codes.is_empty() || codes.contains(&fault.code) => Judgement::default(),
            Ok(Err(fault)) => Judgement::against(differing(fault.code, codes)),
        };
    }
    let expects_value = step.is.is_some() || step.same.is_some() || !step.kind.is_empty() || !step.has.is_empty();
    if !expects_value {
        return Judgement::default();
    }
    let value = match said {
        Err(how) => return Judgement::against(how.clone()),
        // taken, though it cannot be seen as what
        Ok(Err(fault)) if step.value.is_some() && !echoes && fault.code == unknown => return Judgement::default(),
        Ok(Err(fault)) => return Judgement::against(format!("fault {}: {}", fault.code, fault.message)),
        Ok(Ok(value)) => value,
    };
    if let Some(wanted) = &step.is {
        match spelled_value(&repeated(wanted)) {
            Ok(wanted) if is_same(&wanted, value) => {}
            Ok(wanted) => return Judgement::against(format!("{value:?} instead of {wanted:?}")),
            Err(error) => return Judgement::against(format!("the vector is wrong: {error}")),
        }
    }
    if step.same.is_some() && !kept.is_some_and(|kept| is_same(kept, value)) {
        return Judgement::against(format!("{value:?} instead of {kept:?}"));
    }
    if !step.kind.is_empty() && !step.kind.iter().any(|kind| kind == value.type_name()) {
        return Judgement::against(format!("{} instead of {}", value.type_name(), step.kind.join(" or ")));
    }
    let held = |wanted: &String| match value {
        Value::Array(items) => items.iter().any(|item| item.as_str() == Some(wanted)),
        Value::Struct(members) => members.get(wanted).is_some(),
        _ => false,
    };
    match step.has.iter().find(|wanted| !held(wanted)) {
        Some(missing) => Judgement::against(format!("{missing} is missing")),
        None => Judgement::default(),
    }
}

fn differing(code: i32, wanted: &[i32]) -> String {
    format!("fault {code} instead of {}", list(wanted))
}

fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}
