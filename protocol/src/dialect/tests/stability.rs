//! Nothing that arrives makes the reader panic, and the buffers of the input change nothing.

use proptest::prelude::*;

use super::*;

const SAMPLE: &str = "SET client_encoding = 'UTF8'; BEGIN;\n--@ n {\"a\": 1}\nINSERT INTO t (a, \"B c\") VALUES (1, 'it''s'), \
    (-2.5, NULL) ON CONFLICT (a) DO UPDATE SET \"B c\" = excluded.\"B c\";\nINSERT INTO t VALUES (DEFAULT, true, B'01');\n\
    COPY public.t (a, b) FROM stdin;\n1\t\\N\n2\ta\\\\b\\n\n\\.\nUPDATE t SET a = 'x' WHERE k = 1 AND a IS NOT DISTINCT FROM \
    'y';\nDELETE FROM t WHERE (a, b) IN ((1, 'x'), (2, 'y'));\nDELETE FROM t WHERE a IN (1, 2);\n\
    SELECT pg_catalog.setval('public.s', 5, true);\n\\restrict abc\nCOMMIT;\n-- watermark: 2006-09-22T14:03:11Z\n";

/// The sample with some of it replaced by something that means something.
fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "'",
        "''",
        "\\",
        "\\.",
        "\n",
        "\r\n",
        "\t",
        "--",
        "--@ ",
        "(",
        ")",
        ",",
        ";",
        "\0",
        "NULL",
        "E'",
        "$$",
        "/*",
        "COPY t \
        FROM stdin;\n",
        "\\.\n",
        "INSERT INTO t VALUES (",
        "\"",
        "\u{e9}",
        "-",
        "1e",
        "-- watermark:",
        "",
    ]);
    let edit = (0..SAMPLE.len(), 0usize..12, piece);
    prop::collection::vec(edit, 0..4).prop_map(|edits| {
        let mut bytes = SAMPLE.as_bytes().to_vec();
        for (place, gone, piece) in edits {
            let place = place.min(bytes.len());
            let end = (place + gone).min(bytes.len());
            bytes.splice(place..end, piece.bytes());
        }
        bytes
    })
}

/// Events of a script and its error: kind, statement, and line and offset where they are exact.
type Outcome = (Vec<String>, Option<(DialectErrorKind, u64, Option<(u64, u64)>)>);

/// Events and end of a script, for comparison; inside a long string a bad byte or a limit is noticed somewhat earlier
/// or later.
fn outcome(script: &[u8], buffer: usize) -> Outcome {
    let limits = ReaderLimits { row_bytes_max: 100_000, lookahead_bytes: 200, columns_max: 10 };
    let (events, end) = read_with(script, buffer, limits);
    let exact = |error: &DialectError| matches!(error.kind, DialectErrorKind::Refused | DialectErrorKind::Syntax);
    (events, end.err().map(|e| (e.kind, e.statement, exact(&e).then_some((e.line, e.offset)))))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(outcome(&bytes, 1), outcome(&bytes, 4096));
    }

    #[test]
    fn buffers_change_nothing(bytes in mangled()) {
        let whole = outcome(&bytes, 1 << 16);
        prop_assert_eq!(&outcome(&bytes, 1), &whole);
        prop_assert_eq!(&outcome(&bytes, 7), &whole);
    }
}

#[test]
fn a_script_larger_than_the_window_reads_the_same_with_any_buffer() {
    let wide = "w'\\\n\t\u{e9}".repeat(20_000);
    let literal = wide.replace('\'', "''");
    let copied = wide.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t");
    let text = {
        let mut text = String::new();
        for id in 0..10 {
            text += &format!("INSERT INTO t (a, b) VALUES ({id}, '{literal}');\n");
            text += &format!("COPY t (a, b) FROM stdin;\n{id}\t{copied}\n\\.\n");
        }
        text
    };
    let limits = ReaderLimits::default();
    let (whole, end) = read_with(text.as_bytes(), 1 << 20, limits);
    assert!(end.is_ok());
    assert_eq!(whole.len(), 40);
    for buffer in [1, 4096, 100_000] {
        assert!(read_with(text.as_bytes(), buffer, limits).0 == whole, "buffers of {buffer} bytes");
    }
}

#[test]
fn a_failing_input_is_an_error_and_not_an_end() {
    struct Failing;
    impl std::io::Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let mut reader = Reader::new(BufReader::new(Failing), ReaderLimits::default());
    let error = reader.next().expect_err("the input fails");
    assert_eq!(error.kind, DialectErrorKind::Io);
    assert!(error.to_string().contains("the disk is gone"));
}
