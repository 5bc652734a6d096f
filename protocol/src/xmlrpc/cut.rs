//! Strings that were cut in the middle of a character.
//!
//! The clients of 2006 cut their SQL every 40,960 bytes, wherever that was, and put the pieces into `<string>`: a document
//! that is no UTF-8, and so no XML. What they meant is plain, since the halves meet again when the pieces are put
//! together. So such a piece, of the two methods that take pieces, is read as the bytes it is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Value, spelled_value};

/// Methods that take pieces of SQL.
const METHODS: [&[u8]; 2] = [b"sql_insert", b"sql_create"];

/// The same call with the cut string as base64; `None` for any other document.
pub fn mend_cut_string(document: &[u8]) -> Option<Vec<u8>> {
    let method = between(document, 0, b"<methodName>", b"</methodName>")?;
    if !METHODS.contains(&document[method.clone()].trim_ascii()) {
        return None;
    }
    let mut from = method.end;
    loop {
        let content = between(document, from, b"<string>", b"</string>")?;
        from = content.end;
        let Some(bytes) = cut_text(&document[content.clone()]) else { continue };
        let start = content.start - b"<string>".len();
        let end = content.end + b"</string>".len();
        let base64 = format!("<base64>{}</base64>", STANDARD.encode(bytes));
        return Some([&document[..start], base64.as_bytes(), &document[end..]].concat());
    }
}

/// Where the text between two tags is.
fn between(document: &[u8], from: usize, open: &[u8], close: &[u8]) -> Option<std::ops::Range<usize>> {
    let start = from + memchr::memmem::find(&document[from..], open)? + open.len();
    let end = start + memchr::memmem::find(&document[start..], close)?;
    Some(start..end)
}

/// What a string stands for that is UTF-8 but for half a character at its start, its end, or both.
fn cut_text(content: &[u8]) -> Option<Vec<u8>> {
    let lead = content.iter().take(3).take_while(|byte| matches!(byte, 0x80..=0xbf)).count();
    let rest = &content[lead..];
    let whole = match std::str::from_utf8(rest) {
        Ok(_) if lead == 0 => return None,
        Ok(_) => rest.len(),
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return None,
    };
    let text = std::str::from_utf8(&rest[..whole]).ok()?;
    let Ok(Value::String(text)) = spelled_value(&format!("<string>{text}</string>")) else { return None };
    Some([&content[..lead], text.as_bytes(), &rest[whole..]].concat())
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, parse_call};
    use super::*;

    fn call(method: &str, content: &[u8]) -> Vec<u8> {
        let head = format!(
            "<?xml version='1.0'?><methodCall><methodName>{method}</methodName><params><param><value><int>1</int>"
        );
        let middle = b"</value></param><param><value><string>";
        let tail = b"</string></value></param></params></methodCall>";
        [head.as_bytes(), middle, content, tail].concat()
    }

    #[test]
    fn the_halves_of_a_character_meet_again() {
        let text = "a &lt; é漢😀 z".as_bytes();
        for cut in 0..=text.len() {
            // a cut inside an entity was never made: what is cut is the text before it is escaped
            if (2..6).contains(&cut) {
                continue;
            }
            let mut whole = Vec::new();
            for piece in [&text[..cut], &text[cut..]] {
                let document = call("sql_insert", piece);
                let read = parse_call(&document, &Limits::default());
                let read =
                    read.or_else(|_| parse_call(&mend_cut_string(&document).unwrap(), &Limits::default())).unwrap();
                match &read.params[1] {
                    Value::String(text) => whole.extend_from_slice(text.as_bytes()),
                    other => whole.extend_from_slice(other.as_bytes().unwrap()),
                }
            }
            assert_eq!(whole, "a < é漢😀 z".as_bytes(), "cut at {cut}");
        }
    }

    #[test]
    fn nothing_else_is_mended() {
        let half = &"é".as_bytes()[..1];
        assert!(mend_cut_string(&call("set_station_by_name", half)).is_none());
        assert!(mend_cut_string(&call("sql_insert", b"whole")).is_none());
        assert!(mend_cut_string(&call("sql_insert", b"a\xffb")).is_none());
        assert!(mend_cut_string(&call("sql_insert", b"<b/>\xc3")).is_none());
        assert!(mend_cut_string(b"").is_none());
    }
}
