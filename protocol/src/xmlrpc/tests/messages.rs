//! Calls, responses and faults: rows S10 to S17 and the writer's rows.

use super::super::*;
use super::call;
use crate::fault::{Fault, FaultCode};

fn check_call(content: &str, want: Result<(&str, usize), i32>) {
    let got = call(format!("<methodCall>{content}</methodCall>").as_bytes());
    let got =
        got.as_ref().map(|call| (call.method.as_str(), call.params.len())).map_err(|error| error.fault_code().code());
    assert_eq!(got, want, "{content}");
}

#[test]
fn calls() {
    let name = "<methodName>m</methodName>";
    let param = "<param><value>1</value></param>";
    check_call(name, Ok(("m", 0)));
    check_call(&format!("{name}<params/>"), Ok(("m", 0)));
    check_call(&format!("{name}<params></params>"), Ok(("m", 0)));
    check_call(&format!("\n{name} <params> {param}\n{param} </params> "), Ok(("m", 2)));
    check_call(&format!("<params>{param}</params>{name}"), Ok(("m", 1)));
    check_call("<methodName> m\n</methodName>", Ok(("m", 0)));
    check_call("<methodName>têšt</methodName>", Ok(("têšt", 0)));
    for bad in [
        "",
        "<params/>",
        "<methodName/>",
        "<methodName> </methodName>",
        "<methodName><b/></methodName>",
        &format!("{name}{name}"),
        &format!("{name}<params/><params/>"),
        &format!("{name}<x/>"),
        &format!("{name}x"),
        &format!("{name}<params><param></param></params>"),
        &format!("{name}<params><param/></params>"),
        &format!("{name}<params><param><value/><value/></param></params>"),
        &format!("{name}<params><value/></params>"),
        &format!("{name}<params><x/></params>"),
        &format!("{name}<params>x</params>"),
        &format!("{name}{param}"),
    ] {
        check_call(bad, Err(-32600));
    }
}

fn check_response(content: &str, want: Result<Result<Value, Fault>, i32>) {
    let got = parse_response(format!("<methodResponse>{content}</methodResponse>").as_bytes(), &Limits::default());
    assert_eq!(got.map_err(|error| error.fault_code().code()), want, "{content}");
}

#[test]
fn responses() {
    let param = "<param><value>1</value></param>";
    check_response(&format!("<params>{param}</params>"), Ok(Ok("1".into())));
    for bad in [
        "",
        "<params/>",
        "<params></params>",
        &format!("<params>{param}{param}</params>"),
        "<value>1</value>",
        param,
        &format!("<params>{param}</params><params>{param}</params>"),
        "<fault/>",
        "<fault><value/></fault>",
        &format!("<params>{param}</params><fault><value/></fault>"),
        "<fault><value><int>1</int></value></fault>",
    ] {
        check_response(bad, Err(-32600));
    }
    assert_eq!(
        parse_response(b"<methodCall/>", &Limits::default()).unwrap_err().fault_code(),
        FaultCode::InvalidRequest
    );
}

#[test]
fn faults() {
    let fault = |members: &str| format!("<fault><value><struct>{members}</struct></value></fault>");
    let code = "<member><name>faultCode</name><value><int>4</int></value></member>";
    let text = "<member><name>faultString</name><value>Too many</value></member>";
    let extra = "<member><name>detail</name><value><nil/></value></member>";
    let want = Fault { code: 4, message: "Too many".into() };
    for members in [[code, text, ""], [text, code, ""], [extra, code, text]] {
        check_response(&fault(&members.concat()), Ok(Err(want.clone())));
    }
    let wrong = "<member><name>faultCode</name><value>4</value></member>";
    for members in [code.to_owned(), text.to_owned(), String::new(), format!("{wrong}{text}")] {
        check_response(&fault(&members), Err(-32600));
    }
    let error =
        parse_response(format!("<methodResponse>{}</methodResponse>", fault(text)).as_bytes(), &Limits::default());
    assert!(error.unwrap_err().to_string().contains("Too many"), "the text of a damaged fault must not be lost");
}

