-- Schema sync, version 16. Control totals of the tables with money, counted at both ends when a run has moved something.
alter table sync.run add column totals jsonb;
comment on column sync.run.totals is 'rows and sums of money at the office and at the shop, table by table; null: nothing was counted';
