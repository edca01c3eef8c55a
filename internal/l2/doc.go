// Package tier holds versioned entries in two tiers and decides nothing: L1 over ristretto, L2 over Redis through rueidis.
//
// A record in L2 is a value or an absence with its version, the epoch of its bucket and its schema. A lease is a key of
// its own beside the record, so that taking one evicts nobody; only its holder's fill gives birth to a record. Everything
// that changes L2 is one Lua script, and all that a script touches lies in one bucket, so in one slot of a cluster. The
// scripts are in lua/, each with what it promises at its top.
//
// L2 uses two clients. T tracks: whatever record was read on it, Redis tells it of the next change. W does the rest. A
// connection that tracks must not write (with NOLOOP Redis would hide its own evictions from it, without it every own
// write would come back), and one that is dedicated or blocking would break the order of replies and pushes.
package l2
