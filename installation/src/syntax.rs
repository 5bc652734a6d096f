//! Why a configuration cannot be read: where, and what is wrong, but never what stands there: it may be a password.

/// The number of the line, and the reason, of an error in this text.
pub fn fault_in(text: &str, error: &toml::de::Error) -> (usize, String) {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    (1 + before.matches('\n').count(), unquoted(error.message()).trim().replace('\n', ", "))
}

/// A message without the value that it quotes, as in `invalid type: string "...", expected a boolean`.
fn unquoted(message: &str) -> String {
    let Some((kind, rest)) = message.split_once("string \"") else { return message.to_owned() };
    // the value may hold anything, also these words: what counts is the last time
    let expected = rest.rfind("\", expected ").map(|end| &rest[end + 1..]).unwrap_or_default();
    format!("{kind}string{expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (usize, String) {
        #[derive(Debug, serde::Deserialize)]
        struct Settings {
            #[allow(dead_code, reason = "only read")]
            on: Option<bool>,
        }
        fault_in(text, &toml::from_str::<Settings>(text).unwrap_err())
    }

    #[test]
    fn the_line_is_named_and_nothing_of_it_is_quoted() {
        for (text, line, words) in [
            ("a = 1\nb = \"postgresql://shop:SECRET@h/db\n", 2, "invalid basic string"),
            ("\n\nb = postgresql://shop:SECRET@h/db\n", 3, "quoted"),
            ("on = \"SECRET\"", 1, "invalid type: string, expected a boolean"),
            ("\non = 'SECRET\", expected x'", 2, "invalid type: string, expected a boolean"),
        ] {
            let (found, reason) = fault(text);
            assert!(found == line && reason.contains(words) && !reason.contains("SECRET"), "{found}: {reason}");
        }
    }
}
