//! Promises of the policy file as a whole; the parts have their tests beside them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = r#"
name = "shop"

[tables]                        # every table of the schema
product        = "from-source"
sale           = "from-target"
"sale_*"       = "from-target"
person         = "both"
parameter_data = "initial"
"till_*"       = "local"

[table.person]
conflict = "shop-wins"
delta    = ["credit_used"]
rows     = "branch_id = :branch"
max_age  = "1d"

[table.sale]
history        = "90d"
history_column = "sold_at"
deletes        = "send"
triggers       = "fire"
"#;

fn tables(names: &[&str]) -> Vec<TableName> {
    names.iter().map(|name| pattern::table_name(name)).collect()
}

const SCHEMA: [&str; 6] = ["product", "sale", "sale_item", "person", "parameter_data", "till_drawer"];

/// The message of the error that the text must have.
#[track_caller]
fn refused(text: &str) -> String {
    match Policy::parse(text) {
        Err(error) => error.to_string(),
        Ok(policy) => panic!("this should be refused:\n{}", policy.to_toml()),
    }
}

/// A policy with these lines under `[tables]`, which begins in line 3, and more below.
fn with_tables(lines: &str) -> String {
    format!("name = \"x\"\n[tables]\n{lines}\n")
}

#[track_caller]
fn unfit(text: &str, names: &[&str]) -> Vec<String> {
    let errors = Policy::parse(text).unwrap().resolve(&tables(names)).unwrap_err().errors;
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn every_table_gets_its_direction_and_options() {
    let policy = Policy::parse(EXAMPLE).unwrap();
    assert_eq!((policy.name(), policy.source()), ("shop", EXAMPLE));
    let resolved = policy.resolve(&tables(&SCHEMA)).unwrap();
    let person = resolved.get(&TableName::public("person")).unwrap();
    assert_eq!(person.direction, Direction::Both);
    assert_eq!(person.conflict, ConflictRule::ShopWins);
    assert_eq!(person.delta, ["credit_used"]);
    assert_eq!(person.rows, Some(RowFilter::Expression("branch_id = :branch".to_owned())));
    assert_eq!(person.max_age, Some(Duration::from_secs(86_400)));
    assert_eq!((person.deletes, person.triggers), (Deletes::Send, Triggers::Quiet));
    let sale = resolved.get(&TableName::public("sale")).unwrap();
    assert_eq!((sale.deletes, sale.triggers), (Deletes::Send, Triggers::Fire));
    assert_eq!(sale.history, Some(Duration::from_secs(90 * 86_400)));
    let item = resolved.get(&TableName::public("sale_item")).unwrap();
    assert_eq!(item, &TablePolicy::new(Direction::FromTarget));
    assert_eq!(item.deletes, Deletes::Ignore);
    let targets: Vec<String> = resolved.in_direction(Direction::FromTarget).map(|(name, _)| name.to_string()).collect();
    assert_eq!(targets, ["sale", "sale_item"]);
}

#[test]
fn a_misspelt_word_is_refused_with_its_line_and_what_was_meant() {
    for (text, says) in [
        (
            with_tables("product = \"from-sorce\""),
            "line 3: `product` cannot be `from-sorce`; it is one of from-source, from-target, both, initial, \
             local; did you mean `from-source`?",
        ),
        (format!("nmae = \"x\"\n{}", with_tables("")), "line 1: unknown key `nmae` in a policy; did you mean `name`?"),
        (
            with_tables("a = \"both\"\n[table.a]\nconflcit = \"manual\""),
            "line 5: unknown key `conflcit` in [table.a]; did you mean `conflict`?",
        ),
        (
            with_tables("a = \"both\"\n[table.a]\nconflict = \"offce-wins\""),
            "line 5: `conflict` cannot be `offce-wins`; it is one of office-wins, shop-wins, newest-wins, manual; \
             did you mean `office-wins`?",
        ),
        (
            with_tables("person = \"both\"\n[table.persn]"),
            "line 4: [table.persn] has options, but `persn` has no direction in [tables]; did you mean `person`?",
        ),
        (
            with_tables("a = \"both\"\n[table.a]\nmax_age = \"soon\""),
            "line 5: `max_age` cannot be `soon`; it is a length of time such as \"90d\", \"12h\", \"10min\" or \"30s\"",
        ),
        (
            with_tables("a = 1"),
            "line 3: `a` cannot be `(integer)`; it is one of from-source, from-target, both, initial, local",
        ),
        (
            with_tables("\"a.\" = \"both\""),
            "line 3: `a.` is no table name or pattern; write `table`, `\"schema.table\"` or a pattern with `*`",
        ),
        (
            with_tables("stock.level = \"both\""),
            "line 3: `stock` cannot be `(table)`; it is a direction; a table of another schema is written \
             \"schema.table\", with the quotes",
        ),
        ("[tables]\n".to_owned(), "the policy has no `name`; write name = \"shop\""),
        (
            "name = \"a b\"\n[tables]\n".to_owned(),
            "line 1: `name` cannot be `a b`; it is a name of letters, digits, `_`, `-` and `.`, such as \"shop\"",
        ),
    ] {
        assert_eq!(refused(&text), says);
    }
    assert!(refused("name = \"x\"").starts_with("the policy has no `tables`"));
    assert!(refused("name = \"x\"\n\n[tables\n").starts_with("line 3: "));
}

#[test]
fn one_name_twice_is_refused_with_both_lines() {
    for (text, line, first) in [
        (with_tables("sale = \"both\"\nitem = \"both\"\nsale = \"local\""), 5, 3),
        (with_tables("sale = \"both\"\n\"public.sale\" = \"both\""), 4, 3),
        (with_tables("a = \"both\"\n[table.a]\nconflict = \"manual\"\nconflict = \"manual\""), 6, 5),
        (with_tables("a = \"both\"\n[table.a]\n[table.a]"), 5, 4),
        (with_tables("a = \"both\"\n[table.a]\ndelta = [\n\"x\",\n\"x\"]"), 7, 6),
    ] {
        match Policy::parse(&text) {
            Err(PolicyError::Doubled { line: found, first_line, .. }) => {
                assert_eq!((found, first_line), (line, first), "{text}")
            }
            other => panic!("{other:?} for\n{text}"),
        }
    }
}

#[test]
fn the_topmost_error_is_the_one_reported() {
    let text = with_tables("b = \"bth\"\na = \"bothh\"\n[table.c]\nx = 1");
    assert!(refused(&text).starts_with("line 3: `b`"), "{}", refused(&text));
}

#[test]
fn an_option_that_cannot_stand_with_the_direction_is_refused() {
    for (direction, option) in [
        ("from-source", "conflict = \"manual\""),
        ("from-target", "delta = [\"x\"]"),
        ("local", "rows = \"branch_id = :branch\""),
        ("initial", "max_age = \"1d\""),
        ("local", "deletes = \"send\""),
        ("both", "history = \"90d\"\nhistory_column = \"x\""),
        ("from-target", "history = \"90d\""),
        ("from-target", "history_column = \"sold_at\""),
        ("local", "triggers = \"fire\""),
        ("both", "rows = \"via p*\""),
        ("both", "rows = \"branch_id = :brnach\""),
    ] {
        let named = refused(&with_tables(&format!("a = \"{direction}\"\n[table.a]\n{option}")));
        assert!(named.starts_with("line 5: "), "{named}");
    }
    let by_pattern = unfit(&with_tables("\"a*\" = \"local\"\n[table.\"a*\"]\ntriggers = \"fire\""), &["a1", "b"]);
    assert_eq!(by_pattern.len(), 2, "{by_pattern:?}");
    assert!(by_pattern[0].starts_with("line 5: option `triggers` of table `a1`"), "{by_pattern:?}");
}

#[test]
fn names_and_tables_that_miss_each_other_are_reported_together() {
    let text = with_tables("prodcut = \"from-source\"\n\"till_*\" = \"local\"");
    assert_eq!(
        unfit(&text, &["product", "zebra"]),
        [
            "line 3: the database has no table `prodcut`; did you mean `product`?",
            "table `product` is not in the policy; give it a direction in [tables]; is it the `prodcut` written there?",
            "table `zebra` is not in the policy; give it a direction in [tables]",
        ]
    );
    let lenient = format!("missing = \"ignore\"\n{text}");
    assert_eq!(unfit(&lenient, &["product"]).len(), 1, "a misspelt name still shows");
    assert!(Policy::parse(&lenient).unwrap().resolve(&tables(&["till_drawer"])).is_ok());
}

#[test]
fn two_patterns_alike_ask_for_the_name() {
    let text = with_tables("\"sale_*\" = \"from-target\"\n\"*_item\" = \"local\"");
    assert_eq!(
        unfit(&text, &["sale_item"]),
        ["table `sale_item` is matched by `sale_*` (line 3) and `*_item` (line 4) alike; name it"]
    );
}

#[test]
fn via_leads_to_a_filtered_table_and_never_in_a_circle() {
    let policy = |rows: &str| with_tables(&format!("\"*\" = \"from-source\"\n{rows}"));
    let names = ["promotion", "promotion_item", "product"];
    let good = policy("[table.promotion]\nrows = \"b = :branch\"\n[table.promotion_item]\nrows = \"via promotion\"");
    let resolved = Policy::parse(&good).unwrap().resolve(&tables(&names)).unwrap();
    let item = resolved.get(&TableName::public("promotion_item")).unwrap();
    assert_eq!(item.rows.as_ref().and_then(RowFilter::parent), Some(TableName::public("promotion")));
    for (rows, says) in [
        ("[table.product]\nrows = \"via promtion\"", "did you mean `promotion`?"),
        ("[table.product]\nrows = \"via promotion\"", "has no row filter of its own"),
        ("[table.product]\nrows = \"via promotion\"\n[table.promotion]\nrows = \"via product\"", "circle"),
        ("[table.product]\nrows = \"via product\"", "circle"),
    ] {
        let errors = unfit(&policy(rows), &names);
        assert!(errors.iter().all(|error| error.contains(says)) && !errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn a_reference_is_judged_by_where_rows_arrive() {
    let text = with_tables(
        "src = \"from-source\"\ntgt = \"from-target\"\nboth = \"both\"\nini = \"initial\"\nloc = \"local\"\nflt = \
         \"from-source\"\n\
         [table.flt]\nrows = \"b = :branch\"",
    );
    let resolved =
        Policy::parse(&text).unwrap().resolve(&tables(&["src", "tgt", "both", "ini", "loc", "flt"])).unwrap();
    let judge = |child: &str, parent: &str| match resolved
        .check_reference(&pattern::table_name(child), &pattern::table_name(parent))
    {
        Ok(()) => "fine",
        Err(problem) if problem.is_fatal() => "fatal",
        Err(_) => "warning",
    };
    for (child, parent, verdict) in [
        ("src", "both", "fine"),
        ("tgt", "src", "fine"),
        ("tgt", "both", "fine"),
        ("tgt", "tgt", "fine"),
        ("both", "src", "fine"),
        ("loc", "tgt", "fine"),
        ("flt", "flt", "fine"),
        ("tgt", "flt", "fine"),
        ("src", "tgt", "fatal"),
        ("both", "tgt", "fatal"),
        ("ini", "tgt", "fatal"),
        ("tgt", "loc", "fatal"),
        ("src", "flt", "fatal"),
        ("src", "elsewhere", "fatal"),
        ("src", "ini", "warning"),
        ("tgt", "ini", "warning"),
        ("ini", "ini", "fine"),
    ] {
        assert_eq!(judge(child, parent), verdict, "{child} -> {parent}");
    }
}

#[test]
fn the_digest_is_of_the_meaning_alone() {
    let policy = Policy::parse(EXAMPLE).unwrap();
    let same = EXAMPLE
        .replace("\"shop\"", "\"other\"")
        .replace("# every table of the schema", "")
        .replace("[table.sale]", "triggers = \"quiet\"\n[table.\"public.sale\"]");
    assert_eq!(Policy::parse(&same).unwrap().digest(), policy.digest());
    for change in
        [("\"1d\"", "\"2d\""), ("\"both\"", "\"both\"\nx = \"local\""), ("credit_used", "credit"), ("deletes", "#")]
    {
        let other = EXAMPLE.replace(change.0, change.1);
        assert_ne!(Policy::parse(&other).unwrap().digest(), policy.digest(), "{change:?}");
    }
    assert_eq!(policy.digest().len(), 64);
}

fn any_options(direction: Direction) -> BoxedStrategy<String> {
    let age = prop_oneof![Just("0s"), Just("90d"), Just("7 min"), Just("1w"), Just("36h")];
    let both =
        (prop::sample::select(&ConflictRule::ALL[..]), prop::collection::btree_set("[a-z\"\\\\\u{e9}]{1,4}", 0..3));
    let rows = prop::option::of(prop::sample::select(
        &["branch_id = :branch", "note = 'a\"b\\\\'::text OR true", "via p"][..],
    ));
    let deletes = prop::sample::select(&Deletes::ALL[..]);
    (age, both, rows, deletes, any::<bool>())
        .prop_map(move |(age, (rule, delta), rows, deletes, history)| {
            let mut text = String::new();
            let delta: Vec<String> = delta.iter().map(|column| format!("'{column}'")).collect();
            if direction == Direction::Both {
                text += &format!("conflict = '{}'\ndelta = [{}]\n", rule.as_str(), delta.join(","));
            }
            if let Some(rows) = rows.filter(|rows| direction != Direction::Local && !rows.contains('\\')) {
                text += &format!("rows = \"\"\"{rows}\"\"\"\n");
            }
            if direction.flows_to_shop() || direction.flows_to_office() {
                text += &format!("max_age = '{age}'\ndeletes = '{}'\nmoney = ['total']\n", deletes.as_str());
            }
            if direction == Direction::FromTarget && history {
                text += &format!("history = '{age}'\nhistory_column = 'at'\n");
            }
            text
        })
        .boxed()
}

fn any_policy() -> impl Strategy<Value = Vec<(String, Direction, Option<String>)>> {
    let name = prop_oneof![
        "[a-z_]{1,6}",
        "[A-Z][a-z ]{0,3}[a-z]",
        "[a-z]{1,3}\\.[a-z]{1,4}",
        "[a-z]{1,3}\\*[a-z]{0,2}",
        "\u{e9}[a-z\"]{1,3}"
    ];
    let entry = prop::sample::select(&Direction::ALL[..])
        .prop_flat_map(move |direction| (Just(direction), prop::option::of(any_options(direction))));
    prop::collection::btree_map(name, entry, 1..8).prop_map(|entries| {
        entries.into_iter().map(|(name, (direction, options))| (name, direction, options)).collect()
    })
}

fn written(entries: &[(String, Direction, Option<String>)]) -> String {
    let mut text = String::from("name = \"any\"\n[tables]\n");
    for (name, direction, _) in entries {
        text += &format!("'{name}' = '{}'\n", direction.as_str());
    }
    for (name, _, options) in entries {
        if let Some(options) = options {
            text += &format!("[table.'{name}']\n{options}");
        }
    }
    text
}

proptest! {
    #[test]
    fn the_canonical_text_means_the_same(entries in any_policy()) {
        let policy = Policy::parse(&written(&entries)).map_err(|error| TestCaseError::fail(format!("{error}\n{}", written(&entries))))?;
        let canonical = policy.to_toml();
        let again = Policy::parse(&canonical).map_err(|error| TestCaseError::fail(format!("{error}\n{canonical}")))?;
        prop_assert_eq!(again.digest(), policy.digest());
        prop_assert_eq!(again.to_toml(), canonical);
    }

    #[test]
    fn order_does_not_matter(entries in any_policy(), seed in any::<u64>()) {
        let mut shuffled = entries.clone();
        let turn = usize::try_from(seed % entries.len() as u64).unwrap();
        shuffled.rotate_left(turn);
        shuffled.reverse();
        let digests = [entries, shuffled].map(|entries| Policy::parse(&written(&entries)).unwrap().digest());
        prop_assert_eq!(&digests[0], &digests[1]);
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}", toml in "(name|tables|\\[|\\]|=|\"|\n|table|both|\\.|#| ){0,30}") {
        let _ = Policy::parse(&text);
        let _ = Policy::parse(&toml);
        let _ = Policy::parse(&with_tables(&toml));
    }
}

#[test]
fn a_group_is_a_number_of_a_table_that_the_office_alone_owns() {
    let text = "name = \"a\"\n[tables]\na = \"from-source\"\nb = \"from-source\"\nc = \"both\"\n[table.b]\ngroup = 2\n";
    let policy = Policy::parse(text).unwrap();
    let tables = ["a", "b", "c"].map(|name| TableName::new("public", name));
    let resolved = policy.resolve(&tables).unwrap();
    assert_eq!(resolved.tables.values().map(|table| table.group).collect::<Vec<_>>(), [1, 2, 1]);
    assert_eq!(resolved.groups().into_iter().collect::<Vec<_>>(), [1, 2]);
    assert!(policy.to_toml().contains("group = 2"));
    assert_ne!(policy.digest(), Policy::parse(&text.replace("group = 2", "group = 3")).unwrap().digest());
    let first = text.replace("group = 2", "group = 1");
    assert_eq!(
        Policy::parse(&first).unwrap().digest(),
        Policy::parse(&text.replace("[table.b]\ngroup = 2\n", "")).unwrap().digest()
    );
    // those that refer to each other travel together
    let problem = resolved.check_reference(&tables[0], &tables[1]).unwrap_err();
    assert!(problem.is_fatal() && problem.to_string().contains("give both the same group"), "{problem}");
    for wrong in ["group = 0", "group = 10", "group = \"2\"", "group = 1.5"] {
        let error = Policy::parse(&text.replace("group = 2", wrong)).unwrap_err().to_string();
        assert!(error.contains("a whole number from 1 to 9"), "{error}");
    }
    let both = Policy::parse(&text.replace("[table.b]", "[table.c]")).unwrap_err().to_string();
    assert!(both.contains("from-source") && both.contains("wait for its turn"), "{both}");
}
