//! The tables of the simulation, and what the policy says about them: read and resolved by the product's own parser.

use std::collections::BTreeSet;
use std::rc::Rc;

use protocol::names::TableName;
use protocol::policy::{ConflictRule, Deletes, Direction, Policy, TablePolicy};

/// From-source.
pub(super) const PRODUCT: u8 = 0;
/// From-target; a row of `SALE_ITEM` with the same id is written in the same transaction.
pub(super) const SALE: u8 = 1;
/// From-target.
pub(super) const SALE_ITEM: u8 = 2;
/// From-target, deletes travel.
pub(super) const REFUND: u8 = 3;
/// Both, office-wins.
pub(super) const PERSON: u8 = 4;
/// Both, shop-wins.
pub(super) const NOTE: u8 = 5;
/// Both, newest-wins.
pub(super) const CARD: u8 = 6;
/// Both, with an amount.
pub(super) const ACCOUNT: u8 = 7;
/// Local.
pub(super) const TILL_NOTE: u8 = 8;

/// Their names, in this order.
pub(super) const NAMES: [&str; 9] =
    ["product", "sale", "sale_item", "refund", "person", "note", "card", "account", "till_note"];

/// The policy, as a file.
pub(super) const POLICY: &str = r#"
name = "simulated"
[tables]
product   = "from-source"
sale      = "from-target"
sale_item = "from-target"
refund    = "from-target"
person    = "both"
note      = "both"
card      = "both"
account   = "both"
till_note = "local"
[table.refund]
deletes = "send"
[table.note]
conflict = "shop-wins"
[table.card]
conflict = "newest-wins"
[table.account]
delta = ["points"]
"#;

/// What capture logs of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    None,
    Keys,
    OldValues,
}

/// Role of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Office,
    Shop,
}

/// The tables as a node sees them.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    /// The node's role.
    pub(super) role: Role,
    tables: Rc<[(TablePolicy, BTreeSet<String>)]>,
}

impl Schema {
    /// The tables in a role.
    ///
    /// # Panics
    /// If the product does not take the policy.
    pub(super) fn new(role: Role) -> Self {
        let names: Vec<TableName> = NAMES.iter().map(|name| TableName::new("public", *name)).collect();
        let policy = Policy::parse(POLICY).expect("the policy of the simulation is sound");
        let resolved = policy.resolve(&names).expect("the policy names every table");
        let rules = |name| {
            let rules = resolved.get(name).expect("every table has rules").clone();
            let amounts = rules.delta.iter().cloned().collect();
            (rules, amounts)
        };
        Self { role, tables: names.iter().map(rules).collect() }
    }

    /// What the policy says about a table.
    pub(super) fn direction(&self, table: u8) -> Direction {
        self.tables[usize::from(table)].0.direction
    }

    /// Who wins.
    pub(super) fn rule(&self, table: u8) -> ConflictRule {
        self.tables[usize::from(table)].0.conflict
    }

    /// Whether its deletes travel.
    pub(super) fn sends_deletes(&self, table: u8) -> bool {
        self.tables[usize::from(table)].0.deletes == Deletes::Send
    }

    /// Columns that add up.
    pub(super) fn amounts(&self, table: u8) -> &BTreeSet<String> {
        &self.tables[usize::from(table)].1
    }

    /// What capture logs of a table in this role (DESIGN.md section 3).
    pub(super) fn depth(&self, table: u8) -> Depth {
        match (self.direction(table), self.role) {
            (Direction::Both, _) => Depth::OldValues,
            (Direction::FromSource, Role::Office) | (Direction::FromTarget, Role::Shop) => Depth::Keys,
            _ => Depth::None,
        }
    }

    /// Whether changes of a table leave this node.
    pub(super) fn flows_out(&self, table: u8) -> bool {
        match self.role {
            Role::Office => self.direction(table).flows_to_shop(),
            Role::Shop => self.direction(table).flows_to_office(),
        }
    }
}
