//! `system.*`: introspection, capabilities and multicall, as far as they need no server.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::call::{Call, ReplyError, typed};
use super::table::{all, find};
use crate::fault::{Fault, FaultCode};
use crate::xmlrpc::{MethodCall, Struct, Value};

/// Calls that one multicall may hold.
pub const MULTICALL_MAX: usize = 1_000;

const MULTICALL: &str = "system.multicall";

/// One entry of `system.getCapabilities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Where it is specified.
    #[serde(rename = "specUrl", default)]
    pub spec_url: String,
    /// Version of the specification.
    #[serde(rename = "specVersion", default)]
    pub spec_version: i32,
}

/// What this product can do: name, specification, version. Those with `sync.` are its own extensions:
/// `sync.session` is options and seq of the `sql_` methods with `sql_status` and `sql_abort`, `sync.diff` the frozen diffs,
/// `sync.dry_run` sessions that are applied and taken back, `sync.gzip` that requests may be gzipped.
pub const CAPABILITIES: &[(&str, &str, i32)] = &[
    ("xmlrpc", "http://www.xmlrpc.com/spec", 1),
    ("faults_interop", "http://xmlrpc-epi.sourceforge.net/specs/rfc.fault_codes.php", 20_010_516),
    ("introspection", "http://xmlrpc-c.sourceforge.net/xmlrpc-c/introspection.html", 1),
    ("introspect", "http://xmlrpc-c.sourceforge.net/xmlrpc-c/introspection.html", 1),
    ("system.multicall", "http://www.xmlrpc.com/discuss/msgReader$1208", 1),
    ("nil", "http://www.ontosys.com/xml-rpc/extensions.php", 1),
    ("sync.session", "docs/PROTOCOL.md", 1),
    ("sync.diff", "docs/PROTOCOL.md", 1),
    ("sync.dry_run", "docs/PROTOCOL.md", 1),
    ("sync.hello", "docs/PROTOCOL.md", 1),
    ("sync.digest", "docs/PROTOCOL.md", 1),
    ("sync.fresh", "docs/PROTOCOL.md", 1),
    ("sync.repair", "docs/RECOVERY.md", 1),
    ("sync.gzip", "docs/PROTOCOL.md", 1),
];

/// `system.listMethods()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListMethods;

impl Call for ListMethods {
    const METHOD: &'static str = "system.listMethods";
    type Reply = Vec<String>;

    fn params(&self) -> Vec<Value> {
        Vec::new()
    }

    fn reply(value: Value) -> Result<Vec<String>, ReplyError> {
        typed::<Self>(value)
    }
}

/// `system.getCapabilities()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetCapabilities;

impl Call for GetCapabilities {
    const METHOD: &'static str = "system.getCapabilities";
    type Reply = BTreeMap<String, Capability>;

    fn params(&self) -> Vec<Value> {
        Vec::new()
    }

    fn reply(value: Value) -> Result<Self::Reply, ReplyError> {
        typed::<Self>(value)
    }
}

/// Answers the introspection methods; `None` for any other method, `system.multicall` included.
pub fn introspect(call: &MethodCall) -> Option<Result<Value, Fault>> {
    let known = || match call.params.as_slice() {
        [Value::String(name)] => find(name).ok_or_else(|| {
            Fault::new(FaultCode::UnknownMethod, "there is no method of that name; see system.listMethods")
        }),
        _ => Err(wrong_parameters(&call.method, "takes the name of a method")),
    };
    let alone = |value: Value| match call.params.is_empty() {
        true => Ok(value),
        false => Err(wrong_parameters(&call.method, "takes no parameters")),
    };
    Some(match call.method.as_str() {
        "system.listMethods" => alone(all().iter().map(|method| Value::from(method.name)).collect::<Vec<_>>().into()),
        "system.getCapabilities" => alone(capabilities()),
        "system.methodHelp" => known().map(|method| Value::from(method.help)),
        "system.methodSignature" => known().map(|method| {
            let types = |types: &&[&str]| Value::Array(types.iter().map(|&name| name.into()).collect());
            Value::Array(method.signatures.iter().map(types).collect())
        }),
        _ => return None,
    })
}

fn capabilities() -> Value {
    let entry = |&(name, url, version): &(&str, &str, i32)| {
        let members: Struct = [("specUrl", Value::from(url)), ("specVersion", version.into())].into_iter().collect();
        (name.to_owned(), Value::Struct(members))
    };
    Value::Struct(CAPABILITIES.iter().map(entry).collect())
}

fn wrong_parameters(method: &str, what: &str) -> Fault {
    Fault::new(FaultCode::WrongParameters, format!("{method} {what}"))
}

