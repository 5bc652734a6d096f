-- Histories that are compared at every contact, repairs for one peer.

-- Which copy of which database an incarnation began on.
alter table sync.incarnation add column timeline int, add column database_oid oid;

-- Grows with every contact and every apply; the witness in the state directory remembers how far it had come.
alter table sync.node
    add column mark         bigint not null default 0,
    add column sequences_of int;              -- incarnation whose ids begin beyond what a lost history may have used

-- Contacts with an office, at a shop.
alter table sync.peer
    add column contact        bigint not null default 0,
    add column token          text,
    add column token_before   text,
    add column history        text;           -- what the last contact has shown, when it was not 'same'

alter table sync.branch_synchronization
    add column contact        bigint not null default 0,
    add column token          text,
    add column next_token     text,           -- proposed, and perhaps stored by the shop already
    add column history        text,           -- what the last contact has shown, when it was not 'same'
    add column compared_from  int;            -- ids of this slot and later ones are at the shop; null: the newest alone

-- Ranges are given out beyond a gap after a restore: some may have been given out that nobody here remembers.
alter table sync.id_slot add column incarnation int;

-- A change that one peer is to get (again) and nobody else: what a repair finds out to be missing.
do $sync$ declare log regclass; begin
    for log in select to_regclass('sync.log_' || number) from sync.captured_table loop
        if log is not null then execute format('alter table %s add column target int', log); end if;
    end loop;
end $sync$;
