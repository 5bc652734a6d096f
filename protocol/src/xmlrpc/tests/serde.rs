//! Between Rust types and values.

use std::collections::BTreeMap;

use ::serde::{Deserialize, Serialize};

use super::super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle(f64),
    Line(i32, i32),
    Box { width: u16 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Everything {
    small: i8,
    long: i64,
    unsigned: u64,
    double: f64,
    flag: bool,
    text: String,
    letter: char,
    absent: Option<String>,
    present: Option<i32>,
    list: Vec<Option<u8>>,
    pair: (i32, String),
    map: BTreeMap<String, i64>,
    shapes: Vec<Shape>,
}

fn everything() -> Everything {
    Everything {
        small: -1,
        long: 5_000_000_000,
        unsigned: 7,
        double: 2.0,
        flag: true,
        text: "é".into(),
        letter: 'x',
        absent: None,
        present: Some(3),
        list: vec![Some(1), None],
        pair: (1, "b".into()),
        map: [("k".to_owned(), 1)].into(),
        shapes: vec![Shape::Point, Shape::Circle(0.5), Shape::Line(1, 2), Shape::Box { width: 9 }],
    }
}

#[test]
fn every_kind_of_type_survives_the_wire() {
    let value = to_value(&everything()).unwrap();
    let read = parse_response(&write_response(&value).unwrap(), &Limits::default()).unwrap().unwrap();
    assert_eq!(from_value(read), Ok(everything()));
}

#[test]
fn plain_types_are_preferred() {
    let value = to_value(&everything()).unwrap();
    let members = value.as_struct().unwrap();
    assert_eq!(members.get("absent"), None);
    assert_eq!(members.get("unsigned"), Some(&Value::Int(7)));
    assert_eq!(members.get("long"), Some(&Value::Long(5_000_000_000)));
    assert!(to_value(&u64::MAX).is_err());
}

#[test]
fn numbers_are_read_in_every_spelling_but_never_cut() {
    assert_eq!(from_value::<i64>("12".into()), Ok(12));
    assert_eq!(from_value::<i64>(3.0.into()), Ok(3));
    assert_eq!(from_value::<f64>(3.into()), Ok(3.0));
    assert_eq!(from_value::<Option<u8>>(Value::Nil), Ok(None));
    assert!(from_value::<u8>(256.into()).is_err());
    assert!(from_value::<u8>((-1).into()).is_err());
    assert!(from_value::<i64>(3.5.into()).is_err());
    assert!(from_value::<String>(3.into()).is_err());
}

#[test]
fn an_error_names_the_member() {
    #[derive(Debug, Deserialize)]
    struct Inner {
        #[allow(dead_code)]
        count: i32,
    }
    let members: Struct = [("count", "many")].into_iter().collect();
    let outer: Struct = [("inner", Value::from(members))].into_iter().collect();
    let error = from_value::<BTreeMap<String, Inner>>(outer.into()).unwrap_err();
    assert!(error.to_string().starts_with("inner: count: "), "{error}");
}
