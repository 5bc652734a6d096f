//! One vector: the rule, what is sent, and what must come back. The format is documented in fixtures/vectors/README.md.

use serde::Deserialize;

/// The files with the vectors.
const FILES: [(&str, &str); 8] = [
    ("types", include_str!("../../../fixtures/vectors/types.toml")),
    ("messages", include_str!("../../../fixtures/vectors/messages.toml")),
    ("xml", include_str!("../../../fixtures/vectors/xml.toml")),
    ("http", include_str!("../../../fixtures/vectors/http.toml")),
    ("faults", include_str!("../../../fixtures/vectors/faults.toml")),
    ("base", include_str!("../../../fixtures/vectors/base.toml")),
    ("validator", include_str!("../../../fixtures/vectors/validator.toml")),
    ("legacy", include_str!("../../../fixtures/vectors/legacy.toml")),
];

/// What it means to fail a vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    /// A server of the protocol has to.
    #[default]
    Required,
    /// It had better: peers rely on it, or are misled without it.
    Recommended,
    /// Only if it offers it.
    Optional,
}

/// One vector.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Vector {
    /// The rule of the checklist.
    pub(crate) rule: String,
    /// What it is about.
    pub(crate) name: String,
    /// What it means to fail.
    #[serde(default)]
    pub(crate) level: Level,
    /// Method without which it cannot be tried.
    pub(crate) needs: Option<String>,
    /// Changes what the server holds.
    #[serde(default)]
    pub(crate) destructive: bool,
    /// The first exchange.
    #[serde(flatten)]
    pub(crate) first: Step,
    /// Those that follow.
    #[serde(default)]
    pub(crate) then: Vec<Step>,
}

/// One exchange.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Step {
    // what is sent: one of four
    /// Content of a `<value>`, sent to be given back.
    pub(crate) value: Option<String>,
    /// A method that is called with `params`.
    pub(crate) method: Option<String>,
    /// Contents of `<value>`s.
    #[serde(default)]
    pub(crate) params: Vec<String>,
    /// A whole document.
    pub(crate) body: Option<String>,
    /// A whole request of HTTP.
    pub(crate) raw: Option<String>,

    // how it is sent
    /// `latin-1`, `utf-16le`, `utf-16be`.
    pub(crate) encode: Option<String>,
    /// Compresses the body.
    #[serde(default)]
    pub(crate) gzip: bool,
    /// More header lines.
    #[serde(default)]
    pub(crate) headers: Vec<String>,
    /// Replaces `text/xml`; nothing at all when empty.
    pub(crate) content_type: Option<String>,
    /// Ends the sending side after the request.
    #[serde(default)]
    pub(crate) ends: bool,

    // what must come back
    /// Content of the `<value>` that is meant.
    pub(crate) is: Option<String>,
    /// The same as this step's answer has kept under that name.
    pub(crate) same: Option<String>,
    /// Types of the value, one of them.
    #[serde(default)]
    pub(crate) kind: Vec<String>,
    /// What an array holds, or which members a struct has.
    #[serde(default)]
    pub(crate) has: Vec<String>,
    /// A fault with one of these codes; any when empty.
    pub(crate) fault: Option<Vec<i32>>,
    /// The document is refused, by a fault (these are the codes of the product) or by a status from 400 on.
    pub(crate) refused: Option<Vec<i32>>,
    /// Status, one of them.
    #[serde(default)]
    pub(crate) status: Vec<u16>,
    /// Lines of the head, in lower case.
    #[serde(default)]
    pub(crate) head: Vec<String>,
    /// Text of the body.
    #[serde(default)]
    pub(crate) text: Vec<String>,
    /// Number of answers on the connection.
    pub(crate) answers: Option<usize>,
    /// The connection is closed, or is not.
    pub(crate) closes: Option<bool>,
    /// Keeps the value under a name; `{name}` stands for it afterwards.
    pub(crate) keep: Option<String>,
}

#[derive(Deserialize)]
struct File {
    vector: Vec<Vector>,
}

/// Every vector, in the order of the files.
///
/// # Errors
/// When a file is not what it should be; a test holds them all.
pub(crate) fn vectors() -> Result<Vec<Vector>, String> {
    let mut all = Vec::new();
    for (name, text) in FILES {
        let file: File = toml::from_str(text).map_err(|error| format!("fixtures/vectors/{name}.toml: {error}"))?;
        all.extend(file.vector);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const KEYS: [&str; 28] = [
        "rule",
        "name",
        "level",
        "needs",
        "destructive",
        "then",
        "value",
        "method",
        "params",
        "body",
        "raw",
        "encode",
        "gzip",
        "headers",
        "content_type",
        "ends",
        "is",
        "same",
        "kind",
        "has",
        "fault",
        "refused",
        "status",
        "head",
        "text",
        "answers",
        "closes",
        "keep",
    ];

    #[test]
    fn every_vector_says_what_is_sent_and_what_must_come_back() {
        for vector in vectors().unwrap() {
            for step in std::iter::once(&vector.first).chain(&vector.then) {
                let sent =
                    [&step.value, &step.method, &step.body, &step.raw].iter().filter(|sent| sent.is_some()).count();
                assert_eq!(sent, 1, "{} {}", vector.rule, vector.name);
                let expected = step.is.is_some()
                    || step.same.is_some()
                    || step.fault.is_some()
                    || step.refused.is_some()
                    || step.answers.is_some()
                    || step.closes.is_some()
                    || !(step.kind.is_empty() && step.has.is_empty() && step.status.is_empty() && step.text.is_empty());
                assert!(expected, "{} {}", vector.rule, vector.name);
            }
        }
        for (file, text) in FILES {
            let table: toml::Table = text.parse().unwrap();
            for vector in table["vector"].as_array().unwrap() {
                let then = vector.get("then").and_then(toml::Value::as_array).cloned().unwrap_or_default();
                for part in then.iter().chain([vector]) {
                    for key in part.as_table().unwrap().keys() {
                        assert!(KEYS.contains(&key.as_str()), "{file}: unknown key {key} in {vector}");
                    }
                }
            }
        }
    }

    #[test]
    fn no_two_vectors_have_one_name() {
        let mut names = BTreeSet::new();
        for vector in vectors().unwrap() {
            assert!(names.insert((vector.rule.clone(), vector.name.clone())), "{} {}", vector.rule, vector.name);
        }
    }
}
