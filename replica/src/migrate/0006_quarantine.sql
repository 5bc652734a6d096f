-- Rows that wait: why, what is needed to merge them later, and who tried when.
alter table sync.quarantine
    add column detail          jsonb not null default '{}', -- columns an upsert sets, guards of an update, totals of amounts
    add column state           text,                        -- SQLSTATE, or 'row filter'
    add column constraint_name text,
    add column column_name     text,
    add column other_table     text,                        -- the table of the row that is missing, or still refers to it
    add column agreed          pg_snapshot,                 -- what the peer had of our changes when this one came
    add column statement       bigint,                      -- its number in the script of the transaction below
    add column xid             xid8 not null default pg_current_xact_id(), -- that brought its newest image
    add column tries           int not null default 0,
    add column tried_at        timestamptz;
create index on sync.quarantine (peer, tried_at nulls first, entry);

alter table sync.run add column quarantined bigint not null default 0;
alter table sync.branch_synchronization add column shop_quarantined bigint not null default 0; -- rows that wait there, as it last said
