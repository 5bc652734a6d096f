//! What the reader takes: our own forms, and pg_dump's.

use super::*;

#[test]
fn every_form_of_pg_dump_is_read() {
    let dump = "--\n-- PostgreSQL database dump\n--\n\n\\restrict aB3xYz\n\n-- Dumped from database version 15.14\n\n\
        SET statement_timeout = 0;\nSET lock_timeout = 0;\nSET idle_in_transaction_session_timeout = 0;\n\
        SET transaction_timeout = 0;\nSET client_encoding = 'UTF8';\nSET standard_conforming_strings = on;\n\
        SELECT pg_catalog.set_config('search_path', '', false);\nSET check_function_bodies = false;\n\
        SET xmloption = content;\nSET client_min_messages = warning;\nSET row_security = off;\n\
        SET default_tablespace = '';\nSET default_table_access_method = heap;\n\n\
        --\n-- Data for Name: product; Type: TABLE DATA; Schema: public; Owner: shop\n--\n\n\
        COPY public.product (id, name) FROM stdin;\n1\tCaf\u{e9}\\tx\n2\t\\N\n\\.\n\n\n\
        INSERT INTO public.product VALUES (3, 'it''s', -1.5e+20, true, B'01', NULL, 'NaN');\n\
        INSERT INTO public.product VALUES (4, '', .5, false, B'', NULL, '');\n\
        INSERT INTO public.\"Sale\" (id, \"Total\") OVERRIDING SYSTEM VALUE VALUES\n\t(1, DEFAULT),\n\t(2, 5)\n\
        \tON CONFLICT DO NOTHING;\n\n\
        SELECT pg_catalog.setval('public.\"Sale_id_seq\"', 42, true);\n\
        SELECT pg_catalog.setval('public.product_id_seq', 1, false);\n\n\
        -- PostgreSQL database dump complete\n\n\\unrestrict aB3xYz\n\n";
    assert_eq!(
        events(dump),
        [
            "14 Copy product id,name",
            "row 1\tCaf\u{e9}\\tx",
            "row 2\t\\N",
            "15 Insert product ",
            "row 3\tit's\t-1.5e+20\tt\t01\t\\N\tNaN",
            "row 4\t\t.5\tf\t\t\\N\t",
            "17 InsertIgnore Sale id,Total overriding",
            "row 1\t\\D",
            "row 2\t5",
            "setval Sale_id_seq 42 true",
            "setval product_id_seq 1 false",
        ]
    );
}

#[test]
fn names_are_folded_like_postgresql_does_and_unqualified_ones_are_public() {
    assert_eq!(
        events(
            "SELECT pg_catalog.set_config('search_path', '', false);\ninsert into Product (ID, \"Na\"\"me\") values (1, '');"
        ),
        ["2 Insert product id,Na\"me", "row 1\t"]
    );
    assert_eq!(events("DELETE FROM till . \"X Y\" WHERE id = 5;"), ["1 Delete till.X Y id set=0 key=1", "row 5"]);
}

