-- Branches that were taken out for good: nothing is kept for them.
alter table sync.branch_synchronization add column retired_at timestamptz;