#[test]
fn what_is_written_is_plain() {
    let day = DateTime::parse("2006-09-22T16:03:11.9+02:00").unwrap();
    let members: Struct =
        [("a<", Value::from(vec![Value::Nil, 7i64.into()])), ("b", Value::Array(vec![]))].into_iter().collect();
    let params = [
        1.into(),
        true.into(),
        "a<&>\r\n\"]]>".into(),
        "".into(),
        b"you"[..].into(),
        day.into(),
        1.0.into(),
        members.into(),
    ];
    let written = String::from_utf8(write_call("m", &params).unwrap()).unwrap();
    assert_eq!(
        written,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodCall><methodName>m</methodName><params>\
         <param><value><int>1</int></value></param><param><value><boolean>1</boolean></value></param>\
         <param><value><string>a&lt;&amp;&gt;&#13;\n\"]]&gt;</string></value></param><param><value><string></string></value></param>\
         <param><value><base64>eW91</base64></value></param>\
         <param><value><dateTime.iso8601>20060922T14:03:11</dateTime.iso8601></value></param>\
         <param><value><double>1.0</double></value></param><param><value><struct>\
         <member><name>a&lt;</name><value><array><data><value><nil/></value><value><i8>7</i8></value></data></array></value></member>\
         <member><name>b</name><value><array><data></data></array></value></member></struct></value></param></params></methodCall>"
    );
    assert!(write_call("m", &[]).unwrap().ends_with(b"<params></params></methodCall>"));
}

#[test]
fn what_xml_cannot_hold_is_not_written() {
    let check = |value: Value, want: WriteError| assert_eq!(write_response(&value), Err(want));
    check("a\u{1}".into(), WriteError::Character(1));
    check("a\u{ffff}".into(), WriteError::Character(0xffff));
    check(f64::INFINITY.into(), WriteError::NotFinite(f64::INFINITY));
    assert!(write_response(&f64::NAN.into()).is_err());
    check(Blob::Spooled { index: 0, bytes: 1 }.into(), WriteError::Spooled);
    check(
        DateTime { year: 2023, month: 2, day: 30, hour: 0, minute: 0, second: 0, micro: 0, offset_minutes: None }
            .into(),
        WriteError::DateTime,
    );
    let deep = (0..=DEPTH_HARD_MAX).fold(Value::Nil, |inner, _| vec![inner].into());
    check(deep, WriteError::TooDeep(DEPTH_HARD_MAX));
    assert!(write_call("m\u{0}", &[]).is_err());
}

#[test]
fn a_fault_is_always_written_code_first() {
    let written = write_fault(&Fault::new(FaultCode::Busy, "wait < 1\u{0} s"));
    let text = String::from_utf8(written.clone()).unwrap();
    assert!(
        text.contains("<name>faultCode</name><value><int>16</int></value></member><member><name>faultString</name>"),
        "{text}"
    );
    let want = Fault { code: 16, message: "wait < 1? s".into() };
    assert_eq!(parse_response(&written, &Limits::default()).unwrap(), Err(want));
}

#[test]
fn envelopes_have_the_length_they_promise() {
    let bytes = b"twenty-two bytes of SQL";
    let mut text = Vec::new();
    let mut encoder = Base64Encoder::new();
    encoder.push(bytes, &mut text);
    encoder.finish(&mut text);
    assert_eq!(text.len() as u64, base64_len(bytes.len() as u64));

    let envelope = call_envelope("sql_create", &[7.into()], &[0.into()]).unwrap();
    let whole = [envelope.prefix, text.clone(), envelope.suffix].concat();
    assert_eq!(whole, write_call("sql_create", &[7.into(), bytes[..].into(), 0.into()]).unwrap());
    let envelope = response_envelope();
    let whole = [envelope.prefix, text, envelope.suffix].concat();
    assert_eq!(whole, write_response(&bytes[..].into()).unwrap());
}
