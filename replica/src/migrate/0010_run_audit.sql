-- Schema sync, version 10. The history of the office says who started a run, and what exactly it took in.
alter table sync.run add column started_by    text;     -- null: runs of earlier versions
alter table sync.run add column pulled_digest text;
comment on column sync.run.pulled_digest is 'SHA-256 of the diff as it was received; null: nothing was taken in';
