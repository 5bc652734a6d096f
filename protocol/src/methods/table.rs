//! The table of all methods: what `system.*` tells about them, and what a server may dispatch.

/// Which part of the protocol a method belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Any client and any server has them.
    Base,
    /// Of the implementation of 2006 to 2012.
    Legacy,
    /// Announced by `system.getCapabilities`.
    Extension,
    /// Introspection and multicall.
    System,
    /// The suite by which peers try each other's values.
    Validator,
}

/// One method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// Its name on the wire.
    pub name: &'static str,
    /// Its signatures; of each the first type is what it returns.
    pub signatures: &'static [&'static [&'static str]],
    /// What it does, for `system.methodHelp`.
    pub help: &'static str,
    /// Which part of the protocol it belongs to.
    pub group: Group,
}

/// Every method, sorted by name.
pub fn all() -> &'static [Method] {
    METHODS
}

/// The method of that name.
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.binary_search_by(|method| method.name.cmp(name)).ok().map(|at| &METHODS[at])
}

const CHUNK: &[&[&str]] = &[
    &["nil", "int", "base64"],
    &["nil", "int", "string"],
    &["nil", "int", "base64", "int"],
    &["nil", "int", "string", "int"],
];

const METHODS: &[Method] = &[
    Method {
        name: "bump_sequences",
        signatures: &[&["nil", "array", "string", "string"]],
        help: "bump_sequences(names, low, high): starts the named id sequences at low, up to high, both as decimal strings.",
        group: Group::Legacy,
    },
    Method {
        name: "changes",
        signatures: &[&["array", "string", "dateTime.iso8601"], &["array", "string", "string"]],
        help: "changes(policy, since): the changes of diff as nested lists of strings, without deletes: [[table, [[id, \
               [[column, literal], ...], te_created_id, te_modified_id, te_time, user_id, station_id], ...]], ...].",
        group: Group::Legacy,
    },
    Method {
        name: "clean",
        signatures: &[&["nil"], &["nil", "struct"]],
        help: "clean([{force, begins}]): empties the synchronised tables and creates the basic schema where it is missing. \
               Refused while changes exist that no office has acknowledged.",
        group: Group::Base,
    },
    Method {
        name: "diff",
        signatures: &[
            &["base64", "dateTime.iso8601"],
            &["base64", "string"],
            &["base64", "int"],
            &["base64", "i8"],
            &["base64", "double"],
        ],
        help: "diff(since): the changes made at this shop after the watermark since, as gzip-compressed SQL that ends with \
               '-- watermark: <timestamp>', to be passed next time; nil when there is nothing more. 0 means everything.",
        group: Group::Base,
    },
    Method {
        name: "get_station_name",
        signatures: &[&["string"]],
        help: "get_station_name(): the name of this branch.",
        group: Group::Legacy,
    },
    Method {
        name: "quit",
        signatures: &[&["nil"]],
        help: "quit(): stops the agent; disabled unless configured.",
        group: Group::Legacy,
    },
    Method {
        name: "set_station_by_name",
        signatures: &[&["nil", "string"]],
        help: "set_station_by_name(name): accepts the name of this branch and no other.",
        group: Group::Legacy,
    },
    Method {
        name: "setidstart",
        signatures: &[&["nil", "int"], &["nil", "i8"], &["nil", "string"], &["nil", "double"]],
        help: "setidstart(id): starts every id sequence of the tables that send data at id; the next row gets id + 1.",
        group: Group::Base,
    },
    Method {
        name: "sql_abort",
        signatures: &[&["nil", "int"]],
        help: "sql_abort(sid): drops the session and its chunks.",
        group: Group::Extension,
    },
    Method {
        name: "sql_create",
        signatures: CHUNK,
        help: "sql_create(sid, data[, seq]): adds one chunk of SQL: gzip, bzip2 or plain, base64 or string. seq counts from 0.",
        group: Group::Base,
    },
    Method {
        name: "sql_finish",
        signatures: &[&["nil", "int"]],
        help: "sql_finish(sid): applies all chunks of the session in one transaction, or nothing. May be repeated.",
        group: Group::Base,
    },
    Method {
        name: "sql_insert",
        signatures: CHUNK,
        help: "sql_insert(sid, data): the old name of sql_create.",
        group: Group::Legacy,
    },
    Method {
        name: "sql_prepare",
        signatures: &[&["int"], &["int", "struct"]],
        help: "sql_prepare([{key, kind, base, quarantine, dry_run}]): opens a session for SQL and returns its sid.",
        group: Group::Base,
    },
    Method {
        name: "sql_status",
        signatures: &[&["struct", "int"]],
        help: "sql_status(sid): {sid, state, next_seq, bytes, age_s, rows, quarantined, conflicts, error} of the session.",
        group: Group::Extension,
    },
    Method {
        name: "sync.baseline",
        signatures: &[&["struct"], &["struct", "struct"]],
        help: "sync.baseline([{restored, adopted}]): a watermark of this moment, {watermark, incarnation}, from which a repair goes on.",
        group: Group::Extension,
    },
    Method {
        name: "sync.diff_open",
        signatures: &[
            &["struct", "string"],
            &["struct", "string", "struct"],
            &["struct", "dateTime.iso8601"],
            &["struct", "dateTime.iso8601", "struct"],
            &["struct", "int"],
            &["struct", "int", "struct"],
        ],
        help: "sync.diff_open(since[, options]): freezes the changes since the watermark: {id, watermark, bytes, rows, sha256}. \
               rows is 0 and id empty when there are none.",
        group: Group::Extension,
    },
    Method {
        name: "sync.diff_read",
        signatures: &[&["base64", "string", "int", "int"], &["base64", "string", "i8", "int"]],
        help: "sync.diff_read(id, offset, length): a slice of a frozen diff, any number of times.",
        group: Group::Extension,
    },
    Method {
        name: "sync.digest",
        signatures: &[&["array", "struct"]],
        help: "sync.digest({tables, low, high, buckets, since}): an array of {table, rows, digest, sums}, the fingerprints of the \
               rows with ids above low and up to high; with buckets one fingerprint per bucket of hashed keys; with since, a \
               watermark, control totals instead.",
        group: Group::Extension,
    },
    Method {
        name: "sync.digest_rows",
        signatures: &[&["string", "struct"]],
        help: "sync.digest_rows({table, low, high, buckets, wanted, since}): a line per row of the wanted buckets: fingerprint, tab, \
               key as JSON; - for a row that is remembered as deleted.",
        group: Group::Extension,
    },
    Method {
        name: "sync.echo",
        signatures: &[
            &["array"],
            &["array", "int"],
            &["array", "i8"],
            &["array", "boolean"],
            &["array", "string"],
            &["array", "double"],
            &["array", "dateTime.iso8601"],
            &["array", "base64"],
            &["array", "nil"],
            &["array", "array"],
            &["array", "struct"],
        ],
        help: "sync.echo(...): its parameters, up to eight of any type, as an array. Shows whether two programs understand \
               each other's values.",
        group: Group::Extension,
    },
    Method {
        name: "sync.fresh",
        signatures: &[&["nil"]],
        help: "sync.fresh(): the caller has nothing more for this shop, whose tables are as fresh as this moment.",
        group: Group::Extension,
    },
    Method {
        name: "sync.hello",
        signatures: &[&["struct", "struct"]],
        help: "sync.hello({protocol, version, office, policy, policy_digest, clock, branch}): the same of the agent, and what \
               else both ends must agree on.",
        group: Group::Extension,
    },
    Method {
        name: "sync.layout",
        signatures: &[&["struct", "struct"]],
        help: "sync.layout({tables, remember}): the tables of the agent, each {table, columns, key}, its columns {name, type_name, \
               optional, generated}. With remember, columns that the caller does not have are left out of its diffs.",
        group: Group::Extension,
    },
    Method {
        name: "sync.mark",
        signatures: &[&["nil", "string", "array"]],
        help: "sync.mark(table, keys): these rows travel to the caller with its next diff.",
        group: Group::Extension,
    },
    Method {
        name: "sync.rows",
        signatures: &[&["string", "string", "array"]],
        help: "sync.rows(table, keys): a line per row that is there: a JSON object of texts.",
        group: Group::Extension,
    },
    Method {
        name: "system.getCapabilities",
        signatures: &[&["struct"]],
        help: "system.getCapabilities(): a struct of {specUrl, specVersion} by the names of what this server can do.",
        group: Group::System,
    },
    Method {
        name: "system.listMethods",
        signatures: &[&["array"]],
        help: "system.listMethods(): the names of all methods.",
        group: Group::System,
    },
    Method {
        name: "system.methodHelp",
        signatures: &[&["string", "string"]],
        help: "system.methodHelp(name): what the method does.",
        group: Group::System,
    },
    Method {
        name: "system.methodSignature",
        signatures: &[&["array", "string"]],
        help: "system.methodSignature(name): the method's signatures; of each the first type is what it returns.",
        group: Group::System,
    },
    Method {
        name: "system.multicall",
        signatures: &[&["array", "array"]],
        help: "system.multicall([{methodName, params}, ...]): for each call an array with its result, or a fault struct.",
        group: Group::System,
    },
    Method {
        name: "validator1.arrayOfStructsTest",
        signatures: &[&["int", "array"]],
        help: "validator1.arrayOfStructsTest(...): an array of structs: the sum of their members curly.",
        group: Group::Validator,
    },
    Method {
        name: "validator1.countTheEntities",
        signatures: &[&["struct", "string"]],
        help: "validator1.countTheEntities(...): how many < > & ' and \" the text has.",
        group: Group::Validator,
    },
    Method {
        name: "validator1.easyStructTest",
        signatures: &[&["int", "struct"]],
        help: "validator1.easyStructTest(...): the sum of the members moe, larry and curly.",
        group: Group::Validator,
    },
    Method {
        name: "validator1.echoStructTest",
        signatures: &[&["struct", "struct"]],
        help: "validator1.echoStructTest(...): the struct.",
        group: Group::Validator,
    },
    Method {
        name: "validator1.manyTypesTest",
        signatures: &[&["array", "int", "boolean", "string", "double", "dateTime.iso8601", "base64"]],
        help: "validator1.manyTypesTest(...): the six values in an array.",
        group: Group::Validator,
    },
    Method {
        name: "validator1.moderateSizeArrayCheck",
        signatures: &[&["string", "array"]],
        help: "validator1.moderateSizeArrayCheck(...): an array of strings: the first and the last in one.",
        group: Group::Validator,
    },
    Method {
        name: "validator1.nestedStructTest",
        signatures: &[&["int", "struct"]],
        help: "validator1.nestedStructTest(...): a calendar {year: {month: {day: {moe, larry, curly}}}}: the sum of 2000, 04, 01.",
        group: Group::Validator,
    },
    Method {
        name: "validator1.simpleStructReturnTest",
        signatures: &[&["struct", "int"]],
        help: "validator1.simpleStructReturnTest(...): {times10, times100, times1000} of the number.",
        group: Group::Validator,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [&str; 10] =
        ["int", "i8", "string", "boolean", "double", "dateTime.iso8601", "base64", "array", "struct", "nil"];

    #[test]
    fn the_table_is_sorted_so_that_every_method_is_found() {
        assert!(METHODS.is_sorted_by(|one, two| one.name < two.name));
        assert!(METHODS.iter().all(|method| find(method.name) == Some(method)));
        assert_eq!(find("system.shutdown"), None);
    }

    #[test]
    fn every_method_has_signatures_of_known_types_and_a_help_that_begins_with_its_name() {
        for method in METHODS {
            assert!(method.help.starts_with(&format!("{}(", method.name)), "{}", method.name);
            assert!(!method.signatures.is_empty(), "{}", method.name);
            for signature in method.signatures {
                assert!(!signature.is_empty() && signature.iter().all(|name| TYPES.contains(name)), "{}", method.name);
            }
        }
    }

    #[test]
    fn extensions_beyond_the_first_ones_are_named_sync() {
        let early = ["sql_status", "sql_abort"];
        let extensions = METHODS.iter().filter(|method| method.group == Group::Extension);
        assert!(
            extensions.filter(|method| !early.contains(&method.name)).all(|method| method.name.starts_with("sync."))
        );
    }
}
