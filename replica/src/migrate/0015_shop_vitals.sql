-- Schema sync, version 15. What shops told of themselves, a line a day: how far their ids have come, and what room is left
-- on their disks.
create table sync.shop_vitals (
    branch_id bigint not null references sync.branch_synchronization on delete cascade,
    day       date not null,
    seen_at   timestamptz not null,
    id_low    bigint,
    id_high   bigint,
    ids_used  bigint,                   -- of the sequence that has come furthest
    disk_free bigint,                   -- bytes; null: an agent that does not say
    primary key (branch_id, day)
);
