//! The nearest known word to a misspelt one.

/// Names less alike than this are not worth suggesting (Jaro-Winkler, 0..=1).
const LIKENESS_MIN: f64 = 0.75;

/// The known word most like `written`, whatever the case; `None` when none is alike. The first of equals is taken.
pub(super) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let written = fold(written);
    let mut best: Option<(f64, &str)> = None;
    for word in known {
        let likeness = strsim::jaro_winkler(&written, &fold(word));
        if likeness >= LIKENESS_MIN && best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, word));
        }
    }
    best.map(|(_, word)| word.to_owned())
}

/// `from_source`, `FromSource` and `from-source` are one word to the eye.
fn fold(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_finds_the_word() {
        let known = ["from-source", "from-target", "both", "initial", "local"];
        for (written, meant) in [
            ("from-sorce", "from-source"),
            ("FromTarget", "from-target"),
            ("from_target", "from-target"),
            ("bothe", "both"),
            ("inital", "initial"),
        ] {
            assert_eq!(nearest(written, known).as_deref(), Some(meant), "{written}");
        }
        assert_eq!(nearest("zzz", known), None);
    }
}
