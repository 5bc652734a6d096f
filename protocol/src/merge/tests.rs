//! I3 and I11, without a database: the outcome is a pure function of the rule and the two versions, both ends reach it, and
//! the loser is named.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const COLUMNS: [&str; 3] = ["a", "b", "c"];

fn image(values: &[(&str, &str)]) -> Image {
    values.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect()
}

fn set(row: &[(&str, &str)], was: &[(&str, &str)]) -> Contender {
    Contender { version: Version::Present { row: image(row), changed: Changed::Columns(image(was)) }, stamp: None }
}

fn whole(row: &[(&str, &str)]) -> Contender {
    Contender { version: Version::Present { row: image(row), changed: Changed::Whole }, stamp: None }
}

fn deleted(was: &[(&str, &str)]) -> Contender {
    Contender { version: Version::Deleted { was: Some(image(was)) }, stamp: None }
}

fn stamped(contender: Contender, at: i64) -> Contender {
    Contender { stamp: Some(Stamp { at, by: "ana".into(), application: "till".into() }), ..contender }
}

fn decided(rule: ConflictRule, office: &Contender, shop: &Contender) -> Verdict {
    decide(rule, &BTreeSet::new(), office, shop)
}

fn found(kind: ConflictKind, columns: &[&str], winner: Side) -> Option<Found> {
    Some(Found { kind, columns: columns.iter().map(|name| (*name).to_owned()).collect(), winner })
}

#[test]
fn columns_that_one_side_changed_go_its_way() {
    let office = set(&[("a", "1"), ("b", "0"), ("c", "0")], &[("a", "0")]);
    let shop = set(&[("b", "2")], &[("b", "0")]);
    for rule in ConflictRule::ALL {
        let verdict = decided(rule, &office, &shop);
        assert_eq!(verdict, Verdict { row: Some(image(&[("a", "1"), ("b", "2"), ("c", "0")])), conflict: None });
    }
}

#[test]
fn a_column_that_both_changed_goes_by_the_rule_unless_they_made_it_equal() {
    let office = set(&[("a", "1"), ("b", "5")], &[("a", "0"), ("b", "0")]);
    let shop = set(&[("a", "2"), ("b", "5")], &[("a", "0"), ("b", "0")]);
    for (rule, winner, value) in [
        (ConflictRule::OfficeWins, Side::Office, "1"),
        (ConflictRule::Manual, Side::Office, "1"),
        (ConflictRule::ShopWins, Side::Shop, "2"),
        (ConflictRule::NewestWins, Side::Office, "1"),
    ] {
        let verdict = decided(rule, &office, &shop);
        assert_eq!(verdict.row, Some(image(&[("a", value), ("b", "5")])));
        assert_eq!(verdict.conflict, found(ConflictKind::Columns, &["a"], winner));
        assert!(verdict.travels_whole(winner) && !verdict.travels_whole(winner.other()));
    }
}

/// I11, I17: clocks change what `newest-wins` picks, at both ends alike.
#[test]
fn the_newest_change_wins_and_equal_clocks_are_decided_too() {
    let (office, shop) = (set(&[("a", "1")], &[("a", "0")]), set(&[("a", "2")], &[("a", "0")]));
    for (office_at, shop_at, value) in [(10, 11, "2"), (11, 10, "1"), (10, 10, "1")] {
        let verdict =
            decided(ConflictRule::NewestWins, &stamped(office.clone(), office_at), &stamped(shop.clone(), shop_at));
        assert_eq!(verdict.row, Some(image(&[("a", value)])));
    }
    let verdict = decided(ConflictRule::NewestWins, &office, &stamped(shop, 99));
    assert_eq!(verdict.row, Some(image(&[("a", "1")])), "who does not say when falls back to the office");
}

#[test]
fn what_came_back_to_its_old_value_yields_and_what_was_seen_is_followed() {
    let office = set(&[("a", "1")], &[("a", "0")]);
    let back = set(&[("a", "0")], &[("a", "0")]);
    assert_eq!(decided(ConflictRule::ShopWins, &office, &back).row, Some(image(&[("a", "1")])));
    assert_eq!(decided(ConflictRule::ShopWins, &office, &back).conflict, None);
    // the shop changed what the office had made of it: the window only overlaps
    let after = set(&[("a", "2")], &[("a", "1")]);
    assert_eq!(
        decided(ConflictRule::OfficeWins, &office, &after),
        Verdict { row: Some(image(&[("a", "2")])), conflict: None }
    );
}

