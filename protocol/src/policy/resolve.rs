//! A policy held against the tables of a database.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{PolicyError, PolicyErrors};
use super::pattern::Tie;
use super::suggest::nearest;
use super::{Direction, GROUP_FIRST, Missing, Policy, RowFilter, TablePolicy, Triggers};
use crate::names::TableName;

/// A policy with the direction and options of every table of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedPolicy {
    /// The policy's name.
    pub name: String,
    /// Every table, also the local ones.
    pub tables: BTreeMap<TableName, TablePolicy>,
}

impl ResolvedPolicy {
    /// The groups in which changes travel to shops, in their order; the first one is always there.
    pub fn groups(&self) -> BTreeSet<u8> {
        self.tables.values().map(|policy| policy.group).chain([GROUP_FIRST]).collect()
    }

    /// The same with the application's triggers quiet everywhere: what is tried and taken back must not run them, for a
    /// number that a trigger draws from a sequence does not come back.
    #[must_use]
    pub fn quiet(&self) -> Self {
        let mut quiet = self.clone();
        quiet.tables.values_mut().for_each(|table| table.triggers = Triggers::Quiet);
        quiet
    }

    /// What holds for one table.
    pub fn get(&self, table: &TableName) -> Option<&TablePolicy> {
        self.tables.get(table)
    }

    /// The tables of one direction, by name.
    pub fn in_direction(&self, direction: Direction) -> impl Iterator<Item = (&TableName, &TablePolicy)> {
        self.tables.iter().filter(move |(_, policy)| policy.direction == direction)
    }

    /// Whether a foreign key from `child` to `parent` can hold on both sides; tables that are not in the policy cannot.
    pub fn check_reference(&self, child: &TableName, parent: &TableName) -> Result<(), ReferenceProblem> {
        let (Some(child_policy), Some(parent_policy)) = (self.get(child), self.get(parent)) else {
            return Err(ReferenceProblem::ParentStays {
                child: child.clone(),
                parent: parent.clone(),
                place: "either side",
            });
        };
        reference_problem((child, child_policy), (parent, parent_policy)).map_or(Ok(()), Err)
    }
}

/// Why a foreign key between two tables may not hold where their rows arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceProblem {
    /// The child's rows arrive where the parent's never do.
    #[error(
        "table `{child}` refers to `{parent}`, whose rows do not arrive at {place}; change the direction of one of them"
    )]
    ParentStays {
        /// The referring table.
        child: TableName,
        /// The table referred to.
        parent: TableName,
        /// Where the parent is missing: the shop or the office.
        place: &'static str,
    },
    /// The parent is filtered and the child is not, so children arrive whose parents do not.
    #[error(
        "table `{child}` has no row filter, but `{parent}`, to which it refers, has one; write rows = \"via {parent}\""
    )]
    ParentFiltered {
        /// The referring table.
        child: TableName,
        /// The table referred to.
        parent: TableName,
    },
    /// The two travel one after the other, so that for a while one is there without the other.
    #[error(
        "table `{child}` is of another group than `{parent}`, to which it refers; tables that refer to each other travel together: give both the same group"
    )]
    OtherGroup {
        /// The referring table.
        child: TableName,
        /// The table referred to.
        parent: TableName,
    },
    /// The parent is sent only once: what is added to it later does not arrive. It can work; it deserves a warning.
    #[error(
        "table `{child}` refers to `{parent}`, which is sent only at a clone; rows added to it later do not arrive"
    )]
    ParentOnlyInitial {
        /// The referring table.
        child: TableName,
        /// The table referred to.
        parent: TableName,
    },
}

impl ReferenceProblem {
    /// Whether the policy cannot work at all, rather than deserving a warning.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Self::ParentOnlyInitial { .. })
    }
}

type Named<'a> = (&'a TableName, &'a TablePolicy);

fn reference_problem((child, child_policy): Named<'_>, (parent, parent_policy): Named<'_>) -> Option<ReferenceProblem> {
    let stays = |place| Some(ReferenceProblem::ParentStays { child: child.clone(), parent: parent.clone(), place });
    if child_policy.direction.cloned() && !parent_policy.direction.cloned() {
        return stays("the shop");
    }
    // From-source and initial parents were at the office first.
    if child_policy.direction.flows_to_office() && parent_policy.direction == Direction::Local {
        return stays("the office");
    }
    if child_policy.direction.cloned() && child_policy.rows.is_none() && parent_policy.rows.is_some() && child != parent
    {
        return Some(ReferenceProblem::ParentFiltered { child: child.clone(), parent: parent.clone() });
    }
    let travel = child_policy.direction.flows_to_shop() && parent_policy.direction.flows_to_shop();
    if travel && child_policy.group != parent_policy.group {
        return Some(ReferenceProblem::OtherGroup { child: child.clone(), parent: parent.clone() });
    }
    let later = child_policy.direction.flows_to_shop() || child_policy.direction.flows_to_office();
    (later && parent_policy.direction == Direction::Initial)
        .then(|| ReferenceProblem::ParentOnlyInitial { child: child.clone(), parent: parent.clone() })
}

