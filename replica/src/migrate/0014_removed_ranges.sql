-- Schema sync, version 14. Ids and the number of a branch that was removed are nobody's for ever, also when its number is
-- given out anew on purpose.
alter table sync.id_slot add column removed boolean not null default false;
update sync.id_slot s set removed = true
    where not exists (select from sync.branch_synchronization b where b.branch_id = s.branch_id);
comment on column sync.id_slot.removed is 'the branch was removed: whoever has its number now has other ids';
