// Package coherence decides what a near cache may serve.
//
// The Fence is the heart: events go in, loads take snapshots and are told at their end what may be done with their value. It
// has no network, no goroutine and no clock of its own. Around it are the small interfaces that sources of truth and
// streams of events meet (Source, EventSource), the events' wire format, and the Relay that carries a source's changes
// to Kafka and to Redis.
//
// # Rules
//
// The guarantees they serve are numbered in package nearcache. Each rule has a test that fails without it.
//
//	generation   A load takes the generation of its key's slot before it asks anybody; an entry is served while the slot
//	             still has it. An invalidation is one atomic add (C2).
//	journal      A slot remembers the last keys that bumped it, so that other keys' invalidations evict nothing. In
//	             doubt the entry goes (C6).
//	min version        The newest version of a key seen here, by an event, an own write, or a read that served it. Nothing
//	             older is served or admitted, and whenever it rises, L1 lets go (C3).
//	required watermark      A min version that had to be forgotten asks L2 to have applied what covers it: the event's own position, or
//	             the first position read after the version was seen (C3).
//	session      Each time a channel may have missed something it begins a session. It vouches only for what was loaded
//	             in the present one; an entry that no live session vouches for is passed over (C6). So the loss of one
//	             channel flushes nothing that the other vouches for.
//	incarnation        A bucket of L2 whose watermark was lost starts anew with a random incarnation. Records of another one are
//	             misses, and a change of incarnation ends the bucket's session.
//	watermark    What L2 has applied, read on the tracking connection before the record that it vouches for. It is moved
//	             in the same script as the changes it covers, so it goes back with them.
//	sample        The clock is read first, and then the source's position: whatever was acknowledged before lies at or
//	             before it.
//	proof        The newest sample that a channel's watermark covers is a moment that everything it vouches for is no older
//	             than, if the generation is found standing after the proof was taken (C1). An entry is proved by its own
//	             load too.
//	sequence     Events of the relay are numbered in each partition; a number that is left out begins a session.
//
// # The interleavings that made them
//
//	late fill        A misses and loads version 1; B writes 2 and invalidates; A's fill comes. The invalidation has
//	                 deleted A's lease, and bumped A's slot: neither tier takes the value.
//	L1 ahead of L2   The event of version 2 evicts L1; L2 still has 1; a reload would cache it again. The min version is 2.
//	old replica      Redis fails over to a replica that had not yet heard of version 2. The connection is new, so the
//	                 session is; its watermark went back too, so the relay applies 2 again.
//	lost watermark   Redis evicts the watermark and keeps the records. What they missed meanwhile nobody knows: the
//	                 relay draws a new incarnation, and all of them are misses.
//	push overtaken   A reply and the push that voids it come on one connection, in order; but the reply is handed to
//	                 another goroutine. The snapshot was taken before the question was asked.
package fence
