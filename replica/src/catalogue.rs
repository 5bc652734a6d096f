//! What the tables of a database look like: columns, keys, foreign keys, sequences, partitions.

use std::collections::{BTreeMap, BTreeSet};

use protocol::dialect::LiteralKind;
use protocol::names::{TableName, quote_identifier};
use sha2::{Digest, Sha256};
use tokio_postgres::GenericClient;

use crate::ReplicaError;
use crate::binary_copy::BinaryType;
use crate::error::classify;
use crate::spool::hex;

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, as the catalogue spells it.
    pub name: String,
    /// Its type with modifiers, as `format_type` prints it.
    pub type_name: String,
    /// How a value is written as a literal.
    pub literal: LiteralKind,
    /// How a value is written in COPY's binary format; none where only its text is known.
    pub binary: Option<BinaryType>,
    /// `GENERATED ALWAYS AS (...) STORED`: never written.
    pub generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`: written with OVERRIDING SYSTEM VALUE.
    pub always_identity: bool,
    /// NOT NULL.
    pub not_null: bool,
    /// Whether it has a default, or is an identity column.
    pub has_default: bool,
    /// Sequence that gives its default (schema and name), if one does.
    pub sequence: Option<TableName>,
}

/// A foreign key, seen from the table that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// Name of the constraint.
    pub name: String,
    /// The referencing table.
    pub child: TableName,
    /// Referencing columns.
    pub columns: Vec<String>,
    /// The referenced table.
    pub parent: TableName,
    /// Referenced columns, in the order of `columns`.
    pub parent_columns: Vec<String>,
    /// Its definition, as `pg_get_constraintdef` prints it.
    pub definition: String,
    /// Whether it can be deferred.
    pub deferrable: bool,
    /// Whether it has been validated.
    pub validated: bool,
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: TableName,
    /// Its OID.
    pub oid: u32,
    /// Columns in catalogue order.
    pub columns: Vec<Column>,
    /// Positions in `columns` of the primary key, in key order; empty without one.
    pub key: Vec<usize>,
    /// Whether the primary key is deferrable (ON CONFLICT cannot use it).
    pub key_deferrable: bool,
    /// Whether it is the root of a partitioned table.
    pub partitioned: bool,
    /// Whether it has INHERITS children or parents.
    pub inherits: bool,
    /// Column lists of deferrable unique constraints, which `session_replication_role = replica` does not check.
    pub deferrable_uniques: Vec<Vec<String>>,
    /// Whether rows have unique values besides the primary key.
    pub more_uniques: bool,
    /// Columns that these values, or what excludes other rows, are made of.
    pub unique_columns: Vec<String>,
    /// Triggers of the application that fire on row changes.
    pub application_triggers: Vec<String>,
    /// Estimated rows, as the last ANALYZE saw them; negative when unknown.
    pub estimated_rows: f32,
}

impl Table {
    /// Columns that are written: all but generated ones.
    pub fn written_columns(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.generated)
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Columns of the primary key, in key order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().map(|&index| &self.columns[index])
    }

    /// Whether a column belongs to the primary key.
    pub fn is_key(&self, name: &str) -> bool {
        self.key_columns().any(|column| column.name == name)
    }

    /// The key columns behind a prefix such as `t.`, as a list.
    pub(crate) fn key_list(&self, prefix: &str) -> String {
        let names: Vec<String> =
            self.key_columns().map(|column| format!("{prefix}{}", quote_identifier(&column.name))).collect();
        names.join(", ")
    }

    /// The condition that two rows have the same key; prefixes such as `t.`.
    pub(crate) fn same_key(&self, left: &str, right: &str) -> String {
        self.keys_compared(left, "=", right)
    }

    /// The same where the search path may be anybody's.
    pub(crate) fn same_key_on_any_path(&self, left: &str, right: &str) -> String {
        self.keys_compared(left, "operator(pg_catalog.=)", right)
    }

    fn keys_compared(&self, left: &str, equals: &str, right: &str) -> String {
        let pairs: Vec<String> = self
            .key_columns()
            .map(|column| quote_identifier(&column.name))
            .map(|name| format!("{left}{name} {equals} {right}{name}"))
            .collect();
        pairs.join(" and ")
    }

    /// The same where the left side is a change log or the like, whose key columns are k1, k2, ...
    pub(crate) fn same_numbered_key(&self, left: &str, right: &str) -> String {
        let pairs: Vec<String> = self
            .key_columns()
            .enumerate()
            .map(|(index, column)| format!("{left}k{} = {right}{}", index + 1, quote_identifier(&column.name)))
            .collect();
        pairs.join(" and ")
    }

    /// The table in a FROM or DML clause: without the INHERITS children, which are tables of their own.
    pub fn target(&self) -> String {
        if self.inherits && !self.partitioned { format!("only {}", self.name.quoted()) } else { self.name.quoted() }
    }
}

/// The tables of a database.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalogue {
    /// Tables by name; partitions are part of their root.
    pub tables: BTreeMap<TableName, Table>,
    /// Foreign keys of all tables.
    pub foreign_keys: Vec<ForeignKey>,
}

impl Catalogue {
    /// Reads the catalogue of the connected database.
    pub async fn discover(client: &impl GenericClient) -> Result<Self, ReplicaError> {
        let failed = |error| classify("read the catalogue", error);
        let mut catalogue = Self::default();
        let mut by_oid = BTreeMap::new();
        for row in client.query(TABLES, &[]).await.map_err(failed)? {
            let name = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
            let oid: u32 = row.get(0);
            by_oid.insert(oid, name.clone());
            let table = Table {
                name: name.clone(),
                oid,
                columns: Vec::new(),
                key: Vec::new(),
                key_deferrable: false,
                partitioned: row.get(3),
                inherits: row.get(4),
                deferrable_uniques: Vec::new(),
                application_triggers: row.get(5),
                estimated_rows: row.get(6),
                more_uniques: row.get(7),
                unique_columns: row.get(8),
            };
            catalogue.tables.insert(name, table);
        }
        let mut positions: BTreeMap<u32, BTreeMap<i16, usize>> = BTreeMap::new();
        for row in client.query(COLUMNS, &[]).await.map_err(failed)? {
            let oid: u32 = row.get(0);
            let Some(table) = by_oid.get(&oid).and_then(|name| catalogue.tables.get_mut(name)) else { continue };
            positions.entry(oid).or_default().insert(row.get(1), table.columns.len());
            let sequence = match (row.get::<_, Option<String>>(8), row.get::<_, Option<String>>(9)) {
                (Some(schema), Some(name)) => Some(TableName::new(schema, name)),
                _ => None,
            };
            table.columns.push(Column {
                name: row.get(2),
                type_name: row.get(3),
                literal: literal_kind(row.get::<_, i8>(4) as u8, row.get(10)),
                binary: row.get::<_, Option<String>>(12).and_then(|name| BinaryType::named(&name)),
                generated: row.get(5),
                always_identity: row.get(6),
                not_null: row.get(7),
                has_default: row.get(11),
                sequence,
            });
        }
        for row in client.query(KEYS, &[]).await.map_err(failed)? {
            let oid: u32 = row.get(0);
            let Some(table) = by_oid.get(&oid).and_then(|name| catalogue.tables.get_mut(name)) else { continue };
            let Some(positions) = positions.get(&oid) else { continue };
            let columns: Vec<usize> =
                row.get::<_, Vec<i16>>(1).iter().filter_map(|number| positions.get(number).copied()).collect();
            let deferrable: bool = row.get(3);
            if row.get::<_, bool>(2) {
                table.key = columns;
                table.key_deferrable = deferrable;
            } else if deferrable {
                let names = columns.iter().map(|&index| table.columns[index].name.clone()).collect();
                table.deferrable_uniques.push(names);
            }
        }
        for row in client.query(FOREIGN_KEYS, &[]).await.map_err(failed)? {
            catalogue.foreign_keys.push(ForeignKey {
                name: row.get(0),
                child: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
                columns: row.get(3),
                parent: TableName::new(row.get::<_, String>(4), row.get::<_, String>(5)),
                parent_columns: row.get(6),
                definition: row.get(7),
                deferrable: row.get(8),
                validated: row.get(9),
            });
        }
        Ok(catalogue)
    }

    /// A cheap value that changes whenever something [`Catalogue::discover`] reads may have changed.
    pub async fn fingerprint(client: &impl GenericClient) -> Result<i64, ReplicaError> {
        let row = client.query_one(FINGERPRINT, &[]).await.map_err(|error| classify("read the catalogue", error))?;
        Ok(row.get(0))
    }

    /// A table by name.
    pub fn get(&self, name: &TableName) -> Option<&Table> {
        self.tables.get(name)
    }

    /// Names of all tables.
    pub fn names(&self) -> Vec<TableName> {
        self.tables.keys().cloned().collect()
    }

    /// Tables so that parents come before their children; members of a cycle in the order of their names.
    pub fn parents_first(&self, tables: &BTreeSet<TableName>) -> Vec<TableName> {
        let mut remaining = tables.clone();
        let mut ordered = Vec::with_capacity(remaining.len());
        while !remaining.is_empty() {
            let ready: Vec<TableName> = remaining
                .iter()
                .filter(|name| {
                    !self
                        .foreign_keys
                        .iter()
                        .any(|key| key.child == **name && key.parent != key.child && remaining.contains(&key.parent))
                })
                .cloned()
                .collect();
            let next = if ready.is_empty() { remaining.iter().next().cloned().into_iter().collect() } else { ready };
            for name in next {
                remaining.remove(&name);
                ordered.push(name);
            }
        }
        ordered
    }

    /// Foreign keys of a table.
    pub fn keys_of<'a>(&'a self, child: &'a TableName) -> impl Iterator<Item = &'a ForeignKey> {
        self.foreign_keys.iter().filter(move |key| key.child == *child)
    }

    /// Foreign keys that point to a table.
    pub fn keys_to<'a>(&'a self, parent: &'a TableName) -> impl Iterator<Item = &'a ForeignKey> {
        self.foreign_keys.iter().filter(move |key| key.parent == *parent)
    }

    /// Fingerprint of the layout of the given tables: names, columns, types, keys.
    pub fn layout_digest<'a>(&self, tables: impl Iterator<Item = &'a TableName>) -> String {
        let mut hash = Sha256::new();
        for name in tables {
            let Some(table) = self.tables.get(name) else { continue };
            hash.update(format!("table {name}\n"));
            let mut columns: Vec<_> = table.columns.iter().collect();
            columns.sort_by(|a, b| a.name.cmp(&b.name));
            for column in columns {
                hash.update(format!("{} {} {}\n", column.name, column.type_name, column.generated));
            }
            for column in table.key_columns() {
                hash.update(format!("key {}\n", column.name));
            }
        }
        hex(&hash.finalize())[..16].to_owned()
    }
}

/// Names as a quoted, comma-separated list.
pub fn column_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quote_identifier).collect::<Vec<_>>().join(", ")
}

/// Quotes a text as an SQL literal, for sessions with `standard_conforming_strings` (all of ours).
pub(crate) fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn literal_kind(category: u8, type_name: String) -> LiteralKind {
    match (category, type_name.as_str()) {
        // money and the object identifier types are in category N too, but need quotes
        (b'N', "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" | "oid") => LiteralKind::Number,
        (b'B', "bool") => LiteralKind::Bool,
        (b'V', "bit" | "varbit") => LiteralKind::Bits,
        _ => LiteralKind::Text,
    }
}

/// Own schemas, which are never synchronised, and the system's.
const TABLES: &str = "
select c.oid, n.nspname::text, c.relname::text, c.relkind = 'p',
       exists (select from pg_inherits i join pg_class r on r.oid = c.oid
               where (i.inhparent = c.oid or i.inhrelid = c.oid) and r.relkind = 'r'),
       coalesce((select array_agg(t.tgname::text order by t.tgname) from pg_trigger t
                 join pg_proc p on p.oid = t.tgfoid
                 where t.tgrelid = c.oid and not t.tgisinternal and t.tgenabled <> 'D'
                   and p.pronamespace is distinct from to_regnamespace('sync')), '{}'),
       c.reltuples,
       exists (select from pg_index i where i.indrelid = c.oid and i.indisunique and not i.indisprimary),
       -- by name in the index, or (of expressions and conditions) by what it depends on
       array(select distinct a.attname::text from pg_index i join pg_attribute a on a.attrelid = c.oid
             where i.indrelid = c.oid and (i.indisunique or i.indisexclusion) and not i.indisprimary
               and (a.attnum = any(i.indkey::int2[]) or exists (
                   select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
                      and d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and d.refobjsubid = a.attnum)))
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
  and n.nspname not in ('sync', 'sync_aside', 'pg_catalog', 'information_schema') and n.nspname not like 'pg\\_%'
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 2, 3";

const COLUMNS: &str = "
select a.attrelid, a.attnum, a.attname::text, format_type(a.atttypid, a.atttypmod), b.typcategory,
       a.attgenerated <> '', a.attidentity = 'a', a.attnotnull,
       sn.nspname::text, s.relname::text, b.typname::text, d.oid is not null or a.attidentity <> '',
       case when b.typtype = 'e' then 'text' when b.typnamespace = 'pg_catalog'::regnamespace then b.typname::text end
from pg_attribute a
join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p') and not c.relispartition
join pg_namespace n on n.oid = c.relnamespace
join pg_type t on t.oid = a.atttypid
join pg_type b on b.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
left join lateral (
    select s.relname, s.relnamespace from pg_depend p join pg_class s on s.oid = p.objid and s.relkind = 'S'
    where p.classid = 'pg_class'::regclass and p.refclassid = 'pg_class'::regclass
      and p.refobjid = a.attrelid and p.refobjsubid = a.attnum and p.deptype in ('a', 'i')
    union all
    select s.relname, s.relnamespace from pg_depend p join pg_class s on s.oid = p.refobjid and s.relkind = 'S'
    where p.classid = 'pg_attrdef'::regclass and p.objid = d.oid and p.refclassid = 'pg_class'::regclass
    limit 1) s on true
left join pg_namespace sn on sn.oid = s.relnamespace
where a.attnum > 0 and not a.attisdropped
  and n.nspname not in ('sync', 'sync_aside', 'pg_catalog', 'information_schema') and n.nspname not like 'pg\\_%'
order by a.attrelid, a.attnum";

const KEYS: &str = "
select conrelid, conkey, contype = 'p', condeferrable from pg_constraint
where contype in ('p', 'u') order by conrelid, conname";

const FOREIGN_KEYS: &str = "
select k.conname::text, cn.nspname::text, c.relname::text,
       (select array_agg(a.attname::text order by x.n) from unnest(k.conkey) with ordinality x(num, n)
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = x.num),
       pn.nspname::text, p.relname::text,
       (select array_agg(a.attname::text order by x.n) from unnest(k.confkey) with ordinality x(num, n)
        join pg_attribute a on a.attrelid = k.confrelid and a.attnum = x.num),
       pg_get_constraintdef(k.oid), k.condeferrable, k.convalidated
from pg_constraint k
join pg_class c on c.oid = k.conrelid join pg_namespace cn on cn.oid = c.relnamespace
join pg_class p on p.oid = k.confrelid join pg_namespace pn on pn.oid = p.relnamespace
where k.contype = 'f' and k.conparentid = 0 and cn.nspname not in ('sync', 'sync_aside')
order by k.conrelid, k.conname";

const FINGERPRINT: &str = "
select coalesce(hashtextextended(string_agg(x, ','), 0), 0) from (
    select a.attrelid || ':' || a.attnum || ':' || a.xmin || ':' || c.xmin as x
    from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and a.attnum > 0
      and n.nspname not in ('sync', 'sync_aside', 'pg_catalog', 'information_schema') and n.nspname not like 'pg\\_%'
    union all
    select k.oid || ':' || k.xmin from pg_constraint k join pg_namespace n on n.oid = k.connamespace
    where n.nspname not in ('sync', 'sync_aside', 'pg_catalog', 'information_schema') and n.nspname not like 'pg\\_%'
    order by 1) s";