#[test]
fn an_insert_that_repeats_its_head_goes_on_with_rows_but_counts() {
    let mut text = String::new();
    for id in 1..=3 {
        text += &format!("INSERT INTO t (a) VALUES ({id});\n");
    }
    text += "INSERT INTO t (a) VALUES (4) ON CONFLICT DO NOTHING;\nINSERT INTO t (a) VALUES (5);\n";
    assert_eq!(
        events(&text),
        ["1 Insert t a", "row 1", "row 2", "row 3", "4 InsertIgnore t a", "row 4", "5 Insert t a", "row 5"]
    );
    let mut reader = Reader::new(text.as_bytes(), ReaderLimits::default());
    let mut numbers = Vec::new();
    while let Ok(Some(event)) = reader.next() {
        if matches!(event, Event::Row(_)) {
            numbers.push(reader.statement_number());
        }
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[test]
fn every_form_of_delete_and_update_is_read() {
    assert_eq!(
        events(
            "DELETE FROM t WHERE id IN (1, 2,\n'x');DELETE FROM t WHERE (a, b) IN ((1, 'x'), (2, 'y'));\
             DELETE FROM t WHERE a = 1 AND b = 'x';\
             UPDATE t SET c = 'n', d = NULL WHERE a = 1 AND b = 2 AND c IS NOT DISTINCT FROM 'o';\
             UPDATE t SET c = 'm', d = 5 WHERE a = 1 AND b = 3 AND c IS NOT DISTINCT FROM NULL;"
        ),
        [
            "1 Delete t id set=0 key=1",
            "row 1",
            "row 2",
            "row x",
            "2 Delete t a,b set=0 key=2",
            "row 1\tx",
            "row 2\ty",
            "row 1\tx",
            "4 Update t c,d,a,b,c set=2 key=2",
            "row n\t\\N\t1\t2\to",
            "row m\t5\t1\t3\t\\N",
        ]
    );
}

#[test]
fn copy_blocks_with_windows_line_ends_lose_them() {
    assert_eq!(events("COPY t FROM stdin;\r\na\\r\tb\r\n\t\r\n\\.\r\n"), ["1 Copy t ", "row a\\r\tb", "row \t"]);
    assert_eq!(events("COPY t (a) FROM STDIN;\n\n\\\\.\n\\."), ["1 Copy t a", "row ", "row \\\\."]);
}

#[test]
fn notes_and_the_watermark_are_events_and_other_comments_are_not() {
    assert_eq!(
        events(
            "-- plain\n--@ totals {\"a\": 1} \nINSERT INTO t (a) VALUES -- why\n(1),\n--@ total {\"x\":\"\u{e9}\"}\n(2);\n\
             --@ end\r\n-- watermark: 2006-09-22T14:03:11.042317123Z\n"
        ),
        [
            "note totals {\"a\": 1}",
            "1 Insert t a",
            "row 1",
            "note total {\"x\":\"\u{e9}\"}",
            "row 2",
            "note end ",
            "watermark 2006-09-22T14:03:11.042317123Z",
        ]
    );
}

#[test]
fn a_comment_ends_where_the_server_ends_it() {
    // PostgreSQL ends a comment at a carriage return too: what follows is a statement for both.
    assert_eq!(refusal("-- harmless\rDROP TABLE t;").kind, DialectErrorKind::Refused);
    assert_eq!(events("-- harmless\rDELETE FROM t WHERE a = 1;"), ["1 Delete t a set=0 key=1", "row 1"]);
}

#[test]
fn an_insert_longer_than_the_lookahead_streams() {
    let limits = ReaderLimits { lookahead_bytes: 1000, ..ReaderLimits::default() };
    let rows: Vec<String> = (0..5000).map(|id| format!("({id}, 'name {id}')")).collect();
    let text = format!("INSERT INTO t (a, b) VALUES {};INSERT INTO t (a, b) VALUES (1, '');", rows.join(","));
    let (events, end) = read_with(text.as_bytes(), 100, limits);
    assert!(end.is_ok());
    assert_eq!(events.len(), 5002);
    assert_eq!(events[0], "1 Insert t a,b");
    assert_eq!(events[5000], "row 4999\tname 4999");

    let text = format!("INSERT INTO t (a, b) VALUES {} ON CONFLICT DO NOTHING;", rows.join(","));
    let error = read_with(text.as_bytes(), 100, limits).1.expect_err("it was announced as a plain INSERT");
    assert_eq!(error.kind, DialectErrorKind::TooLong);
}

#[test]
fn a_row_longer_than_the_lookahead_may_end_an_insert_with_on_conflict() {
    let limits = ReaderLimits { lookahead_bytes: 1000, ..ReaderLimits::default() };
    let long = "x".repeat(5000);
    for (rows, last) in [("", 1), ("(1, 'a'), (2, 'b'), ", 3)] {
        let text = format!("INSERT INTO t (a, b) VALUES {rows}({last}, '{long}')\nON CONFLICT (a) DO NOTHING;");
        let (events, end) = read_with(text.as_bytes(), 100, limits);
        assert!(end.is_ok(), "{end:?}");
        assert!(events[0].starts_with("1 InsertIgnore t"), "{}", events[0]);
        assert_eq!(events.last(), Some(&format!("row {last}\t{long}")));
    }
}
