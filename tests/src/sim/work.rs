//! What applications do: sales, changes of master data, points, deletes; in short transactions and long ones.

use std::collections::BTreeMap;

use protocol::merge::Image;

use super::chance::Chance;
use super::context::Context;
use super::model::Node;
use super::schema;
use super::store::{Database, Key, Write};
use super::world::tables_of;

/// Ids that everybody may use for rows of `card`: natural keys.
const CARDS: usize = 4;

fn image(pairs: &[(&str, String)]) -> Image {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Some(value.clone()))).collect()
}

/// The office's rows at the beginning.
pub(super) fn begin() -> BTreeMap<Key, Image> {
    let mut rows = BTreeMap::new();
    for id in 1..=4 {
        rows.insert((schema::PRODUCT, id), image(&[("n", "0".to_owned())]));
        for table in [schema::PERSON, schema::NOTE] {
            rows.insert((table, id), image(&[("a", format!("a{table}.{id}")), ("b", format!("b{table}.{id}"))]));
        }
        rows.insert((schema::ACCOUNT, id), image(&[("a", format!("a.{id}")), ("points", "100".to_owned())]));
    }
    rows.insert((schema::CARD, 1), image(&[("a", "a.card".to_owned()), ("b", "b.card".to_owned())]));
    rows
}

/// A till does something: begins a transaction, writes, ends one.
pub(super) fn at_work<R: Clone>(ctx: &mut Context, db: &mut Database<R>, node: Node, next: i64, chance: &mut Chance) {
    if !db.open.is_empty() && chance.permille(250) {
        let index = chance.below(db.open.len());
        end(ctx, db, index, chance);
        return;
    }
    if !db.open.is_empty() && chance.permille(200) {
        let index = chance.below(db.open.len());
        write(ctx, db, node, next, index, chance);
        return;
    }
    long(ctx, db, node, next, chance);
    if chance.permille(850) && !db.open.is_empty() {
        end(ctx, db, db.open.len() - 1, chance);
    }
}

/// Begins a transaction with a statement or two, and leaves it open.
pub(super) fn long<R: Clone>(ctx: &mut Context, db: &mut Database<R>, node: Node, next: i64, chance: &mut Chance) {
    if db.open.len() >= 3 {
        return;
    }
    let number = ctx.model.begin(node);
    db.begin(number);
    let index = db.open.len() - 1;
    write(ctx, db, node, next, index, chance);
}

/// Ends every open transaction.
pub(super) fn end_all<R: Clone>(ctx: &mut Context, db: &mut Database<R>, chance: &mut Chance) {
    while !db.open.is_empty() {
        end(ctx, db, 0, chance);
    }
}

fn end<R: Clone>(ctx: &mut Context, db: &mut Database<R>, index: usize, chance: &mut Chance) {
    if chance.permille(80) {
        db.open.remove(index);
        return;
    }
    let before: BTreeMap<Key, Image> = db.open[index]
        .writes
        .iter()
        .filter_map(|write| Some((write.key(), db.now.rows.get(&write.key())?.clone())))
        .collect();
    let transaction = db.commit(index, chance.permille(400), ctx.now());
    ctx.model.committed(transaction.number, &transaction.writes, &before);
    ctx.say(|| {
        format!(
            "  {:?} commits {}: {:?}",
            ctx.model.commits[transaction.number].node, transaction.xid, transaction.writes
        )
    });
}

fn write<R: Clone>(ctx: &mut Context, db: &mut Database<R>, node: Node, next: i64, index: usize, chance: &mut Chance) {
    let tables = tables_of(node);
    let table = tables[chance.below(tables.len())];
    let existing: Vec<i64> = db.now.rows.range((table, i64::MIN)..=(table, i64::MAX)).map(|(key, _)| key.1).collect();
    let id = chance.pick(&existing).copied();
    let n = ctx.unique();
    let version = || image(&[("n", n.to_string())]);
    let fresh = match node {
        // the office's own ids are those of slot 0
        Node::Office => i64::try_from(n).unwrap_or(0) + 1000,
        Node::Shop(_) => next,
    };
    let mut writes = Vec::new();
    match table {
        schema::SALE | schema::SALE_ITEM => {
            let (id, is_new) = match id {
                Some(id) if chance.permille(400) => (id, false),
                _ => (fresh, true),
            };
            for table in [schema::SALE, schema::SALE_ITEM] {
                let key = (table, id);
                writes.push(if is_new { Write::Insert(key, version()) } else { Write::Set(key, version()) });
            }
        }
        schema::REFUND | schema::PRODUCT | schema::TILL_NOTE => writes.push(match id {
            Some(id) if chance.permille(250) => Write::Delete((table, id)),
            Some(id) if chance.permille(400) => Write::Set((table, id), version()),
            _ => Write::Insert((table, fresh), version()),
        }),
        schema::ACCOUNT => match id {
            Some(id) if chance.permille(700) => {
                writes.push(Write::Add((table, id), "points", 1 + i64::try_from(chance.below(9)).unwrap_or(0)));
            }
            Some(id) => writes.push(Write::Set((table, id), image(&[("a", format!("v{n}"))]))),
            None => {}
        },
        _ => {
            let whole = || image(&[("a", format!("v{n}")), ("b", format!("w{n}"))]);
            let card = i64::try_from(1 + chance.below(CARDS)).unwrap_or(1);
            match id {
                Some(id) if chance.permille(100) => writes.push(Write::Delete((table, id))),
                Some(id) if chance.permille(800) => {
                    let column = if chance.permille(500) { ("a", format!("v{n}")) } else { ("b", format!("w{n}")) };
                    writes.push(Write::Set((table, id), image(&[column])));
                }
                _ if table == schema::CARD && existing.contains(&card) => {}
                _ if table == schema::CARD => writes.push(Write::Insert((table, card), whole())),
                _ => writes.push(Write::Insert((table, fresh), whole())),
            }
        }
    }
    // a till that meets a locked row does something else
    if writes.iter().all(|write| !db.is_locked(write.key())) {
        db.open[index].writes.extend(writes);
    }
}
