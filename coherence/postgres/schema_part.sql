-- How far a relay has come inside a transaction that it publishes in pieces.
alter table @@.cursors add column part numeric not null default 0;
