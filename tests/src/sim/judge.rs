//! When the model is asked: as something happens, and at the end.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use protocol::merge::Image;
use protocol::policy::Direction;
use protocol::session::ledger::Recorded;
use protocol::snapshot::Snapshot;
use protocol::watermark::Since;

use super::context::Context;
use super::model::{Model, Node, number_in};
use super::office::Office;
use super::schema::{self, Role, Schema};
use super::shop::{OFFICE_PEER, Shop};
use super::store::{Key, Write};
use super::stream::Stream;

/// A fingerprint of the rows that come from the office alone.
pub(super) fn source_rows(rows: &BTreeMap<Key, Image>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (key, row) in rows.range((schema::PRODUCT, i64::MIN)..=(schema::PRODUCT, i64::MAX)) {
        (key, row).hash(&mut hasher);
    }
    hasher.finish()
}

/// A shop has applied something of the office: its catalogue is one that the office has had (I5, I7, I8).
pub(super) fn after_push(ctx: &mut Context, shop: &Shop, _ended_at: &Snapshot) {
    let found = source_rows(&shop.db.now.rows);
    if !ctx.model.was_frozen(found) && shop.is_trusted {
        ctx.violate("I5, I7", format!("the catalogue of shop {} is one that the office never had", shop.index));
    }
    for (sid, row) in &shop.db.now.records.sessions {
        if row.applied > 1 {
            ctx.violate("I2, I13", format!("session {sid} of shop {} was applied {} times", shop.index, row.applied));
        }
    }
}

/// The office has stored a watermark of a shop: all that it covers is there, and it is not older than the one before.
pub(super) fn after_pull(ctx: &mut Context, office: &Office, shop: &Shop, watermark: &str) {
    let Ok(Since::At(watermark)) = Since::parse(watermark) else { return };
    if ctx.model.moved_back(shop.index, watermark.micros) {
        ctx.violate("I8", format!("the watermark of shop {} moved back to {watermark}", shop.index));
    }
    let Some(mark) = shop.db.now.records.marks.get(&(OFFICE_PEER, watermark.micros)) else {
        // the shop was put back to a backup after it had frozen this
        ctx.model.taken_from_the_past(shop.index, watermark.micros);
        return;
    };
    let covered: Vec<usize> = shop
        .db
        .now
        .commits
        .iter()
        .filter(|(xid, number)| mark.snapshot.sees(*xid) && !ctx.model.commits[*number].is_taken)
        .map(|(_, number)| *number)
        .collect();
    let version = |key: Key| office.db.now.rows.get(&key).map_or(0, number_in);
    let mut broken = Vec::new();
    for number in &covered {
        for write in &ctx.model.commits[*number].writes {
            let (Write::Insert(key, row) | Write::Set(key, row)) = write else { continue };
            if ![schema::SALE, schema::SALE_ITEM].contains(&key.0) {
                continue;
            }
            if version(*key) < number_in(row) {
                broken.push(("I8", format!("watermark {watermark} of shop {} passes {key:?}", shop.index)));
            }
            if version((schema::SALE, key.1)) != version((schema::SALE_ITEM, key.1)) {
                broken.push(("I7", format!("sale {} of shop {} is there in part", key.1, shop.index)));
            }
        }
    }
    ctx.model.taken(covered.into_iter());
    for (invariant, text) in broken {
        ctx.violate(invariant, text);
    }
}

/// I10: what travels was changed by somebody other than its receiver.
pub(super) fn no_echo(ctx: &mut Context, from: Node, stream: &Stream) {
    let receiver = match from {
        Node::Shop(_) => Node::Office,
        Node::Office => match stream.id.split('-').nth(1).and_then(|shop| shop.parse().ok()) {
            Some(shop) => Node::Shop(shop),
            None => return,
        },
    };
    let echoed = stream.lines.iter().map(|line| line.key).find(|key| match from {
        Node::Shop(_) => !ctx.model.has_touched(from, *key),
        Node::Office => !ctx.model.is_touched_by_another_than(receiver, *key),
    });
    if let Some(key) = echoed {
        ctx.violate("I10", format!("{} sends {key:?} back to where it came from", stream.id));
    }
}

/// A shop is about to be emptied: unless somebody insists, all that it has is at the office.
pub(super) fn before_clean(ctx: &mut Context, shop: &mut Shop, force: bool) {
    let numbers: Vec<usize> = shop.db.now.commits.iter().map(|(_, number)| *number).collect();
    let travels = |write: &Write| write.key().0 != schema::TILL_NOTE;
    let lost: Vec<usize> = numbers
        .iter()
        .copied()
        .filter(|number| {
            let commit = &ctx.model.commits[*number];
            !commit.is_taken && commit.writes.iter().any(travels)
        })
        .collect();
    if let (Some(first), false) = (lost.first(), force) {
        let writes = &ctx.model.commits[*first].writes;
        let text = format!("shop {} is cleaned, and the office has not got {writes:?}", shop.index);
        ctx.violate("I1", text);
    }
    shop.db.now.commits.clear();
    ctx.model.lost(&numbers);
    ctx.model.forget_watermark(shop.index);
    shop.is_trusted = true;
}

/// What must hold when everything has come to rest.
pub(super) fn at_the_end(ctx: &mut Context, office: &Office, shops: &[Shop], begin: &BTreeMap<Key, Image>) {
    let of_shops: Vec<_> = shops.iter().map(|shop| (shop.index, &shop.db.now.rows)).collect();
    let mut broken = of_rows(&ctx.model, &office.db.now.rows, &of_shops, begin);
    for shop in shops {
        for (sid, row) in &shop.db.now.records.sessions {
            if row.recorded == Recorded::Open || row.ending.is_none() {
                broken.push(format!("I20: session {sid} of shop {} has no ending", shop.index));
            }
        }
        if !shop.logs.is_empty() {
            broken.push(format!("I6: shop {} keeps chunks of sessions that are over", shop.index));
        }
    }
    for text in broken {
        let (invariant, text) = text.split_once(": ").map_or(("", text.as_str()), |(name, text)| (name, text));
        ctx.violate(invariant, text);
    }
}

/// What must hold of the rows of the office and of each shop (its index, its rows) when everything has come to rest; what of
/// it does not.
pub(super) fn of_rows(
    model: &Model,
    office: &BTreeMap<Key, Image>,
    shops: &[(usize, &BTreeMap<Key, Image>)],
    begin: &BTreeMap<Key, Image>,
) -> Vec<String> {
    let schema = Schema::new(Role::Office);
    let mut broken = model.missing_at_office(office, |table| schema.direction(table) == Direction::FromTarget);
    broken.extend(model.silently_lost(office, |table| schema.direction(table) == Direction::Both));
    broken.extend(model.wrong_amounts(office, begin));
    for (index, shop) in shops {
        for (invariant, direction) in [("I4", Direction::FromSource), ("I3", Direction::Both)] {
            let part = |rows: &BTreeMap<Key, Image>| -> BTreeMap<Key, Image> {
                let of = |key: &Key| schema.direction(key.0) == direction;
                rows.iter().filter(|(key, _)| of(key)).map(|(key, row)| (*key, row.clone())).collect()
            };
            let (ours, theirs) = (part(office), part(shop));
            let keys = ours.keys().chain(theirs.keys()).find(|key| ours.get(key) != theirs.get(key));
            if let Some(key) = keys {
                broken.push(format!(
                    "{invariant}: {key:?} is {:?} at the office and {:?} at shop {index}",
                    ours.get(key),
                    theirs.get(key)
                ));
            }
        }
    }
    broken
}
