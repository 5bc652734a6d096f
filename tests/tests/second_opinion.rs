//! Our reader and writer of XML-RPC against Python's, over the corpus, documents made out of it, and generated values.
//!
//! Python takes a good deal that is no XML-RPC, so its taking a document proves nothing. But what both take must mean the
//! same, and what we write it must take.

use std::collections::BTreeMap;
use std::fs;

use protocol::xmlrpc::{Limits, MethodCall, Struct, Value, parse_call, parse_response, write_call, write_response};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tests::fuzz::mutate::Mutator;
use tests::fuzz::{corpus, find};
use tests::process::root;
use tests::{not_run, python};

const MUTATIONS: usize = 4000;
const GENERATED: usize = 1000;

/// Python's reading of documents, by their names.
fn opinions(documents: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, bytes) in documents {
        fs::write(dir.path().join(name), bytes).expect("a document");
    }
    let said = python::run(&root().join("tests/peers/judge.py"), &[dir.path()]).succeeded();
    said.lines().filter_map(|line| line.split_once('\t')).map(|(name, text)| (name.into(), text.into())).collect()
}

fn spell(value: &Value) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match value {
        Value::Nil => "n".into(),
        Value::Bool(truth) => format!("b{}", u8::from(*truth)),
        Value::Int(number) => format!("i{number}"),
        Value::Long(number) => format!("i{number}"),
        Value::Double(number) => format!("d{}", hex(&number.to_be_bytes())),
        Value::String(text) => format!("s{}", hex(text.as_bytes())),
        Value::DateTime(_) => "t".into(),
        Value::Base64(_) => format!("x{}", hex(value.as_bytes().unwrap_or_default())),
        Value::Array(items) => format!("[{}]", items.iter().map(spell).collect::<Vec<_>>().join(";")),
        Value::Struct(members) => {
            let mut members: Vec<(String, String)> =
                members.iter().map(|(name, member)| (format!("s{}", hex(name.as_bytes())), spell(member))).collect();
            members.sort();
            let members: Vec<String> = members.into_iter().map(|(name, member)| format!("{name}={member}")).collect();
            format!("{{{}}}", members.join(";"))
        }
    }
}

fn ours(bytes: &[u8]) -> Option<String> {
    let limits = Limits::default();
    if let Ok(MethodCall { params, .. }) = parse_call(bytes, &limits) {
        return Some(format!("call{}", spell(&Value::Array(params))));
    }
    match parse_response(bytes, &limits).ok()? {
        Ok(value) => Some(format!("response{}", spell(&Value::Array(vec![value])))),
        Err(fault) => Some(format!("fault{}", fault.code)),
    }
}

#[test]
fn what_python_and_we_both_take_means_the_same() {
    if !python::is_there() {
        return not_run::because("python3");
    }
    let target = find("xmlrpc").expect("a target");
    let mut documents: BTreeMap<String, Vec<u8>> =
        corpus::read(&corpus::dir("xmlrpc")).expect("a corpus").into_iter().collect();
    let pool: Vec<Vec<u8>> = documents.values().cloned().collect();
    let mut mutator = Mutator::new(3, target.dictionary);
    documents.extend((0..MUTATIONS).map(|number| (format!("made-{number}"), mutator.next(&pool))));
    let (mut both, mut only_ours) = (0, Vec::new());
    for (name, python) in opinions(&documents) {
        let bytes = &documents[&name];
        match ours(bytes) {
            Some(ours) if python == "refused" => only_ours.push((name, ours)),
            Some(ours) => {
                assert_eq!(ours, python, "{}", String::from_utf8_lossy(bytes));
                both += 1;
            }
            None => {}
        }
    }
    assert!(both > 40, "{both} documents were taken by both");
    // an unknown encoding that Python has not, or ex: types beyond its own, are few
    println!("{both} taken by both, {} by us alone: {only_ours:?}", only_ours.len());
}

/// Any value, not too deep.
fn value(random: &mut StdRng, depth: usize) -> Value {
    let text = |random: &mut StdRng| {
        let pieces = ["a", "é", "漢", "😀", "&", "<", ">", "]]>", "\r", "\n", "\t", " ", "'", "\"", "&amp;", "<!--"];
        (0..random.random_range(0..8)).map(|_| pieces[random.random_range(0..pieces.len())]).collect::<String>()
    };
    match random.random_range(0..if depth == 0 { 7 } else { 9 }) {
        0 => Value::Nil,
        1 => Value::Int(random.random()),
        2 => Value::Long(random.random()),
        3 => Value::Bool(random.random()),
        // XML-RPC has no infinity and no NaN
        4 => Value::Double(Some(f64::from_bits(random.random())).filter(|number| number.is_finite()).unwrap_or(0.5)),
        5 => Value::from(text(random)),
        6 => Value::from((0..random.random_range(0..40)).map(|_| random.random()).collect::<Vec<u8>>()),
        7 => Value::Array((0..random.random_range(0..4)).map(|_| value(random, depth - 1)).collect()),
        _ => {
            let members = (0..random.random_range(0..4)).map(|_| (text(random), value(random, depth - 1)));
            Value::Struct(members.collect::<Struct>())
        }
    }
}

#[test]
fn whatever_we_write_python_reads_as_it_was_meant() {
    if !python::is_there() {
        return not_run::because("python3");
    }
    let mut random = StdRng::seed_from_u64(7);
    let (mut documents, mut meant) = (BTreeMap::new(), BTreeMap::new());
    for number in 0..GENERATED {
        let value = value(&mut random, 3);
        let (kind, document) = match number % 2 {
            0 => ("response", write_response(&value)),
            _ => ("call", write_call("m", std::slice::from_ref(&value))),
        };
        let name = format!("{number:04}");
        documents.insert(name.clone(), document.expect("a document"));
        meant.insert(name, format!("{kind}{}", spell(&Value::Array(vec![value]))));
    }
    for (name, python) in opinions(&documents) {
        assert_eq!(python, meant[&name], "{}", String::from_utf8_lossy(&documents[&name]));
    }
}