/// See [`Policy::resolve`].
pub(super) fn resolve(policy: &Policy, tables: &[TableName]) -> Result<ResolvedPolicy, PolicyErrors> {
    let known: BTreeSet<&TableName> = tables.iter().collect();
    let mut errors = unknown_tables(policy, &known);
    let mut resolved = ResolvedPolicy { name: policy.name.clone(), tables: BTreeMap::new() };
    for table in &known {
        match table_policy(policy, table, &known) {
            Ok(table_policy) => {
                resolved.tables.insert((*table).clone(), table_policy);
            }
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() {
        errors = via_problems(policy, &resolved);
    }
    if errors.is_empty() {
        return Ok(resolved);
    }
    errors.sort_by_key(|error| error.line().unwrap_or(usize::MAX));
    Err(PolicyErrors { policy: policy.name.clone(), errors })
}

/// See [`Policy::resolve_known`].
pub(super) fn resolve_known(
    policy: &Policy,
    tables: &[TableName],
) -> Result<(ResolvedPolicy, Vec<TableName>), PolicyErrors> {
    let (unnamed, known): (Vec<TableName>, Vec<TableName>) =
        tables.iter().cloned().partition(|table| matches!(policy.directions.find(table), Ok(None)));
    let mut resolved = resolve(policy, &known)?;
    for table in &unnamed {
        resolved.tables.insert(table.clone(), TablePolicy::new(Direction::Local));
    }
    Ok((resolved, unnamed))
}

fn unknown_tables(policy: &Policy, known: &BTreeSet<&TableName>) -> Vec<PolicyError> {
    if policy.missing == Missing::Ignore {
        return Vec::new();
    }
    let spelt: Vec<String> = known.iter().map(ToString::to_string).collect();
    let named = policy.directions.named().map(|(table, entry)| (table, entry.line));
    let with_options = policy.options.named().map(|(table, entry)| (table, entry.line));
    let mut unknown: BTreeMap<&TableName, usize> = BTreeMap::new();
    for (table, line) in named.chain(with_options).filter(|(table, _)| !known.contains(table)) {
        unknown.entry(table).or_insert(line);
    }
    let error = |(table, line): (&TableName, usize)| {
        let name = table.to_string();
        let suggestion = nearest(&name, spelt.iter().map(String::as_str));
        PolicyError::UnknownTable { line, name, suggestion }
    };
    unknown.into_iter().map(error).collect()
}

fn table_policy(
    policy: &Policy,
    table: &TableName,
    known: &BTreeSet<&TableName>,
) -> Result<TablePolicy, Vec<PolicyError>> {
    let direction = match policy.directions.find(table) {
        Ok(Some(entry)) => entry.value,
        Ok(None) => return Err(vec![unnamed(policy, table, known)]),
        Err(tie) => return Err(vec![ambiguous(table, &tie)]),
    };
    match policy.options.find(table) {
        Ok(Some(entry)) => entry.value.apply(&table.to_string(), direction),
        Ok(None) => Ok(TablePolicy::new(direction)),
        Err(tie) => Err(vec![ambiguous(table, &tie)]),
    }
}

fn unnamed(policy: &Policy, table: &TableName, known: &BTreeSet<&TableName>) -> PolicyError {
    let absent: Vec<String> = policy
        .directions
        .named()
        .map(|(name, _)| name)
        .filter(|name| !known.contains(name))
        .map(ToString::to_string)
        .collect();
    let suggestion = nearest(&table.to_string(), absent.iter().map(String::as_str));
    PolicyError::Unnamed { table: table.clone(), suggestion }
}

fn ambiguous<T>(table: &TableName, tie: &Tie<'_, T>) -> PolicyError {
    PolicyError::Ambiguous {
        table: table.clone(),
        first: tie.0.pattern.to_string(),
        first_line: tie.0.line,
        second: tie.1.pattern.to_string(),
        second_line: tie.1.line,
    }
}

fn via_problems(policy: &Policy, resolved: &ResolvedPolicy) -> Vec<PolicyError> {
    let mut errors = Vec::new();
    for (table, table_policy) in &resolved.tables {
        let Some(parent) = table_policy.rows.as_ref().and_then(RowFilter::parent) else { continue };
        let Some(reason) = via_problem(resolved, table, table_policy, &parent) else { continue };
        if let Ok(Some(entry)) = policy.options.find(table) {
            errors.push(entry.value.wrong(&table.to_string(), "rows", reason));
        }
    }
    errors
}

fn via_problem(
    resolved: &ResolvedPolicy,
    table: &TableName,
    table_policy: &TablePolicy,
    parent: &TableName,
) -> Option<String> {
    let Some(parent_policy) = resolved.get(parent) else {
        let spelt: Vec<String> = resolved.tables.keys().map(ToString::to_string).collect();
        let nearest = nearest(&parent.to_string(), spelt.iter().map(String::as_str));
        let hint = nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        return Some(format!("the database has no table `{parent}`{hint}"));
    };
    if parent_policy.rows.is_none() {
        return Some(format!("`{parent}` has no row filter of its own; give it one, or leave this one out"));
    }
    if let Some(problem) =
        reference_problem((table, table_policy), (parent, parent_policy)).filter(ReferenceProblem::is_fatal)
    {
        return Some(problem.to_string());
    }
    let mut seen = BTreeSet::from([table.clone()]);
    let mut next = Some(parent.clone());
    while let Some(step) = next {
        next = resolved.get(&step).and_then(|policy| policy.rows.as_ref()).and_then(RowFilter::parent);
        if !seen.insert(step) {
            return Some("its parents lead in a circle; one of them needs an expression".to_owned());
        }
    }
    None
}
