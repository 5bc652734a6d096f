-- Schema sync, version 18. A session remembers the conflicts that it met: what the office asks for after a dry run.
alter table sync.session add column conflicts bigint not null default 0;
comment on column sync.session.conflicts is 'rows of the session that had been changed here too';
