//! What the reader does not take, and how it says so.

use super::*;

#[test]
fn what_is_not_of_the_dialect_is_refused() {
    for text in [
        "DROP TABLE product;",
        "CREATE TABLE t (a int);",
        "ALTER TABLE t DISABLE TRIGGER ALL;",
        "TRUNCATE t;",
        "DO $$ BEGIN END $$;",
        "GRANT ALL ON t TO public;",
        "SELECT 1;",
        "SELECT pg_sleep(10);",
        "SELECT pg_catalog.pg_sleep(10);",
        "SELECT pg_catalog.set_config('search_path', 'evil', false);",
        "SELECT pg_catalog.set_config('role', '', false);",
        "SELECT pg_catalog.setval('s', (SELECT 1), true);",
        "SELECT setval('s', 1, true);",
        "SELECT pg_catalog.setval('s; DROP TABLE t', 1, true);",
        "SET session_replication_role = replica;",
        "SET role = postgres;",
        "SET search_path = evil;",
        "SET standard_conforming_strings = off;",
        "SET LOCAL statement_timeout = 0;",
        "ROLLBACK;",
        "INSERT INTO t VALUES (1); DROP TABLE t;",
        "INSERT INTO t VALUES ('a'); DROP TABLE t; --');",
        "INSERT INTO t VALUES (E'a\\'); DROP TABLE t; --');",
        "INSERT INTO t VALUES (e'a');",
        "INSERT INTO t VALUES (N'a');",
        "INSERT INTO t VALUES (X'1F');",
        "INSERT INTO t VALUES (U&'a');",
        "INSERT INTO t VALUES ($$a$$);",
        "INSERT INTO t VALUES ($1);",
        "INSERT INTO t VALUES ('a'::text);",
        "INSERT INTO t VALUES (1::int);",
        "INSERT INTO t VALUES (CAST('1' AS int));",
        "INSERT INTO t VALUES (now());",
        "INSERT INTO t VALUES (1, pg_sleep(10));",
        "INSERT INTO t VALUES (current_user);",
        "INSERT INTO t VALUES (1 + 1);",
        "INSERT INTO t VALUES (1 2);",
        "INSERT INTO t VALUES ('a' 'b');",
        "INSERT INTO t VALUES ('a'\n'b');",
        "INSERT INTO t VALUES ('a' || 'b');",
        "INSERT INTO t VALUES ((SELECT 1));",
        "INSERT INTO t VALUES (- 5);",
        "INSERT INTO t VALUES (0x1F);",
        "INSERT INTO t VALUES (1_000);",
        "INSERT INTO t VALUES (5a);",
        "INSERT INTO t VALUES (date '2006-01-01');",
        "INSERT INTO t VALUES (ROW(1));",
        "INSERT INTO t VALUES (ARRAY[1]);",
        "INSERT INTO t VALUES (1) RETURNING a;",
        "INSERT INTO t SELECT 1;",
        "INSERT INTO t TABLE u;",
        "INSERT INTO t DEFAULT VALUES;",
        "INSERT INTO t (a[1]) VALUES (1);",
        "INSERT INTO t AS x VALUES (1);",
        "INSERT INTO db.public.t VALUES (1);",
        "INSERT INTO U&\"t\" VALUES (1);",
        "INSERT INTO \"\" VALUES (1);",
        "INSERT INTO t OVERRIDING USER VALUE VALUES (1);",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 5;",
        "INSERT INTO t (a, b) VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET a = excluded.b;",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = excluded.a WHERE true;",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) WHERE true DO NOTHING;",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT ON CONSTRAINT c DO NOTHING;",
        "INSERT INTO t (a) VALUES (1) ON CONFLICT (lower(a)) DO NOTHING;",
        "WITH x AS (DELETE FROM t) INSERT INTO t VALUES (1);",
        "UPDATE ONLY t SET a = 1 WHERE b = 2;",
        "UPDATE t SET a = a + 1 WHERE b = 2;",
        "UPDATE t SET a = DEFAULT WHERE b = 2;",
        "UPDATE t SET a = 1;",
        "UPDATE t SET a = 1 WHERE true;",
        "UPDATE t SET a = 1 WHERE b > 2;",
        "UPDATE t SET a = 1 WHERE b = 2 OR true;",
        "UPDATE t SET a = 1 WHERE a IS NOT DISTINCT FROM 2;",
        "UPDATE t SET a = 1 FROM u WHERE b = 2;",
        "UPDATE t SET (a) = (1) WHERE b = 2;",
        "DELETE FROM t;",
        "DELETE FROM ONLY t WHERE a = 1;",
        "DELETE FROM t WHERE a NOT IN (1);",
        "DELETE FROM t WHERE a IN (SELECT 1);",
        "DELETE FROM t WHERE (a) IN (1);",
        "DELETE FROM t WHERE a IN (1) OR true;",
        "DELETE FROM t USING u WHERE a = 1;",
        "DELETE FROM t WHERE a = b;",
        "COPY t FROM PROGRAM 'rm -rf /';",
        "COPY t FROM '/etc/passwd';",
        "COPY t TO stdout;",
        "COPY (SELECT 1) TO stdout;",
        "COPY t FROM stdin WITH (FORMAT csv);\n\\.\n",
        "COPY t FROM stdin CSV;\n\\.\n",
        "COPY t FROM stdin WHERE a = 1;\n\\.\n",
        "COPY t FROM stdin; DROP TABLE t;\n\\.\n",
        "COPY t FROM stdin; -- x\n\\.\n",
        "COPY t FROM stdin;\na\n\\.\nDROP TABLE t;\n",
        "COPY t FROM stdin;\na\\.b\n\\.\n",
        "COPY t FROM stdin;\n\\.b\n\\.\n",
        "COPY t FROM stdin;\n\\x41\n\\.\n",
        "COPY t FROM stdin;\n\\101\n\\.\n",
        "COPY t FROM stdin;\na\\\n\\.\n\\.\n",
        "COPY t FROM stdin;\n\\D\n\\.\n",
        "COPY t FROM stdin;\nx\\N\n\\.\n",
        "\\! rm -rf /\n",
        "\\i /etc/passwd\n",
        "\\c other\n",
        "\\copy t from x\n",
        "\\restrict a; \\! ls\n",
        "\\restrict `ls`\n",
        "\\restricted x\n",
        "INSERT INTO t VALUES (1) \\! ls\n;",
        "INSERT INTO t VALUES (1) \\g x\n;",
        "/* x */ DELETE FROM t WHERE a = 1;",
        "DELETE /* x */ FROM t WHERE a = 1;",
        "INSERT INTO t VALUES (:name);",
        "Maria da Silva\t12\n",
        "\u{a0} ",
    ] {
        let error = refusal(text);
        assert_eq!(error.kind, DialectErrorKind::Refused, "{text}: {error}");
    }
}

