//! XML-RPC documents: one large base64, and an array of many structs.

use std::io;
use std::time::Duration;

use protocol::xmlrpc::{
    Base64Encoder, Blob, BlobSink, Limits, Struct, Value, base64_len, call_envelope, parse_call, read_call, write_call,
};

use crate::measure::{Comparison, Settings, Target, compare, time_each, unmeasured};
use crate::{python, xmlrpc_c};

const BLOB_BYTES: usize = 16 << 20;
const STRUCTS: usize = 20_000;

/// All of them.
pub(crate) fn run(settings: &Settings) -> Vec<Comparison> {
    let mut all = blob(settings);
    all.extend(structs(settings));
    all
}

/// Ours against the C library, where it is there.
fn against_c(
    settings: &Settings,
    (decoding, encoding): (&str, &str),
    target: Target,
    document: &[u8],
    (decode, encode): (impl FnMut() -> Duration, impl FnMut() -> Duration),
) -> Vec<Comparison> {
    const LIBRARY: &str = "xmlrpc-c";
    match xmlrpc_c::program() {
        Ok(theirs) => vec![
            compare(settings, decoding, LIBRARY, target, decode, || theirs.time("decode", document)),
            compare(settings, encoding, LIBRARY, target, encode, || theirs.time("encode", document)),
        ],
        Err(why) => [decoding, encoding].map(|what| unmeasured(what, LIBRARY, target, why.clone())).into(),
    }
}

/// Bytes that do not compress, as gzip leaves them.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

/// Takes a blob as the agent does, without the disk.
#[derive(Default)]
struct Swallow {
    bytes: u64,
}

