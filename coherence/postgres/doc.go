// Package postgres makes a Postgres database a coherence.Source: a version for every key, an outbox, and the commit order
// as positions. It needs Postgres 13 or later, and pgx.
//
// Install creates a schema with a version table, an outbox and the relay's cursors. Then either a trigger writes to them
// (InstallTrigger: whoever writes to the table needs to know nothing, be it psql, pgx or database/sql), or a writer calls
// Bump as the first statement of its transaction.
//
// # Versions
//
// A key's version is counted in a row of its own, which is never deleted, under that row's lock: so it grows with every
// commit and goes on after a delete. The trigger is AFTER ROW; a BEFORE trigger would also count an insert that
// "on conflict do nothing" then drops.
//
// # Positions
//
// A position's number is a transaction id: everything below it is settled. A change is visible to Changes once no older
// transaction is open any more: `xid < pg_snapshot_xmin(pg_current_snapshot())`. A reader that only remembers the last id
// it saw would miss a row whose transaction was still open when a later one committed. The price: any transaction that
// stays open, in any database of the cluster, holds changes back for as long. Nothing is said to be settled before it is
// on disk, since the server gives out again what ids it lost in a crash; and a transaction that counts a version waits
// for the disk even where synchronous_commit is off. A position's epoch is made from the system's identifier, its
// timeline and a number drawn at Install, so a promoted standby, or a copy restored from an archive, has another. Whoever
// puts back a snapshot of the files, which changes neither, must draw the number anew: update nearcache.meta set epoch =
// default.
//
// # Loaders
//
// A Loader must read the primary, and value and version in one statement:
//
//	select p.name, p.price, v.version from nearcache.versions v left join products p on p.id = v.key
//	where v.namespace = 'product' and v.key = $1
package postgres
