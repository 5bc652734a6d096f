//! SQL that must not be applied: not of the dialect, not the office's to write, or refused by the database.

use protocol::fault::FaultCode::{StatementFailed, StatementRefused};

use super::super::gzip;
use super::{Case, Chunk, Request, case};

/// SQL that is not part of the dialect. Before each stands a statement that must not stay.
pub(super) fn refused() -> Vec<Case> {
    let statements: &[(&'static str, &'static str)] = &[
        ("DROP", "DROP TABLE item;"),
        ("ALTER", "ALTER TABLE item ADD colour int;"),
        ("CREATE TABLE", "CREATE TABLE canary (id int);"),
        ("CREATE FUNCTION", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 98765';"),
        ("CREATE EXTENSION", "CREATE EXTENSION pg_trgm;"),
        ("CREATE ROLE", "CREATE ROLE canary SUPERUSER LOGIN PASSWORD 'CANARY';"),
        ("TRUNCATE", "TRUNCATE kind CASCADE;"),
        ("GRANT", "GRANT ALL ON item TO PUBLIC;"),
        ("a DO block", "DO $$ BEGIN DELETE FROM item; END $$;"),
        ("VACUUM", "VACUUM item;"),
        ("LOCK", "LOCK TABLE item;"),
        ("NOTIFY", "NOTIFY canary, 'CANARY';"),
        ("PREPARE", "PREPARE p AS DELETE FROM item;"),
        ("EXECUTE", "EXECUTE p ('CANARY');"),
        ("DECLARE", "DECLARE c CURSOR FOR TABLE item;"),
        ("ROLLBACK", "ROLLBACK;"),
        ("SAVEPOINT", "SAVEPOINT s;"),
        ("SET ROLE", "SET ROLE postgres;"),
        ("SET SESSION AUTHORIZATION", "SET SESSION AUTHORIZATION 'postgres';"),
        ("replica role", "SET session_replication_role = replica;"),
        ("search_path", "SET search_path = 'sync';"),
        ("other strings", "SET standard_conforming_strings = off;"),
        ("RESET", "RESET ALL;"),
        ("SELECT", "SELECT * FROM item;"),
        ("a function", "SELECT pg_sleep(98765);"),
        ("a function in pg_catalog", "SELECT pg_catalog.pg_read_file('MARKER');"),
        ("set_config", "SELECT pg_catalog.set_config('session_replication_role', 'replica', false);"),
        ("TABLE", "TABLE item;"),
        ("WITH", "WITH gone AS (DELETE FROM item RETURNING *) SELECT count(*) FROM gone;"),
        ("EXPLAIN ANALYZE", "EXPLAIN ANALYZE DELETE FROM item;"),
        ("MERGE", "MERGE INTO item USING kind ON false WHEN NOT MATCHED THEN INSERT VALUES (1);"),
        (
            "a sub-select as value",
            "INSERT INTO item (id, kind_id, label) VALUES (3, (SELECT max(id) FROM kind), 'CANARY');",
        ),
        ("INSERT from SELECT", "INSERT INTO item (id, kind_id, label) SELECT id + 98765, kind_id, 'CANARY' FROM item;"),
        ("a function as value", "INSERT INTO item (id, kind_id, label) VALUES (3, 1, upper('CANARY'));"),
        ("now() as value", "INSERT INTO item (id, kind_id, label, born) VALUES (3, 1, 'CANARY', now());"),
        ("a keyword as value", "INSERT INTO item (id, kind_id, label) VALUES (3, 1, current_user);"),
        ("a cast", "INSERT INTO item (id, kind_id, label) VALUES (3, 1, 'CANARY'::text);"),
        ("a typed literal", "INSERT INTO item (id, kind_id, label, born) VALUES (3, 1, 'CANARY', DATE '2077-07-07');"),
        ("an operator", "INSERT INTO item (id, kind_id, label) VALUES (98765 + 1, 1, 'CANARY');"),
        ("a concatenation", "INSERT INTO item (id, kind_id, label) VALUES (3, 1, 'CAN' || 'ARY');"),
        ("a string with escapes", "INSERT INTO item (id, kind_id, label) VALUES (3, 1, E'CANARY\\n');"),
        ("a string with dollars", "INSERT INTO item (id, kind_id, label) VALUES (3, 1, $$CANARY$$);"),
        ("DEFAULT for a plain column", "INSERT INTO item (id, kind_id, label) VALUES (3, DEFAULT, 'CANARY');"),
        ("RETURNING", "INSERT INTO item (id, kind_id, label) VALUES (3, 1, 'CANARY') RETURNING *;"),
        (
            "ON CONFLICT with an expression",
            "INSERT INTO item (id, kind_id, label) VALUES (1, 1, 'CANARY') ON CONFLICT (id) DO UPDATE SET label = item.label;",
        ),
        (
            "ON CONFLICT with a condition",
            "INSERT INTO item (id, kind_id, label) VALUES (1, 1, 'CANARY') ON CONFLICT (id) DO UPDATE SET label = excluded.label WHERE item.id > 98765;",
        ),
        (
            "ON CONFLICT on another column",
            "INSERT INTO kind (id, name) VALUES (98765, 'used') ON CONFLICT (name) DO UPDATE SET id = excluded.id;",
        ),
        ("DELETE of everything", "DELETE FROM item;"),
        ("DELETE WHERE true", "DELETE FROM item WHERE true;"),
        ("DELETE of a range", "DELETE FROM item WHERE id < 98765;"),
        ("DELETE with OR", "DELETE FROM item WHERE id = 98765 OR true;"),
        ("DELETE by a sub-select", "DELETE FROM item WHERE id IN (SELECT id FROM item);"),
        ("DELETE by another column", "DELETE FROM item WHERE label = 'CANARY';"),
        ("DELETE USING", "DELETE FROM item USING kind WHERE item.kind_id = kind.id;"),
        ("UPDATE of everything", "UPDATE item SET label = 'CANARY';"),
        ("UPDATE by another column", "UPDATE item SET label = 'CANARY' WHERE kind_id = 1;"),
        ("UPDATE with an expression", "UPDATE item SET amount = amount + 98765 WHERE id = 1;"),
        ("UPDATE of the key", "UPDATE item SET id = 98765 WHERE id = 1;"),
        ("UPDATE FROM", "UPDATE item SET label = name FROM kind WHERE item.id = 1;"),
        ("COPY FROM PROGRAM", "COPY heap FROM PROGRAM 'touch MARKER';"),
        ("COPY from a file", "COPY heap FROM '/etc/passwd';"),
        ("COPY to a file", "COPY item TO 'MARKER';"),
        ("COPY TO PROGRAM", "COPY item TO PROGRAM 'cat > MARKER';"),
        ("COPY as CSV", "COPY heap FROM stdin WITH (FORMAT csv);\nCANARY\n\\.\n"),
        ("a shell", "\\! touch MARKER\n"),
        ("a file of commands", "\\i MARKER\n"),
        ("\\copy", "\\copy heap from program 'touch MARKER'\n"),
        ("\\gexec", "SELECT 'DROP TABLE item' \\gexec\n"),
        ("\\connect", "\\connect postgres\n"),
        ("a shell behind \\restrict", "\\restrict CANARY\n\\! touch MARKER\n"),
        ("an open string", "INSERT INTO item (id, kind_id, label) VALUES (3, 1, 'CANARY);"),
        ("an open statement", "INSERT INTO item (id, kind_id, label) VALUES (3, 1, 'CANARY')"),
        ("an open COPY", "COPY heap (line) FROM stdin;\nCANARY\n"),
        ("an open comment", "/* CANARY"),
        ("prose", "Please pay 'CANARY' 98765;"),
    ];
    statements
        .iter()
        .map(|(name, statement)| {
            let sql = format!(
                "BEGIN;\nINSERT INTO item (id, kind_id, label) VALUES (10, 1, 'before');\n{statement}\nCOMMIT;\n"
            );
            case(name, Request::Sql(sql), StatementRefused, &["statement"])
        })
        .chain([
            case("a script in Latin-1", latin1(), StatementRefused, &["statement 1", "UTF-8"]),
            case(
                "a byte 0",
                Request::Chunks(vec![Chunk::Bytes(gzip(b"INSERT INTO heap (line) VALUES ('CANARY\0');"))]),
                StatementRefused,
                &[],
            ),
        ])
        .collect()
}

fn latin1() -> Request {
    let sql = [&b"INSERT INTO heap (line) VALUES ('CANARY caf"[..], &[0xe9], b"');"].concat();
    Request::Chunks(vec![Chunk::Bytes(gzip(&sql))])
}

/// SQL for tables that are not the office's to write.
pub(super) fn outside() -> Vec<Case> {
    let rows: &[(&'static str, &'static str, &[&'static str])] = &[
        ("a table that is not there", "INSERT INTO nowhere (id) VALUES (98765);", &["statement 3", "nowhere"]),
        (
            "a table of another schema",
            "INSERT INTO warehouse.item (id) VALUES (98765);",
            &["statement 3", "warehouse.item"],
        ),
        ("a table of the system", "DELETE FROM pg_catalog.pg_class WHERE oid = 98765;", &["statement 3", "pg_class"]),
        (
            "a table of the product",
            "UPDATE sync.node SET branch = 'CANARY' WHERE only_row = true;",
            &["statement 3", "sync.node"],
        ),
        ("the product's sessions", "DELETE FROM sync.session WHERE sid = 98765;", &["statement 3", "sync.session"]),
        (
            "against the direction: INSERT",
            "INSERT INTO receipt (id, note) VALUES (98765, 'CANARY');",
            &["statement 3", "receipt", "from-target"],
        ),
        (
            "against the direction: UPDATE",
            "UPDATE receipt SET note = 'CANARY' WHERE id = 1;",
            &["statement 3", "receipt", "from-target"],
        ),
        (
            "against the direction: DELETE",
            "DELETE FROM receipt WHERE id IN (1);",
            &["statement 3", "receipt", "from-target"],
        ),
        (
            "against the direction: COPY",
            "COPY receipt (id, note) FROM stdin;\n98765\tCANARY\n\\.\n",
            &["statement 3", "receipt", "from-target"],
        ),
        ("a local table", "INSERT INTO till (id, cash) VALUES (98765, 98765);", &["statement 3", "till", "local"]),
        (
            "a column that is not there",
            "INSERT INTO item (id, kind_id, colour) VALUES (98765, 1, 'CANARY');",
            &["statement 3", "item", "colour"],
        ),
        (
            "a column of UPDATE that is not there",
            "UPDATE item SET colour = 'CANARY' WHERE id = 1;",
            &["statement 3", "item", "colour"],
        ),
        (
            "a column of COPY that is not there",
            "COPY item (id, colour) FROM stdin;\n98765\tCANARY\n\\.\n",
            &["statement 3", "item", "colour"],
        ),
        (
            "a column in other letters",
            "INSERT INTO \"Odd Name\" (\"id\", \"select\") VALUES (98765, 'CANARY');",
            &["statement 3", "Odd Name", "id"],
        ),
        (
            "a generated column",
            "INSERT INTO item (id, kind_id, label, twice) VALUES (98765, 1, 'CANARY', 98765);",
            &["statement 3", "item"],
        ),
        (
            "a generated column in COPY",
            "COPY item (id, kind_id, label, twice) FROM stdin;\n98765\t1\tCANARY\t98765\n\\.\n",
            &["statement 3", "item", "twice"],
        ),
        ("half of a key", "DELETE FROM pair WHERE a IN (98765);", &["statement 3", "pair", "a, b"]),
        ("an UPDATE without a key", "UPDATE heap SET line = 'CANARY' WHERE line = 'CANARY';", &["statement 3", "heap"]),
        ("too few values", "INSERT INTO item (id, kind_id, label) VALUES (98765, 1);", &["statement 3"]),
        ("too many values", "INSERT INTO item (id, kind_id) VALUES (98765, 1, 'CANARY');", &["statement 3"]),
    ];
    rows.iter()
        .map(|(name, statement, words)| {
            let sql = format!(
                "BEGIN;\nINSERT INTO item (id, kind_id, label) VALUES (10, 1, 'before');\n{statement}\nCOMMIT;\n"
            );
            case(name, Request::Sql(sql), StatementRefused, words)
        })
        .collect()
}

/// Rows that the database refuses.
pub(super) fn failed() -> Vec<Case> {
    let rows: &[(&'static str, &'static str, &[&'static str])] = &[
        (
            "a key that is there",
            "INSERT INTO item (id, kind_id, label) VALUES (1, 1, 'CANARY');",
            &["statement 3", "item", "23505"],
        ),
        (
            "a key that is there twice",
            "INSERT INTO item (id, kind_id, label) VALUES (98765, 1, 'CANARY'), (98765, 1, 'CANARY');",
            &["statement 3", "item", "23505"],
        ),
        (
            "a unique value that is there",
            "INSERT INTO kind (id, name) VALUES (98765, 'old');",
            &["statement 3", "kind", "kind_name_key"],
        ),
        (
            "a key that is there, in COPY",
            "COPY kind (id, name) FROM stdin;\n98765\tCANARY\n1\tCANARY2\n\\.\n",
            &["statement 3", "kind", "23505"],
        ),
        (
            "a parent that is not there",
            "INSERT INTO item (id, kind_id, label) VALUES (11, 98765, 'CANARY');",
            &["item", "item_kind_id_fkey"],
        ),
        ("a parent that goes", "DELETE FROM kind WHERE id IN (1);", &["item_kind_id_fkey"]),
        (
            "no number",
            "INSERT INTO item (id, kind_id, label) VALUES (11, 'CANARY', 'x');",
            &["statement 3", "item", "kind_id", "22P02"],
        ),
        (
            "no number in COPY",
            "COPY item (id, kind_id, label) FROM stdin;\n11\tCANARY\tx\n\\.\n",
            &["statement 3", "item", "kind_id", "22P02"],
        ),
        (
            "no number in UPDATE",
            "UPDATE item SET kind_id = 'CANARY' WHERE id = 1;",
            &["statement 3", "item", "kind_id", "22P02"],
        ),
        (
            "no boolean",
            "INSERT INTO item (id, kind_id, label, state) VALUES (11, 1, 'x', 'CANARY');",
            &["statement 3", "item", "state", "22P02"],
        ),
        (
            "no date",
            "INSERT INTO item (id, kind_id, label, born) VALUES (11, 1, 'x', 'CANARY');",
            &["statement 3", "item", "born"],
        ),
        (
            "a day that does not exist",
            "INSERT INTO item (id, kind_id, label, born) VALUES (11, 1, 'x', '2077-07-0798765');",
            &["statement 3", "item", "born"],
        ),
        (
            "too long a text",
            "INSERT INTO item (id, kind_id, label) VALUES (11, 1, 'CANARY-CANARY');",
            &["statement 3", "item", "label", "22001"],
        ),
        (
            "too long a text in UPDATE",
            "UPDATE item SET label = 'CANARY-CANARY' WHERE id = 1;",
            &["statement 3", "item", "label", "22001"],
        ),
        (
            "too large a number",
            "INSERT INTO item (id, kind_id, label, amount) VALUES (11, 1, 'x', 98765.00);",
            &[
                "statement 3",
                "(id, kind_id, label, amount) VALUES (?, ?, ?, ?)",
                "22003",
                "nothing was applied",
                "mend",
            ],
        ),
        (
            "too large an integer",
            "INSERT INTO item (id, kind_id, label) VALUES (11, 9876500000000, 'x');",
            &["statement 3", "item", "kind_id", "22003"],
        ),
        (
            "NULL where a value must be",
            "INSERT INTO item (id, kind_id, label) VALUES (98765, 1, NULL);",
            &["statement 3", "item", "label", "23502"],
        ),
        (
            "a column left out that must be there",
            "INSERT INTO item (id, kind_id) VALUES (98765, 1);",
            &["statement 3", "item", "label", "23502"],
        ),
        ("NULL in UPDATE", "UPDATE item SET label = NULL WHERE id = 1;", &["statement 3", "item", "label", "23502"]),
        (
            "a check",
            "INSERT INTO item (id, kind_id, label, amount) VALUES (11, 1, 'CANARY', -987.65);",
            &["statement 3", "item", "item_amount_check"],
        ),
        (
            "a check in UPDATE",
            "UPDATE item SET amount = -987.65 WHERE id = 1;",
            &["statement 3", "item", "item_amount_check", "UPDATE item SET ... WHERE id = ?", "nothing was applied"],
        ),
        (
            "a trigger of the application",
            "INSERT INTO pair (a, b, note) VALUES (13, 98765, 'CANARY');",
            &["pair", "P0001"],
        ),
        (
            "too few values in COPY",
            "COPY kind (id, name) FROM stdin;\n98765\n\\.\n",
            &["statement 3", "kind", "nothing was applied"],
        ),
        (
            "too many values in COPY",
            "COPY kind (id, name) FROM stdin;\n98765\tCANARY\tCANARY\n\\.\n",
            &["statement 3", "kind"],
        ),
    ];
    rows.iter()
        .map(|(name, statement, words)| {
            let sql = format!(
                "BEGIN;\nINSERT INTO item (id, kind_id, label) VALUES (10, 1, 'before');\n{statement}\nCOMMIT;\n"
            );
            let code = if name.contains("values in COPY") { StatementRefused } else { StatementFailed };
            case(name, Request::Sql(sql), code, words)
        })
        .collect()
}
