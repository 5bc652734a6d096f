//! Large base64 values go to the sink in bounded memory.

use std::io;

use super::super::*;

/// Keeps what it receives, and fails when it is told to.
#[derive(Default)]
struct Memory {
    blobs: Vec<Vec<u8>>,
    ended: usize,
    largest: usize,
    fail: bool,
}

impl BlobSink for Memory {
    fn begin(&mut self, index: usize) -> io::Result<()> {
        assert_eq!(index, self.blobs.len());
        self.blobs.push(Vec::new());
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.fail {
            return Err(io::Error::other("disk full"));
        }
        self.largest = self.largest.max(bytes.len());
        self.blobs[self.ended].extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.ended += 1;
        Ok(())
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7919 % 251) as u8).collect()
}

/// As Python and many others send it: 76 columns.
fn wrapped(document: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(document.to_vec()).unwrap();
    let (head, rest) = text.split_once("<base64>").unwrap();
    let (data, tail) = rest.split_once("</base64>").unwrap();
    let lines: Vec<&str> = data.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("{head}<base64>\n{}\n</base64>{tail}", lines.join("\n")).into_bytes()
}

#[test]
fn a_large_blob_is_spooled_and_a_small_one_stays() {
    let (large, small) = (bytes(1_000_001), bytes(100));
    let limits = Limits { inline_blob_bytes_max: 100, ..Limits::default() };
    let document = write_call("m", &[large.clone().into(), small.clone().into(), 1.into()]).unwrap();
    for (document, buffer) in
        [(&document, 1 << 20), (&document, 1000), (&wrapped(&document), 8192), (&wrapped(&document), 7)]
    {
        let mut sink = Memory::default();
        let read =
            read_call(io::BufReader::with_capacity(buffer, &document[..]), None, &limits, Some(&mut sink)).unwrap();
        let spooled = Blob::Spooled { index: 0, bytes: large.len() as u64 };
        assert_eq!(read.params, [spooled.into(), small.clone().into(), 1.into()]);
        assert!(sink.blobs == [large.clone()] && sink.ended == 1);
        assert!(sink.largest <= 64 << 10);
    }
}

#[test]
fn without_a_sink_everything_is_inline() {
    let large = bytes(1_000_000);
    let document = write_response(&large.clone().into()).unwrap();
    let read = parse_response(&wrapped(&document), &Limits::default()).unwrap().unwrap();
    assert!(read.as_bytes() == Some(&large));
}

#[test]
fn blobs_in_an_array_are_counted() {
    let limits = Limits { inline_blob_bytes_max: 0, ..Limits::default() };
    let document = write_response(&Value::Array(vec![bytes(5).into(), bytes(0).into(), bytes(70_000).into()])).unwrap();
    let mut sink = Memory::default();
    let read = read_response(&document[..], None, &limits, Some(&mut sink)).unwrap().unwrap();
    let spooled = |index, bytes| Value::from(Blob::Spooled { index, bytes });
    assert_eq!(read, Value::Array(vec![spooled(0, 5), bytes(0).into(), spooled(1, 70_000)]));
    assert_eq!(sink.blobs, [bytes(5), bytes(70_000)]);
}

#[test]
fn a_document_that_fails_later_fails_although_the_sink_is_full() {
    let limits = Limits { inline_blob_bytes_max: 0, ..Limits::default() };
    let mut document = write_call("m", &[bytes(10_000).into()]).unwrap();
    document.truncate(document.len() - 1);
    let mut sink = Memory::default();
    let error = read_call(&document[..], None, &limits, Some(&mut sink)).unwrap_err();
    assert_eq!(error.fault_code().code(), -32700);
    assert_eq!(sink.ended, 1);
}

#[test]
fn a_sink_that_fails_is_a_system_error_that_tells_nothing_of_it() {
    let limits = Limits { inline_blob_bytes_max: 0, ..Limits::default() };
    let document = write_call("m", &[bytes(10_000).into()]).unwrap();
    let mut sink = Memory { fail: true, ..Memory::default() };
    let error = read_call(&document[..], None, &limits, Some(&mut sink)).unwrap_err();
    assert_eq!(error.fault_code().code(), -32400);
    assert!(!error.to_fault().message.contains("disk full"));
}
