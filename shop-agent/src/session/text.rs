//! Chunks that come as strings: old clients sent plain SQL, some send base64 of something compressed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The bytes a string stands for, given how the session's stream begins (empty for the first chunk).
///
/// The first chunk decides: base64 of gzip or bzip2 is taken for what it holds, all else is SQL. Later chunks of a
/// compressed stream may be slices without a magic number of their own, so there anything that is base64 is decoded.
pub(crate) fn payload_of(text: String, head: &[u8]) -> Vec<u8> {
    let compressed_before = is_compressed(head);
    if head.is_empty() || compressed_before {
        let packed: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        if let Ok(decoded) = STANDARD.decode(&packed)
            && (compressed_before || is_compressed(&decoded))
        {
            return decoded;
        }
    }
    text.into_bytes()
}

/// Whether bytes begin as gzip or bzip2 does.
fn is_compressed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b]) || bytes.starts_with(b"BZh")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_stays_sql() {
        assert_eq!(payload_of("DELETE FROM t;".into(), b""), b"DELETE FROM t;");
        // base64 by its letters, but nothing compressed in it
        assert_eq!(payload_of("COMMITCOMMIT".into(), b""), b"COMMITCOMMIT");
        assert_eq!(payload_of("YWJjZA==".into(), b"SET "), b"YWJjZA==");
    }

    #[test]
    fn compressed_base64_is_decoded_over_several_strings() {
        let gzip = [0x1f, 0x8b, 8, 0, 1, 2, 3, 4, 5];
        let text = STANDARD.encode(gzip);
        assert_eq!(payload_of(format!("{}\r\n{}", &text[..4], &text[4..]), b""), gzip);
        assert_eq!(payload_of(STANDARD.encode([9, 9, 9]), &gzip[..4]), [9, 9, 9]);
    }
}
