//! Which types are PostgreSQL's own: their functions do the same whatever the search path is.

/// A type as `format_type` prints it, with its name qualified; `None` where it is not known to be PostgreSQL's own.
pub(super) fn system_type(name: &str) -> Option<String> {
    let element = name.strip_suffix("[]").unwrap_or(name);
    let base = element.split('(').next().unwrap_or(element).trim_end();
    // words of the grammar mean PostgreSQL's own types wherever they stand
    if matches!(
        base,
        "smallint" | "integer" | "bigint" | "real" | "double precision" | "numeric" | "boolean" | "character" | "bit"
    ) || ["character varying", "bit varying", "timestamp", "time", "interval"]
        .iter()
        .any(|word| base == *word || base.starts_with(&format!("{word} ")))
    {
        return Some(name.to_owned());
    }
    matches!(base, "text" | "uuid" | "date" | "bytea" | "oid" | "inet" | "cidr" | "macaddr" | "jsonb" | "money")
        .then(|| format!("pg_catalog.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_the_grammar_stay_others_are_qualified_and_what_an_application_made_is_not_known() {
        for name in ["bigint", "numeric(12,2)", "character varying(40)", "timestamp(3) with time zone", "integer[]"] {
            assert_eq!(system_type(name).as_deref(), Some(name));
        }
        assert_eq!(system_type("text").as_deref(), Some("pg_catalog.text"));
        assert_eq!(system_type("uuid[]").as_deref(), Some("pg_catalog.uuid[]"));
        for name in ["citext", "shop.text", "public.article_number", "\"time\"", "timestamps", "hstore", "int4range"] {
            assert_eq!(system_type(name), None, "{name}");
        }
    }
}
