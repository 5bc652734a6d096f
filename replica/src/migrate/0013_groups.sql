-- Schema sync, version 13. Groups of tables that travel behind the first one, each with the office's own watermark and
-- its own stream on the way.

-- What a branch has of a table that is not in the first group.
create table sync.pushed_table (
    branch_id    bigint not null references sync.branch_synchronization on delete cascade,
    schema_name  text not null,
    table_name   text not null,
    snapshot     pg_snapshot not null,
    incarnation  int not null,
    primary key (branch_id, schema_name, table_name)
);

-- A frozen stream of such a group that is, or may have been, sent.
create table sync.outgoing_group (
    branch_id    bigint not null references sync.branch_synchronization on delete cascade,
    "group"      int not null,
    key          text not null,
    stream       text not null,
    snapshot     pg_snapshot not null,
    incarnation  int not null,
    base         text,
    schemas      text[] not null, -- of the tables that it brings up to its snapshot, with their names
    tables       text[] not null,
    primary key (branch_id, "group")
);

-- The outgoing stream of the branch brings the tables of all groups up to its snapshot (it is a file).
alter table sync.branch_synchronization add column outgoing_all boolean not null default false;
