-- What the tables of a peer looked like when it last told: columns that it does not have are not sent to it.
alter table sync.peer add column layout jsonb;
