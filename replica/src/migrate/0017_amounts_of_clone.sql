-- Amounts begin anew with a clone: for which one the totals of the shop were forgotten, so that it is done once.
alter table sync.branch_synchronization add column amounts_key text;
