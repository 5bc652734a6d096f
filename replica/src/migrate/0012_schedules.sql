-- Schema sync, version 12. When a schedule last began a run of the branch, and the newest run of the history at that moment: by these, of several
-- office processes one begins it, and a run that came to nothing is begun again.
alter table sync.branch_synchronization add column scheduled_at timestamptz, add column scheduled_after bigint;

-- What somebody was told of and has not ended: an alert is told once, by one of the office's processes.
create table sync.alert (
    branch text not null,   -- empty: the office itself
    kind text not null,
    words text not null,
    since timestamptz not null default clock_timestamp(),
    seen_at timestamptz not null default clock_timestamp(),
    primary key (branch, kind)
);
