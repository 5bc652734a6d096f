-- Log entries say which columns a statement changed, and of tables that both sides change they hold many rows. Logs get
-- their new form when the capture functions are made anew, table by table: what is in them is kept.
alter table sync.captured_table add column columns text[] not null default '{}'; -- that entries tell apart, by number
