-- The trace of a write: a writer sets nearcache.traceparent in its transaction, and the outbox keeps it beside the change.
alter table @@.outbox add column trace text default nullif(left(current_setting('nearcache.traceparent', true), 55), '');
