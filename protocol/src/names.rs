//! Names of tables as the policy, the dialect and the catalogue spell them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The schema that a table without a written schema belongs to.
pub const DEFAULT_SCHEMA: &str = "public";

/// A table, by schema and name, exactly as PostgreSQL's catalogue spells them (unquoted, case kept).
///
/// Its text form is `product` in schema `public` and `schema.table` elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// Schema, `public` when none was written.
    pub schema: String,
    /// Name of the table inside its schema.
    pub name: String,
}

impl TableName {
    /// A table of the given schema.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// A table of schema `public`.
    pub fn public(name: impl Into<String>) -> Self {
        Self::new(DEFAULT_SCHEMA, name)
    }

    /// The name as SQL: both parts quoted, so that any character is safe.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.name))
    }
}

/// Quotes an SQL identifier; the one function of the product that does.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema == DEFAULT_SCHEMA { f.write_str(&self.name) } else { write!(f, "{}.{}", self.schema, self.name) }
    }
}

impl FromStr for TableName {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('.') {
            Some((schema, name)) => Self::new(schema, name),
            None => Self::public(text),
        })
    }
}

impl Serialize for TableName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TableName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.split_once('.') {
            Some((schema, name)) => Self::new(schema, name),
            None => Self::public(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_keeps_any_character_inside_the_identifier() {
        assert_eq!(TableName::new("a\"b", "C d").quoted(), "\"a\"\"b\".\"C d\"");
    }

    #[test]
    fn public_is_written_without_its_schema() {
        assert_eq!(TableName::public("sale").to_string(), "sale");
        assert_eq!("till.sale".parse::<TableName>(), Ok(TableName::new("till", "sale")));
    }
}