#[test]
fn a_whole_row_against_changed_columns_meets_them_only() {
    let office = set(&[("a", "1"), ("b", "0")], &[("a", "0")]);
    let verdict = decided(ConflictRule::OfficeWins, &office, &whole(&[("a", "2"), ("b", "3")]));
    assert_eq!(verdict.row, Some(image(&[("a", "1"), ("b", "3")])));
    assert_eq!(verdict.conflict, found(ConflictKind::Columns, &["a"], Side::Office));
    let verdict = decided(ConflictRule::OfficeWins, &office, &whole(&[("a", "0"), ("b", "0")]));
    assert_eq!(verdict, Verdict { row: Some(image(&[("a", "1"), ("b", "0")])), conflict: None });
}

/// I9: deletes stay deleted, unless the rule says otherwise.
#[test]
fn inserts_and_deletes_meet_by_the_rule() {
    let (one, two) = (whole(&[("a", "1"), ("b", "0")]), whole(&[("a", "2"), ("b", "0")]));
    assert_eq!(decided(ConflictRule::Manual, &one, &one).conflict, None);
    let verdict = decided(ConflictRule::ShopWins, &one, &two);
    assert_eq!(verdict.row, Some(image(&[("a", "2"), ("b", "0")])));
    assert_eq!(verdict.conflict, found(ConflictKind::InsertInsert, &["a"], Side::Shop));

    let (gone, changed) = (deleted(&[("a", "0"), ("b", "0")]), set(&[("a", "1")], &[("a", "0")]));
    assert_eq!(decided(ConflictRule::OfficeWins, &gone, &gone), Verdict { row: None, conflict: None });
    let verdict = decided(ConflictRule::OfficeWins, &gone, &changed);
    assert_eq!((verdict.row, verdict.conflict), (None, found(ConflictKind::UpdateDelete, &[], Side::Office)));
    let verdict = decided(ConflictRule::ShopWins, &gone, &changed);
    assert_eq!(verdict.row, Some(image(&[("a", "1"), ("b", "0")])), "back from its tombstone, with the change");
    let verdict = decided(ConflictRule::OfficeWins, &changed, &gone);
    assert!(verdict.row.is_some() && verdict.travels_whole(Side::Office));
    let seen = decided(ConflictRule::ShopWins, &deleted(&[("a", "1"), ("b", "0")]), &changed);
    assert_eq!(seen, Verdict { row: None, conflict: None }, "who deleted it had seen the change");
}

#[test]
fn amounts_are_never_in_conflict() {
    let amounts = BTreeSet::from(["a".to_owned()]);
    let (office, shop) = (set(&[("a", "1"), ("b", "1")], &[("a", "0")]), set(&[("a", "2")], &[("a", "0")]));
    let verdict = decide(ConflictRule::OfficeWins, &amounts, &office, &shop);
    assert_eq!(verdict, Verdict { row: Some(image(&[("b", "1")])), conflict: None });
}

#[test]
fn totals_add_exactly_and_a_repeat_adds_nothing() {
    assert_eq!(amounts::receive("100.00", "7.50", Some("2.50")).as_deref(), Some("105.00"));
    assert_eq!(amounts::receive("105.00", "7.50", Some("7.50")).as_deref(), Some("105.00"));
    assert_eq!(amounts::total("105.00", Some("5.00")).as_deref(), Some("100.00"));
    assert_eq!(amounts::total("-0.1", Some("0.25")).as_deref(), Some("-0.35"));
    assert_eq!(amounts::receive("1e+20", "1", None).as_deref(), Some("100000000000000000001"));
    assert_eq!(amounts::receive("0.001", "-0.001", None).as_deref(), Some("0.000"));
    assert_eq!(amounts::receive("Infinity", "-Infinity", None).as_deref(), Some("NaN"));
    assert_eq!(amounts::receive("", "1", None), None);
    assert_eq!(amounts::receive("1e999999999", "1", None), None);
}

fn rule() -> impl Strategy<Value = ConflictRule> {
    prop::sample::select(ConflictRule::ALL.to_vec())
}

fn row() -> impl Strategy<Value = Image> {
    prop::array::uniform3(prop::option::of(0..3u8)).prop_map(|values| {
        COLUMNS.iter().zip(values).map(|(name, v)| ((*name).into(), v.map(|v| v.to_string()))).collect()
    })
}

/// What a side did to a row that both had: as it knows it itself, and as it tells the other.
fn deed(base: &Image, after: Option<&Image>, at: i64) -> (Contender, Contender) {
    let stamp = Some(Stamp { at, by: "ana".into(), application: "till".into() });
    let Some(after) = after else {
        let gone = Contender { version: Version::Deleted { was: Some(base.clone()) }, stamp };
        return (gone.clone(), gone);
    };
    let was: Image =
        base.iter().filter(|(name, v)| after.get(*name) != Some(v)).map(|(n, v)| (n.clone(), v.clone())).collect();
    let told: Image = was.keys().map(|name| (name.clone(), after[name].clone())).collect();
    let of = |row: Image| Contender {
        version: Version::Present { row, changed: Changed::Columns(was.clone()) },
        stamp: stamp.clone(),
    };
    (of(after.clone()), of(told))
}

