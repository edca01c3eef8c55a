// Package coherence has the types by which a source of truth, a stream of version events and a near cache meet.
//
// A program that only uses caches needs nothing of it beyond what nearcache.Config names. It is for who connects
// something new:
//
//   - A Source makes the near cache follow a database: it has a commit order (Position) and the changes in it.
//     coherence/postgres and coherence/sqlite are Sources. Its optional abilities are interfaces too; see Abilities.
//   - An EventSource feeds the near cache a stream of version events, and says to a Sink when some may be missing. L1
//     drops an entry without waiting for Redis. The Tail of coherence/kafka is one.
//   - A Publisher takes what the relay (coherence/relay) publishes. coherence/kafka has one.
//
// # Words
//
//	version     orders the states of one key, across deletes too: the larger is the newer. 0: the source has none.
//	position    is a point in a source's commit order. Every change at or before it is settled.
//	timeline    names an unbroken history of a source. A fail-over that lost commits begins a new one, and positions of
//	            two timelines cannot be compared.
//	event       says that the state of a key changed. It carries a version and no value: its reader loads again.
//	barrier     is a message in a partition that says: every event up to this position comes before me. A near cache
//	            that has read the barriers of every partition knows how old its entries can be.
//	sequence    is an event's number in its partition, contiguous from 1. A number left out is a gap: something is
//	            missing.
//
// How the near cache uses them to decide what it may serve is in docs/internals/consistency.md.
//
// # On the wire
//
// DecodeJSON reads, and EncodeJSON writes, one JSON object for each event. EventCodec takes functions for another
// format, which see the whole record.
package coherence
