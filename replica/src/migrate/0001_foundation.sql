-- Schema sync, version 1. Everything the product keeps in a database, at the office and at a shop alike.
create schema sync;
comment on schema sync is 'office/shop synchronisation: change logs, watermarks, sessions, branches';

create table sync.migration (
    number     int primary key,
    applied_at timestamptz not null default clock_timestamp()
);

-- What this database is. One row.
create table sync.node (
    only_row       boolean primary key default true check (only_row),
    role           text not null check (role in ('office', 'shop')),
    branch         text,                     -- at a shop: its name
    apply_role     text,                     -- role that writes received rows; null: the owner does
    base_snapshot  pg_snapshot,              -- "since 0": the last clean, or the installation of capture
    base_at        timestamptz,
    pruned_below   xid8 not null default '0', -- log entries of older transactions are gone
    awaiting_clone boolean not null default false, -- cleaned, and no clone applied since
    id_low         bigint,                   -- id range (low, high]
    id_high        bigint
);

-- Identity of the database's history; the newest row is in force.
create table sync.incarnation (
    number            int generated always as identity primary key,
    id                uuid not null default gen_random_uuid(),
    tag               int2 not null check (tag between 0 and 999),
    system_identifier bigint not null,
    began_at          timestamptz not null default clock_timestamp(),
    reason            text not null
);

-- Who changes are exchanged with: offices (at a shop), branches (at the office).
create table sync.peer (
    peer        int generated always as identity primary key,
    name        text not null unique,
    incarnation text,
    watermark   text                          -- newest token seen from it: an older one later means it was restored
);

-- Tables under capture and how their log looks.
create table sync.captured_table (
    number       int generated always as identity primary key,
    schema_name  text not null,
    table_name   text not null,
    relation     oid not null,
    style        text not null check (style in ('statement', 'row')),
    depth        text not null check (depth in ('keys', 'tombstones', 'old-values')),
    shape        text not null,               -- key and columns the functions were made for
    log_shape    text not null,               -- what the log's columns mean; as long as it holds, the log is kept
    triggers     jsonb not null default '{}', -- trigger name -> xmin of its row in pg_trigger, as installed
    active       boolean not null default true,
    installed_at timestamptz not null default clock_timestamp(),
    unique (schema_name, table_name)
);

-- A timestamp is only a key to a snapshot.
create table sync.watermark (
    peer            int not null,             -- 0: a tick, for nobody in particular
    issued          timestamptz not null,
    snapshot        pg_snapshot not null,
    incarnation     int not null references sync.incarnation,
    acknowledged_at timestamptz,
    primary key (peer, issued)
);
create index on sync.watermark (issued);

-- Sessions by which an office writes here: ledger (exactly once) and audit record in one.
create table sync.session (
    sid         int primary key,
    office      text not null,
    key         text not null,
    kind        text,                         -- null: base methods
    state       text not null default 'open' check (state in ('open', 'applied', 'refused', 'aborted', 'expired')),
    base        text,
    quarantine  boolean not null default false,
    dry_run     boolean not null default false,
    peer        text not null,                -- address of the caller
    rows        bigint not null default 0,
    quarantined bigint not null default 0,
    tables      jsonb,
    digest      text,
    fault_code  int,
    fault       text,
    opened_at   timestamptz not null default clock_timestamp(),
    ended_at    timestamptz,
    unique (office, key)
);
create index on sync.session (state) where state = 'open';

-- The office's side.
create table sync.policy (
    name        text primary key,
    source      text not null,
    digest      text not null,
    imported_at timestamptz not null default clock_timestamp()
);