/// The calls of a multicall, each to be made or refused on its own.
pub type Multicall = Vec<Result<MethodCall, Fault>>;

/// Takes a multicall's parameters apart.
///
/// # Errors
/// When they are not one array, or it is too long.
pub fn multicall_calls(params: Vec<Value>) -> Result<Multicall, Fault> {
    let mut params = params.into_iter();
    let (Some(Value::Array(calls)), None) = (params.next(), params.next()) else {
        return Err(wrong_parameters(MULTICALL, "takes one array of structs"));
    };
    if calls.len() > MULTICALL_MAX {
        return Err(Fault::new(
            FaultCode::LimitExceeded,
            format!("{MULTICALL} takes {MULTICALL_MAX} calls at most; send fewer"),
        ));
    }
    Ok(calls.into_iter().map(multicall_element).collect())
}

fn multicall_element(element: Value) -> Result<MethodCall, Fault> {
    let invalid = |what: &str| Fault::new(FaultCode::InvalidRequest, format!("{MULTICALL}: {what}"));
    let Value::Struct(mut members) = element else {
        return Err(invalid("an element that is no struct"));
    };
    let (method, params) = (members.remove("methodName"), members.remove("params"));
    match (method, params) {
        (Some(Value::String(method)), _) if method == MULTICALL => Err(invalid("a multicall inside a multicall")),
        (Some(Value::String(method)), Some(Value::Array(params))) => Ok(MethodCall { method, params }),
        (Some(Value::String(_)), _) => Err(invalid("an element whose params are no array")),
        _ => Err(invalid("an element whose methodName is no string")),
    }
}

/// One element of a multicall's result: an array with the value, or a fault struct.
pub fn multicall_answer(answer: Result<Value, Fault>) -> Value {
    match answer {
        Ok(value) => Value::Array(vec![value]),
        Err(fault) => {
            let members = [("faultCode", Value::Int(fault.code)), ("faultString", fault.message.into())];
            Value::Struct(members.into_iter().collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, params: Vec<Value>) -> Result<Value, i32> {
        let call = MethodCall { method: method.to_owned(), params };
        introspect(&call).unwrap().map_err(|fault| fault.code)
    }

    #[test]
    fn introspection_answers_as_customary() {
        let names = ListMethods::reply(ask("system.listMethods", vec![]).unwrap()).unwrap();
        assert!(names.is_sorted() && names.contains(&"system.multicall".to_owned()));
        assert_eq!(ask("system.listMethods", vec![1.into()]), Err(-32602));
        assert_eq!(ask("system.methodHelp", vec!["nothing".into()]), Err(-32601));
        assert_eq!(ask("system.methodHelp", vec![]), Err(-32602));
        let signature = Value::Array(vec![Value::Array(vec!["string".into()])]);
        assert_eq!(ask("system.methodSignature", vec!["get_station_name".into()]), Ok(signature));
        assert!(introspect(&MethodCall { method: "diff".into(), params: vec![] }).is_none());
    }

    #[test]
    fn capabilities_are_understood_by_our_own_client() {
        let found = GetCapabilities::reply(ask("system.getCapabilities", vec![]).unwrap()).unwrap();
        assert_eq!(found["faults_interop"].spec_version, 20_010_516);
        assert_eq!(found.len(), CAPABILITIES.len());
    }

    #[test]
    fn a_multicall_refuses_element_by_element() {
        let call = |method: Value, params: Value| {
            Value::Struct([("methodName", method), ("params", params)].into_iter().collect())
        };
        let none = || Value::Array(vec![]);
        let only_name: Struct = [("methodName", "diff")].into_iter().collect();
        let calls = vec![
            call("diff".into(), vec![Value::Int(0)].into()),
            call(MULTICALL.into(), none()),
            call(7.into(), none()),
            call("diff".into(), "x".into()),
            only_name.into(),
            7.into(),
        ];
        let calls = multicall_calls(vec![calls.into()]).unwrap();
        let codes: Vec<_> = calls.iter().map(|call| call.as_ref().map(|_| ()).map_err(|fault| fault.code)).collect();
        assert_eq!(codes, [Ok(()), Err(-32600), Err(-32600), Err(-32600), Err(-32600), Err(-32600)]);
        assert_eq!(multicall_calls(vec![none()]), Ok(vec![]));
        let code = |params| multicall_calls(params).map_err(|fault| fault.code);
        assert_eq!(code(vec![]), Err(-32602));
        assert_eq!(code(vec![7.into()]), Err(-32602));
        assert_eq!(code(vec![none(), none()]), Err(-32602));
        assert_eq!(code(vec![vec![Value::Nil; MULTICALL_MAX + 1].into()]), Err(-32000));
    }
}
