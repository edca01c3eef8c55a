// Package nearcache keeps decoded values in this process (L1, ristretto), in front of Redis (L2, rueidis), in front of
// a source of truth; and keeps the two coherent with it over many processes. A hit in L1 costs less than a bare
// ristretto lookup, and allocates nothing.
//
// A program makes one Client with New, one Cache for each namespace with NewCache, and reads with Get, Read or
// ReadMany. It announces its writes with Write, or leaves that to a trigger in the database and a relay
// (coherence/postgres).
//
// # What each further part buys
//
// Redis alone is enough. Every part that is added is one more field of Config and strengthens a guarantee:
//
//	Redis                 tracking evicts L1 when L2 changes; Write makes L2 change; leases keep stale fills out
//	+ versions            orders what arrives late: a Loader that returns versions, a Write that returns one
//	+ Events              invalidations of others reach L1 and L2 although they never touched Redis
//	+ Source and a relay  every commit is carried, also of a writer that died after it; staleness can be bounded
//
// # Guarantees
//
// They are numbered as in the project's documents, and tests cite the numbers. docs/internals/consistency.md explains
// them.
//
//   - C1: a read with a bound (Options.MaxStaleness, ReadOptions.MaxStaleness) returns no value older than that, by
//     this process's clock, counted from the read's beginning, whatever fails. It needs a relay (Config.Source or
//     Config.Relayed), and a Loader that reads the primary.
//   - C2: a load that began before the invalidation of a write is never admitted to L1 or L2.
//   - C3: on one instance, the versions of a key that reads return, one after another, never go back. It needs versions
//     and a Loader that reads the primary; without a relay it is best effort for keys not seen for a while, or after
//     Redis has lost data.
//   - C4: a read with AtLeast returns that version or a newer one, or ErrNotReady.
//   - C5: a deleted key does not come back, and no value is returned that was never stored. Needs versions where writes
//     of a key run at the same time.
//   - C6: where nothing proves that an entry of L1 is still right, L1 is passed over.
//   - C7: when the faults are over, all tiers agree: with a relay at once, otherwise at the latest when the TTL is
//     over.
//
// A plain Get without a bound has C2 to C7 and is typically fresh within milliseconds; it has no bound but the TTL.
//
// A value that Get returns is shared with all other readers and must not be modified, unless Options.Clone is set.
package nearcache
