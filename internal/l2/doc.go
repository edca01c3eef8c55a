// Package l2 is the Redis tier: versioned records, leases and watermarks, read and changed through rueidis. It decides
// nothing; package fence does.
//
// A record is a value or an absence with its version, the incarnation of its bucket and its schema. A lease is a key of
// its own beside the record, so that taking one evicts nothing; a record is born only by the fill of a lease's holder.
// Everything that changes L2 is one Lua script. All that a script touches lies in one bucket, and so in one slot of a
// Redis Cluster. The scripts are in lua/, each with its promise at its top.
//
// # Two connections
//
// The tracking connection reads records. Redis remembers what was read on it (CLIENT TRACKING), and pushes the next
// change of each such key. The commands connection does everything else. A connection that tracks must not write: with
// NOLOOP Redis would hide its own evictions from it, and without NOLOOP each own write would come back. A dedicated or
// blocking connection would break the order of replies and pushes.
//
// Without a Tracker there is no tracking connection; see untracked.go.
package l2
