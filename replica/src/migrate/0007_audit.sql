-- Schema sync, version 7. The audit record of sessions names the credential, and can be read as a view.
alter table sync.session add column caller text;         -- name of the credential; null: without authentication
comment on column sync.session.digest is 'SHA-256 of the chunks as they were received, one after the other';

create view sync.audit as
    select sid, office, caller, peer, kind, state, opened_at, ended_at, rows, quarantined, tables, digest, dry_run, fault_code
    from sync.session;
comment on view sync.audit is 'who wrote to this shop, from where, when, which tables and how many rows';
