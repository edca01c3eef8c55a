// Package mysql makes a MariaDB or MySQL database a coherence.Source: a version for every key, an outbox, and settled
// positions. It needs MariaDB 10.6 or MySQL 8.0, with InnoDB tables and one server that takes writes. It uses
// database/sql and brings no driver. docs/guides/mysql.md is the guide: accounts, settings, restores.
//
// Install creates a database with the versions, an outbox, the relay's cursors, and procedures. Then either triggers
// count (InstallTrigger: a writer needs to know nothing), or a writer calls Bump in its transaction.
//
// # Versions
//
// A key's version is the id of its last change in the outbox. The key's row of the versions is locked until the
// commit, so a key's versions grow in the order of its commits. A key without such a row has the floor of its
// namespace: 0, or 1 if the table had rows before its trigger. Trim removes the rows of deleted keys after it has
// raised the floor above them. The next change of any key has a larger id than any floor.
//
// # Positions
//
// A position's number is an id of the outbox. Ids are given out when a row is inserted, and transactions commit in
// another order. Changes therefore says that an id is settled only when no transaction with this id or a smaller one
// is open. It looks at the outbox twice: first at all rows, also those of open transactions (READ UNCOMMITTED), and
// then at the committed ones. A row that only the first look shows belongs to an open transaction. An id that was given
// out and has no row yet is the one case that the first look misses. A writer therefore marks itself before it asks for
// an id and takes the mark back after the insert; Changes waits until the marks that it sees are gone.
// docs/internals/adr has the races.
//
// A position's timeline is made from a random number of Install, the server's id, and a number that the server forgets
// when it stops. A restart and a fail-over to another server therefore begin a new timeline, because InnoDB shows
// commits to others before they are on disk and may lose them in a crash. After a restore from a dump call NewTimeline.
//
// # Loaders
//
// A Loader reads the server that takes writes, not with READ UNCOMMITTED, and value and version in one statement:
//
//	select p.name, p.price, <VersionSQL("'product'", "?")> from (select 1) one left join products p on p.id = ?
//
// # What the triggers do not see
//
// TRUNCATE TABLE, DROP TABLE, partitions that are dropped, exchanged or truncated, and rows that replication applies.
// Check finds a table that was made again, as TRUNCATE does. Foreign keys that change rows of the table (CASCADE, SET
// NULL) are refused, since they fire no triggers. An update that changes nothing counts unless Trigger.Columns is set.
package mysql