proptest! {
    /// I3, I11.
    #[test]
    fn both_ends_reach_the_same_row_and_the_loser_is_named(
        rule in rule(), base in row(), office in prop::option::of(row()), shop in prop::option::of(row()),
        office_at in 0..3i64, shop_at in 0..3i64,
    ) {
        let (office_knows, office_tells) = deed(&base, office.as_ref(), office_at);
        let (shop_knows, shop_tells) = deed(&base, shop.as_ref(), shop_at);
        let at_office = decided(rule, &office_knows, &shop_tells);
        let at_shop = decided(rule, &office_tells, &shop_knows);
        prop_assert_eq!(&at_office, &at_shop);
        let everything_known = decided(rule, &office_knows, &shop_knows);
        prop_assert_eq!(&at_office, &everything_known);
        // whatever a side changed and does not stand was overruled on record
        for after in [&office, &shop] {
            let lost = match (after, &at_office.row) {
                (Some(after), Some(row)) => COLUMNS.iter().any(|name| after[*name] != base[*name] && row[*name] != after[*name]),
                (Some(after), None) => *after != base,
                (None, Some(_)) => true,
                (None, None) => false,
            };
            // a delete of a row that nobody changed, and a change undone, are nobody's loss
            prop_assert!(!lost || at_office.conflict.is_some());
        }
    }

    #[test]
    fn deciding_again_changes_nothing(rule in rule(), base in row(), office in row(), shop in row()) {
        let (office_knows, _) = deed(&base, Some(&office), 1);
        let (_, shop_tells) = deed(&base, Some(&shop), 2);
        let once = decided(rule, &office_knows, &shop_tells);
        let Version::Present { changed, .. } = &office_knows.version else { unreachable!() };
        let after = Contender {
            version: Version::Present { row: once.row.clone().unwrap_or_default(), changed: changed.clone() },
            stamp: office_knows.stamp.clone(),
        };
        prop_assert_eq!(decided(rule, &after, &shop_tells).row, once.row);
    }

    #[test]
    fn repeated_and_reordered_totals_add_up(steps in prop::collection::vec((any::<bool>(), -500..500i64, 0..3usize), 1..30)) {
        let scaled = |cents: i64| format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100);
        let (mut values, mut received) = ([scaled(10_000), scaled(10_000)], [None, Some(scaled(10_000))]);
        let mut expected = 10_000;
        for (here, change, repeats) in steps {
            let (me, you) = if here { (0, 1) } else { (1, 0) };
            values[me] = amounts::receive(&values[me], &scaled(change), None).unwrap();
            expected += change;
            for _ in 0..repeats {
                let total = amounts::total(&values[me], received[me].as_deref()).unwrap();
                values[you] = amounts::receive(&values[you], &total, received[you].as_deref()).unwrap();
                received[you] = Some(total);
            }
        }
        for (me, you) in [(0, 1), (1, 0)] {
            let total = amounts::total(&values[me], received[me].as_deref()).unwrap();
            values[you] = amounts::receive(&values[you], &total, received[you].as_deref()).unwrap();
            received[you] = Some(total);
        }
        prop_assert_eq!(&values[0], &scaled(expected));
        prop_assert_eq!(&values[1], &scaled(expected));
    }
}

/// A store in memory with one row, and the log of its changes.
#[derive(Default, Clone)]
struct Node {
    row: Option<Image>,
    /// (peer it came from; what it was before: none for "send it whole")
    log: Vec<(Option<usize>, Option<Option<Image>>)>,
    /// How much of the log each peer has.
    sent: [usize; 2],
}

impl Node {
    fn write(&mut self, row: Option<Image>, origin: Option<usize>) {
        if self.row != row {
            self.log.push((origin, Some(self.row.take())));
            self.row = row;
        }
    }

