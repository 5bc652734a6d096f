-- Conflicts say who and when on both sides, and those that a shop found are listed at the office.
alter table sync.conflict
    add column identity     uuid not null default gen_random_uuid() unique, -- the same at the shop and at the office
    add column xid          xid8 not null default pg_current_xact_id(),     -- in which diff it travels
    add column application  text,
    add column ours_stamp   jsonb,                                          -- {at, by, application}
    add column theirs_stamp jsonb;
comment on column sync.conflict.changed_by is 'who made the change that was overruled; application and changed_at likewise';

-- the body as text: PostgreSQL 13 knows no other
create function sync.moment(stamp jsonb) returns timestamptz language sql immutable
    as $$ select to_timestamp((stamp ->> 'at')::numeric / 1000000) $$;

-- Amounts that have begun with a peer: since then, what each side contributed is told apart.
create table sync.amount (
    peer        int not null,
    schema_name text not null,
    table_name  text not null,
    column_name text not null,
    primary key (peer, schema_name, table_name, column_name)
);
insert into sync.amount select distinct peer, schema_name, table_name, column_name from sync.total;
