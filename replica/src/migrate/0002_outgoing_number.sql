-- Sessions by which the office writes to a branch are counted, so that a file which comes late is told from a missing one.
alter table sync.branch_synchronization add column outgoing_number bigint not null default 0;