    /// What this node did that the peer has not seen; none where it did nothing.
    fn deed(&self, peer: usize) -> Option<Contender> {
        let entries: Vec<_> = self.log[self.sent[peer]..].iter().filter(|(origin, _)| *origin != Some(peer)).collect();
        entries.first()?;
        let whole = entries.iter().any(|(_, before)| before.is_none());
        let first = entries.iter().find_map(|(_, before)| before.as_ref());
        let version = match (&self.row, first) {
            (None, before) => Version::Deleted { was: before.cloned().flatten() },
            (Some(row), Some(Some(before))) if !whole => {
                let mut was = Image::new();
                let mut last = Some(before);
                // the first old value of every column that one of these entries changed
                for (index, (origin, _)) in self.log.iter().enumerate().skip(self.sent[peer]) {
                    let Some(Some(before)) = &self.log[index].1 else {
                        last = None;
                        continue;
                    };
                    let after = self.log[index + 1..]
                        .iter()
                        .find_map(|(_, before)| before.as_ref())
                        .map_or(Some(row), Option::as_ref);
                    if *origin == Some(peer) {
                        continue;
                    }
                    match after {
                        Some(after) => {
                            for (name, old) in before {
                                if after[name] != *old {
                                    was.entry(name.clone()).or_insert_with(|| old.clone());
                                }
                            }
                        }
                        None => last = None,
                    }
                }
                match last {
                    Some(_) => Version::Present { row: row.clone(), changed: Changed::Columns(was) },
                    None => Version::Present { row: row.clone(), changed: Changed::Whole },
                }
            }
            (Some(row), _) => Version::Present { row: row.clone(), changed: Changed::Whole },
        };
        Some(Contender { version, stamp: Some(Stamp { at: 0, by: String::new(), application: String::new() }) })
    }

    fn take(&mut self, us: Side, peer: usize, rule: ConflictRule, theirs: &Contender) {
        let (row, whole) = match self.deed(peer) {
            Some(ours) => {
                let (office, shop) = if us == Side::Office { (&ours, theirs) } else { (theirs, &ours) };
                let verdict = decided(rule, office, shop);
                let whole = verdict.travels_whole(us);
                (verdict.row, whole)
            }
            None => match &theirs.version {
                Version::Deleted { .. } => (None, false),
                Version::Present { row, changed: Changed::Whole } => (Some(row.clone()), false),
                Version::Present { row, changed: Changed::Columns(was) } => {
                    let mut new = self.row.clone().expect("a row that the peer has changed");
                    new.extend(was.keys().map(|name| (name.clone(), row[name].clone())));
                    (Some(new), false)
                }
            },
        };
        self.write(row, Some(peer));
        if whole {
            self.log.push((None, None));
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Node 0 is the office, 1 and 2 are shops.
    Write(usize, Option<Image>),
    Change(usize, usize, u8),
    Pull(usize),
    Push(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..3usize, prop::option::of(row())).prop_map(|(node, row)| Step::Write(node, row)),
        4 => (0..3usize, 0..3usize, 0..9u8).prop_map(|(node, column, value)| Step::Change(node, column, value)),
        2 => (0..2usize).prop_map(Step::Pull),
        2 => (0..2usize).prop_map(Step::Push),
    ]
}

struct World {
    office: Node,
    shops: [Node; 2],
    rule: ConflictRule,
}

impl World {
    fn pull(&mut self, shop: usize) -> bool {
        let told = self.shops[shop].deed(0);
        if let Some(theirs) = &told {
            self.office.take(Side::Office, shop, self.rule, theirs);
        }
        self.shops[shop].sent[0] = self.shops[shop].log.len();
        told.is_some()
    }

    fn push(&mut self, shop: usize) -> bool {
        let told = self.office.deed(shop);
        if let Some(theirs) = &told {
            self.shops[shop].take(Side::Shop, 0, self.rule, theirs);
        }
        self.office.sent[shop] = self.office.log.len();
        told.is_some()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// I3: two shops and the office, any order of work and of pulls and pushes, whole updates or halves.
    #[test]
    fn everybody_agrees_after_quiescence(rule in rule(), base in prop::option::of(row()), steps in prop::collection::vec(step(), 0..25)) {
        let node = Node { row: base, ..Node::default() };
        let mut world = World { office: node.clone(), shops: [node.clone(), node], rule };
        for step in steps {
            let node = |world: &mut World, number: usize| if number == 0 { world.office.clone() } else { world.shops[number - 1].clone() };
            match step {
                Step::Write(number, row) => {
                    let mut changed = node(&mut world, number);
                    changed.write(row, None);
                    if number == 0 { world.office = changed } else { world.shops[number - 1] = changed }
                }
                Step::Change(number, column, value) => {
                    let mut changed = node(&mut world, number);
                    if let Some(mut row) = changed.row.clone() {
                        row.insert(COLUMNS[column].into(), Some(value.to_string()));
                        changed.write(Some(row), None);
                    }
                    if number == 0 { world.office = changed } else { world.shops[number - 1] = changed }
                }
                Step::Pull(shop) => { world.pull(shop); }
                // an update pulls before it pushes; what a shop does in between is contended there
                Step::Push(shop) => { world.push(shop); }
            }
        }
        let quiet = (0..10).any(|_| {
            let mut moved = false;
            for shop in 0..2 {
                moved |= world.pull(shop);
                moved |= world.push(shop);
            }
            !moved
        });
        prop_assert!(quiet, "changes still travel");
        prop_assert_eq!(&world.office.row, &world.shops[0].row);
        prop_assert_eq!(&world.office.row, &world.shops[1].row);
    }
}
