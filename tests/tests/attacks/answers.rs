//! An office with a credential that asks for more than the agent may hold.

use std::collections::BTreeMap;

use protocol::fault::FaultCode;
use protocol::xmlrpc::{Struct, Value};

use super::besieged::{As, Besieged};

fn fields<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Struct(Struct::from_iter(members.map(|(name, value)| (name.to_owned(), value))))
}

#[test]
fn an_answer_about_many_or_wide_rows_is_refused_before_they_are_in_memory() {
    let mut besieged = Besieged::new();
    besieged.fill(
        "insert into product select g, case when g <= 10000 then repeat('x', 8000) else 'nut' end
         from generate_series(2, 600000) g",
    );
    let whole = fields([
        ("table", "product".into()),
        ("low", "0".into()),
        ("high", "1000000".into()),
        ("buckets", Value::Int(1)),
        ("wanted", Value::Array(vec![Value::Int(0)])),
    ]);
    let fault = besieged.call(As::Office, "sync.digest_rows", &[whole]).expect_err("600,000 rows in one answer");
    assert!(fault.is(FaultCode::ChunkTooLarge), "{fault:?}");
    let keys = |all: std::ops::Range<u32>| Value::Array(all.map(|id| format!("{{\"id\": \"{id}\"}}").into()).collect());
    let fault = besieged.call(As::Office, "sync.rows", &["product".into(), keys(2..9_990)]).expect_err("80 MB");
    assert!(fault.is(FaultCode::ChunkTooLarge), "{fault:?}");

    let call = |number: u32| {
        let keys = keys(number * 90 + 2..number * 90 + 92);
        fields([("methodName", "sync.rows".into()), ("params", Value::Array(vec!["product".into(), keys]))])
    };
    let calls = Value::Array((0..100).map(call).collect());
    let answers = besieged.call(As::Office, "system.multicall", &[calls]).expect("an answer to each");
    let mut found: BTreeMap<Option<i32>, usize> = BTreeMap::new();
    for answer in answers.as_array().expect("answers") {
        let code = answer.as_struct().and_then(|fault| fault.get("faultCode")).and_then(Value::as_int);
        *found.entry(code).or_default() += 1;
    }
    assert_eq!(found, BTreeMap::from([(None, 2), (Some(FaultCode::LimitExceeded.code()), 98)]));
    besieged.stood();
}
