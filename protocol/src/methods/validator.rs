//! `validator1.*`: the suite by which the peers of 2000 showed that they understand each other
//! (<http://www.xmlrpc.com/validator1Docs>). Pure functions of their parameters; whoever writes a client tries it on them.

use crate::fault::{Fault, FaultCode};
use crate::xmlrpc::{Blob, Struct, Value};

/// What the method gives for these parameters; none for a method that is not of the suite.
pub fn validate(method: &str, params: &[Value]) -> Option<Result<Value, Fault>> {
    let answer = match (method.strip_prefix("validator1.")?, params) {
        ("arrayOfStructsTest", [Value::Array(structs)]) => sum_of_curlies(structs),
        ("countTheEntities", [Value::String(text)]) => Some(count_entities(text)),
        ("easyStructTest", [Value::Struct(stooges)]) => sum(stooges),
        ("echoStructTest", [Value::Struct(members)]) if is_whole(params) => Some(Value::Struct(members.clone())),
        (
            "manyTypesTest",
            [
                Value::Int(_) | Value::Long(_),
                Value::Bool(_),
                Value::String(_),
                Value::Double(_),
                Value::DateTime(_),
                Value::Base64(Blob::Inline(_)),
            ],
        ) => Some(Value::Array(params.to_vec())),
        ("moderateSizeArrayCheck", [Value::Array(strings)]) => ends(strings),
        ("nestedStructTest", [Value::Struct(calendar)]) => nested(calendar),
        ("simpleStructReturnTest", [Value::Int(number)]) => multiples(*number),
        (name, _) if NAMES.contains(&name) => None,
        _ => return None,
    };
    Some(answer.ok_or_else(|| {
        Fault::new(FaultCode::WrongParameters, format!("{method} has other parameters: see system.methodHelp"))
    }))
}

const NAMES: [&str; 8] = [
    "arrayOfStructsTest",
    "countTheEntities",
    "easyStructTest",
    "echoStructTest",
    "manyTypesTest",
    "moderateSizeArrayCheck",
    "nestedStructTest",
    "simpleStructReturnTest",
];

/// Whether nothing of it was too large for memory.
fn is_whole(params: &[Value]) -> bool {
    params.iter().all(|value| match value {
        Value::Base64(blob) => matches!(blob, Blob::Inline(_)),
        Value::Array(items) => is_whole(items),
        Value::Struct(members) => members.iter().all(|(_, member)| is_whole(std::slice::from_ref(member))),
        _ => true,
    })
}

fn sum_of_curlies(structs: &[Value]) -> Option<Value> {
    let curly = |item: &Value| item.as_struct()?.get("curly")?.as_long();
    structs.iter().try_fold(0_i64, |sum, item| sum.checked_add(curly(item)?)).map(Value::integer)
}

fn sum(stooges: &Struct) -> Option<Value> {
    ["moe", "larry", "curly"]
        .into_iter()
        .try_fold(0_i64, |sum, name| sum.checked_add(stooges.get(name)?.as_long()?))
        .map(Value::integer)
}

fn count_entities(text: &str) -> Value {
    let count = |wanted: char| Value::integer(text.chars().filter(|&found| found == wanted).count() as i64);
    let members: Struct = [
        ("ctLeftAngleBrackets", count('<')),
        ("ctRightAngleBrackets", count('>')),
        ("ctAmpersands", count('&')),
        ("ctApostrophes", count('\'')),
        ("ctQuotes", count('"')),
    ]
    .into_iter()
    .collect();
    Value::Struct(members)
}

fn ends(strings: &[Value]) -> Option<Value> {
    let (first, last) = (strings.first()?.as_str()?, strings.last()?.as_str()?);
    Some(Value::String(format!("{first}{last}")))
}

/// The first of April 2000, in a calendar of years, months and days.
fn nested(calendar: &Struct) -> Option<Value> {
    sum(calendar.get("2000")?.as_struct()?.get("04")?.as_struct()?.get("01")?.as_struct()?)
}

fn multiples(number: i32) -> Option<Value> {
    let times = |factor: i64| Value::integer(i64::from(number) * factor);
    let members: Struct =
        [("times10", times(10)), ("times100", times(100)), ("times1000", times(1000))].into_iter().collect();
    Some(Value::Struct(members))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::{Group, all};

    #[test]
    fn the_suite_is_the_table_of_methods() {
        let table: Vec<&str> = all()
            .iter()
            .filter(|method| method.group == Group::Validator)
            .filter_map(|method| method.name.strip_prefix("validator1."))
            .collect();
        assert_eq!(table, NAMES);
        for name in NAMES {
            let answer = validate(&format!("validator1.{name}"), &[]).expect("a method of the suite");
            assert_eq!(answer.expect_err("no parameters").code, FaultCode::WrongParameters.code(), "{name}");
        }
        assert!(validate("validator1.other", &[]).is_none());
        assert!(validate("diff", &[]).is_none());
    }

    #[test]
    fn sums_that_do_not_fit_are_refused() {
        let stooge = |curly: i64| Value::Struct([("curly", Value::integer(curly))].into_iter().collect());
        let sum = |structs: Vec<Value>| validate("validator1.arrayOfStructsTest", &[Value::Array(structs)]);
        assert_eq!(sum(vec![stooge(i64::MAX), stooge(-1)]).and_then(Result::ok), Some(Value::integer(i64::MAX - 1)));
        assert!(sum(vec![stooge(i64::MAX), stooge(1)]).is_some_and(|answer| answer.is_err()));
    }
}