#[test]
fn what_is_cut_short_is_not_taken_for_whole() {
    let whole = "SET client_encoding = 'UTF8'; BEGIN; INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y') ON CONFLICT (a) DO \
                 UPDATE SET b = excluded.b; COPY t (a) FROM stdin;\n1\n2\n\\.\nDELETE FROM t WHERE a IN (1, 2);COMMIT;";
    assert!(!events(whole).is_empty());
    let begin = whole.find("BEGIN;").expect("it is there") + 6;
    for end in begin..whole.len() {
        let error = refusal(&whole[..end]);
        assert_eq!(error.kind, DialectErrorKind::Syntax, "{}: {error}", &whole[..end]);
    }
}

#[test]
fn malformed_rows_are_told_by_statement_and_line() {
    for text in [
        "INSERT INTO t (a, b) VALUES\n(1);",
        "INSERT INTO t VALUES (1),\n(1, 2);",
        "COPY t (a, b) FROM stdin;\n1\n\\.\n",
        "INSERT INTO t (a, a) VALUES\n(1, 2);",
        "DELETE FROM t\nWHERE a IN (NULL);",
        "DELETE FROM t\nWHERE (a, b) IN ((1, NULL));",
        "UPDATE t SET a = 1\nWHERE b = NULL;",
        "INSERT INTO t VALUES\n(B'012');",
        "UPDATE t SET a = 1, a = 2\nWHERE b = 1;",
        "COPY t FROM stdin;\na\rb\n\\.\n",
    ] {
        let error = refusal(format!("BEGIN;\n{text}"));
        assert_eq!(error.kind, DialectErrorKind::Syntax, "{text}: {error}");
        assert_eq!(error.statement, 2, "{text}: {error}");
        assert!((2..=3).contains(&error.line), "{text}: {error}");
    }
}

#[test]
fn bytes_that_no_text_can_hold_are_refused() {
    for text in [
        b"INSERT INTO t VALUES ('\xff');".as_slice(),
        b"INSERT INTO t VALUES ('a\0b');",
        b"COPY t FROM stdin;\n\xc3\n\\.\n",
        b"COPY t FROM stdin;\na\0b\n\\.\n",
        b"INSERT INTO \xff VALUES (1);",
        b"INSERT INTO \"a\0\" VALUES (1);",
        b"--@ note {\"\xff\"}\n",
        b"SET client_encoding = 'LATIN1';",
    ] {
        assert_eq!(refusal(text).kind, DialectErrorKind::Encoding, "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn limits_hold() {
    let limits = ReaderLimits { row_bytes_max: 1000, lookahead_bytes: 10_000, columns_max: 3 };
    let long = "x".repeat(1001);
    for text in [
        format!("INSERT INTO t VALUES ('{long}');"),
        format!("COPY t FROM stdin;\n{long}\n\\.\n"),
        format!("--@ note {long}\n"),
        format!("UPDATE t SET a = '{long}' WHERE b = 1;"),
        "INSERT INTO t (a, b, c, d) VALUES (1);".to_owned(),
        format!("INSERT INTO {} VALUES (1);", "n".repeat(64)),
        format!("INSERT INTO t VALUES ({});", "1, ".repeat(1001)),
    ] {
        let error = read_with(text.as_bytes(), 100, limits).1.expect_err("it passes a limit");
        assert_eq!(error.kind, DialectErrorKind::TooLong, "{error}");
    }
}

#[test]
fn an_error_shows_the_statement_without_its_values_and_comes_again() {
    let text = "INSERT INTO customer (name, phone) VALUES ('Maria ''M'' Silva', 5551234, now());";
    let mut reader = Reader::new(text.as_bytes(), ReaderLimits::default());
    let message = reader.next().expect_err("a function is refused").to_string();
    assert!(
        message.contains("line 1, statement 1: INSERT INTO customer (name, phone) VALUES (?, ?, now())"),
        "{message}"
    );
    assert!(reader.next().is_err(), "an error must not look like the end when asked again");

    let message = refusal("COPY t (a) FROM stdin;\n1\n\\.\nMaria Silva\t555\n\\.\n").to_string();
    assert!(!message.contains("Maria") && !message.contains("555"), "{message}");
    let message = refusal("COPY t (a) FROM stdin;\nMaria\tSilva\n\\.\n").to_string();
    assert!(!message.contains("Maria") && message.contains("COPY t (a) FROM stdin"), "{message}");
    let message = refusal("INSERT INTO t VALUES (E'don\\'t tell', 'secret');").to_string();
    assert!(!message.contains("tell") && !message.contains("secret"), "{message}");
}
