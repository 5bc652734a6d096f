-- What a run has found out about its line.
alter table sync.run
    add column redials      int not null default 0,
    add column chunk_bytes  bigint,
    add column send_rate    bigint,
    add column receive_rate bigint;