create table sync.branch_synchronization (
    branch_id          bigint primary key check (branch_id > 0),
    branch             text not null unique,
    policy             text not null references sync.policy,
    "timestamp"        text,                  -- watermark of the shop's changes that have been taken in
    pushed_snapshot    pg_snapshot,           -- the office's own watermark: what the shop has
    pushed_incarnation int references sync.incarnation,
    peer               int not null references sync.peer,
    url                text not null,
    user_name          text,
    password_file      text,
    settings           jsonb not null default '{}',
    incarnation        text,                  -- of the shop's database, as last seen
    paused             boolean not null default false,
    outgoing_key       text,                  -- a frozen stream that is, or may have been, sent
    outgoing_kind      text,
    outgoing_stream    text,
    outgoing_snapshot  pg_snapshot,
    outgoing_base      text,                  -- the shop's watermark that the stream rests on
    added_at           timestamptz not null default clock_timestamp(),
    cloned_at          timestamptz,
    pulled_at          timestamptz,
    pushed_at          timestamptz
);

-- Id ranges given to branches, never twice.
create table sync.id_slot (
    slot        int primary key check (slot > 0),
    branch_id   bigint not null,
    low         bigint not null,
    high        bigint not null,
    assigned_at timestamptz not null default clock_timestamp()
);

create table sync.run (
    run            bigint generated always as identity primary key,
    branch_id      bigint not null,
    branch         text not null,
    kind           text not null,
    result         text not null,
    pulled_rows    bigint not null default 0,
    pushed_rows    bigint not null default 0,
    sent_bytes     bigint not null default 0,
    received_bytes bigint not null default 0,
    started_at     timestamptz not null,
    seconds        double precision not null,
    error          text
);
create index on sync.run (branch_id, run desc);

-- Conflicts of 'both' tables: the loser is kept.
create table sync.conflict (
    conflict    bigint generated always as identity primary key,
    schema_name text not null,
    table_name  text not null,
    key         jsonb not null,
    kind        text not null,                -- columns, update-delete, insert-insert, revived
    rule        text not null,
    columns     text[] not null default '{}',
    base        jsonb,
    ours        jsonb,
    theirs      jsonb,
    winner      text not null,                -- office, shop
    peer        int references sync.peer,
    changed_by  text,
    changed_at  timestamptz,
    noticed_at  timestamptz not null default clock_timestamp(),
    resolved_at timestamptz,
    resolution  text
);
create index on sync.conflict (resolved_at) where resolved_at is null;

-- Rows that wait until what they lack is there. One entry per key; a newer image replaces it.
create table sync.quarantine (
    entry       bigint generated always as identity primary key,
    schema_name text not null,
    table_name  text not null,
    key         jsonb not null,
    peer        int references sync.peer,
    operation   text not null,
    image       jsonb,
    base        jsonb,
    reason      text not null,
    since       timestamptz not null default clock_timestamp(),
    unique (schema_name, table_name, key, peer)
);

-- Amounts: running totals of increments since the incarnation began, ours and the last ones stored of each peer.
create table sync.total (
    peer        int not null,                 -- 0: our own
    incarnation text not null,
    schema_name text not null,
    table_name  text not null,
    key         jsonb not null,
    column_name text not null,
    total       numeric not null,
    primary key (peer, incarnation, schema_name, table_name, key, column_name)
);

-- Deleted rows of the office's own tables: a sale that arrives late and refers to one brings it back.
create table sync.tombstone (
    schema_name text not null,
    table_name  text not null,
    key         jsonb not null,
    image       jsonb not null,
    xid         xid8 not null default pg_current_xact_id(),
    deleted_at  timestamptz not null default clock_timestamp()
);
create index on sync.tombstone (schema_name, table_name, key);

-- What clean put aside.
create table sync.aside (
    schema_name text not null,
    table_name  text not null,
    copy        text not null,                -- table in schema sync_aside
    rows        bigint not null,
    taken_at    timestamptz not null default clock_timestamp(),
    primary key (schema_name, table_name)
);

-- Freshness per table, for the shop's own programs.
create table sync.table_freshness (
    schema_name text not null,
    table_name  text not null,
    as_of       timestamptz,
    max_age     interval,
    primary key (schema_name, table_name)
);
create view sync.freshness as
    select case when schema_name = 'public' then table_name else schema_name || '.' || table_name end as "table",
           as_of, max_age, coalesce(as_of < clock_timestamp() - max_age, as_of is null and max_age is not null) as stale
    from sync.table_freshness;
grant usage on schema sync to public;
grant select on sync.freshness to public;
