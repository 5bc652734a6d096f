//! What XML 1.0 says about characters, names and attributes, as far as `quick-xml` does not check it.

/// Whether XML 1.0 allows the character, literally or as a reference.
pub(super) fn is_xml_char(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => true,
        '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => true,
    }
}

/// The first character of `text` that XML does not allow.
pub(super) fn forbidden_char(text: &str) -> Option<char> {
    let suspicious = |byte: u8| (byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')) || byte == 0xef;
    if !text.bytes().any(suspicious) {
        return None;
    }
    text.chars().find(|&character| !is_xml_char(character))
}

/// Whether the text holds nothing but white space.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(super::is_xml_space)
}

/// Appends character data with its line ends normalised (XML 1.0, 2.11): CR LF and CR become LF.
pub(super) fn append_normalized(into: &mut String, text: &str) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\r', rest.as_bytes()) {
        into.push_str(&rest[..at]);
        into.push('\n');
        rest = &rest[at + 1..];
        rest = rest.strip_prefix('\n').unwrap_or(rest);
    }
    into.push_str(rest);
}

/// Whether this can be the name of an element, an attribute or a processing instruction. Letters beyond ASCII are not
/// told apart: no name of XML-RPC has any.
pub(super) fn is_name(name: &str) -> bool {
    let start = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':') || byte >= 0x80;
    let inside = |byte: u8| start(byte) || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    name.bytes().next().is_some_and(start) && name.bytes().all(inside)
}

/// The character that a reference (the text between `&` and `;`) stands for: one of the five names, or a number.
pub(super) fn resolve_reference(reference: &str) -> Option<char> {
    let number = match reference {
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "amp" => return Some('&'),
        "apos" => return Some('\''),
        "quot" => return Some('"'),
        _ => reference.strip_prefix('#')?,
    };
    let (digits, radix) = match number.strip_prefix('x') {
        Some(hex) => (hex, 16),
        None => (number, 10),
    };
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok().and_then(char::from_u32).filter(|&character| is_xml_char(character))
}

/// The attributes of a tag or of the declaration, checked as the recommendation asks.
///
/// # Errors
/// What is wrong with them.
pub(super) fn attributes(text: &str) -> Result<Vec<(&str, &str)>, &'static str> {
    let mut found: Vec<(&str, &str)> = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start_matches(super::is_xml_space);
        if trimmed.is_empty() {
            return Ok(found);
        }
        if trimmed.len() == rest.len() {
            return Err("attributes without white space between them");
        }
        let (name, after) = trimmed.split_once('=').ok_or("an attribute without a value")?;
        let name = name.trim_end_matches(super::is_xml_space);
        if !is_name(name) {
            return Err("an attribute without a proper name");
        }
        let after = after.trim_start_matches(super::is_xml_space);
        let quote = after.chars().next().filter(|&quote| quote == '"' || quote == '\'');
        let quote = quote.ok_or("an attribute without quotes")?;
        let (value, after) = after[1..].split_once(quote).ok_or("an attribute without its closing quote")?;
        if value.contains('<') || !references_are_known(value) || forbidden_char(value).is_some() {
            return Err("an attribute with a character or an entity that it must not hold");
        }
        // A tag is limited to some kilobytes, and XML-RPC has no attributes: the quadratic search costs nothing.
        if found.iter().any(|(other, _)| *other == name) {
            return Err("the same attribute twice");
        }
        found.push((name, value));
        rest = after;
    }
}

fn references_are_known(value: &str) -> bool {
    let mut parts = value.split('&');
    parts.next();
    parts.all(|part| part.split_once(';').is_some_and(|(reference, _)| resolve_reference(reference).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_to_characters_that_xml_allows() {
        let check = |reference, want| assert_eq!(resolve_reference(reference), want, "{reference}");
        check("lt", Some('<'));
        check("#233", Some('é'));
        check("#x20AC", Some('€'));
        check("#x1F600", Some('😀'));
        check("#13", Some('\r'));
        for bad in ["", "#", "#x", "#0", "#1", "#xD800", "#xFFFF", "#x110000", "#+65", "#X41", "nbsp", "LT", "# 65"] {
            check(bad, None);
        }
    }

    #[test]
    fn attributes_are_checked() {
        let check = |text, want: Option<usize>| assert_eq!(attributes(text).ok().map(|all| all.len()), want, "{text}");
        check("", Some(0));
        check(" a='1' b = \"&lt;2\"", Some(2));
        check(" a='1'b='2'", None);
        check(" a='1' a='2'", None);
        check(" a=1", None);
        check(" a", None);
        check(" a='<'", None);
        check(" a='&nbsp;'", None);
        check(" a='1", None);
        check(" 1a='1'", None);
    }

    #[test]
    fn line_ends_become_line_feeds() {
        let mut text = String::new();
        append_normalized(&mut text, "a\r\nb\rc\n\r\r\nd");
        assert_eq!(text, "a\nb\nc\n\n\nd");
    }
}