impl BlobSink for Swallow {
    fn begin(&mut self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn blob(settings: &Settings) -> Vec<Comparison> {
    let data = noise(BLOB_BYTES / settings.share);
    let limits = Limits::default();
    let document = write_call("sql_create", &[Value::Int(7), Value::Base64(Blob::Inline(data.clone()))])
        .expect("it can be written");
    let text = base64_simd::STANDARD.encode_to_string(&data);
    let as_text = String::from_utf8(document.clone()).expect("XML is text");
    let decode_bare = || {
        let mut out = vec![0; data.len()];
        time_each(|| {
            base64_simd::STANDARD.decode(text.as_bytes(), base64_simd::Out::from_slice(&mut out)).map(|out| out.len())
        })
    };
    let decode = || {
        time_each(|| {
            let mut sink = Swallow::default();
            read_call(document.as_slice(), None, &limits, Some(&mut sink)).expect("our own document");
            assert_eq!(sink.bytes, data.len() as u64);
        })
    };
    let encode = || {
        let mut out = Vec::with_capacity(base64_len(data.len() as u64) as usize + 1024);
        time_each(|| {
            out.clear();
            let envelope = call_envelope("sql_create", &[Value::Int(7)], &[]).expect("it can be written");
            out.extend_from_slice(&envelope.prefix);
            let mut encoder = Base64Encoder::new();
            for piece in data.chunks(64 << 10) {
                encoder.push(piece, &mut out);
            }
            encoder.finish(&mut out);
            out.extend_from_slice(&envelope.suffix);
            out.len()
        })
    };
    let encode_bare = || {
        let mut out = vec![0; text.len()];
        time_each(|| base64_simd::STANDARD.encode(&data, base64_simd::Out::from_slice(&mut out)).len())
    };
    let dxr_call = dxr::MethodCall::from_xml(&as_text).expect("it decodes");
    let serde_call = || vec![serde_xmlrpc::Value::Int(7), serde_xmlrpc::Value::Base64(data.clone())];
    let (decoding, encoding) = ("decode a call with 16 MiB of base64", "encode a call with 16 MiB of base64");
    let mut all = vec![
        compare(settings, decoding, "base64-simd", Target::SpeedAtLeast(0.5), decode, decode_bare),
        compare(settings, decoding, "dxr", Target::SpeedAtLeast(3.0), decode, || {
            time_each(|| dxr::MethodCall::from_xml(&as_text).expect("it decodes"))
        }),
        compare(settings, decoding, "serde_xmlrpc", Target::SpeedAtLeast(3.0), decode, || {
            time_each(|| serde_xmlrpc::request_from_str(&as_text).expect("it decodes"))
        }),
        compare(settings, encoding, "base64-simd", Target::SpeedAtLeast(0.5), encode, encode_bare),
        compare(settings, encoding, "dxr", Target::SpeedAtLeast(3.0), encode, || {
            time_each(|| dxr_call.to_xml().expect("it encodes"))
        }),
        compare(settings, encoding, "serde_xmlrpc", Target::SpeedAtLeast(3.0), encode, || {
            // its interface takes the values, so the copy of them is part of its work
            time_each(|| serde_xmlrpc::request_to_string("sql_create", serde_call().into_iter()).expect("it encodes"))
        }),
        compare(settings, decoding, "Python", Target::SpeedAtLeast(3.0), decode, || python::time("decode", &document)),
        compare(settings, encoding, "Python", Target::SpeedAtLeast(3.0), encode, || python::time("encode", &document)),
    ];
    all.extend(against_c(settings, (decoding, encoding), Target::SpeedAtLeast(3.0), &document, (decode, encode)));
    all
}

fn structs(settings: &Settings) -> Vec<Comparison> {
    let count = i32::try_from(STRUCTS / settings.share).unwrap_or(i32::MAX);
    let one = |id: i32| -> Value {
        let members = [
            ("id", Value::Int(id)),
            ("name", Value::String(format!("Product & <sons> no {id}"))),
            ("price", Value::Double(f64::from(id) / 100.0)),
            ("on_sale", Value::Bool(id % 2 == 0)),
        ];
        Value::Struct(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Struct>())
    };
    let params = [Value::Array((0..count).map(one).collect())];
    let document = write_call("changes", &params).expect("it can be written");
    let as_text = String::from_utf8(document.clone()).expect("XML is text");
    let limits = Limits::default();
    let decode = || time_each(|| parse_call(&document, &limits).expect("our own document"));
    let encode = || time_each(|| write_call("changes", &params).expect("it can be written"));
    let dxr_call = dxr::MethodCall::from_xml(&as_text).expect("it decodes");
    let serde_params = serde_xmlrpc::request_from_str(&as_text).expect("it decodes").1;
    let (decoding, encoding) = ("decode an array of 20,000 structs", "encode an array of 20,000 structs");
    let mut all = vec![
        compare(settings, decoding, "dxr", Target::SpeedAtLeast(1.0), decode, || {
            time_each(|| dxr::MethodCall::from_xml(&as_text).expect("it decodes"))
        }),
        compare(settings, decoding, "serde_xmlrpc", Target::SpeedAtLeast(1.0), decode, || {
            time_each(|| serde_xmlrpc::request_from_str(&as_text).expect("it decodes"))
        }),
        compare(settings, encoding, "dxr", Target::SpeedAtLeast(1.0), encode, || {
            time_each(|| dxr_call.to_xml().expect("it encodes"))
        }),
        compare(settings, encoding, "serde_xmlrpc", Target::SpeedAtLeast(1.0), encode, || {
            time_each(|| {
                serde_xmlrpc::request_to_string("changes", serde_params.clone().into_iter()).expect("it encodes")
            })
        }),
        compare(settings, decoding, "Python", Target::SpeedAtLeast(1.0), decode, || python::time("decode", &document)),
        compare(settings, encoding, "Python", Target::SpeedAtLeast(1.0), encode, || python::time("encode", &document)),
    ];
    all.extend(against_c(settings, (decoding, encoding), Target::SpeedAtLeast(1.0), &document, (decode, encode)));
    all
}
