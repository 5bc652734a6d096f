//! Promises of the chunk writer and the inflater.

use std::io::{BufReader, Read, Write};

use super::*;

/// SQL-like text that does not shrink to nothing.
fn text(bytes: usize) -> Vec<u8> {
    let mut state = 12345_u64;
    let mut text = Vec::new();
    while text.len() < bytes {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        text.extend_from_slice(format!("({}, 'name {}', true),\n", state >> 40, state >> 50).as_bytes());
    }
    text.truncate(bytes);
    text
}

fn chunks(text: &[u8], member_bytes: usize) -> (Vec<u8>, Vec<u64>) {
    let mut writer = ChunkWriter::new(Vec::new(), member_bytes, 6);
    for piece in text.chunks(1000) {
        writer.write_all(piece).expect("a vector takes everything");
    }
    assert_eq!(writer.raw_bytes(), text.len() as u64);
    writer.finish().expect("it ends")
}

fn inflate(bytes: &[u8], buffer: usize) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    Inflater::new(BufReader::with_capacity(buffer, bytes), InflateLimits::default()).read_to_end(&mut out)?;
    Ok(out)
}

fn bzip2(text: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(text).expect("a vector takes everything");
    encoder.finish().expect("it ends")
}

fn chunk_error(result: std::io::Result<Vec<u8>>) -> ChunkError {
    let error = result.expect_err("it is refused");
    ChunkError::of(&error).unwrap_or_else(|| panic!("another error: {error}")).clone()
}

#[test]
fn every_member_decompresses_alone_and_is_near_its_size() {
    let text = text(2_000_000);
    for size in [16 << 10, 64 << 10, 256 << 10] {
        let (bytes, ends) = chunks(&text, size);
        assert_eq!(ends.last().copied(), Some(bytes.len() as u64));
        let mut whole = Vec::new();
        let mut start = 0;
        for (place, end) in ends.iter().enumerate() {
            let member = &bytes[start..*end as usize];
            whole.extend(inflate(member, 512).expect("a member alone"));
            if place + 1 < ends.len() {
                assert!((size / 2..size * 3 / 2).contains(&member.len()), "{} bytes for {size}", member.len());
            }
            start = *end as usize;
        }
        assert!(whole == text);
    }
}

#[test]
fn nothing_written_makes_no_member() {
    let (bytes, ends) = chunks(b"", 1000);
    assert!(bytes.is_empty() && ends.is_empty());
    assert_eq!(inflate(b"", 1).expect("nothing is read as nothing"), b"");
}

#[test]
fn formats_are_told_apart_and_may_follow_each_other() {
    let text = text(100_000);
    let (gzip, _) = chunks(&text, 10_000);
    let mut all = gzip.clone();
    all.extend(bzip2(&text));
    all.extend(&gzip);
    all.extend(&text);
    let expected = text.repeat(4);
    for buffer in [1, 3, 1000, 1 << 20] {
        assert!(inflate(&all, buffer).expect("all formats") == expected, "buffers of {buffer} bytes");
        assert_eq!(inflate(b"BEGIN;", buffer).expect("plain"), b"BEGIN;");
        assert_eq!(inflate(b"B", buffer).expect("plain"), b"B");
    }
}

#[test]
fn damage_and_truncation_are_told() {
    let text = text(100_000);
    for whole in [chunks(&text, 20_000).0, bzip2(&text)] {
        for end in [2, 3, 11, whole.len() / 2, whole.len() - 1] {
            assert!(matches!(chunk_error(inflate(&whole[..end], 100)), ChunkError::Damaged { .. }), "cut at {end}");
        }
        for place in [12, whole.len() / 3, whole.len() - 6] {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x10;
            assert!(matches!(chunk_error(inflate(&damaged, 100)), ChunkError::Damaged { .. }), "damaged at {place}");
        }
    }
}

/// I16: memory and disk are bounded whatever the peer sends.
#[test]
fn what_grows_too_much_is_stopped() {
    let read = |bytes: &[u8], limits| {
        let mut out = Vec::new();
        Inflater::new(bytes, limits).read_to_end(&mut out).map(|_| out)
    };
    let text = text(100_000);
    let limits = InflateLimits { bytes_max: 99_999, ..InflateLimits::default() };
    for bytes in [chunks(&text, 1 << 20).0, bzip2(&text), text.clone()] {
        assert_eq!(chunk_error(read(&bytes, limits)), ChunkError::TooLarge { limit: 99_999 });
    }
    // 60 MB of one letter in a few dozen bytes of bzip2.
    let bomb = bzip2(&vec![b'x'; 60_000_000]);
    assert!(matches!(chunk_error(read(&bomb, InflateLimits::default())), ChunkError::TooLarge { .. }));
}

#[test]
fn an_error_of_the_input_stays_itself() {
    struct Broken(Vec<u8>);
    impl Read for Broken {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the line dropped"));
            }
            let count = self.0.len().min(buf.len());
            buf[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }
    let (bytes, _) = chunks(&text(100_000), 1 << 20);
    let half = bytes[..bytes.len() / 2].to_vec();
    let mut out = Vec::new();
    let error = Inflater::new(BufReader::new(Broken(half)), InflateLimits::default())
        .read_to_end(&mut out)
        .expect_err("the input fails");
    assert!(ChunkError::of(&error).is_none(), "{error}");
    assert_eq!(error.to_string(), "the line dropped");
}
