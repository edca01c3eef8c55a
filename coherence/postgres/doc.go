// Package postgres makes a Postgres database a coherence.Source: a version for every key, an outbox, and the commit
// order as positions. It needs Postgres 14 or later, and pgx. docs/guides/postgres.md is the guide: roles, partitions,
// poolers, restores.
//
// Install creates a schema with the versions, an outbox, the relay's cursors, and functions. Then either a trigger
// counts (InstallTrigger: a writer needs to know nothing, be it psql, pgx or database/sql), or a writer calls Bump as
// the first statement of its transaction.
//
// # Versions
//
// A key's version is counted in a row of its own, under that row's lock: it grows with every commit and goes on after a
// delete. A key without such a row has the floor of its namespace: 0, or 1 if the table had rows before its trigger.
// Trim removes the rows of deleted keys after it has raised the floor to their versions, so no number is used twice.
//
// # Positions
//
// A position's number is a transaction id: everything below it is settled. A change is visible to Changes once no older
// transaction is open any more. A reader that only remembers the last id it saw would miss a row whose transaction was
// still open when a later one committed. The price: a transaction that stays open, in any database of the server, holds
// changes back. Nothing is said to be settled before it is on disk, since the server gives out again the ids that it
// lost in a crash; and a transaction that counts a version waits for the disk even where synchronous_commit is off.
//
// A position's timeline is made from what a dump does not carry (the server's identity, its log's timeline, the numbers
// and the file of the source's tables) and from a random number. Only older files that are put back in place need a
// call of NewTimeline.
//
// # Loaders
//
// A Loader must read the primary, and value and version in one statement:
//
//	select p.name, p.price, nearcache.version_of('product', $1)
//	from (select) one left join products p on p.id = $1
package postgres
