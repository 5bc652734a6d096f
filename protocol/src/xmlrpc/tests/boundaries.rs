//! Each bound of a document: just below it and at it a document is read, just above it is not.

use super::super::{Limits, ReadErrorKind, parse_call};
use super::around;

/// Asserts that documents of these sizes around the limit are read, read, and refused by that limit.
fn boundary(max: usize, limits: &Limits, document: impl Fn(usize) -> String) {
    for size in [max - 1, max, max + 1] {
        let read = parse_call(document(size).as_bytes(), limits);
        match read {
            Ok(_) => assert!(size <= max, "{size} was read and {max} is the limit"),
            Err(error) => {
                assert!(size > max, "{size}: {error}");
                let ReadErrorKind::Limit { max: named, .. } = error.kind else { panic!("{size}: {error}") };
                assert_eq!(named, max as u64);
            }
        }
    }
}

fn value(content: &str) -> String {
    around(&format!("<value>{content}</value>"))
}

fn array(content: &str) -> String {
    value(&format!("<array><data>{content}</data></array>"))
}

#[test]
fn boundary_of_depth_max() {
    let nested = |depth: usize| {
        around(&format!("{}{}", "<value><array><data>".repeat(depth), "</data></array></value>".repeat(depth)))
    };
    boundary(64, &Limits::default(), nested);
}

#[test]
fn boundary_of_elements_max() {
    let limits = Limits { elements_max: 100, ..Limits::default() };
    // the array is a value, too
    boundary(100, &limits, |count| array(&"<value><int>1</int></value>".repeat(count - 1)));
}

#[test]
fn boundary_of_text_bytes_max() {
    let limits = Limits { text_bytes_max: 1000, ..Limits::default() };
    boundary(1000, &limits, |length| value(&format!("<string>{}</string>", "x".repeat(length))));
    boundary(1000, &limits, |length| value(&format!("<string>{}</string>", "&amp;".repeat(length))));
}

#[test]
fn boundary_of_name_bytes_max() {
    let limits = Limits { name_bytes_max: 100, ..Limits::default() };
    let member = |length: usize| {
        value(&format!(
            "<struct><member><name>{}</name><value><int>1</int></value></member></struct>",
            "n".repeat(length)
        ))
    };
    boundary(100, &limits, member);
}

#[test]
fn boundary_of_markup_bytes_max() {
    let limits = Limits { markup_bytes_max: 200, ..Limits::default() };
    // however the brackets are counted, far less passes and far more does not
    for (length, taken) in [(180, true), (201, false)] {
        let comment = value(&format!("<!--{}--><int>1</int>", "c".repeat(length)));
        assert_eq!(parse_call(comment.as_bytes(), &limits).is_ok(), taken, "{length}");
    }
    let longest = (1..=220)
        .filter(|length| {
            parse_call(value(&format!("<!--{}--><int>1</int>", "c".repeat(*length))).as_bytes(), &limits).is_ok()
        })
        .max();
    let all_shorter = (1..=longest.unwrap_or_default()).all(|length| {
        parse_call(value(&format!("<!--{}--><int>1</int>", "c".repeat(length))).as_bytes(), &limits).is_ok()
    });
    assert!(all_shorter && longest.is_some_and(|longest| (190..=200).contains(&longest)), "{longest:?}");
}

#[test]
fn boundary_of_blob_bytes_max() {
    let limits = Limits { blob_bytes_max: 99, ..Limits::default() };
    let base64 = |length: usize| {
        let whole = "QUFB".repeat(length / 3);
        let rest = ["", "QQ==", "QUE="][length % 3];
        value(&format!("<base64>{whole}{rest}</base64>"))
    };
    boundary(99, &limits, base64);
}

#[test]
fn boundary_of_tree_bytes_max() {
    let limits = Limits { tree_bytes_max: 1000, ..Limits::default() };
    let texts =
        |total: usize| array(&format!("<value>{}</value><value>{}</value>", "x".repeat(500), "y".repeat(total - 500)));
    boundary(1000, &limits, texts);
}

#[test]
fn boundary_of_total_bytes_max() {
    let empty = value("").len();
    let limits = Limits { total_bytes_max: 1000, ..Limits::default() };
    boundary(1000, &limits, |length| value(&"x".repeat(length - empty)));
}
