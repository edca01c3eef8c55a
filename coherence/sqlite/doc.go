// Package sqlite makes an SQLite database a coherence.Source: for one machine, for the demo, and for tests. It uses
// database/sql and brings no driver; any driver of SQLite 3.35 or later will do.
//
// Install creates tables whose names begin with "nearcache_": versions, an outbox, and the relay's cursors. Then either
// triggers write to them (InstallTrigger), or a writer calls Bump in its transaction.
//
// # Positions
//
// SQLite has one writer at a time, so the ids of the outbox are in commit order. A position's number is the last id,
// which sqlite_sequence remembers although the outbox is trimmed. Its timeline is a number that Install draws. Whoever
// puts back an older copy of the file calls NewTimeline before anything reads it.
//
// # Versions
//
// A key's version grows with every change that commits, deletes included. A key that was never counted has the floor
// of its namespace: 0, or 1 if the table had rows before its trigger was installed. The first change of a key gives it
// the floor plus one. Trim removes the version rows of deleted keys after it has raised the floor to their versions,
// so no number is used twice.
//
// # What the triggers do not see
//
// DROP TABLE, a write through another file name of an attached copy, and a connection with `pragma writable_schema`
// that edits the triggers. A row that REPLACE removes because of another unique column is counted by a BEFORE trigger,
// which also counts it when `or ignore` then drops the insert. Without Trigger.Columns an update that changes nothing
// counts.
package sqlite
